"""Conversion: what changes in a clip or picture, what stays, and what the output says of itself."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import clearswap
from clearswap.api.convert import ConvertResult
from clearswap.core.swap import Swapper
from clearswap.disclosure.signer import load_signer
from clearswap.faces.face_models import Landmarker
from clearswap.faces.tracker import TrackConfig, make_tracker, track
from clearswap.media.files import encode_picture, read_alpha, read_picture
from clearswap.media.video import probe, read_frames
from clearswap.media.writer import PictureTrack
from conftest import Footage
from makers import (
    Picture,
    Ran,
    command,
    cut_clip,
    head_of_clip,
    left_behind,
    pictures_of,
    psnr,
    said_by,
    save_heic,
    save_picture,
    sound_packets,
    ticks_of,
    with_mark,
    write_clip,
)

UNLABELLED = clearswap.LabelConfig(label=False)
ANYONE = clearswap.SelectConfig(faces="largest")  # the model knows other people than the real clips show


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Path:
    """Nothing here is about learning."""
    return tiny_model


@dataclass(frozen=True)
class Swapped:
    """A clip, its swap, and where the faces of the clip were."""

    source: Path
    output: Path
    done: ConvertResult
    hulls: list[Picture | None]  # (H, W), 255 in the face


def swap_clip(model: Path, source: Path, output: Path) -> Swapped:
    done = clearswap.convert(model, source, output, to="a", select=ANYONE, label=UNLABELLED)
    hulls: list[Picture | None] = []
    for frame, faces in track(read_frames(source), make_tracker(TrackConfig())):
        area = np.zeros(frame.picture.shape[:2], np.uint8)
        for face in faces:
            cv2.fillConvexPoly(area, cv2.convexHull(np.round(face.landmarks).astype(np.int32)), 255)
        hulls.append(area if faces else None)
    return Swapped(source, output, done, hulls)


@pytest.fixture(scope="module", params=["synthetic", "real"])
def swapped(
    request: pytest.FixtureRequest,
    model: Path,
    demo_clips: Path,
    footage: Footage,
    tmp_path_factory: pytest.TempPathFactory,
) -> Swapped:
    """Two seconds of a synthetic person (AAC) and of a real one (MP3), swapped."""
    folder = tmp_path_factory.mktemp(f"{request.param} swap")
    source = footage("single_face.mp4")
    if request.param == "synthetic":
        source = head_of_clip(demo_clips / "person_b.mp4", folder / "person_b.mp4", 48)
    return swap_clip(model, source, folder / "swapped.mp4")


def test_size_rate_length_and_frame_times_stay(swapped: Swapped) -> None:
    source, output = probe(swapped.source), probe(swapped.output)
    assert (output.width, output.height, output.frames) == (source.width, source.height, source.frames)
    assert output.rate == source.rate
    assert ticks_of(swapped.output) == ticks_of(swapped.source)
    assert length(swapped.output) == length(swapped.source)
    assert swapped.done == ConvertResult(1, source.frames, source.frames, 0, 0, "copied")


def length(path: Path) -> Fraction:
    """The exact length in seconds of the picture track."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return (stream.duration or 0) * Fraction(stream.time_base or 0)


def test_the_sound_is_the_same_packet_for_packet(swapped: Swapped) -> None:
    packets = sound_packets(swapped.source)
    assert len(packets) > 40
    assert sound_packets(swapped.output) == packets


def test_every_face_changes_and_nothing_else_does(model: Path, swapped: Swapped) -> None:
    """40 dB is what the encoder may take from pixels to which nothing but the mark was done."""
    inside, outside = [], []
    for before, after, area in zip(
        pictures_of(swapped.source), pictures_of(swapped.output), swapped.hulls, strict=True
    ):
        assert area is not None
        around = cv2.dilate(area, np.ones((5, 5), np.uint8)) == 0  # chroma is shared by neighbours
        marked = with_mark(before, model)
        inside.append(psnr(marked, after, area > 0))
        outside.append(psnr(marked, after, around))
    print(f"inside at most {max(inside):.1f} dB, outside at least {min(outside):.1f} dB")
    assert max(inside) < 35
    assert min(outside) > 40


