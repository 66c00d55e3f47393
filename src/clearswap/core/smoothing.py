"""Smoothing: landmarks tremble by about half a per cent of the eye distance from frame to frame, and a new face that
trembles on a still head is seen at once.

There is no lag: each frame's landmarks become a mean with those of frames before *and* after it, in pairs, so that
an even movement stays where it is. A pair whose middle lies elsewhere, on average over all landmarks, counts little, so
that stops and quick turns of the head keep their reach: a bilateral filter (Tomasi and Manduchi 1998) over time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EYES = (33, 263)  # the outer eye corners


@dataclass(frozen=True)
class SmoothConfig:
    """How much landmarks are smoothed over time.

    Attributes:
        smooth: Frames before and after that count, as the spread of a bell curve; 0 leaves landmarks as they are.
        movement: How far the middle of a pair may lie off, as a share of the eye distance, and still count by half.
    """

    smooth: float = 1.5
    movement: float = 0.015

    @property
    def reach(self) -> int:
        """Frames on either side that have a part."""
        return int(np.ceil(2 * self.smooth))


def smooth(landmarks: NDArray[np.float32], config: SmoothConfig) -> NDArray[np.float32]:
    """The landmarks (T, N, 2) of one face in T successive frames, smoothed. The first and last have no pairs."""
    count = len(landmarks)
    eyes = np.linalg.norm(landmarks[:, EYES[0]] - landmarks[:, EYES[1]], axis=-1)  # (T,)
    total, weights = landmarks.astype(np.float64), np.ones(count)
    for step in range(1, min(config.reach, (count - 1) // 2) + 1):
        own = landmarks[step:-step]
        middle = (landmarks[: -2 * step] + landmarks[2 * step :]) / 2
        off = np.sqrt(((middle - own) ** 2).sum(-1).mean(-1)) / eyes[step:-step]  # (T - 2 step,)
        weight = 2 * np.exp(-(step**2) / (2 * config.smooth**2)) * 0.5 ** ((off / config.movement) ** 2)
        total[step:-step] += weight[:, None, None] * middle
        weights[step:-step] += weight
    return (total / weights[:, None, None]).astype(np.float32)


def smooth_tracks(
    landmarks: NDArray[np.float32], frame: NDArray[np.int64], track: NDArray[np.int64], config: SmoothConfig
) -> NDArray[np.float32]:
    """The landmarks (M, N, 2) of M faces, smoothed along each track; a gap in a track is not bridged.

    `frame`, `track`: (M,), the frame that a face is in and the number of its track.
    """
    if not config.smooth or not len(landmarks):
        return landmarks
    order = np.lexsort((frame, track))
    broken = (np.diff(track[order]) != 0) | (np.diff(frame[order]) != 1)
    smoothed = landmarks.copy()
    for run in np.split(order, np.flatnonzero(broken) + 1):
        smoothed[run] = smooth(landmarks[run], config)
    return smoothed
