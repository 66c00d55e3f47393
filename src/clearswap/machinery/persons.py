"""Who is in a face set: the embeddings of its faces, and whether all are of one person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clearswap.machinery.embedding import Embedding, chip
from clearswap.machinery.faceset import FaceRecord, read_face

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
