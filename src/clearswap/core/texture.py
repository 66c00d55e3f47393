"""Texture: what is left to tell a swapped face from its frame when place and colour are right, its blur and its grain.

A camera out of focus or a head that moves blurs the face in the frame, and the network's patch is as sharp as ever. In
a close-up the patch is the blurred one. And every camera's picture is grainy, and no network's is.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame

Grey = NDArray[np.float32]
_BLURS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # in pixels of the patch
_FINE = 1.0  # likewise: what is finer is strengthened
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# The residual of Immerkær 1996 ("Fast noise variance estimation"): blind to steps and slopes, sees grain.
_RESIDUAL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_FIELD = 1021  # pixels; prime, so that where it repeats is no multiple of anything
_MOST = 0.03  # more than this, of 0..1, is texture rather than grain


def match_sharpness(
    patch: NDArray[np.float32], aligned: NDArray[np.float32], mask: Grey, most: float
) -> NDArray[np.float32]:
    """Bring a patch to the sharpness of the face that it replaces: how sharp, its Laplacian in the mask says.

    `patch`, `aligned`: (S, S, 3) in 0..1, `mask`: (S, S). A sharper patch is blurred. A blurrier one is sharpened (its
    difference to itself blurred is added), up to `most` times as much Laplacian as it has: what a network left out no
    sharpening brings back, and more of it than half as much again looks drawn. At 1.5, on the demo pair, 0.4 dB of the
    PSNR go, and the person is more alike (identity 0.324 away instead of 0.335).
    """
    wanted, own = _detail(aligned, mask), _detail(patch, mask)
    if own > 1.1 * wanted:
        blurred = (_blurred(patch, sigma) for sigma in _BLURS)
        return next((one for one in blurred if _detail(one, mask) <= 1.1 * wanted), patch)
    fine, goal = np.asarray(patch - _blurred(patch, _FINE), np.float32), min(wanted, most * own)
    low, high = 0.0, 4.0
    for _ in range(6):  # by halves
        middle = (low + high) / 2
        low, high = (
            (middle, high) if _detail(np.asarray(patch + middle * fine, np.float32), mask) < goal else (low, middle)
        )
    return np.asarray((patch + low * fine).clip(0, 1), np.float32)


def _blurred(patch: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(patch, (0, 0), sigma), np.float32)


def grain_of(picture: Frame | NDArray[np.float32], mask: Grey) -> float:
    """The standard deviation, 0..1, of the grain in a picture (H, W, 3) in 0..255 where `mask` (H, W) is 1.

    The median of the residual counts, so that lashes and hairs, which are few and strong, do not.
    """
    luma = (np.asarray(picture, np.float32) @ _LUMA) / 255
    residual = np.abs(np.asarray(cv2.filter2D(luma, cv2.CV_32F, _RESIDUAL), np.float32))[mask > 0.5]
    if not residual.size:
        return 0.0
    median = np.partition(residual, residual.size // 2)[residual.size // 2]  # an eighth of the time of np.median
    return float(min(_MOST, median / 0.6745 / 6))


def grain(shape: tuple[int, int], deviation: float, seed: int) -> Grey:
    """Grain (H, W) of a standard deviation, the same for the same seed: a part of one field of grain, elsewhere for
    each seed. New numbers for each frame would take 3.2 ms for a face of 470 px, this takes 0.4.
    """
    random = np.random.default_rng(seed)
    top, left = int(random.integers(_FIELD)), int(random.integers(_FIELD))
    rows = np.arange(shape[0]) + top
    columns = np.arange(shape[1]) + left
    return _field().take(rows, 0, mode="wrap").take(columns, 1, mode="wrap") * np.float32(deviation)


@cache
def _field() -> Grey:
    return np.random.default_rng(0).standard_normal((_FIELD, _FIELD), np.float32)


def _detail(picture: NDArray[np.float32], mask: Grey) -> float:
    edges = np.abs(np.asarray(cv2.Laplacian(picture @ _LUMA, cv2.CV_32F), np.float32))
    return float((edges * mask).sum() / max(float(mask.sum()), 1e-6))