def test_the_output_says_signed_that_it_is_generated(swapped: Swapped) -> None:
    said = said_by(swapped.output)
    assert said.state == "trusted"
    assert said.generated
    assert "c2pa.edited" in said.actions
    assert said_by(swapped.source).state == "none"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_one_changed_byte_shows(swapped: Swapped, tmp_path: Path, share: float) -> None:
    data = bytearray(swapped.output.read_bytes())
    start = data.rindex(b"mdat") + 4
    data[start + int(share * (len(data) - start))] ^= 1
    (tmp_path / "changed.mp4").write_bytes(data)
    assert said_by(tmp_path / "changed.mp4").state == "altered"


def test_the_output_names_no_path_no_user_and_no_host(swapped: Swapped) -> None:
    data = swapped.output.read_bytes()
    secrets = [str(swapped.source.parent), swapped.source.name, str(swapped.output.parent), str(Path.home())]
    # two or three letters are found in any megabyte
    secrets += [name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 3 and name != "root"]
    for secret in secrets:
        assert secret.encode() not in data, secret
        assert secret.encode("utf-16-be") not in data, secret


def test_nothing_but_the_output_is_left(swapped: Swapped) -> None:
    names = set(left_behind(swapped.output.parent))
    assert names - {"person_b.mp4"} == {"swapped.mp4"}


def test_the_chosen_person_is_drawn(model: Path, swapped: Swapped, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "face.png", pictures_of(swapped.source)[0])
    clearswap.convert(model, picture, tmp_path / "a.png", to="a", select=ANYONE)
    clearswap.convert(model, picture, tmp_path / "b.png", to="b", select=ANYONE)
    assert psnr(read_picture(tmp_path / "a.png"), read_picture(tmp_path / "b.png")) < 50


def test_frames_without_a_face_pass_through_and_are_counted(model: Path, footage: Footage, tmp_path: Path) -> None:
    # frames 84..107 of the clip: the man appears in 96, the 13th of these 24
    clip = cut_clip(footage("noface_face.mov"), tmp_path / "appears.mp4", 84, 108)
    done = clearswap.convert(model, clip, tmp_path / "out.mp4", to="a", select=ANYONE, label=UNLABELLED)
    assert done == ConvertResult(1, 24, 12, 12, 0, "none")
    assert "12 of 24 frames swapped; 12 frames had no face and are unchanged." in str(done)
    before, after = pictures_of(clip), pictures_of(tmp_path / "out.mp4")
    assert min(psnr(with_mark(before[i], model), after[i]) for i in range(12)) > 40


def test_a_clip_without_any_face_is_refused_and_nothing_written(model: Path, footage: Footage, tmp_path: Path) -> None:
    clip = cut_clip(footage("no_face.mp4"), tmp_path / "sky.mp4", 0, 6)
    with pytest.raises(clearswap.InputError, match=r"No face was found in .*sky.mp4 \(6 frames\)"):
        clearswap.convert(model, clip, tmp_path / "out" / "sky.mp4", to="a", select=ANYONE)
    assert [name for name in left_behind(tmp_path) if name.endswith("mp4")] == ["sky.mp4"]


def test_quicktime_output_is_signed_too(model: Path, swapped: Swapped, tmp_path: Path) -> None:
    clip = head_of_clip(swapped.source, tmp_path / "clip.mp4", 6)
    clearswap.convert(model, clip, tmp_path / "out.mov", to="a", select=ANYONE)
    assert said_by(tmp_path / "out.mov").state == "trusted"
    assert sound_packets(tmp_path / "out.mov") == sound_packets(clip)


def test_a_swap_of_a_swap_keeps_the_first_ones_credentials(model: Path, swapped: Swapped, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "face.png", pictures_of(swapped.source)[0])
    part = clearswap.MaskConfig(shrink=0.3)  # so that there is still a face to be found
    clearswap.convert(model, picture, tmp_path / "once.png", to="a", select=ANYONE, mask=part)
    clearswap.convert(model, tmp_path / "once.png", tmp_path / "twice.png", to="b", select=ANYONE)
    said = said_by(tmp_path / "twice.png")
    assert (said.state, said.generated) == ("trusted", True)


KINDS = ["rgb.png", "rgb.jpg", "rgb.webp", "rgb.tif", "rgba.png", "grey.png", "grey16.png", "Gesicht größer 大.png"]


