"""The history of a training: `history.csv`, one line every half second or so, and when to keep a preview."""

from __future__ import annotations

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from clearswap.machinery.whole import output_errors, whole_file

FILE = "history.csv"


@dataclass(frozen=True)
class Moment:
    """One line of the history. Losses are those of training; the held-out errors are measured less often."""

    iteration: int
    seconds: float
    images_per_second: float
    loss_a: float
    loss_b: float
    held_a: float | None = None
    held_b: float | None = None

    @property
    def held(self) -> float | None:
        """The held-out error of both persons."""
        return None if self.held_a is None or self.held_b is None else (self.held_a + self.held_b) / 2


COLUMNS = [field.name for field in fields(Moment)]


class History:
    """Collects lines between saves, so that the file never runs ahead of the saved model."""

    def __init__(self, folder: Path, iteration: int) -> None:
        self._path, self._new, self._kept = folder / FILE, list[Moment](), float(iteration)
        known = read_history(folder)
        kept = [moment for moment in known if moment.iteration <= iteration]
        if len(kept) < len(known):  # the model went back to an earlier state
            self._rewrite(kept)
        self._held = [moment for moment in kept if moment.held is not None]

    def add(self, moment: Moment) -> None:
        """Note one report."""
        self._new.append(moment)
        if moment.held is not None:
            self._held.append(moment)

    def held_out(self) -> tuple[list[float], list[float]]:
        """The curve so far: seconds of training, and the held-out errors at them."""
        return [m.seconds for m in self._held], [m.held for m in self._held if m.held is not None]

    def forget_after(self, iteration: int) -> None:
        """Drop what was noted, but not written yet, of later iterations."""
        self._new = [moment for moment in self._new if moment.iteration <= iteration]
        self._held = [moment for moment in self._held if moment.iteration <= iteration]

    def write(self) -> None:
        """Append what was noted to the file."""
        with output_errors(self._path):
            fresh = not self._path.is_file()
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(([COLUMNS] if fresh else []) + [_row(moment) for moment in self._new])
        self._new = []

    def _rewrite(self, moments: list[Moment]) -> None:
        with whole_file(self._path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS] + [_row(moment) for moment in moments])

    def keeps(self, iteration: int) -> bool:
        """Whether this preview belongs into the animation: each comes a tenth later than the one before, so that
        even a week of training keeps about a hundred, most of them from the start, when most happens.
        """
        due = iteration >= self._kept * 1.1
        if due:
            self._kept = max(float(iteration), 10.0)
        return due


def _row(moment: Moment) -> list[str]:
    return [_short(value) for value in astuple(moment)]


def _short(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"


def read_history(folder: Path) -> list[Moment]:
    """Every line; empty when there is no history."""
    path = folder / FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Moment(
            int(row["iteration"]),
            *(float(row[name]) for name in COLUMNS[1:5]),
            *(float(row[name]) if row[name] else None for name in COLUMNS[5:]),
        )
        for row in rows
    ]
