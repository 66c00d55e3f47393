"""Alignment: turn, scale and shift every face into the same upright square, and back.

A network learns a face far faster when eyes and mouth are always in the same place. So each face is moved by
a *similarity* (turn, one scale, shift: nothing that changes a person's proportions) that brings its landmarks
as near as possible to those of the mean face. `face_matrix` finds it, `align` cuts the square out of the frame,
and `invert` is the way back.

The framing is `whole_face`, as other face swap tools know it: a square 2.13137 mean-face units wide, its centre 0.07
units above the mean face's box centre, so that models and face sets stay interchangeable with theirs.

In a video landmarks tremble by about half a per cent of the eye distance from frame to frame, and a new face that
trembles on a still head is seen at once. `smooth_tracks` steadies them without a lag: each frame's landmarks become a
mean with those of frames before *and* after it, in pairs, so that an even movement stays where it is. A pair whose
middle lies elsewhere, on average over all landmarks, counts little, so that stops and quick turns of the head keep
their reach: a bilateral filter (Tomasi and Manduchi 1998) over time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from clearswap.checks import check_fields

Frame = NDArray[np.uint8]  # (H, W, 3) RGB
Points = NDArray[np.float32]  # (N, 2), x then y
Matrix = NDArray[np.float64]  # (2, 3), maps (x, y, 1) of the frame to (x, y) of the aligned square

# Where the 68 usual landmarks lie in the face mesh (positions on the canonical mesh; jaw, brows,
# nose, eyes, outer lip, inner lip).
MESH_TO_68 = np.array(
    [127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356]
    + [70, 63, 105, 66, 107, 336, 296, 334, 293, 300]
    + [168, 197, 5, 4, 75, 97, 2, 326, 305]
    + [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
    + [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
)

# Landmarks 17..48 and 54 (brows, nose, eyes, mouth corners) of the mean face. Jaw and lips are left out: they
# move with speech. Coordinates: dlib, image_transforms/interpolation.h (Boost licence).
STABLE = np.array([*range(17, 49), 54])
MEAN_FACE = np.array(
    [(0.000213256, 0.106454), (0.0752622, 0.038915), (0.18113, 0.0187482), (0.29077, 0.0344891)]
    + [(0.393397, 0.0773906), (0.586856, 0.0773906), (0.689483, 0.0344891), (0.799124, 0.0187482)]
    + [(0.904991, 0.038915), (0.98004, 0.106454), (0.490127, 0.203352), (0.490127, 0.307009)]
    + [(0.490127, 0.409805), (0.490127, 0.515625), (0.36688, 0.587326), (0.426036, 0.609345)]
    + [(0.490127, 0.628106), (0.554217, 0.609345), (0.613373, 0.587326), (0.121737, 0.216423)]
    + [(0.187122, 0.178758), (0.265825, 0.179852), (0.334606, 0.231733), (0.260918, 0.245099)]
    + [(0.182743, 0.244077), (0.645647, 0.231733), (0.714428, 0.179852), (0.793132, 0.178758)]
    + [(0.858516, 0.216423), (0.79751, 0.244077), (0.719335, 0.245099), (0.254149, 0.780233)]
    + [(0.726104, 0.780233)],
    np.float64,
)

WHOLE_FACE_CENTRE = np.array([0.5, 0.43])  # in mean-face units
WHOLE_FACE_SIDE = 2.0 * (0.40 * 2**0.5 + 0.5)  # 2.13137: padding 0.40 on the half diagonal


def umeyama(points: NDArray[np.floating], goal: NDArray[np.floating]) -> Matrix:
    """The similarity that brings `points` nearest to `goal`, both (N, 2), in the least-squares sense; never mirrors.

    Source: S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
    """
    centre, goal_centre = points.mean(0), goal.mean(0)
    spread, goal_spread = points - centre, goal - goal_centre
    u, strength, vt = np.linalg.svd(goal_spread.T @ spread / len(points))
    keep_handed = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = (u * keep_handed) @ vt
    scale = (strength * keep_handed).sum() / spread.var(0).sum()
    return np.column_stack([scale * turn, goal_centre - scale * turn @ centre])


def face_matrix(landmarks: Points, size: int, coverage: float = 1.0, drop: float = 0.0) -> Matrix:
    """The alignment matrix of one face: from frame pixels to pixels of a square of side `size`.

    `landmarks`: the (478, 2) mesh or the (68, 2) usual points, in frame pixels. `coverage` and `drop`: which part of
    the `whole_face` square fills it, see `zoomed`.
    """
    usual = landmarks if len(landmarks) == 68 else landmarks[MESH_TO_68]
    corner = WHOLE_FACE_CENTRE - WHOLE_FACE_SIDE / 2
    matrix = umeyama(usual[STABLE].astype(np.float64), (MEAN_FACE - corner) * (size / WHOLE_FACE_SIDE))
    return zoomed(matrix, size, size, coverage, drop)


def zoomed(matrix: Matrix, size: int, new_size: int, coverage: float = 1.0, drop: float = 0.0) -> Matrix:
    """The matrix of a part of a square of side `size`, drawn `new_size` pixels wide: the middle `coverage`
    (0..1] of it, moved down by `drop` (a share of the whole square).
    """
    scale = new_size / (size * coverage)
    shift = (new_size - size * scale) / 2 + (scale - 1) / 2  # pixel centres are at whole numbers
    return matrix * scale + np.array([[0, 0, shift], [0, 0, shift - drop * size * scale]])


def invert(matrix: Matrix) -> Matrix:
    """The matrix of the way back: aligned pixels to frame pixels."""
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def transform(points: Points, matrix: Matrix) -> Points:
    """`points` (N, 2) moved by `matrix`."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def pixel_scale(matrix: Matrix) -> float:
    """How many aligned pixels one frame pixel becomes."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def align(frame: Frame, matrix: Matrix, size: int) -> Frame:
    """Cut the aligned square (size, size, 3) out of a frame; beyond the frame its edge is repeated.

    A face larger than the square is averaged down, not sampled: a face three times too large is first cut at
    three times the size. (Linear sampling alone lets every third pixel decide, and skin turns to noise.)
    """
    shrink = max(1, int(np.ceil(1 / pixel_scale(matrix) - 0.25)))  # up to a quarter too large, no pixel is skipped
    interpolation = cv2.INTER_CUBIC if shrink == 1 else cv2.INTER_LINEAR
    large = size * shrink
    to_large = zoomed(matrix, size, large)
    face = cv2.warpAffine(frame, to_large, (large, large), flags=interpolation, borderMode=cv2.BORDER_REPLICATE)
    if shrink > 1:
        face = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(face, np.uint8)


# Over time

EYES = (33, 263)  # the outer eye corners


@dataclass(frozen=True)
class SmoothConfig:
    """How much landmarks are smoothed over time.

    Attributes:
        smooth: Frames before and after that count, as the spread of a bell curve; 0 leaves landmarks as they are.
        movement: How far the middle of a pair may lie off, as a share of the eye distance, and still count by half.
    """

    smooth: Annotated[float, Meta(ge=0, le=50)] = 1.5
    movement: Annotated[float, Meta(gt=0, le=100)] = 0.015

    def __post_init__(self) -> None:
        check_fields(self)

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
