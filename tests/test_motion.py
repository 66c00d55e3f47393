"""Motion: eight numbers of a face, and how well one clip's follow another's."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearswap.evaluation.motion import FEATURES, Curves, agreement, landmark_error
from clearswap.evaluation.sampling import FaceReader, chosen_frames
from clearswap.faces.tracker import TrackConfig, track
from clearswap.media.video import read_frames
from makers import Picture

SEEDS = st.integers(0, 10_000)
FRAMES = st.integers(30, 90)


def curves(seed: int, frames: int, reach: float = 5.0) -> Curves:
    """Eight smooth curves that have nothing to do with each other; the eyes stay open."""
    random = np.random.default_rng(seed)
    t = np.linspace(0, 1, frames)[:, None, None]
    waves = np.sin(2 * np.pi * (random.uniform(1, 9, (1, 8, 4)) * t + random.uniform(0, 1, (1, 8, 4))))
    return np.asarray(30 + reach * waves.mean(2))


@given(SEEDS, FRAMES)
@settings(max_examples=40)
def test_a_clip_follows_itself_perfectly(seed: int, frames: int) -> None:
    truth = curves(seed, frames)
    for one in agreement(truth, truth):
        assert (one.correlation, one.followed, one.error) == pytest.approx((1, 1, 0))


@given(SEEDS, FRAMES)
@settings(max_examples=40)
def test_a_still_picture_follows_nothing(seed: int, frames: int) -> None:
    truth = curves(seed, frames)
    still = np.tile(truth[:1], (frames, 1))
    for one in agreement(still, truth):
        assert (one.correlation, one.followed) == (0, 0)
        assert one.error > 0


@given(SEEDS, FRAMES)
@settings(max_examples=40)
def test_a_tenth_of_the_motion_is_a_fifth_followed(seed: int, frames: int) -> None:
    truth = curves(seed, frames)
    for one in agreement(truth.mean(0) + 0.1 * (truth - truth.mean(0)), truth):
        assert one.correlation == pytest.approx(1, abs=1e-6)
        assert one.followed == pytest.approx(0.2 / 1.01, abs=1e-6)


@given(SEEDS, FRAMES, st.floats(0.2, 5), st.floats(-20, 20))
@settings(max_examples=40)
def test_correlation_knows_neither_gain_nor_offset(seed: int, frames: int, gain: float, offset: float) -> None:
    """And an offset alone, which is who a person is, costs nothing at all."""
    truth = curves(seed, frames)
    noisy = truth + curves(seed + 1, frames, 2.0)
    own = [one.correlation for one in agreement(noisy, truth)]
    assert [one.correlation for one in agreement(gain * noisy + offset, truth)] == pytest.approx(own, abs=1e-6)
    same = [one.followed for one in agreement(noisy, truth)]
    assert [one.followed for one in agreement(noisy + offset, truth)] == pytest.approx(same, abs=1e-6)
    assert all(one.followed <= abs(one.correlation) + 1e-9 for one in agreement(gain * noisy, truth))


@given(SEEDS, FRAMES)
@settings(max_examples=40)
def test_the_opposite_is_minus_one(seed: int, frames: int) -> None:
    truth = curves(seed, frames)
    for one in agreement(-truth, truth):
        assert (one.correlation, one.followed) == pytest.approx((-1, -1))


def test_what_the_head_does_is_not_counted_as_the_faces_motion() -> None:
    """A still picture whose eyes seem to move with the head: with the pose taken out nothing is left."""
    truth = curves(4, 60)
    still = np.tile(truth[:1], (60, 1))
    still[:, 5:] = truth[:, 5:]
    still[:, 0] += 0.7 * truth[:, 5] + 0.02 * (truth[:, 6] - 30) ** 2
    assert abs(agreement(still, truth)[0].followed) < 1e-6


def test_gaze_counts_only_while_the_eyes_are_open() -> None:
    truth = curves(8, 60)
    truth[20:26, 0] = 5  # a blink
    other = truth.copy()
    other[20:26, 3:5] += 100
    assert [agreement(other, truth)[i].followed for i in (3, 4)] == pytest.approx([1, 1])


def test_nothing_that_moves_and_nothing_that_should() -> None:
    still = np.full((10, 8), 7.0)
    assert all((one.correlation, one.followed) == (1, 1) for one in agreement(still, still))
    assert all((one.correlation, one.followed) == (0, 0) for one in agreement(still + 1, still))


def test_landmark_error_leaves_out_who_it_is() -> None:
    truth = np.random.default_rng(0).uniform(0, 200, (6, 478, 2)).astype(np.float32)
    truth[:, 33], truth[:, 263] = (60, 100), (140, 100)
    who = np.random.default_rng(1).uniform(-9, 9, (1, 478, 2)).astype(np.float32)
    assert landmark_error(truth + who, truth) == pytest.approx(0, abs=1e-3)
    moved = truth.copy()
    moved[:, :, 0] += np.where(np.arange(6) % 2, 4.0, -4.0)[:, None]
    assert landmark_error(moved, truth) == pytest.approx(5)  # 4 of 80 pixels


@given(st.integers(1, 500), st.integers(3, 200))
@settings(max_examples=60)
def test_frames_are_measured_in_runs_of_three_spread_over_the_clip(count: int, samples: int) -> None:
    chosen = chosen_frames(count, samples)
    assert chosen <= set(range(count))
    assert (0 in chosen and count - 1 in chosen) or min(samples, count) < 6
    assert len(chosen) <= max(samples, 3)
    assert count < 3 or len(chosen) >= 3
    middles = {i for i in chosen if {i - 1, i + 1} <= chosen}
    assert count < 3 or all({i - 1, i, i + 1} & middles for i in chosen)


# --- read off real frames --------------------------------------------------------------------------------


def read(frames: list[Picture]) -> Curves:
    reader = FaceReader(TrackConfig())
    tracker = reader.tracker()
    return np.stack([reader(frame, tracker(frame)[0]).motion for frame in frames])


@pytest.fixture(scope="module")
def motion(demo_clips: Path) -> Curves:
    """What person a does in the first 84 frames: two blinks, words, turns to both sides."""
    reader, found = FaceReader(TrackConfig()), list[np.ndarray]()
    for frame, faces in track(read_frames(demo_clips / "person_a.mp4"), reader.tracker()):
        if frame.index == 84:
            break
        found.append(reader(frame.picture, faces[0]).motion)
    return np.stack(found)


def test_blinks_are_dips_of_the_eye_opening(motion: Curves) -> None:
    opening = motion[:, FEATURES.index("eye opening")]
    closed = opening < 0.6 * np.median(opening)
    blinks = np.flatnonzero(np.diff(closed.astype(int)) == 1) + 1
    assert blinks.tolist() == [32, 74]
    assert 4 <= closed[:50].sum() <= 6
    assert 4 <= closed[50:].sum() <= 6
    assert opening[closed].max() < 0.7 * opening[~closed].min()


def test_words_open_the_mouth_and_turns_have_two_sides(motion: Curves) -> None:
    assert np.ptp(motion[:, FEATURES.index("mouth opening")]) > 4
    for name, least in (("yaw", 25), ("pitch", 12), ("roll", 5), ("gaze across", 10)):
        curve = motion[:, FEATURES.index(name)]
        assert np.ptp(curve) > least
        assert np.abs(np.diff(curve)).mean() < 0.1 * np.ptp(curve), f"{name} jumps"


def test_a_mirrored_face_turns_the_other_way_and_looks_the_other_way(demo_clips: Path) -> None:
    chosen = (0, 14, 33, 45, 60, 75)  # two of them in a blink
    frames = [f.picture for f in read_frames(demo_clips / "person_a.mp4") if f.index in chosen]
    one, other = read(frames), read([np.ascontiguousarray(frame[:, ::-1]) for frame in frames])
    for name, sign in (("yaw", -1), ("roll", -1), ("gaze across", -1), ("pitch", 1), ("eye opening", 1)):
        index = FEATURES.index(name)
        frames_of = [0, 1, 3, 4] if name.startswith("gaze") else list(range(6))  # where the eyes are open
        assert np.corrcoef(one[frames_of, index], sign * other[frames_of, index])[0, 1] > 0.9, name


def test_a_turned_picture_rolls_the_head_and_changes_nothing_else(demo_clips: Path) -> None:
    frame = next(read_frames(demo_clips / "person_a.mp4")).picture
    matrix = cv2.getRotationMatrix2D((200, 200), -12, 1.0)  # clockwise
    turned = np.asarray(cv2.warpAffine(frame, matrix, (400, 400), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    one, other = read([frame])[0], read([turned])[0]
    change = dict(zip(FEATURES, other - one, strict=True))
    assert change.pop("roll") == pytest.approx(12, abs=2)
    assert all(abs(value) < 3 for value in change.values()), change
