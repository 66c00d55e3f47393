"""Which of a person's own faces give the detail of each face of a clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clearswap.core.detail import Detailer, Shares
from clearswap.core.expression import MEASURES
from clearswap.core.smoothing import SmoothConfig
from clearswap.faces.tracker import Faces


def detail_path(
    faces: Faces, chosen: NDArray[np.bool_], detailer: Detailer, smoothing: SmoothConfig
) -> dict[int, Shares]:
    """For each of the `chosen` (N,) of a clip's faces: which faces of the detailer's store are seen in it.

    Each track is decided as a whole, so that it does not matter where a conversion goes on.
    """
    expressions = np.zeros((len(faces), MEASURES), np.float32)
    for rows, landmarks in faces.by_frame(0, smoothing):
        for row, points in zip(rows, landmarks, strict=True):
            if chosen[row]:
                expressions[row] = detailer.read(points)
    found: dict[int, Shares] = {}
    for track in np.unique(faces.track[chosen]):
        rows = np.flatnonzero(chosen & (faces.track == track))
        found |= dict(zip(rows.tolist(), detailer.follow(expressions[rows]), strict=True))
    return found
