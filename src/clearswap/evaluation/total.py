"""The score: one figure from 0 to 100 that orders results, with a truth and without.

It is the product of five parts, each 0 to 1, to the power of its weight, so that nothing makes up for a part that is
missing: a still picture of the right person says little, and the unswapped video is the wrong person.

- How it looks (0.3): the perceptual distance; without a truth, sharpness.
- Who it is (0.25): the distance of the embedding from the person put in.
- What it says (0.3): the mean of lids, jaw, gaze, closed lips, closed lids and motion followed, of those told.
- How calm it is (0.075): flicker. How well it is joined (0.075): border.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_LOOK, _IDENTITY, _MEANING, _FLICKER, _BORDER = 0.3, 0.25, 0.3, 0.075, 0.075
_SAYS = ("lids", "jaw", "gaze", "closed", "closed_lids", "followed")
_FAR = 0.4  # perceptual distance by which the look falls to 1/e; the demo's still picture has 0.5, its oracle 0.07
_BETWEEN, _STEEP = 0.5, 0.04  # embedding distance at which it may or may not be the person, and how soon it is sure
_LOST = 3.0  # difference of the face's numbers, in multiples of their spread, at which a frame says nothing of the kind


def look_of_distance(distance: Values) -> Values:
    """How well a face looks, 1 to 0, by its perceptual distance from the truth."""
    return np.exp(-distance / _FAR)


def look_of_sharpness(sharpness: Values) -> Values:
    """How well a face looks, 1 to 0, by its sharpness: too soft or too sharp."""
    return (1 - np.abs(1 - sharpness)).clip(0, 1)


def total(scores: Mapping[str, float]) -> float:
    """The score, 0 to 100, of a clip's other scores."""
    if "perceptual" in scores:
        look = look_of_distance(np.array(scores["perceptual"]))
    else:
        look = look_of_sharpness(np.array(scores.get("sharpness", 1.0)))
    told = [min(1.0, max(0.0, scores[key])) for key in _SAYS if key in scores]
    calm = min(scores["flicker"], 1 / max(scores["flicker"], 1e-9))
    parts = (
        (float(look), _LOOK),
        (float(_right_person(np.array(scores["identity_wanted"]))), _IDENTITY),
        (float(np.mean(told)), _MEANING),
        (max(0.0, calm), _FLICKER),
        (1 / max(1.0, scores["border"]), _BORDER),
    )
    return 100 * float(np.prod([part**weight for part, weight in parts]))


def total_by_frame(looks: Values, identity: Values, meaning_error: Values, border: Values) -> Values:
    """The score of each frame (N,), of what can be said of a single one: not flicker, and meaning by its error.

    `looks` are 0..1, `identity` distances, `border` multiples of the reference's own.
    """
    says = (1 - meaning_error / _LOST).clip(0, 1)
    rest = 1 / (_LOOK + _IDENTITY + _MEANING + _BORDER)
    product = looks**_LOOK * _right_person(identity) ** _IDENTITY * says**_MEANING * (1 / border.clip(min=1)) ** _BORDER
    return 100 * product**rest


def _right_person(distance: Values) -> Values:
    """Near 1 for embeddings as near as a person's own pictures (0.35), near 0 for another person's (0.6)."""
    return 1 / (1 + np.exp((distance - _BETWEEN) / _STEEP))
