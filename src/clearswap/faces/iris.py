"""The eyes: iris and eyelids of each, by MediaPipe's iris network (Ablavatski et al. 2020), run by LiteRT."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from clearswap.core.align import Frame, Points, invert, transform
from clearswap.faces import weights
from clearswap.faces.landmarks import quiet_stderr, upright

_SIDE = 64  # the network's input
_ROOM = 2.3  # the square is so many times as wide as the eye, as in training
_EYES = ((33, 133, False), (362, 263, True))  # corners in the mesh; the network knows the eye on the picture's left


class Iris:
    """The iris network: a frame and a face's landmarks in, the middles of both irises out (1.4 ms)."""

    def __init__(self) -> None:
        with quiet_stderr():
            self._net: Any = Interpreter(str(weights.find(weights.IRIS)), num_threads=1)
            self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        outputs = {int(d["shape"][-1]): d["index"] for d in self._net.get_output_details()}
        self._iris, self._contour = outputs[15], outputs[213]

    def __call__(self, frame: Frame, landmarks: Points) -> tuple[Points, Points]:
        """The iris middles (2, 2) and the eyelids (2, 2, 7, 2), first of the eye on the left of the picture: seven
        points of the lower lid and the seven of the upper one above them, in frame pixels.
        """
        eyes = [self._eye(frame, landmarks[[one, other]], mirrored) for one, other, mirrored in _EYES]
        return np.stack([eye[0] for eye in eyes]), np.stack([eye[1:].reshape(2, 7, 2) for eye in eyes])

    def _eye(self, frame: Frame, corners: Points, mirrored: bool) -> Points:
        """Iris, lower lid and upper lid: (15, 2)."""
        along = corners[1] - corners[0]
        side = max(_ROOM * float(np.linalg.norm(along)), 1e-3)
        matrix = upright((corners.mean(0), side, float(np.arctan2(along[1], along[0]))), _SIDE)
        if mirrored:
            matrix[0] = [0, 0, _SIDE] - matrix[0]
        square = cv2.warpAffine(frame, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self._net.set_tensor(self._input, square[None].astype(np.float32) / 255)
        self._net.invoke()
        iris = self._net.get_tensor(self._iris).reshape(5, 3)[:1, :2]
        lids = self._net.get_tensor(self._contour).reshape(71, 3)[[*range(1, 8), *range(9, 16)], :2]
        return transform(np.concatenate([iris, lids]), invert(matrix))
