"""Faces of a set that something covers: a hand at the mouth, a microphone, hair blown across.

Nobody says where they are in people's own clips. But skin looks the same in all pictures of a person, once each face is
warped so that all have their landmarks in one place; eyes and mouth do not, and are left out. A picture whose skin
differs much from the median of all shows something else there.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points
from clearswap.core.blend import blurred
from clearswap.core.colour import LUMA
from clearswap.core.detail import SIDE, Warp, features, triangulate
from clearswap.core.mask import hull

_HALF = SIDE // 2
# Mean difference of the skin's structure, in shares of its brightness, and how many times as large as for faces that
# are like most. Of twelve sets, faces with a hand over cheek or mouth lie above 0.05 and 2.0 times; what lies above
# 0.045 elsewhere (glasses in moving light) is at most 1.9 times as large.
_MOST, _TIMES = 0.045, 2.0


def covered(faces: Iterable[Frame], landmarks: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which faces of one person something covers (N,); never more than half of them.

    `faces`: N pictures (256, 256, 3), one at a time; `landmarks` (N, 478, 2), in their pixels. 10 ms a face.
    """
    middle = landmarks.mean(0)
    skin = _skin(middle)
    warp = Warp(triangulate(middle), middle)
    pairs = [_structure(*warp(face, points)) for face, points in zip(faces, landmarks, strict=True)]
    structures, trusted = np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
    usual = np.stack([np.median(rows, 0) for rows in np.moveaxis(structures, 1, 0)])  # row by row: sorting takes room
    weights = trusted * skin
    away = (np.abs(structures - usual) * weights).sum((1, 2), dtype=np.float64)
    away /= np.maximum(weights.sum((1, 2), dtype=np.float64), 1e-6)
    return (away > max(_MOST, _TIMES * np.quantile(away, 0.1))) & (away > np.median(away))


def _skin(landmarks: Points) -> NDArray[np.float32]:
    """Where a face shows skin (128, 128), 1 or less: well inside its outline, and not at eyes and mouth."""
    inside = cv2.erode(hull(landmarks, SIDE), np.ones((17, 17)))
    small = np.asarray(cv2.resize(inside, (_HALF, _HALF), interpolation=cv2.INTER_AREA), np.float32) / 255
    return np.asarray(small * (1 - np.max(features(landmarks, 1.9), 0)), np.float32)


def _structure(face: Frame, trust: NDArray[np.float32]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """The structure of a warped face (256, 256, 3), less its light: (128, 128); and how far to trust it (128, 128)."""
    small = np.asarray(cv2.resize(face, (_HALF, _HALF), interpolation=cv2.INTER_AREA), np.float32)
    luma = np.asarray(small @ np.array(LUMA, np.float32) / 255, np.float32)
    light, fine = blurred(luma, 6), blurred(luma, 1)
    return ((fine - light) / (light + 0.1)).astype(np.float16), trust.astype(np.float16)
