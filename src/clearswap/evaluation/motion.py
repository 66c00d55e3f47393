"""What a face does: eyes, mouth, brows, gaze and pose as eight numbers, and how well one clip follows another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearswap.core.expression import read_gaze
from clearswap.faces.pose import mouth_opening

Curves = NDArray[np.float64]  # (N, 8): the eight numbers of each frame

# Eye opening and gaze in hundredths of an eye's width, mouth and brows in hundredths of the distance between the outer
# eye corners, the pose in degrees.
FEATURES = ("eye opening", "mouth opening", "brows", "gaze across", "gaze down", "yaw", "pitch", "roll")
FACE = slice(0, 5)  # what a face does by itself; the rest is the head's pose
POSE = slice(5, 8)  # yaw > 0 turns to the picture's right, pitch > 0 nods down, roll > 0 turns clockwise
# The upper lid's landmarks, each with the lower one's below it, of the eye on the picture's left and the other.
_LIDS = (((160, 144), (159, 145), (158, 153)), ((385, 380), (386, 374), (387, 373)))
_BROWS = ((105, 159), (334, 386), (107, 133), (336, 362))  # each landmark with one of the eye below it


def read_motion(mesh: NDArray[np.float32]) -> Curves:
    """The eight numbers (8,) of a face, from its landmarks with depth: `mesh` (478, 3) in pixels."""
    openings = [
        np.mean([np.linalg.norm(mesh[upper, :2] - mesh[lower, :2]) for upper, lower in lids])
        / np.linalg.norm(mesh[first, :2] - mesh[last, :2])
        for lids, (first, last) in zip(_LIDS, ((33, 133), (362, 263)), strict=True)
    ]
    brows = np.mean([np.linalg.norm(mesh[brow] - mesh[eye]) for brow, eye in _BROWS])
    eyes_apart = np.linalg.norm(mesh[263] - mesh[33])
    gaze = read_gaze(mesh[:, :2])
    across = mesh[263] - mesh[33] + mesh[356] - mesh[127]
    down = mesh[2] - mesh[10]
    yaw = np.arctan2(-across[2], np.hypot(*across[:2]))
    pitch = np.arctan2(-down[2], np.hypot(*down[:2]))
    roll = np.arctan2(across[1], across[0])
    shares = [np.mean(openings), mouth_opening(mesh), brows / eyes_apart]
    return np.array([*(100 * share for share in [*shares, *gaze]), *np.degrees([yaw, pitch, roll])], np.float64)


@dataclass(frozen=True)
class Agreement:
    """How one curve follows another.

    Attributes:
        correlation: -1..1; 1 for the same course, whatever its reach.
        followed: 1 for the same course and reach, 0 for none: a still picture's noise is no motion.
        error: Mean absolute difference, in the curve's own unit.
    """

    correlation: float
    followed: float
    error: float


def agreement(result: Curves, truth: Curves) -> list[Agreement]:
    """How each of the eight numbers in `result` (N, 8) follows that in `truth` (N, 8).

    `followed` is Lin's concordance (1989) of the curves less their means, 2 cov / (var + var): where the truth opens
    the mouth by 10 and the result by 1, the correlation may be 1, but this is 0.2. Gaze counts where the eyes of
    `truth` are open.

    What the head's pose explains is taken out of the first five numbers before (a quadratic in yaw, pitch and roll):
    read off a turned or nodding head, a still picture's eyes seem to move. Left in, a still picture scored 0.38 on
    the demo pair, taken out 0.08, and the truth's own frame put in the same place 0.88.
    """
    lids = truth[:, 0]
    open_eyes = lids > 0.6 * np.median(lids)
    found: list[Agreement] = []
    for index, name in enumerate(FEATURES):
        frames = open_eyes if name.startswith("gaze") else np.ones_like(open_eyes)
        error = float(np.abs(result[frames, index] - truth[frames, index]).mean())
        pose = truth[frames, POSE] if index < FACE.stop else truth[frames, :0]
        one, other = (_without_pose(curves[frames, index], pose) for curves in (result, truth))
        cov, var_1, var_2 = float((one * other).mean()), float((one**2).mean()), float((other**2).mean())
        if min(var_1, var_2) < 1e-9:  # nothing moves: equal is perfect, else nothing is followed
            found.append(Agreement(float(error < 1e-6), float(error < 1e-6), error))
        else:
            found.append(Agreement(cov / (var_1 * var_2) ** 0.5, 2 * cov / (var_1 + var_2), error))
    return found


def _without_pose(curve: Curves, pose: Curves) -> Curves:
    """The part of `curve` (N,) that no quadratic in a head's `pose` (N, 3) explains; with (N, 0) only its mean goes."""
    pose = (pose - pose.mean(0)) / np.maximum(pose.std(0), 1e-6)
    terms = np.column_stack([np.ones(len(pose)), pose, pose**2, pose[:, :1] * pose[:, 1:2]])
    if len(terms) < 3 * terms.shape[1]:  # few frames cannot tell pose from motion
        terms = terms[:, :1]
    return curve - terms @ np.linalg.lstsq(terms, curve, rcond=None)[0]


def landmark_error(result: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean distance (N,) of aligned landmarks (N, 478, 2) in per cent of the distance of the outer eye corners.

    Each landmark's mean difference over the clip is taken out: it is who a person is, not what the face does.
    """
    difference = result - truth
    difference = difference - difference.mean(0)
    eyes = float(np.linalg.norm(truth[:, 263] - truth[:, 33], axis=-1).mean())
    return 100 * np.linalg.norm(difference, axis=-1).mean(-1) / eyes
