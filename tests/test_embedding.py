"""Embeddings: the same person lies near, another far, however the picture is framed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from clearswap.errors import FaceModelsMissing
from clearswap.faces.selection import SIDE, Embedding, chip
from clearswap.faces.tracker import TrackConfig, make_tracker
from clearswap.media.video import read_frames
from conftest import Footage
from makers import Picture

PEOPLE = {  # a clip, and frames of it in which the face looks into the camera; the second and third are one man
    "first man": ("single_face.mp4", (0, 30, 60)),
    "second man": ("jwpIntro.mp4", (0, 60, 140)),
    "second man again": ("testMovie.mp4", (0, 100, 200)),
    "woman": ("WolfgangLanger_Pexels.mp4", (0, 20, 35)),
}
SAME = 0.6


@pytest.fixture(scope="module")
def embedding() -> Embedding:
    return Embedding()


def chip_of(picture: Picture) -> Picture:
    face = make_tracker(TrackConfig())(picture)[0]
    return chip(picture, face.landmarks)


@pytest.fixture(scope="module")
def pictures(footage: Footage) -> dict[str, list[Picture]]:
    return {
        name: [frame.picture for frame in read_frames(footage(file)) if frame.index in wanted]
        for name, (file, wanted) in PEOPLE.items()
    }


@pytest.fixture(scope="module")
def people(pictures: dict[str, list[Picture]], embedding: Embedding) -> dict[str, NDArray[np.float32]]:
    """The embeddings (3, 128) of three pictures of each person."""
    return {name: embedding([chip_of(picture) for picture in frames]) for name, frames in pictures.items()}


def apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.floating]:
    return np.linalg.norm(one[:, None] - other[None], axis=-1)


@pytest.mark.parametrize("name", list(PEOPLE))
def test_pictures_of_one_person_lie_near_each_other(people: dict[str, NDArray[np.float32]], name: str) -> None:
    assert apart(people[name], people[name]).max() < SAME


def test_one_man_in_two_clips_is_one_man(people: dict[str, NDArray[np.float32]]) -> None:
    assert apart(people["second man"], people["second man again"]).max() < SAME


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("first man", "second man"),
        ("first man", "second man again"),
        ("first man", "woman"),
        ("second man", "woman"),
        ("second man again", "woman"),
    ],
)
def test_different_people_lie_further_apart(people: dict[str, NDArray[np.float32]], one: str, other: str) -> None:
    assert apart(people[one], people[other]).min() > SAME


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "larger": lambda p: np.asarray(cv2.resize(p, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC), np.uint8),
    "smaller": lambda p: np.asarray(cv2.resize(p, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), np.uint8),
    "further right": lambda p: np.ascontiguousarray(np.pad(p, ((0, 40), (120, 0), (0, 0)), mode="edge")),
    "further left": lambda p: np.ascontiguousarray(np.pad(p, ((40, 0), (0, 120), (0, 0)), mode="edge")),
    "turned": lambda p: np.asarray(
        cv2.warpAffine(p, cv2.getRotationMatrix2D((p.shape[1] / 2, p.shape[0] / 2), 15, 1.0), (p.shape[1], p.shape[0])),
        np.uint8,
    ),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "darker": lambda p: (0.75 * p).astype(np.uint8),
}


@pytest.mark.parametrize("how", list(CHANGES))
def test_framing_and_light_do_not_make_another_person(
    pictures: dict[str, list[Picture]], people: dict[str, NDArray[np.float32]], embedding: Embedding, how: str
) -> None:
    changed = embedding([chip_of(CHANGES[how](frames[0])) for frames in pictures.values()])
    for i, name in enumerate(PEOPLE):
        moved = float(np.linalg.norm(changed[i] - people[name][0]))
        assert moved < (0.45 if how == "mirrored" else 0.35), name
        assert moved < apart(people[name][:1], people["woman" if name != "woman" else "first man"]).min()


def test_one_picture_always_has_one_embedding(pictures: dict[str, list[Picture]], embedding: Embedding) -> None:
    """Whoever computes it, alone or with others, and in which batch."""
    chips = [chip_of(frames[0]) for frames in pictures.values()]
    assert all(each.shape == (SIDE, SIDE, 3) and each.dtype == np.uint8 for each in chips)
    together = embedding(chips)
    assert np.array_equal(together, embedding(chips))
    assert np.array_equal(together, Embedding()(chips))
    alone = np.concatenate([embedding([each]) for each in chips])
    assert together == pytest.approx(alone, abs=1e-5)
    many = embedding(chips * 9)  # more than one batch
    assert many.shape == (36, 128)
    assert many == pytest.approx(np.tile(together, (9, 1)), abs=1e-5)


def test_weights_without_the_layers_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's hash is checked before; this is for the reader of dlib's form itself."""

    (tmp_path / "other.dat").write_bytes(b"something else")
    monkeypatch.setattr("clearswap.faces.selection.find_weights", lambda _: tmp_path / "other.dat")
    with pytest.raises(FaceModelsMissing, match="is damaged; run: clearswap models install"):
        Embedding()
