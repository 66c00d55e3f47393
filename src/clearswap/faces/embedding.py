"""Who is it? The 128 numbers by which dlib's network tells people apart, computed in plain torch.

Two pictures of one person lie less than 0.6 apart, of two persons more (106 same and 929 different pairs: AUC
0.9999). Network and weights: Davis King, dlib_face_recognition_resnet_model_v1 (CC0), a ResNet of 29 convolutions
trained on three million faces, 2017. The file is dlib's own: tensors behind the names of their layers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clearswap.core.align import Frame, Points, align, umeyama
from clearswap.errors import FaceModelsMissing
from clearswap.faces import weights

SIDE = 150  # of the aligned face that goes in
# Where the outer and inner eye corners and the foot of the nose lie in that square, and their mesh points.
_FIVE = (263, 362, 33, 133, 2)
_GOAL = np.array([[113, 46.5], [89.2, 47.6], [34, 45.9], [59, 47.7], [74.1, 85.7]])
_MEAN = (122.782, 117.001, 104.298)
# The residual blocks after the first convolution; True halves the picture.
_BLOCKS = (False, False, False, True, False, False, False, True, False, False, True, False, False, True)


def chip(frame: Frame, landmarks: Points) -> Frame:
    """The aligned face (150, 150, 3) that the network wants, for mesh `landmarks` (468, 2) in frame pixels."""
    return align(frame, umeyama(landmarks[list(_FIVE)].astype(np.float64), _GOAL), SIDE)


class Embedding:
    """The network: faces in, 128 numbers each out (8 ms a face in batches)."""

    def __init__(self) -> None:
        self._convolutions, self._last = _read(weights.find(weights.EMBEDDING).read_bytes())

    @torch.inference_mode()
    def __call__(self, chips: Sequence[Frame]) -> NDArray[np.float32]:
        """The embeddings (N, 128) of `chips`."""
        return np.concatenate([self._embed(chips[i : i + 32]) for i in range(0, len(chips), 32)])

    def _embed(self, chips: Sequence[Frame]) -> NDArray[np.float32]:
        x = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float()
        x = (x - torch.tensor(_MEAN)[:, None, None]) / 256
        x = F.max_pool2d(F.relu(self._convolve(x, 0, stride=2)), 3, 2)
        for number, halves in enumerate(_BLOCKS):
            y = F.relu(self._convolve(x, 2 * number + 1, stride=1 + halves))
            y = self._convolve(y, 2 * number + 2, stride=1)
            x = F.relu(_sum(y, F.avg_pool2d(x, 2, 2) if halves else x))
        return (x.mean((2, 3)) @ self._last).numpy()

    def _convolve(self, x: Tensor, number: int, *, stride: int) -> Tensor:
        weight, bias = self._convolutions[number]
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2 if stride == 1 else 0)


def _sum(one: Tensor, other: Tensor) -> Tensor:
    """The sum of two pictures of unlike channels and size: the smaller one is filled up with zeros, as dlib does."""
    channels, height, width = (max(a, b) for a, b in zip(one.shape[1:], other.shape[1:], strict=True))
    filled = [F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1])) for x in (one, other)]
    return filled[0] + filled[1]


def _read(data: bytes) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """The convolutions, each with the affine layer after it folded in, and the last matrix (256, 128).

    The file holds the layers in a form of dlib's own; each tensor stands behind its layer's name ("con_5", "affine_",
    "fc_2"), the first layer first.
    """
    found: dict[str, list[NDArray[np.float32]]] = {"con": [], "aff": [], "fc_": []}
    for match in re.finditer(rb"\x01[\x03-\x09](con_\d|affine_|fc_\d?)", data):
        kind, at = match[1][:3].decode(), match.end()
        if kind == "fc_":  # two counts stand before its tensor
            _, at = _number(data, at)
            _, at = _number(data, at)
        found[kind].append(_tensor(data, at))
    if [len(found[kind]) for kind in ("con", "aff", "fc_")] != [29, 29, 1]:
        raise FaceModelsMissing(f"The face model {weights.EMBEDDING.file} is damaged; run: {weights.INSTALL}")
    layers: list[tuple[Tensor, Tensor]] = []
    width = 3
    for number, (convolution, affine) in enumerate(zip(found["con"], found["aff"], strict=True)):
        flat, pair = convolution.ravel(), affine.ravel()
        out, side = len(pair) // 2, 3 if number else 7
        before = (len(flat) - out) // (out * side * side)
        weight, bias = np.split(flat, [out * before * side * side])
        gain, offset = np.split(pair, 2)
        folded = weight.reshape(out, before, side, side) * gain[:, None, None, None]
        layers.append((torch.from_numpy(folded), torch.from_numpy(bias * gain + offset)))
        width = out
    last = found["fc_"][0]
    return layers, torch.from_numpy(last.reshape(width, -1))


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A whole number as dlib writes it (a byte of length and sign, then little-endian bytes), and where it ends."""
    length = data[at] & 0x0F
    value = int.from_bytes(data[at + 1 : at + 1 + length], "little")
    return (-value if data[at] & 0x80 else value), at + 1 + length


def _tensor(data: bytes, at: int) -> NDArray[np.float32]:
    version, at = _number(data, at)
    if version != 2:
        raise FaceModelsMissing(f"The face model {weights.EMBEDDING.file} is damaged; run: {weights.INSTALL}")
    shape: list[int] = []
    for _ in range(4):
        length, at = _number(data, at)
        shape.append(length)
    return np.frombuffer(data, "<f4", int(np.prod(shape)), at).reshape(shape).copy()
