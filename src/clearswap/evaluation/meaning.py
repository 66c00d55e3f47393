"""What a face says: eyes, mouth and gaze in absolute numbers, and whether one clip says what another does.

Read are the 52 coefficients of `core/expression.py`, where the irises look, and how far lips and lids are apart.
Nothing is centred and the head's pose is not taken out: a mouth that is always a little open is wrong, whatever its
course.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Points
from clearswap.core.expression import COEFFICIENTS, face_height, read_gaze
from clearswap.faces.face_models import ExpressionReader, turned_upright

Meanings = NDArray[np.float64]  # (N, 56): the numbers of each frame

# Coefficients in 0..1, gaze in eye widths from the middle of the eye, openings in shares of the face's height.
MEANINGS = (*COEFFICIENTS, "gaze across", "gaze down", "lips apart", "lids apart")
_AT = {name: index for index, name in enumerate(MEANINGS)}
_LIPS = ((13, 14),)
_LIDS = ((159, 145), (386, 374))

# On four clips of real people and two of synthetic ones a number at rest shakes by at most 0.02 (coefficients), 0.007
# (gaze), 0.004 (lips) and 0.002 (lids) from frame to frame. What spreads by less than this over a clip does not move.
_MOVES = dict.fromkeys(COEFFICIENTS, 0.03) | dict(zip(MEANINGS[-4:], (0.015, 0.015, 0.006, 0.006), strict=True))
# In the same clips lips that are shut are 0.000 to 0.006 apart, and those of people who talk 0.02 to 0.12; lids that
# are shut 0.001 to 0.012, open ones 0.035 to 0.07. What is shut must stay below the second number.
_SHUT_LIPS, _SHUT_LIDS = (0.01, 0.02), (0.015, 0.022)


class MeaningReader:
    """Reads the numbers off the landmarks of a face."""

    def __init__(self) -> None:
        self._expression = ExpressionReader()

    def __call__(self, landmarks: Points) -> Meanings:
        """The numbers (56,) of the face with these `landmarks` (478, 2), of any size and roll."""
        points = turned_upright(landmarks)
        height = face_height(points)
        apart = [np.mean([np.linalg.norm(points[a] - points[b]) for a, b in pairs]) for pairs in (_LIPS, _LIDS)]
        coefficients = self._expression.coefficients(landmarks)
        return np.array([*coefficients, *read_gaze(points), *(one / height for one in apart)], np.float64)


@dataclass(frozen=True)
class Follows:
    """How one number of the result follows the reference's.

    Attributes:
        correlation: -1..1; 1 for the same course; 0 where the result does not move at all.
        error: Mean absolute difference, in the number's own unit.
        spread: Standard deviation in the reference.
    """

    correlation: float
    error: float
    spread: float


@dataclass(frozen=True)
class Meaning:
    """What one clip says of what another says.

    Attributes:
        numbers: Every number that moves in the reference, by its name.
        scores: Correlation of lids, jaw and gaze, "closed" for lips and "closed_lids"; only those that can be told.
        error: Mean absolute difference (N,) of all numbers that move, in multiples of their spread.
    """

    numbers: dict[str, Follows]
    scores: dict[str, float]
    error: NDArray[np.float64]


def compare(result: Meanings, reference: Meanings) -> Meaning:
    """Whether `result` (N, 56) says what `reference` (N, 56) does, frame by frame.

    Gaze counts where the reference's eyes are open. Left out is what does not move in the reference, and "closed"
    where nothing is ever shut.
    """
    open_eyes = reference[:, _AT["lids apart"]] > _SHUT_LIDS[1]
    numbers: dict[str, Follows] = {}
    errors: list[NDArray[np.float64]] = []
    for index, name in enumerate(MEANINGS):
        frames = open_eyes if name.startswith("gaze") else np.ones_like(open_eyes)
        one, other = result[frames, index], reference[frames, index]
        if len(other) < 3 or other.std() < _MOVES[name]:
            continue
        numbers[name] = Follows(_correlation(one, other), float(np.abs(one - other).mean()), float(other.std()))
        errors.append(np.where(frames, np.abs(result - reference)[:, index], 0) / other.std())
    scores = _headlines(result, reference, numbers)
    return Meaning(numbers, scores, np.mean(errors, 0) if errors else np.zeros(len(result)))


def _headlines(result: Meanings, reference: Meanings, numbers: dict[str, Follows]) -> dict[str, float]:
    """The rows of the table."""
    scores: dict[str, float] = {}
    blinks = [_AT["eyeBlinkLeft"], _AT["eyeBlinkRight"]]
    one, other = (x[:, blinks].mean(1) for x in (result, reference))
    if other.std() >= _MOVES["eyeBlinkLeft"]:
        scores["lids"] = _correlation(one, other)
    for key, names in (("jaw", ("jawOpen", "lips apart")), ("gaze", ("gaze across", "gaze down"))):
        known = [numbers[name].correlation for name in names if name in numbers]
        if known:
            scores[key] = float(np.mean(known))
    for key, name, limits in (("closed", "lips apart", _SHUT_LIPS), ("closed_lids", "lids apart", _SHUT_LIDS)):
        shut = reference[:, _AT[name]] < limits[0]
        if shut.any():
            scores[key] = float((result[shut, _AT[name]] < limits[1]).mean())
    return scores


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Pearson's correlation; 0 where `one` does not move."""
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one**2).mean() * (other**2).mean()))
    return float((one * other).mean()) / scale if one.std() > 1e-6 and scale > 0 else 0.0