@pytest.mark.parametrize("name", KINDS)
def test_pictures_of_every_kind(model: Path, footage: Footage, tmp_path: Path, name: str) -> None:
    face = read_frames(footage("single_face.mp4"))
    pixels = next(iter(face)).picture
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    alpha = np.tile(np.linspace(0, 255, pixels.shape[1]).astype(np.uint8), (pixels.shape[0], 1))
    given = {"rgba": np.dstack([pixels, alpha]), "grey": grey, "grey16": grey.astype(np.uint16) * 257}
    source = save_picture(tmp_path / name, given.get(name.split(".")[0], pixels))
    output = tmp_path / f"out {name}"
    done = clearswap.convert(model, source, output, to="a", select=ANYONE, label=UNLABELLED)
    assert done == ConvertResult(1, 1, 1, 0, 0, "none")
    before, after = with_mark(read_picture(source), model), read_picture(output)
    changed = (before != after).any(2)
    assert after.shape == before.shape
    if source.suffix in {".png", ".tif"}:
        assert 0.02 < changed.mean() < 0.3  # the face, and not one pixel around it
        assert not changed[:20].any()
    assert said_by(output).state == "trusted"
    assert left_behind(tmp_path) == sorted([source.name, output.name])
    if name == "rgba.png":
        assert np.array_equal(read_alpha(output), alpha)


def test_a_folder_becomes_a_folder_of_the_same_names(model: Path, footage: Footage, tmp_path: Path) -> None:
    frames = pictures_of(footage("single_face.mp4"))
    given, wanted = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    save_picture(given / "one.png", frames[0])
    save_picture(given / "two.jpg", frames[20])
    save_picture(given / "sky.png", pictures_of(footage("no_face.mp4"))[0])
    write_clip(given / "clip.mp4", 4, size=(640, 360), picture=lambda i, _w, _h: frames[i])
    done = clearswap.convert(model, given, wanted, to="a", select=ANYONE)
    assert left_behind(wanted) == ["clip.mp4", "one.png", "sky.png", "two.jpg"]
    assert done == ConvertResult(4, 7, 6, 1, 0, "none")
    assert (given / "sky.png").read_bytes() == (wanted / "sky.png").read_bytes()  # nothing in it is generated
    states = {path.name: said_by(path).state for path in wanted.iterdir()}
    assert states == {"clip.mp4": "trusted", "one.png": "trusted", "sky.png": "none", "two.jpg": "trusted"}


def test_a_folder_of_phone_pictures_and_odd_kinds(tiny_model: Path, demo_clips: Path, tmp_path: Path) -> None:
    """HEIC, GIF and JFIF become what can carry credentials; what is left out, renamed or lost is said."""
    face = next(iter(read_frames(demo_clips / "person_b.mp4"))).picture
    given, wanted = tmp_path / "in", tmp_path / "out"
    (given / "raw").mkdir(parents=True)
    save_picture(given / "img.jpg", face)
    save_heic(given / "IMG.heic", face, tile=128)
    (given / "clear.jfif").write_bytes(encode_picture(np.dstack([face, face[..., 0]]), ".png"))  # not what it says
    (given / "still.avif").write_bytes(encode_picture(face, ".avif"))
    Image.fromarray(face).save(
        given / "a.gif", save_all=True, append_images=[Image.fromarray(face[:, ::-1])], duration=40
    )
    seen: list[clearswap.Progress] = []
    done = clearswap.convert(tiny_model, given, wanted, to="a", select=ANYONE, on_progress=seen.append)
    assert left_behind(wanted) == ["IMG-2.jpg", "a.mp4", "clear.jpg", "img.jpg", "still.avif"]
    assert (done.files, done.frames) == (5, 6)
    assert {said_by(path).state for path in wanted.iterdir()} == {"trusted"}
    assert psnr(read_picture(wanted / "IMG-2.jpg")[:40], face[:40]) > 30  # all of it, not the first tile
    notes = " | ".join(event.note for event in seen if event.note)
    assert "not taken: raw/ (" in notes
    assert "IMG.heic becomes IMG-2.jpg, a.gif becomes a.mp4, clear.jfif becomes clear.jpg" in notes
    assert ".jpg cannot hold the transparency of clear.jfif, which is left out" in notes


def test_two_runs_into_one_folder(tiny_model: Path, demo_clips: Path, tmp_path: Path) -> None:
    given, wanted = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    shutil.copy(demo_clips / "person_b.mp4", given / "b.mp4")
    with subprocess.Popen(command("convert", tiny_model, given, "-o", wanted, "--to", "a", "--faces", "all")) as other:
        while not (wanted / ".lock").exists():
            assert other.poll() is None
            time.sleep(0.02)
        with pytest.raises(clearswap.OutputError, match="out is being written by another run"):
            clearswap.convert(tiny_model, given, wanted, to="a", select=ANYONE)
        other.kill()


