"""Snapshots: earlier states of a model to go back to, in the folder `snapshots` beside it.

Every half hour of training (`TrainConfig.snapshot_minutes`) one is kept, `00012300.safetensors` after 12,300
iterations, the latest four of them, and always `best.safetensors`, the one with the least held-out error. Each is as
large as the model: 17 MB for `lite`, 1.3 GB for `classic`. A snapshot is a second name for the file that was just saved
(a hard link), which takes no time; the next save makes a new file and leaves the snapshot alone.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from clearswap.errors import ModelError
from clearswap.machinery.checkpoint import FILE, read_about, read_about_file
from clearswap.machinery.whole import output_errors, partial_of, whole_file

FOLDER = "snapshots"
BEST = "best"
_KEPT = 4


def keep(folder: Path, name: int | str) -> None:
    """Keep the saved model in `folder` under the number of its iterations, or as `BEST`. Raises `OutputError`."""
    place = folder / FOLDER / _file(name)
    with output_errors(place):
        place.parent.mkdir(exist_ok=True)
        beside = partial_of(place)
        beside.unlink(missing_ok=True)
        try:
            os.link(folder / FILE, beside)
        except OSError:  # a file system without links
            shutil.copyfile(folder / FILE, beside)
        beside.replace(place)
        beside.unlink(missing_ok=True)  # renaming a file over itself does nothing
        latest = sorted(numbered(folder), key=lambda number: (folder / FOLDER / _file(number)).stat().st_mtime_ns)
        for old in latest[:-_KEPT]:
            (folder / FOLDER / _file(old)).unlink()


def numbered(folder: Path) -> list[int]:
    """The iterations of which there are snapshots, in order."""
    return sorted(int(path.stem) for path in (folder / FOLDER).glob("[0-9]*.safetensors") if path.stem.isdigit())


def best_error(folder: Path) -> float:
    """The held-out error of the best snapshot; infinite when there is none that can be read."""
    place = folder / FOLDER / _file(BEST)
    try:
        held = read_about_file(place)[1].held if place.is_file() else None
    except ModelError:
        held = None
    return math.inf if held is None else held


def go_back(folder: Path, name: int | str) -> int:
    """Make a snapshot the model again, and keep what was the model as a snapshot; returns the latter's iterations.

    Raises `ModelError` when there is no such snapshot, and `OutputError`.
    """
    place = folder / FOLDER / _file(name)
    if not place.is_file():
        best = [BEST] if (folder / FOLDER / _file(BEST)).is_file() else []
        there = ", ".join([*best, *map(str, numbered(folder))])
        raise ModelError(f"{folder} has no snapshot {name}; " + (f"there are: {there}." if there else "it has none."))
    left = read_about(folder)[1].iteration
    with whole_file(folder / FILE) as partial:
        shutil.copyfile(place, partial)  # read before `keep` may drop it
        keep(folder, left)
    return left


def _file(name: int | str) -> str:
    return f"{name:08d}.safetensors" if isinstance(name, int) else f"{name}.safetensors"
