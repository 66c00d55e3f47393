"""Gaps, frames in which a hand hides a face, are filled: on a synthetic person whose face is there in every frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clearswap.core.align import Frame, Points
from clearswap.faces.face_models import Detector
from clearswap.faces.tracker import Face, TrackConfig, fill_gaps, make_tracker, track
from clearswap.media.shown import VideoFrame
from clearswap.media.video import read_frames

FRAMES = 30


@pytest.fixture(scope="module")
def seen(demo_clips: Path) -> list[tuple[VideoFrame, Points]]:
    """The first frames of person a, each with the landmarks that the tracker finds."""
    frames = (frame for frame in read_frames(demo_clips / "person_a.mp4") if frame.index < FRAMES)
    found = [(frame, faces[0].landmarks) for frame, faces in track(frames, make_tracker(TrackConfig()))]
    assert len(found) == FRAMES
    return found


def hand(picture: Frame, landmarks: Points) -> Frame:
    """A dark board over the whole face."""
    (left, top), (right, bottom) = landmarks.min(0).astype(int) - 20, landmarks.max(0).astype(int) + 20
    covered = picture.copy()
    covered[max(0, top) : bottom, max(0, left) : right] = (40, 50, 60)
    return covered


def hidden(seen: list[tuple[VideoFrame, Points]], where: range, *, cut: bool = False) -> Iterator[VideoFrame]:
    """The clip with the face hidden in some frames, or with other pictures in their place."""
    for frame, landmarks in seen:
        other = np.flipud(np.roll(255 - frame.picture, 100, 1)) if cut else hand(frame.picture, landmarks)
        yield replace(frame, picture=np.ascontiguousarray(other)) if frame.index in where else frame


def filled(frames: Iterator[VideoFrame]) -> list[list[Face]]:
    """The faces of each frame, gaps filled."""
    found = list(fill_gaps(track(frames, make_tracker(TrackConfig()))))
    assert [frame.index for frame, _ in found] == list(range(FRAMES))
    return [faces for _, faces in found]


def test_a_detector_that_works_ahead_finds_what_it_finds_in_turn(seen: list[tuple[VideoFrame, Points]]) -> None:
    """Also where the face is lost in between, so that the detector is asked out of turn."""
    config = TrackConfig(detect_every=7)
    frames = list(hidden(seen, range(12, 16)))
    ahead = [
        [(face.track, face.landmarks.tolist()) for face in faces] for _, faces in track(frames, make_tracker(config))
    ]
    detector, tracker = Detector(), make_tracker(config)
    for number, (frame, found) in enumerate(zip(frames, ahead, strict=True)):
        looked = detector(frame.picture) if number % 7 == 0 else None
        assert [(face.track, face.landmarks.tolist()) for face in tracker(frame.picture, looked)] == found


def test_a_hidden_face_is_where_it_was_and_will_be(seen: list[tuple[VideoFrame, Points]]) -> None:
    gap = range(12, 16)
    assert all(not faces for f, faces in track(hidden(seen, gap), make_tracker(TrackConfig())) if f.index in gap)
    for index, faces in enumerate(filled(hidden(seen, gap))):
        known = seen[index][1]
        eyes = np.linalg.norm(known[263] - known[33])
        assert len(faces) == 1
        assert np.linalg.norm(faces[0].landmarks - known, axis=1).mean() < 0.1 * eyes
        assert (faces[0].score == 0) == (index in gap)


@pytest.mark.parametrize(("gap", "cut"), [(range(10, 18), False), (range(12, 15), True), (range(26, 30), False)])
def test_nothing_is_filled_for_long_nor_over_another_scene_nor_at_the_end(
    seen: list[tuple[VideoFrame, Points]], gap: range, cut: bool
) -> None:
    for index, faces in enumerate(filled(hidden(seen, gap, cut=cut))):
        assert len(faces) == (index not in gap)
