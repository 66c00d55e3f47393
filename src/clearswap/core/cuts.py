"""Cuts: where a clip goes over to another shot from one frame to the next."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame

# A cut changes the picture by so much (of 255), and by so many times what it changed lately. In six clips of people who
# talk and turn, frames differ from the one before by 4.9 at most; a lamp swung past a face makes 12.6, 3.1 times as
# much as lately.
_LEAST, _TIMES = 10.0, 5.0
_LATELY = 12  # frames


class Cuts:
    """Watches the frames of one clip."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._lately: deque[float] = deque(maxlen=_LATELY)

    def __call__(self, picture: Frame) -> bool:
        """Whether the next frame of the clip belongs to another shot than the one before."""
        small = shrunk(picture)
        change = 0.0 if self._last is None else float(np.abs(small - self._last).mean())
        self._last = small
        usual = float(np.median(self._lately)) if self._lately else 0.0
        if change > max(_LEAST, _TIMES * usual):
            self._lately.clear()
            return True
        self._lately.append(change)
        return False


def shrunk(picture: Frame) -> NDArray[np.float32]:
    """A picture in 16x16 pixels: what is left when nothing in it can be recognised."""
    step = max(1, min(picture.shape[:2]) // 128)  # every so many pixels are enough: 0.1 ms a 720p frame, not 1.5
    thinned = np.ascontiguousarray(picture[::step, ::step])
    return np.asarray(cv2.resize(thinned, (16, 16), interpolation=cv2.INTER_AREA), np.float32)
