"""Pictures spoiled on purpose, each in one way: what `evaluate` must see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from makers import Picture, write_clip

Change = Callable[[Picture, Picture, int], Picture]  # a frame, its face's mask (0 or 1), its number


def lossless(path: Path, frames: list[Picture]) -> Path:
    """A clip whose frames come back as they are."""
    height, width = frames[0].shape[:2]
    return write_clip(
        path, len(frames), size=(width, height), codec="ffv1", pix_fmt="bgr0", picture=lambda i, _w, _h: frames[i]
    )


def mixed(frame: Picture, mask: Picture, other: np.ndarray) -> Picture:
    """`frame` with `other` where the mask is 1."""
    return np.where(mask[..., None] > 0, np.clip(np.round(other), 0, 255), frame).astype(np.uint8)


def unchanged(frame: Picture, _mask: Picture, _index: int) -> Picture:
    return frame


def shifted(frame: Picture, _mask: Picture, _index: int) -> Picture:
    return np.roll(frame, (3, -4), (0, 1))


def tinted(frame: Picture, _mask: Picture, _index: int) -> Picture:
    return np.clip(np.round(frame * np.array([0.8, 0.95, 1.05]) + np.array([8, 0, 2])), 0, 255).astype(np.uint8)


def blurred(frame: Picture, mask: Picture, _index: int) -> Picture:
    return mixed(frame, mask, cv2.GaussianBlur(frame, (0, 0), 2.5))


def noised(frame: Picture, mask: Picture, index: int) -> Picture:
    return mixed(frame, mask, frame + 8 * np.random.default_rng(index).standard_normal(frame.shape))


def seamed(frame: Picture, mask: Picture, _index: int) -> Picture:
    """A hard edge: the face a little brighter, as a badly blended swap is."""
    return mixed(frame, mask, frame + 12.0)


def flickering(frame: Picture, mask: Picture, index: int) -> Picture:
    return mixed(frame, mask, frame + (10.0 if index % 2 else -10.0))


def changed_outside(frame: Picture, mask: Picture, _index: int) -> Picture:
    far = cv2.dilate(mask, np.ones((25, 25), np.uint8)) == 0
    return mixed(frame, far.astype(np.uint8), frame * 0.8)
