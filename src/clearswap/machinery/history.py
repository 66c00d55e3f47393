"""The history of a training: `history.csv`, one line every half second or so, and when to keep a preview."""

from __future__ import annotations

import csv
from pathlib import Path

from clearswap.machinery.whole import output_errors

FILE = "history.csv"
COLUMNS = ["iteration", "seconds", "loss_a", "loss_b", "images_per_second"]


class History:
    """Collects lines between saves, so that the file never runs ahead of the saved model."""

    def __init__(self, folder: Path, iteration: int) -> None:
        self._path, self._lines, self._kept = folder / FILE, list[list[str]](), float(iteration)

    def add(self, iteration: int, seconds: float, loss_a: float, loss_b: float, speed: float) -> None:
        """Note one report."""
        self._lines.append([str(iteration), f"{seconds:.2f}", f"{loss_a:.6f}", f"{loss_b:.6f}", f"{speed:.1f}"])

    def write(self) -> None:
        """Append what was noted to the file."""
        with output_errors(self._path):
            fresh = not self._path.is_file()
            with self._path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if fresh:
                    writer.writerow(COLUMNS)
                writer.writerows(self._lines)
        self._lines = []

    def keeps(self, iteration: int) -> bool:
        """Whether this preview belongs into the animation: each comes a tenth later than the one before, so that
        even a week of training keeps about a hundred, most of them from the start, when most happens.
        """
        due = iteration >= self._kept * 1.1
        if due:
            self._kept = max(float(iteration), 10.0)
        return due


def read_history(folder: Path) -> list[tuple[int, float, float, float]]:
    """(iteration, seconds, loss of a, loss of b) of each line; empty when there is no history."""
    path = folder / FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(int(r["iteration"]), float(r["seconds"]), float(r["loss_a"]), float(r["loss_b"])) for r in rows]