@pytest.mark.parametrize("name", ["out.wmv", "out.flv", "out.bmp", "out"])
def test_an_output_that_cannot_be_signed_is_refused(
    model: Path, swapped: Swapped, tmp_path: Path, cli: Callable[..., Ran], name: str
) -> None:
    source = swapped.source
    if name == "out.bmp":
        source = save_picture(tmp_path / "face.png", pictures_of(swapped.source)[0])
    said = cli("convert", model, source, "-o", tmp_path / name, "--to", "a").sentence()
    assert "cannot carry Content Credentials" in said or "a picture stays a picture" in said
    assert not (tmp_path / name).exists()


def test_the_input_is_never_overwritten(model: Path, swapped: Swapped) -> None:
    before = swapped.source.read_bytes()
    with pytest.raises(clearswap.OutputError, match="is the input itself"):
        clearswap.convert(model, swapped.source, swapped.source, to="a", select=ANYONE)
    assert swapped.source.read_bytes() == before


def test_all_faces_of_a_frame_can_be_swapped(model: Path, footage: Footage, tmp_path: Path) -> None:
    face = pictures_of(footage("single_face.mp4"))[0]
    save_picture(tmp_path / "twins.png", np.hstack([face, face]))
    clearswap.convert(model, tmp_path / "twins.png", tmp_path / "one.png", to="a", select=ANYONE, label=UNLABELLED)
    every = clearswap.SelectConfig(faces="all")
    clearswap.convert(model, tmp_path / "twins.png", tmp_path / "all.png", to="a", select=every, label=UNLABELLED)
    before = with_mark(read_picture(tmp_path / "twins.png"), model)
    one = (before != read_picture(tmp_path / "one.png")).any(2)
    both = (before != read_picture(tmp_path / "all.png")).any(2)
    assert one[:, :640].any() != one[:, 640:].any()
    assert both[:, :640].any()
    assert both[:, 640:].any()


def test_no_mask_no_colour_no_change_of_others(model: Path, swapped: Swapped, tmp_path: Path) -> None:
    """The options reach the pixels: a mask shrunk to nothing changes nothing, colour matching changes the face."""
    picture = save_picture(tmp_path / "face.png", pictures_of(swapped.source)[0])
    nothing = clearswap.MaskConfig(shrink=0.5)
    clearswap.convert(model, picture, tmp_path / "nothing.png", to="a", select=ANYONE, mask=nothing, label=UNLABELLED)
    assert np.array_equal(with_mark(read_picture(picture), model), read_picture(tmp_path / "nothing.png"))
    clearswap.convert(model, picture, tmp_path / "matched.png", to="a", select=ANYONE)
    clearswap.convert(
        model, picture, tmp_path / "raw.png", to="a", select=ANYONE, blend=clearswap.BlendConfig(colour=0)
    )
    assert not np.array_equal(read_picture(tmp_path / "matched.png"), read_picture(tmp_path / "raw.png"))


def test_progress_counts_every_frame(model: Path, swapped: Swapped, tmp_path: Path) -> None:
    clip = head_of_clip(swapped.source, tmp_path / "clip.mp4", 12)
    seen: list[clearswap.Progress] = []
    clearswap.convert(model, clip, tmp_path / "out.mp4", to="a", select=ANYONE, on_progress=seen.append)
    frames = probe(clip).frames
    for stage in ("look through clip.mp4", "convert clip.mp4"):
        assert [event.done for event in seen if event.stage == stage] == list(range(1, frames + 1))
    assert {event.total for event in seen if not event.note} == {frames}


def test_the_same_input_gives_the_same_pixels(model: Path, swapped: Swapped, tmp_path: Path) -> None:
    clip = head_of_clip(swapped.source, tmp_path / "clip.mp4", 6)
    for name in ("one.mp4", "two.mp4"):
        clearswap.convert(model, clip, tmp_path / name, to="a", select=ANYONE)
    for one, two in zip(pictures_of(tmp_path / "one.mp4"), pictures_of(tmp_path / "two.mp4"), strict=True):
        assert np.array_equal(one, two)


def test_the_identity_is_its_owners_alone(own_configuration: Path) -> None:
    load_signer()
    folder = own_configuration / "clearswap" / "identity"
    assert left_behind(folder) == [".lock", "chain.pem", "key.pem", "root.pem"]
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())


