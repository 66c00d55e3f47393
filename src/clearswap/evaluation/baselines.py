"""What a swap is compared with: a still picture, and the best that could be put there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points, align, face_matrix, zoomed
from clearswap.core.network import PRESETS
from clearswap.core.swap import BlendConfig, Swapper

# Drawn finely, and in colours of its own: what is compared is not held back by a network's size.
_FINE = replace(PRESETS["lite"], size=256, only_face=False)


def average_face(squares: list[tuple[Frame, NDArray[np.float64]]]) -> NDArray[np.uint8]:
    """The mean (256, 256, 3) of pictures, each with the matrix to its `whole_face` square of 256 pixels."""
    total = np.zeros((_FINE.size, _FINE.size, 3))
    for picture, matrix in squares:
        part = zoomed(matrix, _FINE.size, _FINE.size, _FINE.coverage, _FINE.drop)
        total += align(picture, part, _FINE.size)
    return np.round(total / len(squares)).astype(np.uint8)


def pasted(frame: Frame, landmarks: Points, face: NDArray[np.uint8]) -> Frame:
    """`frame` with `face` (256, 256, 3) as its face: a swap that follows nothing but where the head is."""
    drawn = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255
    swapper = Swapper(
        lambda _: drawn, _FINE, torch.device("cpu"), blend=BlendConfig(colour=0.0, sharpen=0.0, grain=0.0)
    )
    return swapper([frame], [[landmarks]])[0]


def ceiling(frame: Frame, landmarks: Points, truth: Frame, true_landmarks: Points) -> Frame:
    """`frame` with the truth's own face of the same moment: all that a perfect network could do."""
    return pasted(frame, landmarks, average_face([(truth, face_matrix(true_landmarks, _FINE.size))]))
