"""Snapshots: earlier states of a model to go back to, in the folder `snapshots` beside it.

Every half hour of training (`TrainConfig.snapshot_minutes`) one is kept, `00012300.safetensors` after 12,300
iterations, the latest four of them, and always `best.safetensors`, the one with the least held-out error. A snapshot
is a second name for the file that was just saved (a hard link), which costs no time and, until the model is saved
again, no room.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from clearswap.errors import ModelError
from clearswap.machinery.checkpoint import FILE
from clearswap.machinery.whole import output_errors, whole_file

FOLDER = "snapshots"
BEST = "best"
_KEPT = 4


def keep(folder: Path, name: int | str) -> None:
    """Keep the saved model in `folder` under the number of its iterations, or as `BEST`. Raises `OutputError`."""
    place = folder / FOLDER / _file(name)
    with output_errors(place):
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            os.link(folder / FILE, place)
        except OSError:  # a file system without links
            with whole_file(place) as partial:
                shutil.copyfile(folder / FILE, partial)
        for old in numbered(folder)[:-_KEPT]:
            (folder / FOLDER / _file(old)).unlink()


def numbered(folder: Path) -> list[int]:
    """The iterations of which there are snapshots, the earliest first."""
    return sorted(int(path.stem) for path in (folder / FOLDER).glob("*.safetensors") if path.stem.isdigit())


def go_back(folder: Path, name: int | str) -> None:
    """Make a snapshot the model again. Raises `ModelError` when there is no such snapshot, and `OutputError`."""
    place = folder / FOLDER / _file(name)
    if not place.is_file():
        best = [BEST] if (folder / FOLDER / _file(BEST)).is_file() else []
        there = ", ".join([*best, *map(str, numbered(folder))])
        raise ModelError(f"{folder} has no snapshot {name}; " + (f"there are: {there}." if there else "it has none."))
    with whole_file(folder / FILE) as partial:
        shutil.copyfile(place, partial)


def _file(name: int | str) -> str:
    return f"{name:08d}.safetensors" if isinstance(name, int) else f"{name}.safetensors"
