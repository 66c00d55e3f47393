"""Who is who: which faces of a clip are replaced, and whether all faces of a set show one person.

The distance of embeddings (`faces/embedding.py`) says whose face it is. One look may err, on a profile or a hand, so
a track is decided as a whole, by its median, once for all its frames. Only where faces cross may a track change over
from one person to another. Then all looks after the change say so, and each part is decided by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clearswap.core.network import Side
from clearswap.faces.embedding import Embedding, chip
from clearswap.faces.faceset import FaceRecord, read_face
from clearswap.faces.tracks import Faces

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
