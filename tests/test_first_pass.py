"""The first pass of a conversion: stopped at any moment, it goes on and finds what it would have found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import clearswap
from clearswap.faces import first_pass, tracker
from clearswap.faces.face_models import Guard
from clearswap.faces.first_pass import FacesWriter, Finder, Kept, Recogniser, far_enough, find_faces, read_faces
from clearswap.faces.tracker import Faces, TrackConfig, make_tracker
from clearswap.media.video import read_frames
from makers import left_behind, pictures_of, write_clip

FRAMES, PART = 90, 20  # of the clip; between two moments from which a run can go on


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "PART", PART)
    monkeypatch.setattr(first_pass, "PART", PART)


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder(make_tracker(TrackConfig()), Recogniser([np.ones(128, np.float32)]), "match", Guard())


@pytest.fixture(scope="module")
def clip(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person, then another, and between them nobody: two cuts, tracks that begin and end."""
    one, two = (pictures_of(demo_clips / f"person_{side}.mp4")[:45] for side in "ab")
    nobody = [np.zeros_like(one[0])] * 5
    frames = [*one[:40], *nobody, *two[:45]]
    height, width = one[0].shape[:2]
    return write_clip(
        tmp_path_factory.mktemp("clip") / "clip.mp4",
        FRAMES,
        size=(width, height),
        picture=lambda number, _width, _height: frames[number],
    )


def look(clip: Path, folder: Path, finder: Finder, stop: int | None = None) -> Faces | None:
    """A first pass in `folder`, from where an earlier one came; stopped without a word after `stop` frames."""
    writer = FacesWriter(folder, 1)
    frames = islice(read_frames(clip), FRAMES)
    with closing(find_faces(frames, finder, writer, name="clip", total=FRAMES, on_progress=lambda _: None)) as found:
        for number, _ in enumerate(found):
            if number == stop:
                return None
    return writer.close()


def same(one: Faces, other: Faces) -> bool:
    names = ("frame", "track", "box", "looks")
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in names)


@pytest.fixture(scope="module")
def whole(clip: Path, finder: Finder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Faces]:
    folder = tmp_path_factory.mktemp("whole")
    faces = look(clip, folder, finder)
    assert faces is not None
    assert len(set(faces.track.tolist())) >= 2
    return folder, faces


def test_a_pass_that_is_stopped_again_and_again_finds_the_same(
    clip: Path, finder: Finder, whole: tuple[Path, Faces], tmp_path: Path
) -> None:
    came: list[int] = []
    for stop in (10, 35, 52, 85):
        look(clip, tmp_path, finder, stop)
        came.append(FacesWriter(tmp_path, 1).kept.frames)
    assert came == sorted(came)
    assert came[-1] > FRAMES // 2
    assert read_faces(tmp_path, 1) is None
    faces = look(clip, tmp_path, finder)
    stored = read_faces(tmp_path, 1)
    assert faces is not None
    assert stored is not None
    assert same(whole[1], faces)
    assert same(whole[1], stored)
    assert (tmp_path / tracker.LANDMARKS).read_bytes() == (whole[0] / tracker.LANDMARKS).read_bytes()


def with_nan(path: Path) -> None:
    data = np.fromfile(path, np.float32)
    data[len(data) // 2] = np.nan
    data.tofile(path)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def said(**changes: object) -> Callable[[Path], None]:
    """The note of how far the pass is, with other values."""

    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "no landmarks": (tracker.LANDMARKS, Path.unlink),
    "no boxes": ("faces.bin", Path.unlink),
    "landmarks cut": (tracker.LANDMARKS, cut),
    "boxes cut": ("faces.bin", cut),
    "landmarks that are no numbers": (tracker.LANDMARKS, with_nan),
    "landmarks in a pipe": (tracker.LANDMARKS, as_pipe),
    "boxes in a pipe": ("faces.bin", as_pipe),
    "a note that is a pipe": ("first_pass.json", as_pipe),
    "a note that is none": ("first_pass.json", lambda path: path.write_text("[" * 100_000)),
    "more faces": ("first_pass.json", said(faces=10**9)),
    "fewer frames": ("first_pass.json", said(frames=3)),
    "minus one frame": ("first_pass.json", said(frames=-1)),
    "half a face": ("first_pass.json", said(faces=0.5)),
    "no tracker": ("first_pass.json", said(done=False)),
}


@pytest.mark.parametrize("name", list(DAMAGE))
def test_what_is_damaged_is_looked_for_anew(whole: tuple[Path, Faces], tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(whole[0], tmp_path / "work")
    assert read_faces(folder, 1) is not None
    file, damage = DAMAGE[name]
    damage(folder / file)
    assert read_faces(folder, 1) is None
    assert FacesWriter(folder, 1).kept == Kept()


@pytest.mark.parametrize(
    "changes",
    [{"last": [1.0] * 5}, {"last": ["x"] * 768}, {"lately": [1e999]}, {"faces": [{}]}, {"since_detection": -1}],
)
def test_a_tracker_that_cannot_be_is_begun_anew(
    clip: Path, finder: Finder, tmp_path: Path, changes: dict[str, object]
) -> None:
    look(clip, tmp_path, finder, 35)
    note = tmp_path / "first_pass.json"
    kept = json.loads(note.read_text())
    assert kept["tracker"]["faces"]
    note.write_text(json.dumps(kept | {"tracker": kept["tracker"] | changes}))
    assert FacesWriter(tmp_path, 1).kept == Kept()


def test_only_a_pass_that_took_a_while_is_worth_keeping(clip: Path, finder: Finder, tmp_path: Path) -> None:
    assert not far_enough(tmp_path)
    look(clip, tmp_path, finder, PART // 2)
    assert not far_enough(tmp_path)
    look(clip, tmp_path, finder, 3 * PART)
    assert far_enough(tmp_path)
    (tmp_path / "first_pass.json").write_text("{}")
    assert not far_enough(tmp_path)


def converting(*arguments: str | Path) -> list[str]:
    """The command line of `clearswap`, whose first passes can be gone on from every 20 frames."""
    code = f"from clearswap.faces import first_pass, tracker; first_pass.PART = tracker.PART = {PART}; "
    code += "from clearswap.cli.main import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_conversion_that_is_stopped_while_it_looks_goes_on(
    tiny_model: Path, clip: Path, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out" / "out.mp4"
    arguments = converting("convert", tiny_model, clip, "-o", output, "--to", "a", "--faces", "largest", "--resume")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    note = output.parent / ".out.mp4.work" / "first_pass.json"
    while not note.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(number)
    told, _ = process.communicate(timeout=60)
    assert not output.exists()
    assert note.exists()
    if number != signal.SIGKILL:
        assert f"what is done so far is kept in {note.parent}; convert again with `resume`" in told
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "going on with clip.mp4" in done.stdout
    assert left_behind(output.parent) == ["out.mp4"]
    usual = tmp_path / "usual.mp4"
    clearswap.convert(tiny_model, clip, usual, to="a", select=clearswap.SelectConfig(faces="largest"))
    for one, other in zip(pictures_of(usual), pictures_of(output), strict=True):
        assert np.array_equal(one, other)


def test_where_nobody_is_replaced_nothing_is_left(tiny_model: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3 * PART)
    with pytest.raises(clearswap.InputError, match="No face was found"):
        clearswap.convert(tiny_model, clip, tmp_path / "out" / "out.mp4", to="a")
    assert not (tmp_path / "out").exists() or left_behind(tmp_path / "out") == []
