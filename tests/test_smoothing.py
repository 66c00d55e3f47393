"""Steadied landmarks: less trembling, the same movement, no lag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clearswap.core.smoothing import SmoothConfig, smooth
from clearswap.faces.tracker import Face
from clearswap.faces.tracks import Tracks, TrackWriter, read_tracks

FACE = np.random.default_rng(0).uniform(100, 300, (468, 2)).astype(np.float32)
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
        print(f"at {speed} pixels a frame: {trembling[0]:.2f}, steadied {trembling[1]:.2f}")
        assert trembling[1] < 0.4 * trembling[0]
        assert off(smooth, way).mean() < 0.65 * off(rough, way).mean()


def test_a_sudden_stop_and_a_shaken_head_keep_their_reach() -> None:
    stop = np.minimum(np.arange(40), 20)[:, None] * np.array([8.0, 0.0])
    shake = 20 * np.sin(np.arange(60) * 2 * np.pi * 3 / 25)[:, None] * np.array([1.0, 0.0])  # three times a second
    for way in (stop, shake):
        error = off(smooth(moving(way), SmoothConfig()), way)
        print(f"at most {error.max():.2f} pixels off")
        assert error.max() < 1.0  # of an eye distance of 100


def test_no_smoothing_changes_nothing(tmp_path: Path) -> None:
    tracks = written(tmp_path, [[1]] * 9)
    assert np.array_equal(next(iter(tracks.all(0)))[1], tracks.faces(0, 1, SmoothConfig(0))[0][1])


def written(folder: Path, present: list[list[int]]) -> Tracks:
    """Tracks whose faces tremble, by the numbers that are `present` in each frame."""
    random, writer = np.random.default_rng(2), TrackWriter(folder)
    for numbers in present:
        roi = (np.zeros(2, np.float32), 1.0, 0.0)
        faces = [Face(FACE + random.standard_normal((468, 2)).astype(np.float32), 1.0, roi, n) for n in numbers]
        writer.add(faces, {n: [0.1 * n] for n in numbers})
    return writer.close()


@pytest.mark.parametrize("start", [0, 1, 240, 249, 250, 251, 499])
def test_where_reading_begins_makes_no_difference(tmp_path: Path, start: int) -> None:
    """Files hold 250 frames; faces of both sides of the border smooth each other."""
    tracks = written(tmp_path, [[1, 2] if 200 < i < 300 else [1] for i in range(520)])
    whole = tracks.faces(0, 520, SmoothConfig())
    for at, found in enumerate(tracks.all(start, SmoothConfig()), start):
        assert sorted(found) == sorted(whole[at])
        assert all(np.array_equal(found[n], whole[at][n]) for n in found)


def test_what_was_written_is_read_and_what_is_not_finished_is_none(tmp_path: Path) -> None:
    assert read_tracks(tmp_path) is None
    tracks = written(tmp_path, [[1], [1, 2], [], [2]])
    again = read_tracks(tmp_path)
    assert again == tracks
    assert [(t.number, t.first, t.last, t.frames) for t in tracks.tracks] == [(1, 0, 1, 2), (2, 1, 3, 2)]
    assert [sorted(found) for found in tracks.all(0)] == [[1], [1, 2], [], [2]]


def test_a_gap_is_no_neighbour(tmp_path: Path) -> None:
    """A face that comes back elsewhere is not drawn towards where it was."""
    tracks = written(tmp_path, [[1], [], [1], [], [1]])
    rough, smooth = list(tracks.all(0)), list(tracks.all(0, SmoothConfig()))
    assert all(np.array_equal(one[n], other[n]) for one, other in zip(rough, smooth, strict=True) for n in one)
