"""Detail: blurring lowers structure, noise raises grain, and neither passes for the other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from clearswap.evaluation.sharpness import BANDS, Detail, detail, grain_ratio, run_ratios, structure_ratios
from makers import pictures_of

Runs = list[NDArray[np.uint8]]
AREA = np.zeros((256, 256), np.uint8)
AREA[48:208, 64:192] = 1


@pytest.fixture(scope="module")
def runs(demo_clips: Path) -> Runs:
    """Four runs of three frames of a face that moves, not aligned."""
    pictures = pictures_of(demo_clips / "truth.mp4")
    return [np.stack(pictures[start : start + 3])[:, 40:296, 72:328] for start in (10, 60, 110, 160)]


def measured(runs: Runs) -> Detail:
    return detail(runs, [AREA] * len(runs))


def blurred(runs: Runs, sigma: float) -> Runs:
    return [np.stack([np.asarray(cv2.GaussianBlur(face, (0, 0), sigma), np.uint8) for face in run]) for run in runs]


def noised(runs: Runs, deviation: float) -> Runs:
    noise = np.random.default_rng(1)
    grainy = [np.rint(run + deviation * noise.standard_normal((*run.shape[:3], 1))) for run in runs]
    return [run.clip(0, 255).astype(np.uint8) for run in grainy]


def test_equal_faces_are_equally_sharp(runs: Runs) -> None:
    own = measured(runs)
    assert structure_ratios(own, own) == pytest.approx([1] * BANDS)
    assert run_ratios(own, own) == pytest.approx([1] * len(runs))
    assert grain_ratio(own, own) == pytest.approx(1)


def test_a_blur_lowers_every_band_and_the_finest_most(runs: Runs) -> None:
    own = measured(runs)
    a_little, much = (structure_ratios(measured(blurred(runs, sigma)), own) for sigma in (1.0, 2.5))
    assert a_little[0] < 0.75 > 1.5 * much[0]
    for ratios in (a_little, much):
        assert ratios == sorted(ratios)
        assert max(ratios) < 1
    assert np.mean(much) < np.mean(a_little)


@pytest.mark.parametrize("deviation", [3.0, 6.0, 10.0])
def test_noise_on_a_blurred_face_makes_grain_and_no_sharpness(runs: Runs, deviation: float) -> None:
    own, soft = measured(runs), blurred(runs, 2.5)
    grainy = measured(noised(soft, deviation))
    assert structure_ratios(grainy, own) == pytest.approx(structure_ratios(measured(soft), own), abs=0.04)
    assert grain_ratio(grainy, measured(soft)) > 1 + deviation / 10


def test_noise_on_a_sharp_face_leaves_it_as_sharp(runs: Runs) -> None:
    own, grainy = measured(runs), measured(noised(runs, 6))
    assert structure_ratios(grainy, own) == pytest.approx([1] * BANDS, abs=0.05)
    assert grain_ratio(grainy, own) > 1.15


def test_where_there_is_nothing_nothing_is_said() -> None:
    flat = measured([np.full((3, 256, 256, 3), 90, np.uint8)])
    assert structure_ratios(flat, flat) == []
    nothing = detail([], [])
    assert structure_ratios(nothing, nothing) == []
