"""Texture: patches become as sharp and as grainy as the frames they go into."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from clearswap.core.blend import grain_like, grain_of, match_sharpness
from makers import Picture, psnr, scene

WHOLE = np.ones((96, 96), np.float32)


def picture(blur: float) -> NDArray[np.float32]:
    detailed = np.random.default_rng(0).uniform(0.2, 0.8, (12, 12, 3)).astype(np.float32)
    sharp = cv2.resize(detailed, (96, 96), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.GaussianBlur(sharp, (0, 0), blur), np.float32)


def detail(of: NDArray[np.float32]) -> float:
    return float(np.abs(cv2.Laplacian(of.mean(2), cv2.CV_32F)).mean())


@pytest.mark.parametrize("blur", [1.5, 2.5])
def test_a_patch_that_is_too_sharp_is_blurred_as_much_as_the_frame(blur: float) -> None:
    patch, frame = picture(0.6), picture(blur)
    after = match_sharpness(patch, frame, WHOLE, 1.4)
    assert 0.6 * detail(frame) < detail(after) <= 1.1 * detail(frame)
    assert psnr(255 * after, 255 * frame) > psnr(255 * patch, 255 * frame) + 3


def test_a_blurred_patch_is_sharpened_so_far_and_no_further() -> None:
    patch, frame = picture(1.5), picture(0.6)
    for most in (1.2, 1.4):
        assert detail(match_sharpness(patch, frame, WHOLE, most)) == pytest.approx(most * detail(patch), rel=0.05)
    assert np.allclose(match_sharpness(patch, frame, WHOLE, 1.0), patch, atol=0.02)
    nearly = match_sharpness(picture(0.8), picture(0.75), WHOLE, 3.0)
    assert detail(nearly) <= 1.02 * detail(picture(0.75))


def test_sharpness_outside_the_mask_does_not_count() -> None:
    half = WHOLE.copy()
    half[:, 48:] = 0
    frame = picture(2.0)
    frame[:, 56:] = picture(0.5)[:, 56:]
    one = match_sharpness(picture(0.6), frame, half, 1.4)
    assert np.allclose(one, match_sharpness(picture(0.6), picture(2.0), half, 1.4), atol=1e-3)


@pytest.mark.parametrize("deviation", [0.004, 0.01, 0.02])
def test_grain_is_measured_on_flat_and_on_detailed_pictures(deviation: float) -> None:
    for clean in (np.full((200, 200, 3), 120, np.uint8), smooth_scene()):
        mask = np.ones(clean.shape[:2], np.float32)
        noise = grain_like(mask.shape, 255 * deviation, 1)[..., None]
        grainy = np.round(clean + noise).clip(0, 255).astype(np.uint8)
        assert grain_of(grainy, mask) == pytest.approx(deviation, rel=0.25)
        assert grain_of(clean, mask) < 0.003


def smooth_scene() -> Picture:
    return np.asarray(cv2.GaussianBlur(scene(3, 200, 200), (0, 0), 4), np.uint8)


def test_grain_is_the_same_for_the_same_frame_and_new_in_the_next() -> None:
    one, again, other = (grain_like((50, 60), 2.0, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert one.std() == pytest.approx(2.0, rel=0.05)
    assert not grain_like((5, 5), 0.0, 1).any()
