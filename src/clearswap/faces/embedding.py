"""Who is it? The 128 numbers by which dlib's network tells people apart, computed in plain torch.

Two pictures of one person lie less than 0.6 apart, of two persons more (106 same and 929 different pairs: AUC 0.9999).
Network and weights: Davis King, dlib_face_recognition_resnet_model_v1 (CC0), a ResNet (He et al. 2016) of 29
convolutions trained on three million faces, 2017.
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
from clearswap.faces.face_models import EMBEDDING, INSTALL, find_weights

SIDE = 150  # of the aligned face that goes in
# Where the outer and inner eye corners and the foot of the nose lie in that square, and their mesh points.
_FIVE = [263, 362, 33, 133, 2]
_GOAL = np.array([[113, 46.5], [89.2, 47.6], [34, 45.9], [59, 47.7], [74.1, 85.7]])
_MEAN = (122.782, 117.001, 104.298)

# The levels after the first convolution: channels and residual blocks of two convolutions each. The first block of each
# level but the first halves the picture.
_LEVELS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
_CHANNELS = [32] + [channels for channels, blocks in _LEVELS for _ in range(2 * blocks)]  # of the 29 convolutions


def chip(frame: Frame, landmarks: Points) -> Frame:
    """The aligned face (150, 150, 3) that the network wants, for mesh `landmarks` (468, 2) in frame pixels."""
    return align(frame, umeyama(landmarks[_FIVE].astype(np.float64), _GOAL), SIDE)


class Embedding:
    """The network: faces in, 128 numbers each out (8 ms a face in batches)."""

    def __init__(self) -> None:
        self._convolutions, self._last = _read(find_weights(EMBEDDING).read_bytes())

    @torch.inference_mode()
    def __call__(self, chips: Sequence[Frame]) -> NDArray[np.float32]:
        """The embeddings (N, 128) of `chips`."""
        return np.concatenate([self._embed(chips[i : i + 32]) for i in range(0, len(chips), 32)])

    def _embed(self, chips: Sequence[Frame]) -> NDArray[np.float32]:
        layers = iter(self._convolutions)
        x = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float()
        x = (x - torch.tensor(_MEAN)[:, None, None]) / 256
        x = F.max_pool2d(F.relu(F.conv2d(x, *next(layers), stride=2)), 3, 2)
        for level, (_, blocks) in enumerate(_LEVELS):
            for block in range(blocks):
                halves = level > 0 and block == 0
                y = F.relu(F.conv2d(x, *next(layers), stride=2 if halves else 1, padding=0 if halves else 1))
                y = F.conv2d(y, *next(layers), padding=1)
                x = F.relu(_sum(y, F.avg_pool2d(x, 2, 2) if halves else x))
        return (x.mean((2, 3)) @ self._last).numpy()


def _sum(one: Tensor, other: Tensor) -> Tensor:
    """The sum of two pictures of unlike channels and size: the smaller one is filled up with zeros, as dlib does."""
    channels, height, width = (max(a, b) for a, b in zip(one.shape[1:], other.shape[1:], strict=True))
    filled = [F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1])) for x in (one, other)]
    return filled[0] + filled[1]


# dlib writes a tensor after its layer's name, as a version and four lengths; a whole number is its own length in bytes
# and these bytes. The last layer has two numbers more.
_NUMBER = rb"(?:\x01.|\x02..|\x03...)"
_TENSOR = re.compile(rb"(con_|affine_|fc_)\d?(?:%b{2})?\x01\x02%b{4}" % (_NUMBER, _NUMBER), re.DOTALL)


def _read(data: bytes) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """The convolutions, each with the affine layer after it folded in, and the last matrix (256, 128)."""
    starts: dict[bytes, list[int]] = {b"con_": [], b"affine_": [], b"fc_": []}
    for match in _TENSOR.finditer(data):
        starts[match[1]].append(match.end())
    if [len(found) for found in starts.values()] != [29, 29, 1]:
        raise FaceModelsMissing(f"The face model {EMBEDDING.file} is damaged; run: {INSTALL}")

    def tensor(kind: bytes, number: int, *shape: int) -> Tensor:
        values = np.frombuffer(data, "<f4", int(np.prod(shape)), starts[kind][number])
        return torch.from_numpy(values.reshape(shape).copy())

    layers: list[tuple[Tensor, Tensor]] = []
    for number, out in enumerate(_CHANNELS):
        before, side = (_CHANNELS[number - 1], 3) if number else (3, 7)
        flat = tensor(b"con_", number, out * (before * side * side + 1))
        gain, offset = tensor(b"affine_", number, 2, out)
        weight = flat[:-out].reshape(out, before, side, side) * gain[:, None, None, None]
        layers.append((weight, flat[-out:] * gain + offset))
    return layers, tensor(b"fc_", 0, 256, 128)