def test_a_part_of_a_clip_is_converted_with_its_sound(model: Path, footage: Footage, tmp_path: Path) -> None:
    source, time_range = footage("single_face.mp4"), clearswap.TimeRange(0.5, 1.5)
    done = clearswap.convert(model, source, tmp_path / "part.mp4", to="a", select=ANYONE, time_range=time_range)
    times = [float(time) for time in ticks_of(source)]
    inside = [i for i, time in enumerate(times) if 0.5 <= time < 1.5]
    assert done.frames == done.swapped == len(inside)
    before, after = pictures_of(source), pictures_of(tmp_path / "part.mp4")
    corner = np.zeros(before[0].shape[:2], bool)
    corner[:60, :60] = True
    assert all(psnr(with_mark(before[i], model), shown, corner) > 38 for i, shown in zip(inside, after, strict=True))
    shown = [float(time) - times[inside[0]] for time in [times[i] for i in inside]]
    assert [float(time) for time in ticks_of(tmp_path / "part.mp4")] == pytest.approx(shown, abs=1e-4)
    given, kept = sound_packets(source), sound_packets(tmp_path / "part.mp4")
    first = given.index(kept[0])
    assert kept == given[first : first + len(kept)]
    assert len(kept) == pytest.approx(len(given) / probe(source).frames * len(inside), abs=2)


@pytest.mark.parametrize(
    ("start", "end", "words"), [(-1, None, "-1 is not possible for start"), (2, 1, "give a later")]
)
def test_a_part_that_is_none_is_refused(start: float, end: float | None, words: str) -> None:
    with pytest.raises(clearswap.OptionError, match=words):
        clearswap.TimeRange(start, end)


def test_a_part_after_the_end_of_the_clip_is_refused(model: Path, footage: Footage, tmp_path: Path) -> None:
    source, time_range = footage("single_face.mp4"), clearswap.TimeRange(60)
    with pytest.raises(clearswap.InputError, match=r"No face was found .*\(0 frames\)"):
        clearswap.convert(model, source, tmp_path / "part.mp4", to="a", select=ANYONE, time_range=time_range)
    assert left_behind(tmp_path) == []


def test_a_preview_shows_people_and_hard_frames_and_is_signed(model: Path, demo_clips: Path, tmp_path: Path) -> None:
    clip, output = head_of_clip(demo_clips / "person_b.mp4", tmp_path / "clip.mp4", 48), tmp_path / "look.png"
    rows = clearswap.preview(model, clip, output, to="a")
    assert rows == ["ordinary", "most turned", "smallest", "darkest", "mouth open"]
    picture = read_picture(output)
    tile = picture.shape[0] // 6
    assert picture.shape[1] == 9 * tile
    before, after = picture[tile : 2 * tile, :tile], picture[tile : 2 * tile, tile : 2 * tile]
    assert psnr(before[30:], after[30:]) < 40
    assert said_by(output).generated
    with pytest.raises(clearswap.OutputError, match="shows a video in a picture"):
        clearswap.preview(model, clip, tmp_path / "look.mp4", to="a")


@pytest.mark.parametrize(
    "stage", [(Landmarker, "__call__"), (Swapper, "draw"), (Swapper, "fit"), (PictureTrack, "write")]
)
def test_a_fault_in_any_stage_ends_the_run_at_once_and_leaves_nothing(
    model: Path, demo_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: tuple[type, str]
) -> None:
    clip = head_of_clip(demo_clips / "person_b.mp4", tmp_path / "clip.mp4", 48)
    kind, name = stage
    usual, calls = getattr(kind, name), count()

    def fails(*given: object, **named: object) -> object:
        if next(calls) == 4:
            raise ZeroDivisionError
        return usual(*given, **named)

    monkeypatch.setattr(kind, name, fails)
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        clearswap.convert(model, clip, tmp_path / "out" / "out.mp4", to="a")
    assert time.monotonic() - begun < 20
    assert left_behind(tmp_path / "out") == []


@pytest.mark.parametrize("to", ["c", "", "A", None, 3])
def test_a_person_who_is_none_is_refused(tiny_model: Path, demo_clips: Path, tmp_path: Path, to: Any) -> None:
    with pytest.raises(clearswap.OptionError, match="is not possible for to; give 'a' or 'b'"):
        clearswap.convert(tiny_model, demo_clips / "person_b.mp4", tmp_path / "out.mp4", to=to)
    assert left_behind(tmp_path) == []
