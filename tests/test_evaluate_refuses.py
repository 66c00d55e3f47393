"""Evaluate, wrongly asked: one sentence, exit code 2, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import clearswap
from clearswap.api.evaluate import EvaluateConfig
from conftest import Footage
from makers import Ran, cut_clip, left_behind, write_clip
from spoiled import lossless

Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def clips(demo_clips: Path, footage: Footage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short clips that are in order, and others that are not."""
    folder = tmp_path_factory.mktemp("clips")
    cut_clip(demo_clips / "person_b.mp4", folder / "video.mp4", 0, 8)
    cut_clip(demo_clips / "truth.mp4", folder / "truth.mp4", 0, 8)
    cut_clip(demo_clips / "truth.mp4", folder / "shorter.mp4", 0, 5)
    cut_clip(footage("no_face.mp4"), folder / "sky.mp4", 0, 8)
    write_clip(folder / "other size.mp4", 8, size=(320, 240))
    lossless(folder / "labelled.mkv", [np.full((400, 400, 3), 90, np.uint8)] * 8)
    (folder / "text.mp4").write_text("This is no video.\n" * 200)
    (folder / "no set").mkdir()
    masks = np.zeros((8, 400, 400), np.uint8)
    good = {"occluder": np.packbits(masks), "mask_shape": np.array(masks.shape)}
    np.savez(folder / "good.npz", **good)
    np.savez(folder / "other size.npz", occluder=good["occluder"], mask_shape=np.array((8, 200, 800)))
    np.savez(folder / "too short.npz", occluder=np.packbits(masks[:2]), mask_shape=np.array((2, 400, 400)))
    np.savez(folder / "no shape.npz", occluder=good["occluder"])
    np.savez(folder / "odd shape.npz", occluder=good["occluder"], mask_shape=np.array(8))
    np.savez(folder / "too few bits.npz", occluder=good["occluder"][:100], mask_shape=good["mask_shape"])
    (folder / "text.npz").write_text("These are no labels.\n" * 50)
    data = (folder / "good.npz").read_bytes()
    (folder / "cut short.npz").write_bytes(data[: len(data) // 2])
    np.save(folder / "array.npy", masks)
    (folder / "empty.npz").touch()
    return folder


REFUSED: dict[str, tuple[list[str], str]] = {
    "neither": (["truth.mp4", "video.mp4"], "Whose face should it be?"),
    "missing result": (["none.mp4", "video.mp4", "--truth", "truth.mp4"], "none.mp4 does not exist"),
    "missing video": (["truth.mp4", "none.mp4", "--truth", "truth.mp4"], "none.mp4 does not exist"),
    "missing truth": (["truth.mp4", "video.mp4", "--truth", "none.mp4"], "none.mp4 does not exist"),
    "missing identity": (["truth.mp4", "video.mp4", "--identity", "none"], "none is not a face set"),
    "no face set": (["truth.mp4", "video.mp4", "--identity", "no set"], "has no index.jsonl"),
    "no video": (["text.mp4", "video.mp4", "--truth", "truth.mp4"], "is not a video or picture that can be read"),
    "other size": (["other size.mp4", "video.mp4", "--truth", "truth.mp4"], "is 320x240"),
    "truth of other size": (["truth.mp4", "video.mp4", "--truth", "other size.mp4"], "is 320x240"),
    "shorter result": (["shorter.mp4", "video.mp4", "--truth", "truth.mp4"], "shorter.mp4 has 5 frames"),
    "shorter video": (["truth.mp4", "shorter.mp4", "--truth", "truth.mp4"], "truth.mp4 has 8 frames"),
    "shorter truth": (["truth.mp4", "video.mp4", "--truth", "shorter.mp4"], "shorter.mp4 has 5 frames"),
    "no face": (["sky.mp4", "sky.mp4", "--truth", "sky.mp4"], "Faces were found in only 0 of the frames"),
}


def absolute(clips: Path, arguments: list[str]) -> list[str]:
    return [word if word.startswith("--") else str(clips / word) for word in arguments]


@pytest.mark.parametrize("name", list(REFUSED))
def test_clips_that_do_not_belong_together(clips: Path, tmp_path: Path, cli: Cli, name: str) -> None:
    arguments, words = REFUSED[name]
    assert words in cli("evaluate", *absolute(clips, arguments), "-o", tmp_path / "out").sentence()
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("none.npz", "does not exist; leave `labels` out"),
        ("other size.npz", "The labels are for 8 frames of 800x200"),
        ("too short.npz", "The labels are for 2 frames of 400x400"),
        ("no shape.npz", "holds no labels that Clearswap can read"),
        pytest.param("odd shape.npz", "holds no labels that Clearswap can read"),
        pytest.param("too few bits.npz", "holds no labels that Clearswap can read"),
        ("text.npz", "holds no labels that Clearswap can read"),
        pytest.param("cut short.npz", "holds no labels that Clearswap can read"),
        pytest.param("empty.npz", "holds no labels that Clearswap can read"),
        pytest.param("array.npy", "holds no labels that Clearswap can read"),
    ],
)
def test_labels_that_cannot_be_used(clips: Path, tmp_path: Path, cli: Cli, labels: str, words: str) -> None:
    arguments = ["truth.mp4", "video.mp4", "--truth", "truth.mp4", "--labels", labels]
    assert words in cli("evaluate", *absolute(clips, arguments), "-o", tmp_path / "out").sentence()
    assert left_behind(tmp_path) == []


def test_labels_beside_the_clip_are_found_by_themselves(clips: Path, tmp_path: Path, cli: Cli) -> None:
    for name in ("video.mp4", "truth.mp4"):
        (tmp_path / name).write_bytes((clips / name).read_bytes())
    (tmp_path / "truth.labels.npz").write_bytes((clips / "other size.npz").read_bytes())
    video, truth = tmp_path / "video.mp4", tmp_path / "truth.mp4"
    said = cli("evaluate", truth, video, "--truth", truth, "-o", tmp_path / "out").sentence()
    assert "The labels are for 8 frames of 800x200" in said


def test_a_place_that_cannot_be_written(clips: Path, faces_a: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "file").touch()
    arguments = ["--identity", faces_a, "--samples", "3", "--worst", "1", "-o", tmp_path / "file" / "out"]
    assert "cannot be written" in cli("evaluate", clips / "video.mp4", clips / "video.mp4", *arguments).sentence()
    assert left_behind(tmp_path) == ["file"]


def test_it_raises_what_it_says(clips: Path, tmp_path: Path) -> None:
    video, truth = clips / "video.mp4", clips / "truth.mp4"
    with pytest.raises(clearswap.InputError, match="Whose face should it be"):
        clearswap.evaluate(truth, video, tmp_path / "out")
    with pytest.raises(clearswap.InputError, match="has 5 frames"):
        clearswap.evaluate(clips / "shorter.mp4", str(video), tmp_path / "out", truth=str(truth))
    with pytest.raises(clearswap.OptionError, match="2 is not possible for samples"):
        EvaluateConfig(samples=2)
    assert left_behind(tmp_path) == []
