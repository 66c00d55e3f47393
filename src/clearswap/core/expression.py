"""The expression of a face: a few measures of its landmarks (lids, lips, mouth corners, brows, where the head turns).

The encoder learns to read them off the picture (`network.ModernNet`), so that they mean the same for both persons.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Points

Expressions = NDArray[np.float32]  # (N, MEASURES)

# Pairs of mesh landmarks whose distance is measured: one on the picture's left, then its twin on the right.
_PAIRS = (
    *((159, 145), (386, 374)),  # lids
    *((105, 159), (334, 386)),  # brows, from the upper lids
    *((107, 133), (336, 362)),  # inner ends of the brows, from the inner corners of the eyes
    *((61, 0), (291, 0)),  # mouth corners, from the upper lip
    *((61, 17), (291, 17)),  # mouth corners, from the lower lip
    *((82, 87), (312, 317)),  # the lips apart, left and right
    (13, 14),  # the lips apart, in the middle
    (61, 291),  # the mouth's width
)
_TWINS = 12  # the first so many come in twos, left and right
MEASURES = len(_PAIRS) + 2  # and how far the head nods and turns
# Standard deviation of each measure in eight clips of speech, in thousandths of the face's height: all count alike.
_USUAL = np.array([5, 5, 9, 9, 10, 10, 45, 45, 30, 30, 18, 18, 19, 29, 40, 200], np.float32) / 1000


def read_expression(landmarks: Points) -> Expressions:
    """The measures (MEASURES,) of a face with aligned `landmarks` (468, 2), in multiples of their usual spread."""
    height = float(np.linalg.norm(landmarks[10] - landmarks[152]))
    first, second = np.array(_PAIRS).T
    apart = np.linalg.norm(landmarks[first] - landmarks[second], axis=-1)
    turn = landmarks[1, 0] - (landmarks[234, 0] + landmarks[454, 0]) / 2
    nod = landmarks[1, 1] - (landmarks[10, 1] + landmarks[152, 1]) / 2
    return (np.append(apart, [nod, turn]) / height / _USUAL).astype(np.float32)


def mirrored(expressions: Expressions) -> Expressions:
    """The measures (N, MEASURES) of faces as a mirror shows them: twins change places, the turn its sign."""
    order = [i ^ 1 if i < _TWINS else i for i in range(MEASURES)]
    return expressions[:, order] * np.where(np.arange(MEASURES) == MEASURES - 1, -1, 1).astype(np.float32)


def centred(expressions: Expressions) -> tuple[Expressions, Expressions]:
    """The measures (N, MEASURES) of one person's faces and of their mirror images, less that person's own average."""
    other = mirrored(expressions)
    mean = (expressions.mean(0) + other.mean(0)) / 2  # how thick someone's lips are is not what they do
    return expressions - mean, other - mean
