"""What a training shows of itself: `history.csv`, previews of what the model can do by now, and progress.

A log that cannot be written, on a full disk for example, stops no training: it is said once. (The model itself is saved
by `training/checkpoint.py`, which does stop.)
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import msgspec
import numpy as np
import torch
from torch import Tensor

from clearswap.checks import Amount, Count
from clearswap.core.align import Frame
from clearswap.core.network import Side, SwapNet
from clearswap.errors import OutputError
from clearswap.media.files import atomic_file, encode_picture, output_errors
from clearswap.progress import OnProgress, Progress, silent
from clearswap.training.dataset import HeldOut, minutes_without_gain

HISTORY_FILE = "history.csv"
PREVIEW = "preview.jpg"
PREVIEWS = "history"
_FACES = 4  # of each person in a preview


@dataclass(frozen=True)
class LogRow:
    """One line of the history. Losses are those of training; the held-out errors are measured less often."""

    iteration: Count
    seconds: Amount
    images_per_second: Amount
    loss_a: Amount
    loss_b: Amount
    held_a: Amount | None = None
    held_b: Amount | None = None

    @property
    def held(self) -> float | None:
        """The held-out error, the mean of both persons."""
        return None if self.held_a is None or self.held_b is None else (self.held_a + self.held_b) / 2


COLUMNS = [field.name for field in fields(LogRow)]


def read_history(folder: Path) -> list[LogRow]:
    """Every line of a model's history; empty when it has none.

    A line that is none is passed over: one of a run that was killed or whose disk was full while it wrote.
    """
    path = folder / HISTORY_FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [row for line in lines if (row := _row(line)) is not None]


def _row(line: str) -> LogRow | None:
    """A line of the history; None for the heading, and for what is no line."""
    cells: list[str] = line.split(",")
    try:
        values = dict(zip(COLUMNS, [float(cell) if cell else None for cell in cells], strict=True))
        iteration = int(cells[0])
        row: LogRow = msgspec.convert(values | {"iteration": iteration}, LogRow)
    except (ValueError, msgspec.ValidationError):
        return None
    return row


class TrainingLog:
    """History, previews and progress of one run, from where the model stands.

    Rows are collected between saves, so that the history never runs ahead of the saved model.
    """

    def __init__(
        self,
        folder: Path,
        iteration: int,
        on_progress: OnProgress = silent,
        *,
        iterations: int | None = None,
        minutes: float | None = None,
    ) -> None:
        """Drop what an earlier run logged past `iteration`. Training is to end after `iterations` or `minutes`."""
        self.folder, self.on_progress = folder, on_progress
        self.iterations, self.minutes = iterations, minutes
        self.flat_minutes: float | None = None  # how long the held-out error has no longer fallen
        self._said_trouble = False
        path, kept = folder / HISTORY_FILE, [row for row in read_history(folder) if row.iteration <= iteration]
        with self._tolerated():
            if path.is_file() and path.read_bytes() != _lines(kept, heading=True):
                with atomic_file(path) as partial:
                    partial.write_bytes(_lines(kept, heading=True))
        for path in (folder / PREVIEWS).glob("*.jpg"):
            if path.stem.isdecimal() and int(path.stem) > iteration:
                path.unlink()
        self._new: list[LogRow] = []
        self._measured = [row for row in kept if row.held is not None]
        self._held: dict[str, float] = {}  # as last measured in this run
        self._last_preview = float(iteration)

    def note(self, text: str) -> None:
        """Say a line worth keeping on the screen."""
        self.on_progress(Progress("train", note=text))

    def report(self, row: LogRow) -> None:
        """Take a row into the history and report it; say so when the held-out error has flattened."""
        self._new.append(row)
        if row.held_a is not None and row.held_b is not None:
            self._held = {"held-out a": row.held_a, "held-out b": row.held_b}
        values = {"iteration": float(row.iteration), **self._held, "images/s": row.images_per_second}
        if self.minutes is not None and not self.iterations:
            self.on_progress(Progress("train", row.seconds, 60 * self.minutes, "seconds", values))
        else:
            self.on_progress(Progress("train", row.iteration, self.iterations or None, "iterations", values))
        if row.held is not None:
            self._measured.append(row)
            self._notice_flat(row.held)

    def _notice_flat(self, error: float) -> None:
        before = self.flat_minutes
        seconds = [row.seconds for row in self._measured]
        self.flat_minutes = minutes_without_gain(seconds, [row.held for row in self._measured if row.held is not None])
        if self.flat_minutes is not None and before is None:
            self.note(
                f"no gain over the last {self.flat_minutes:.0f} minutes (held-out error {error:.4f}); "
                "more footage or a larger preset would help more than more time"
            )

    def write(self) -> None:
        """Append the new rows to the file, all or none."""
        with self._tolerated(), output_errors(self.folder / HISTORY_FILE):
            _append(self.folder / HISTORY_FILE, self._new)
            self._new = []

    def show(self, preview: Frame, iteration: int) -> None:
        """Replace the preview, (H, W, 3) bytes; now and then a copy is kept for the animation."""
        with self._tolerated():
            write_preview(self.folder, preview, iteration if self.keeps_preview(iteration) else None)

    def keeps_preview(self, iteration: int) -> bool:
        """Whether this preview is kept. Each comes a tenth later than the one before, so that even a week of training
        keeps about a hundred, most of them from the start, when most happens.
        """
        due = iteration >= self._last_preview * 1.1
        if due:
            self._last_preview = max(float(iteration), 10.0)
        return due

    @contextmanager
    def _tolerated(self) -> Generator[None]:
        try:
            yield
        except OutputError as error:
            if not self._said_trouble:
                self.note(f"{error} Training goes on without it.")
            self._said_trouble = True


def _append(path: Path, rows: list[LogRow]) -> None:
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(_lines(rows, heading=not size))
    except OSError:
        if path.is_file():
            os.truncate(path, size)  # half a line would be lost with the next
        raise


def _lines(rows: list[LogRow], *, heading: bool) -> bytes:
    """Rows as they stand in the file."""

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)

    lines = [COLUMNS] * heading + [[cell(value) for value in astuple(row)] for row in rows]
    return "".join(f"{','.join(line)}\n" for line in lines).encode()


@torch.inference_mode()
def draw_preview(net: SwapNet, held_a: HeldOut, held_b: HeldOut) -> Frame:
    """Two blocks side by side, person a and person b; in each, rows of: original, reconstruction, swap.

    The faces shown are spread evenly over those that the network was never trained on.
    """
    net.eval()
    blocks = [_block(net, held_a, "a", "b"), _block(net, held_b, "b", "a")]
    net.train()
    picture = torch.cat(blocks, 2)  # (3, H, W)
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _block(net: SwapNet, held: HeldOut, own: Side, other: Side) -> Tensor:
    chosen = torch.linspace(0, len(held.inputs) - 1, _FACES).round().long().to(held.inputs.device)
    original, expression = held.inputs[chosen], held.expressions[chosen]
    again = net(original, expression, own, own).patch
    swapped = net(original, expression, own, other).patch
    columns = torch.cat([original, again, swapped], 3)  # (F, 3, S, 3 S)
    return torch.cat(list(columns), 1)  # (3, F S, 3 S)


def write_preview(folder: Path, picture: Frame, iteration: int | None) -> None:
    """Replace the preview of the model in `folder`; with an `iteration`, keep a copy in its history."""
    height = 128 * _FACES
    width = round(picture.shape[1] * height / picture.shape[0])
    shown = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    data = encode_picture(shown, ".jpg", quality=90)
    names = [PREVIEW] if iteration is None else [PREVIEW, f"{PREVIEWS}/{iteration:08d}.jpg"]
    for name in names:
        with atomic_file(folder / name) as partial:
            partial.write_bytes(data)
