"""Say how near the cast, of which bases are made, comes to real people.

    python tools/cast_check.py FACES...     # face sets of real people

Nobody of the cast was modelled on anybody, but chance could make one look like somebody. Each person is the median
embedding of some faces; two clips of one person lie less than `SAME` apart (`faces/selection.py`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pretrain import CAST, find_landmarks, rendered

from clearswap.faces.face_models import Landmarker
from clearswap.faces.faceset import read_index, spread
from clearswap.faces.selection import SAME, Embedding, average, chip, embeddings
from clearswap.media.files import read_picture

_FACES = 12  # of each person


def cast_member(folder: Path, landmarker: Landmarker, embedding: Embedding) -> NDArray[np.float32]:
    """The embedding (128,) of a person of the cast, from the faces that look ahead most."""
    yaw = np.load(folder / "labels.npz", allow_pickle=False)["pose"][:, 0]
    chips: list[NDArray[np.uint8]] = []
    for number in np.argsort(np.abs(yaw))[:_FACES]:
        picture = read_picture(folder / f"{number:02d}.jpg")
        chips.append(chip(picture, find_landmarks(landmarker, picture)[0]))
    return average(embedding(chips))


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", nargs="+", type=Path)
    parser.add_argument("--cast", type=Path, default=CAST)
    given = parser.parse_args()
    landmarker, embedding = Landmarker(), Embedding()
    people = rendered(given.cast)
    seeds, cast = list(people), np.stack([cast_member(path, landmarker, embedding) for path in people.values()])
    apart = np.linalg.norm(cast[:, None] - cast, axis=-1) + 9 * np.eye(len(cast))
    print(f"{len(cast)} people of the cast; nearest to each other: {apart.min():.2f}, one person: below {SAME:.2f}")
    for faces in given.faces:
        records = spread(read_index(faces, at_least=1), _FACES)
        distances = np.linalg.norm(cast - average(embeddings(faces, records, embedding)), axis=1)
        nearest = ", ".join(f"{seeds[i]} ({distances[i]:.2f})" for i in np.argsort(distances)[:3])
        print(f"{faces}: nearest are the people of seeds {nearest}")


if __name__ == "__main__":
    main()
