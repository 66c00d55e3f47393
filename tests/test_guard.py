"""The guard: footage with exposed nudity is refused, whatever options are given; people who are dressed are not.

Nobody needs such pictures to test it: a bull's eye is what the detector is surest of, for no reason that people see.
"""

from __future__ import annotations

import ast
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import clearswap
from clearswap.core.swap import with_look
from clearswap.faces.face_models import ExposureDetector, Guard
from clearswap.media.video import read_frames
from conftest import Footage
from makers import SYNTHETIC, Picture, Ran, left_behind, pictures_of, save_picture, write_clip

pytestmark = pytest.mark.footage
Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def bulls_eye(footage: Footage) -> Picture:
    """A picture on which the detector is sure to see what is not there."""
    return next(iter(read_frames(footage("Bullseye_grey.mov")))).picture


@pytest.fixture(scope="module")
def clip(demo_clips: Path, bulls_eye: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person for two seconds, for half a second what is refused, and the person again."""
    faces = pictures_of(demo_clips / "person_b.mp4")[:60]
    height, width = faces[0].shape[:2]
    wrong = np.asarray(cv2.resize(bulls_eye, (width, height)), np.uint8)
    frames = [*faces[:45], *[wrong] * 12, *faces[45:]]
    return write_clip(
        tmp_path_factory.mktemp("clip") / "clip.mp4",
        len(frames),
        size=(width, height),
        picture=lambda index, _width, _height: frames[index],
    )


@pytest.fixture(scope="module")
def picture(bulls_eye: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_picture(tmp_path_factory.mktemp("picture") / "picture.png", bulls_eye)


@pytest.mark.parametrize(
    "name", ["WolfgangLanger_Pexels.mp4", "single_face.mp4", "jwpIntro.mp4", "carphone_pristine.mp4", "bikes.mp4"]
)
def test_people_who_are_dressed_raise_no_alarm(footage: Footage, name: str) -> None:
    frames = list(read_frames(footage(name), every=6))
    assert len(list(Guard()(iter(frames), name))) == len(frames) > 0


@pytest.mark.parametrize("name", ["person_a.mp4", "person_b.mp4", "truth.mp4"])
def test_the_synthetic_people_raise_no_alarm(demo_clips: Path, name: str) -> None:
    detector = ExposureDetector()
    assert max(detector(frame.picture) for frame in read_frames(demo_clips / name, every=5)) < 0.3


def test_every_verb_that_makes_faces_refuses(
    tiny_model: Path, demo_clips: Path, clip: Path, picture: Path, tmp_path: Path, cli: Cli
) -> None:
    right, output = demo_clips / "person_a.mp4", tmp_path / "out.mp4"
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(clip, folder)
    before = left_behind(tmp_path)
    for arguments in (
        ("extract", clip, "-o", tmp_path / "set"),
        ("extract", right, picture, "-o", tmp_path / "set"),
        ("convert", tiny_model, clip, "-o", output, "--to", "a", "--faces", "largest"),
        ("convert", tiny_model, clip, "-o", output, "--to", "a", "--resume"),
        ("convert", tiny_model, folder, "-o", tmp_path / "outs", "--to", "a", "--faces", "all"),
        ("convert", tiny_model, picture, "-o", tmp_path / "out.png", "--to", "a"),
        ("convert", tiny_model, clip, "-o", tmp_path / "sheet.jpg", "--to", "a", "--preview"),
    ):
        said = cli(*arguments).sentence()
        assert "seems to show nudity" in said
        assert "is not for sexual content" in said
        assert "resume" not in said
        assert [name for name in left_behind(tmp_path) if name not in before] == []
    said = cli("swap", right, clip, "-o", output, *SYNTHETIC, "--iterations", "1").sentence()
    assert "seems to show nudity" in said
    assert not output.exists()


def test_the_moment_is_said(clip: Path) -> None:
    with pytest.raises(clearswap.ContentError, match=r"clip seems to show nudity 2 seconds into it;"):
        list(Guard()(read_frames(clip), "clip"))


def test_a_part_without_it_is_converted(tiny_model: Path, clip: Path, tmp_path: Path) -> None:
    clearswap.convert(
        tiny_model,
        clip,
        tmp_path / "out.mp4",
        to="a",
        select=clearswap.SelectConfig(faces="largest"),
        time_range=clearswap.TimeRange(0, 1),
    )
    assert left_behind(tmp_path) == ["out.mp4"]


CHOICES: list[dict[str, Any]] = [
    {"select": clearswap.SelectConfig(faces="all")},
    {"tracking": clearswap.TrackConfig(threshold=0.99)},
    {"blend": with_look("raw", clearswap.MaskConfig(), clearswap.BlendConfig())[1]},
    {"time_range": clearswap.TimeRange(1.5, 2.2)},
    {"publish_names": True},
    {"resume": True},
]


@pytest.mark.parametrize("number", range(len(CHOICES)))
def test_no_option_turns_it_off(tiny_model: Path, clip: Path, tmp_path: Path, number: int) -> None:
    with pytest.raises(clearswap.ContentError):
        clearswap.convert(tiny_model, clip, tmp_path / "out.mp4", to="a", **CHOICES[number])
    assert left_behind(tmp_path) == []


def test_nothing_outside_can_turn_it_off(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no settings; and whatever variable of the environment our code knows, it does not matter to it."""
    assert list(inspect.signature(Guard).parameters) == []
    assert list(inspect.signature(ExposureDetector).parameters) == []
    for verb in (clearswap.convert, clearswap.extract, clearswap.swap, clearswap.preview):
        assert not [name for name in inspect.signature(verb).parameters if "guard" in name or "safe" in name]
    known: set[str] = set()
    for path in Path(clearswap.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isupper():
                known.add(node.value)
    assert "PIP_INDEX_URL" in known
    for value in ("0", "1"):
        for name in known | {"CLEARSWAP_GUARD", "CLEARSWAP_UNSAFE", "NSFW"}:
            if name.isidentifier() and not name.startswith("XDG"):
                monkeypatch.setenv(name, value)
        with pytest.raises(clearswap.ContentError):
            list(Guard()(read_frames(clip), "clip"))


def test_without_the_detector_nothing_is_made(
    tiny_model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearswap.faces import face_models

    def missing(weights: face_models.Weights) -> Path:
        if weights is face_models.EXPOSURE:
            raise clearswap.FaceModelsMissing(
                "The face model 320n.onnx is not installed; run: clearswap models install"
            )
        return found(weights)

    found = face_models.find_weights
    monkeypatch.setattr(face_models, "find_weights", missing)
    with pytest.raises(clearswap.FaceModelsMissing):
        clearswap.convert(tiny_model, clip, tmp_path / "out.mp4", to="a")
    with pytest.raises(clearswap.FaceModelsMissing):
        clearswap.extract(clip, tmp_path / "set")
    assert left_behind(tmp_path) == []
