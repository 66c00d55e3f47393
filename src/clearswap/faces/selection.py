"""Who is it? The 128 numbers by which dlib's network tells people apart, computed in plain torch.

Two pictures of one person lie less than 0.6 apart, of two persons more (106 same and 929 different pairs: AUC 0.9999).
Network and weights: Davis King, dlib_face_recognition_resnet_model_v1 (CC0), a ResNet (He et al. 2016) of 29
convolutions trained on three million faces, 2017.

Who is who: which faces of a clip are replaced, and whether all faces of a set show one person.

The distance of embeddings (`faces/selection.py`) says whose face it is. One look may err, on a profile or a hand, so
a track is decided as a whole, by its median, once for all its frames. Only where faces cross may a track change over
from one person to another. Then all looks after the change say so, and each part is decided by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clearswap.checks import check_fields
from clearswap.core.align import Frame, Points, align, umeyama
from clearswap.core.network import Side
from clearswap.errors import FaceModelsMissing
from clearswap.faces.face_models import EMBEDDING, INSTALL, find_weights
from clearswap.faces.faceset import FaceRecord, read_face
from clearswap.faces.tracker import Faces

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
    """The aligned face (150, 150, 3) that the network wants, for mesh `landmarks` (478, 2) in frame pixels."""
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


# Averages of one person lie nearer than this, of two persons further apart. Measured: two clips of one man 0.28, halves
# of one clip at most 0.32; five real persons at least 0.59, four synthetic ones at least 0.41.
SAME = 0.36
# A face further than this from the average of its set is somebody else's. Measured: a clip's own at most 0.50.
STRANGE = 0.56


def embeddings(folder: Path, records: list[FaceRecord], embedding: Embedding) -> NDArray[np.float32]:
    """The embeddings (N, 128) of faces of a set. Raises `FacesetError`."""
    return embedding([chip(read_face(folder, record), record.aligned_landmarks()) for record in records])


def average(found: NDArray[np.float32]) -> NDArray[np.float32]:
    """The person (128,) that most of the faces `found` (N, 128) show: a few strangers do not move the median."""
    return np.asarray(np.median(found, 0), np.float32)


def strangers(found: NDArray[np.float32]) -> list[int]:
    """Which of the faces are of somebody else."""
    return np.flatnonzero(np.linalg.norm(found - average(found), axis=1) > STRANGE).tolist()


_LOOKS = 5  # in a row whose median says that a track goes on as another person

WhichFaces: TypeAlias = Literal["match", "largest", "all"]


@dataclass(frozen=True)
class SelectConfig:
    """Which faces are replaced.

    Attributes:
        faces: "match" replaces the one person that the model knows (that of the other side's face set), wherever they
            are; "largest" the largest face of each frame, whoever it is; "all" every face.
        like: A picture of the person to match instead; the largest face in it counts.
    """

    faces: WhichFaces = "match"
    like: Path | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Role:
    """A face to put in: that of person `to` of `model`, in the place of that model's other person."""

    model: Path
    to: Side

    def __post_init__(self) -> None:
        check_fields(self)


def choose(faces: Faces, which: WhichFaces) -> NDArray[np.int64]:
    """For each of the N faces of a clip, the number of the role that replaces it; -1 where it stays.

    A person is in a frame once at most, so a role replaces one face a frame, the nearest to its person. A face that
    two roles want goes to the nearer person. "largest" and "all" know one role only.
    """
    if which == "all":
        return np.zeros(len(faces), np.int64)
    if which == "largest":
        return np.where(_least_of_frame(faces, -faces.size), 0, -1)
    distances = person_distances(faces)
    wanted = np.full_like(distances, np.inf)
    for role, far in enumerate(distances.T):
        mine = (far < STRANGE) & _least_of_frame(faces, far)
        wanted[mine, role] = far[mine]
    return np.where(np.isfinite(wanted).any(1), wanted.argmin(1), -1)


def _least_of_frame(faces: Faces, cost: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each face (N,) is the one of least cost in its frame."""
    order = np.lexsort((cost, faces.frame))
    least = np.zeros(len(faces), np.bool_)
    least[order[np.unique(faces.frame[order], return_index=True)[1]]] = True
    return least


def person_distances(faces: Faces) -> NDArray[np.float32]:
    """How far (N, P) the person of each face is from each person looked for; infinite where nobody looked."""
    distances = np.full_like(faces.looks, np.inf)
    for person, looks in enumerate(faces.looks.T):
        for track in np.unique(faces.track).tolist():
            rows = np.flatnonzero(faces.track == track)
            looked = rows[~np.isnan(looks[rows])]
            if len(looked):
                parts = stretches(faces.frame[looked], looks[looked])
                starts = [start for start, _ in parts[1:]]
                which = np.searchsorted(starts, faces.frame[rows], side="right")
                distances[rows, person] = np.array([far for _, far in parts])[which]
    return distances


def stretches(frames: NDArray[np.int64], distances: NDArray[np.float32]) -> list[tuple[int, float]]:
    """The parts of a track that show one person: the frame in which each begins, and its median distance to the person.

    `frames`, `distances`: (L,), in which frames the track was looked at, and how far it was from the person then.
    Nearly always there is only one part.
    """
    last = len(distances) - 1
    reach = [min(_LOOKS // 2, i, last - i) for i in range(last + 1)]  # no further to one side than to the other
    same = [bool(np.median(distances[i - r : i + r + 1]) < STRANGE) for i, r in enumerate(reach)]
    if last > 0:  # the first and last look stand alone, and one look may err
        same[0] = same[1]
        same[last] = same[last - 1]
    runs = [list(run) for _, run in groupby(range(len(frames)), key=lambda i: same[i])]
    return [(int(frames[run[0]]), float(np.median(distances[run]))) for run in runs]
