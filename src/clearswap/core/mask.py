"""The mask: which pixels of the aligned square are replaced (1) and which stay (0).

The face area is the convex hull of the landmarks. Its edge is feathered *inwards*: the mask is 1 well inside the hull
and reaches 0 on it, so that nothing outside the face is touched and no edge shows. A network's own mask, which leaves
out hands and microphones, is multiplied with it (`swap.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clearswap.core.align import Frame, Points

Ramp = TypeVar("Ramp", Tensor, NDArray[np.float32])


@dataclass(frozen=True)
class MaskConfig:
    """How the face area is cut out.

    Attributes:
        shrink: How far the replaced area is pulled in from the face's outline, as a share of the square's side.
        feather: Width of the replaced area's soft edge, inside the outline, as a share of the square's side.
        learned: Leave hands, and whatever else the network takes for something before the face, in front.
    """

    shrink: float = 0.01
    feather: float = 0.08
    learned: bool = True


def hull(landmarks: Points, height: int, width: int | None = None) -> NDArray[np.uint8]:
    """The filled convex hull of `landmarks` (N, 2), given in pixels: (height, width), square by default, 0 or 255."""
    area = np.zeros((height, width or height), np.uint8)
    cv2.fillConvexPoly(area, cv2.convexHull(np.round(landmarks).astype(np.int32)), 255)
    return area


def only_face(face: Frame, landmarks: Points) -> Frame:
    """An aligned face (S, S, 3) whose surroundings are painted over with its own mean colour.

    What a network does not see it cannot mistake for the person: with hair and background in view, the encoder
    soon tells the two persons apart by them, and one person's decoder gets latents that it was never taught.
    And what it never has to draw does not show at the edge of a swap.
    """
    area = hull(landmarks, len(face))
    colour = np.array(cv2.mean(face, area)[:3], np.float32)
    soft = cv2.GaussianBlur(area, (0, 0), 0.01 * len(face)).astype(np.float32)[..., None] / 255
    return np.round(colour + soft * (face - colour)).astype(np.uint8)


def face_mask(landmarks: Points, size: int, config: MaskConfig) -> NDArray[np.float32]:
    """The feathered mask (size, size), 0..1, of the face whose `landmarks` are in pixels of the square."""
    area = hull(landmarks, size)
    area[[0, -1]] = 0  # a hull that leaves the square must still fade out inside it
    area[:, [0, -1]] = 0
    depth = cv2.distanceTransform(area, cv2.DIST_L2, cv2.DIST_MASK_5) / size  # how far inside the hull a pixel lies
    ramp = np.clip((depth - config.shrink) / max(config.feather, 1e-6), 0, 1)
    return smoothstep(ramp.astype(np.float32))


def decided(mask: Tensor) -> Tensor:
    """A learned mask (B, 1, S, S) in 0..1, made surer of itself: nearly face is face, and edges are narrow."""
    return smoothstep(((mask - 0.3) / 0.4).clamp(0, 1))


def smoothstep(ramp: Ramp) -> Ramp:
    """A ramp (0..1) that begins and ends with no slope: a linear one shows as two faint lines where it does."""
    return ramp * ramp * (3 - 2 * ramp)
