"""What convert lays over its outputs: the mark in every frame, the label in a corner, names only when asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import clearswap
from clearswap.disclosure.mark import lay, pattern, read, read_untouched
from clearswap.media.files import read_picture
from clearswap.training import checkpoint
from conftest import Footage
from makers import cut_clip, pictures_of, psnr, said_by, save_picture, with_mark

ANYONE = clearswap.SelectConfig(faces="largest")
UNLABELLED = clearswap.LabelConfig(label=False)
EARLIER = 0x1234


@pytest.fixture(scope="module")
def bits(model: Path) -> int:
    return checkpoint.mark_of(checkpoint.open_model(model).fingerprint())


def test_every_frame_of_a_video_is_marked_and_labelled_in_one_corner(
    model: Path, bits: int, footage: Footage, tmp_path: Path
) -> None:
    clip = cut_clip(footage("noface_face.mov"), tmp_path / "appears.mp4", 84, 108)  # a face from frame 12 on
    clearswap.convert(model, clip, tmp_path / "out.mp4", to="a", select=ANYONE)
    frames = pictures_of(tmp_path / "out.mp4")
    assert read(frames).bits == bits
    assert all(read_untouched([frame]).bits == bits for frame in (frames[0], frames[-1]))
    said = said_by(tmp_path / "out.mp4").swap
    assert said is not None
    assert said["mark"] == f"{bits:04x}"
    assert said["consent"]["a"]["basis"] == "synthetic"
    height, width = frames[0].shape[:2]
    corners = {"top": np.s_[: height // 8, : width // 4], "bottom right": np.s_[-height // 8 :, -width // 4 :]}
    for before, after in zip(pictures_of(clip), frames, strict=True):
        expected = with_mark(before, model)
        assert psnr(expected[corners["top"]], after[corners["top"]]) > 38
        assert psnr(expected[corners["bottom right"]], after[corners["bottom right"]]) < 30


def test_an_original_keeps_its_mark(model: Path, bits: int, footage: Footage, tmp_path: Path) -> None:
    """The earlier bits stay, in what was replaced, too; nothing is laid on top of the rest; credentials name both."""
    frame = pictures_of(footage("single_face.mp4"))[0]
    marked = lay(frame, pattern(EARLIER, frame.shape[0], frame.shape[1]))
    given = save_picture(tmp_path / "given.png", marked)
    clearswap.convert(model, given, tmp_path / "out.png", to="a", select=ANYONE, label=UNLABELLED)
    after = read_picture(tmp_path / "out.png")
    assert bits != EARLIER
    assert (read([after]).bits, read([after]).marked) == (EARLIER, True)
    changed = (after != marked).any(2)
    assert 0.02 < changed.mean() < 0.3  # the face only
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    alone = np.full_like(after, 128)  # the replaced face by itself is marked with the earlier bits
    inside = np.s_[rows[0] : rows[-1], columns[0] : columns[-1]]
    alone[inside] = after[inside]
    assert read_untouched([alone]).bits == EARLIER
    said = said_by(tmp_path / "out.png").swap
    assert said is not None
    assert (said["mark"], said["earlier_mark"]) == (f"{EARLIER:04x}", f"{EARLIER:04x}")
    assert said["model"].startswith(f"{bits:04x}")


@pytest.mark.parametrize("asked", [False, True])
def test_names_are_published_only_when_asked_for(model: Path, footage: Footage, tmp_path: Path, asked: bool) -> None:
    with safe_open(model / checkpoint.FILE, "pt") as file:
        about = json.loads(file.metadata()["clearswap"])
    about["consent"] = {"a": {"basis": "agreed", "name": "Zenobia Example"}}
    known = tmp_path / "model"
    known.mkdir()
    save_file(load_file(model / checkpoint.FILE), known / checkpoint.FILE, {"clearswap": json.dumps(about)})
    given = save_picture(tmp_path / "given.png", pictures_of(footage("single_face.mp4"))[0])
    clearswap.convert(known, given, tmp_path / "out.png", to="a", select=ANYONE, publish_names=asked)
    data = (tmp_path / "out.png").read_bytes()
    assert (b"Zenobia" in data) == asked
    said = said_by(tmp_path / "out.png").swap
    assert said is not None
    assert said["consent"]["a"]["basis"] == "agreed"
    assert ("name" in said["consent"]["a"]) == asked
