"""The landmarks: 468 points on a face, by MediaPipe's face mesh (Kartynnik et al. 2019), run by LiteRT."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from clearswap.core.align import Frame, Matrix, Points, invert, transform
from clearswap.faces import weights

_SIDE = 192  # the network's input
_UNSURE = 0.5  # below this presence the network looks again, at a lighter or darker picture

Roi = tuple[Points, float, float]  # centre (2,), side in frame pixels, roll in radians


class Mesh:
    """The face mesh network: a square of a frame in, 468 landmarks and whether it is a face out (2.2 ms)."""

    def __init__(self, *, threads: int = 1) -> None:
        path = weights.find(weights.FACE_MESH)
        with quiet_stderr():
            self._net: Any = Interpreter(str(path), num_threads=threads)
            self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._net.get_output_details()]

    def __call__(self, frame: Frame, roi: Roi) -> tuple[Points, float]:
        """Landmarks (468, 2) in frame pixels and presence (0..1) of the face inside `roi`."""
        points, _, presence = self.with_depth(frame, roi)
        return points, presence

    def with_depth(self, frame: Frame, roi: Roi) -> tuple[Points, NDArray[np.float32], float]:
        """The same, with each landmark's depth (468,) in frame pixels, smaller where nearer to the camera."""
        matrix = upright(roi, _SIDE)
        square = np.asarray(cv2.warpAffine(frame, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR), np.uint8)
        points, presence = self._run(square)
        if presence < _UNSURE:
            lifted, again = self._run(_lifted(square))
            points, presence = (lifted, again) if again > presence else (points, presence)
        return transform(points[:, :2], invert(matrix)), points[:, 2] * (roi[1] / _SIDE), presence

    def _run(self, square: Frame) -> tuple[NDArray[np.float32], float]:
        """Landmarks (468, 3) in pixels of the network's input, and presence."""
        self._net.set_tensor(self._input, square[None].astype(np.float32) / 255)
        self._net.invoke()
        points = self._net.get_tensor(self._outputs[0]).reshape(468, 3)
        return points, 1 / (1 + float(np.exp(-self._net.get_tensor(self._outputs[1]).item())))


def _lifted(square: Frame) -> Frame:
    """The picture with its mean brought to middle grey by a gamma curve. The network is less sure of dark skin in dim
    light: with this second look a hand over half the face no longer loses the darkest of seven people sooner.
    """
    gamma = np.log(0.5) / np.log(np.clip(square.mean() / 255, 0.02, 0.98))
    curve = np.asarray(255 * (np.arange(256) / 255) ** gamma, np.uint8)
    return np.asarray(cv2.LUT(square, curve), np.uint8)


@contextmanager
def quiet_stderr() -> Generator[None]:
    """Silence LiteRT's remark on its own start ("INFO: Created TensorFlow Lite XNNPACK delegate for CPU."): it
    goes past Python to file descriptor 2, and no setting stops it.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def upright(roi: Roi, size: int) -> Matrix:
    """The matrix that turns `roi` upright into a square of side `size`."""
    centre, side, roll = roi
    turn = size / side * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return np.column_stack([turn, size / 2 - turn @ centre])


def roi_of(landmarks: Points) -> Roi:
    """The square in which the network wants to see a face whose landmarks (468, 2) are about known.

    Upright by the outer eye corners, and 1.5 times as wide as the landmarks' box, as in training of the mesh.
    """
    across = landmarks[263] - landmarks[33]
    roll = float(np.arctan2(across[1], across[0]))
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    upright = landmarks @ turn
    low, high = upright.min(0), upright.max(0)
    return (turn @ ((low + high) / 2)).astype(np.float32), 1.5 * float((high - low).max()), roll
