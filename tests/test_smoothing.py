"""Smoothed landmarks: less trembling, the same movement, no lag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clearswap.core.align import SmoothConfig, smooth
from clearswap.faces.first_pass import FacesWriter, read_faces
from clearswap.faces.tracker import Face, Faces
from clearswap.media.pipeline import windows

FACE = np.random.default_rng(0).uniform(100, 300, (478, 2)).astype(np.float32)
FACE[33], FACE[263] = (150, 180), (250, 180)  # the outer eye corners, 100 pixels apart


def moving(way: NDArray[np.float64], noise: float = 0.0, seed: int = 1) -> NDArray[np.float32]:
    """The face along a way (T, 2), trembling by `noise` pixels."""
    random = np.random.default_rng(seed)
    return (FACE + way[:, None] + noise * random.standard_normal((len(way), 1, 2))).astype(np.float32)


def off(landmarks: NDArray[np.float32], way: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each frame's face is from where it belongs, in pixels."""
    return np.linalg.norm((landmarks - FACE).mean(1) - way, axis=-1)


@given(st.floats(-8, 8), st.floats(-8, 8))
def test_an_even_movement_stays_where_it_is(across: float, down: float) -> None:
    way = np.arange(20)[:, None] * np.array([across, down])
    assert off(smooth(moving(way), SmoothConfig()), way).max() < 0.01


def test_trembling_is_halved_at_rest_and_in_movement() -> None:
    for speed in (0.0, 6.0):
        way = np.arange(200)[:, None] * np.array([speed, 0.0])
        rough = moving(way, noise=0.5)
        calm = smooth(rough, SmoothConfig())
        trembling = [np.abs(np.diff(x.mean(1), n=2, axis=0)).mean() for x in (rough, calm)]
        print(f"at {speed} pixels a frame: {trembling[0]:.2f}, smoothed {trembling[1]:.2f}")
        assert trembling[1] < 0.4 * trembling[0]
        assert off(calm, way).mean() < 0.65 * off(rough, way).mean()


def test_a_sudden_stop_and_a_shaken_head_keep_their_reach() -> None:
    stop = np.minimum(np.arange(40), 20)[:, None] * np.array([8.0, 0.0])
    shake = 20 * np.sin(np.arange(60) * 2 * np.pi * 3 / 25)[:, None] * np.array([1.0, 0.0])  # three times a second
    for way in (stop, shake):
        error = off(smooth(moving(way), SmoothConfig()), way)
        print(f"at most {error.max():.2f} pixels off")
        assert error.max() < 1.0  # of an eye distance of 100


def written(folder: Path, present: list[list[int]]) -> Faces:
    """Faces that tremble, by the tracks that are `present` in each frame."""
    random, writer = np.random.default_rng(2), FacesWriter(folder, 1)
    for numbers in present:
        roi = (np.zeros(2, np.float32), 1.0, 0.0)
        faces = [Face(FACE + random.standard_normal((478, 2)).astype(np.float32), 1.0, roi, n) for n in numbers]
        writer.add(faces, {n: [0.1 * n] for n in numbers if n < 2})
    return writer.close()


def test_no_smoothing_changes_nothing(tmp_path: Path) -> None:
    faces = written(tmp_path, [[1]] * 9)
    assert np.array_equal(faces.landmarks(0, 9), faces.landmarks(0, 9, SmoothConfig(0)))
    assert np.array_equal(faces.box[3], [*faces.landmarks(3, 4)[0].min(0), *faces.landmarks(3, 4)[0].max(0)])


@pytest.mark.parametrize("start", [0, 1, 240, 249, 250, 251, 499])
def test_where_reading_begins_makes_no_difference(tmp_path: Path, start: int) -> None:
    """They are read 250 frames at a time; faces of both sides of the border smooth each other."""
    faces = written(tmp_path, [[1, 2] if 200 < i < 300 else [1] for i in range(520)])
    together = faces.landmarks(0, 520, SmoothConfig())
    rough = faces.landmarks(0, 520)
    for track in (1, 2):
        mine = faces.track == track
        assert np.array_equal(together[mine], smooth(rough[mine], SmoothConfig()))
    frames = list(enumerate(faces.by_frame(start, SmoothConfig()), start))
    assert [at for at, _ in frames] == list(range(start, 520))
    for at, (rows, landmarks) in frames:
        assert [*rows] == np.flatnonzero(faces.frame == at).tolist()
        assert np.array_equal(landmarks, together[rows.start : rows.stop])


def test_what_was_written_is_read_and_what_is_not_finished_is_none(tmp_path: Path) -> None:
    assert read_faces(tmp_path, 1) is None
    faces = written(tmp_path, [[1], [1, 2], [], [2]])
    again = read_faces(tmp_path, 1)
    assert again is not None
    for name in ("frames", "frame", "track", "box", "looks"):
        assert np.array_equal(getattr(again, name), getattr(faces, name), equal_nan=True)
    assert faces.frames == 4
    assert faces.frame.tolist() == [0, 1, 1, 3]
    assert faces.track.tolist() == [1, 1, 2, 2]
    assert np.allclose(faces.looks[:, 0], [0.1, 0.1, np.nan, np.nan], equal_nan=True)
    assert [[*rows] for rows, _ in again.by_frame()] == [[0], [1, 2], [], [3]]


def test_a_gap_is_no_neighbour(tmp_path: Path) -> None:
    """A face that comes back elsewhere is not drawn towards where it was."""
    faces = written(tmp_path, [[1], [], [1], [], [1]])
    assert np.array_equal(faces.landmarks(0, 5), faces.landmarks(0, 5, SmoothConfig()))


@given(st.integers(0, 12), st.integers(0, 4))
def test_windows_hold_the_neighbours_of_each_item(count: int, reach: int) -> None:
    items = list(range(count))
    found = list(windows(items, reach))
    assert [window[at] for window, at in found] == items
    assert [window for window, _ in found] == [items[max(0, i - reach) : i + reach + 1] for i in items]
