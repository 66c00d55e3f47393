"""Who is in a face set: the embeddings of its faces, and whether all are of one person.

Who of the people in a clip is replaced: the person that the model was trained on, everybody, or the largest face.

Whose face it is, the distance of embeddings says (`faces/embedding.py`). One look may err, on a profile or a hand;
so a track is decided as a whole, by its median, once for all its frames. Only where faces cross may a track change over
from one person to another: then the looks of all after the change say so, and each part is decided by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Points
from clearswap.core.network import Side
from clearswap.faces.embedding import Embedding, chip
from clearswap.faces.faceset import FaceRecord, read_face
from clearswap.faces.tracks import Track, Tracks

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


@dataclass(frozen=True)
class Role:
    """A face to put in: that of person `to` of `model`, in the place of that model's other person."""

    model: Path
    to: Side


@dataclass(frozen=True)
class Stretch:
    """A part of a track that shows one person."""

    first: int
    last: int
    distance: float


class Choice:
    """Says of each frame which of its tracks are replaced, for one of the persons looked for."""

    def __init__(self, tracks: Tracks, faces: WhichFaces, person: int = 0) -> None:
        self._faces: WhichFaces = faces
        self.stretches = {track.number: stretches(track, person) for track in tracks.tracks}

    def __call__(self, frame: int, found: Mapping[int, Points]) -> list[int]:
        """The tracks to replace among those `found` in a frame, with their landmarks (468, 2)."""
        return pick(found, {number: self.distance(number, frame) for number in found}, self._faces)

    def distance(self, number: int, frame: int) -> float:
        """How far a track's person is from the one looked for in a frame."""
        own = self.stretches[number]
        return next((s.distance for s in own if frame <= s.last), own[-1].distance)

    @property
    def nearest(self) -> float:
        """How near anybody in the clip comes to the person looked for."""
        return min((part.distance for own in self.stretches.values() for part in own), default=float("inf"))


def chosen_by(choices: Sequence[Choice], frame: int, found: Mapping[int, Points]) -> list[list[int]]:
    """The tracks to replace in a frame for each choice; a face that two choose goes to the nearer person."""
    chosen = [choice(frame, found) for choice in choices]
    rivals = list(zip(choices, chosen, strict=True))
    return [
        [n for n in own if all(mine.distance(n, frame) <= c.distance(n, frame) for c, other in rivals if n in other)]
        for mine, own in rivals
    ]


def pick(found: Mapping[int, Points], near: Mapping[int, float], faces: WhichFaces) -> list[int]:
    """Which of the faces `found` in a frame, landmarks (468, 2), are replaced; `near`: how far each is from the person.

    A person is in a frame once at most, so no more than one face matches.
    """
    if faces == "all":
        return list(found)
    if faces == "largest":
        return sorted(found, key=lambda number: _size(found[number]))[-1:]
    return sorted((number for number in found if near[number] < STRANGE), key=lambda number: near[number])[:1]


def stretches(track: Track, person: int = 0) -> list[Stretch]:
    """The parts of a track that show `person`, and that do not: nearly always the whole."""
    if not track.looks:
        return [Stretch(track.first, track.last, float("inf"))]
    frames, distances = [at for at, _ in track.looks], np.array([far[person] for _, far in track.looks])
    last = len(distances) - 1
    reach = [min(_LOOKS // 2, i, last - i) for i in range(last + 1)]  # no further to one side than to the other
    same = [bool(np.median(distances[i - r : i + r + 1]) < STRANGE) for i, r in enumerate(reach)]
    if last > 0:  # the first and last look stand alone, and one look may err
        same[0], same[last] = same[1], same[last - 1]
    parts: list[Stretch] = []
    for _, group in groupby(range(len(frames)), key=lambda i: same[i]):
        run = list(group)
        first = frames[run[0]] if parts else track.first
        if parts:  # the one before lasts until here
            parts[-1] = Stretch(parts[-1].first, first - 1, parts[-1].distance)
        parts.append(Stretch(first, track.last, float(np.median(distances[run]))))
    return parts


def _size(landmarks: Points) -> float:
    return float((landmarks.max(0) - landmarks.min(0)).max())
