"""Meaning: what does not move says nothing, what is shut must stay shut, and gaze counts with open eyes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clearswap.evaluation.meaning import MEANINGS, MeaningReader, Meanings, compare
from clearswap.faces.tracker import TrackConfig, follow, make_tracker
from clearswap.media.video import read_frames

AT = {name: index for index, name in enumerate(MEANINGS)}


@pytest.fixture(scope="module")
def truth(demo_clips: Path) -> Meanings:
    """What the demo's truth says: she talks, blinks and looks about."""
    reader = MeaningReader()
    frames = follow(read_frames(demo_clips / "truth.mp4"), make_tracker(TrackConfig()))
    return np.stack([reader(faces[0].landmarks) for _, faces in frames])


def test_a_face_says_what_it_says(truth: Meanings) -> None:
    done = compare(truth, truth)
    assert done.scores == pytest.approx(dict.fromkeys(("lids", "jaw", "gaze", "closed", "closed_lids"), 1))
    assert len(done.numbers) > 15
    assert {"eyeBlinkLeft", "jawOpen", "gaze across"} <= set(done.numbers)
    assert "cheekPuff" not in done.numbers  # does not move
    assert done.error.max() == 0


def test_a_mouth_that_hangs_open_follows_but_does_not_stay_closed(truth: Meanings) -> None:
    hanging = truth.copy()
    hanging[:, AT["lips apart"]] += 0.05
    hanging[:, AT["jawOpen"]] += 0.2
    done = compare(hanging, truth)
    assert done.scores["jaw"] == pytest.approx(1)
    assert done.scores["closed"] == 0
    assert done.scores["closed_lids"] == 1
    assert done.numbers["jawOpen"].error == pytest.approx(0.2)
    assert done.error.min() > 0


def test_a_still_face_follows_nothing(truth: Meanings) -> None:
    done = compare(np.repeat(truth[:1], len(truth), 0), truth)
    assert {done.scores[key] for key in ("lids", "jaw", "gaze")} == {0}


def test_where_nothing_moves_or_is_shut_nothing_is_said(truth: Meanings) -> None:
    awake = np.repeat(truth[:1], len(truth), 0)
    awake[:, [AT["lips apart"], AT["lids apart"]]] = 0.05
    done = compare(truth, awake)
    assert done.scores == {}
    assert done.numbers == {}
    assert np.isfinite(done.error).all()


def test_gaze_counts_only_where_the_eyes_are_open(truth: Meanings) -> None:
    other = truth.copy()
    shut = truth[:, AT["lids apart"]] < 0.015
    assert 5 < shut.sum() < 30
    other[shut, AT["gaze across"]] = 9
    assert compare(other, truth).scores["gaze"] == pytest.approx(1)
