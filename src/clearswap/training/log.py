"""The history of a training: `history.csv`, one line every half second or so, and when to keep a preview.

TensorBoard: the same curves as `history.csv`, and the previews, for `tensorboard --logdir MODEL`.

The preview: a picture of what the model can do by now, and a history of such pictures.
"""

from __future__ import annotations

import csv
import time
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from clearswap.core.align import Frame
from clearswap.core.network import Side, SwapNet
from clearswap.media.atomic import atomic_file, output_errors
from clearswap.media.files import encode_picture
from clearswap.training.dataset import HeldOut

HISTORY_FILE = "history.csv"


@dataclass(frozen=True)
class LogRow:
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


COLUMNS = [field.name for field in fields(LogRow)]


class History:
    """Collects lines between saves, so that the file never runs ahead of the saved model."""

    def __init__(self, folder: Path, iteration: int) -> None:
        self._path, self._new, self._kept = folder / HISTORY_FILE, list[LogRow](), float(iteration)
        known = read_history(folder)
        kept = [moment for moment in known if moment.iteration <= iteration]
        if len(kept) < len(known):  # the model went back to an earlier state
            self._rewrite(kept)
        self._held = [moment for moment in kept if moment.held is not None]

    def add(self, moment: LogRow) -> None:
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

    def _rewrite(self, moments: list[LogRow]) -> None:
        with atomic_file(self._path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS] + [_row(moment) for moment in moments])

    def keeps(self, iteration: int) -> bool:
        """Whether this preview belongs into the animation: each comes a tenth later than the one before, so that
        even a week of training keeps about a hundred, most of them from the start, when most happens.
        """
        due = iteration >= self._kept * 1.1
        if due:
            self._kept = max(float(iteration), 10.0)
        return due


def _row(moment: LogRow) -> list[str]:
    return [_short(value) for value in astuple(moment)]


def _short(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"


def read_history(folder: Path) -> list[LogRow]:
    """Every line; empty when there is no history."""
    path = folder / HISTORY_FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        LogRow(
            int(row["iteration"]),
            *(float(row[name]) for name in COLUMNS[1:5]),
            *(float(row[name]) if row[name] else None for name in COLUMNS[5:]),
        )
        for row in rows
    ]


BOARD = "tensorboard"


class Board:
    """Writes curves and pictures. A board that cannot be written must not stop a training of hours: it falls silent,
    and `trouble` says why.

    Its records are written here and now. TensorBoard's own writer has a thread for that, which meets a full disk with a
    traceback on the terminal; and names its files after the host.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        """`iteration`: where the training stands; what an earlier run wrote past it is hidden."""
        self.trouble = ""
        self._place = folder / BOARD
        self._records: Any = None
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            self._events: Any = import_module("tensorboard.compat.proto.event_pb2")  # takes a second
            self._summaries: Any = import_module("torch.utils.tensorboard.summary")
            writer: Any = import_module("tensorboard.summary.writer.record_writer")
            # TensorBoard reads the files of a folder in the order of their names
            self._records = writer.RecordWriter((self._place / f"events.out.tfevents.{time.time():017.6f}").open("wb"))
            self._write(self._events.Event(file_version="brain.Event:2"))
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            self._write(self._events.Event(step=iteration + 1, session_log=start))
        except Exception as error:  # whatever its many parts may raise
            self._give_up(error)

    def add(self, moment: LogRow) -> None:
        """One line of the history."""
        curves = {"loss/a": moment.loss_a, "loss/b": moment.loss_b, "speed/images a second": moment.images_per_second}
        if moment.held_a is not None and moment.held_b is not None:
            curves |= {"held-out/a": moment.held_a, "held-out/b": moment.held_b}
        if self._records is not None:
            self._add([self._summaries.scalar(name, value) for name, value in curves.items()], moment.iteration)

    def show(self, preview: Frame, iteration: int) -> None:
        """A preview."""
        if self._records is not None:
            self._add([self._summaries.image("preview", preview, dataformats="HWC")], iteration)

    def close(self) -> None:
        """Close the file; nothing is left to write."""
        if self._records is not None:
            self._records.close()

    def _add(self, summaries: list[Any], iteration: int) -> None:
        try:
            for summary in summaries:
                self._write(self._events.Event(step=iteration, summary=summary))
        except OSError as error:
            self._give_up(error)

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        self._records.flush()

    def _give_up(self, error: Exception) -> None:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        self.trouble = f"TensorBoard's folder {self._place} cannot be written ({reason}); training goes on without it"
        with suppress(OSError):
            self.close()
        self._records = None


PREVIEW = "preview.jpg"
PREVIEWS = "history"
_FACES = 4  # of each person


@torch.inference_mode()
def draw_preview(net: SwapNet, held_a: HeldOut, held_b: HeldOut) -> Frame:
    """Two blocks side by side, person a and person b; in each, rows of: original, reconstruction, swap.

    The faces shown are spread evenly over those that the network was never trained on.
    """
    net.eval()
    blocks = [_block(net, held_a.inputs, "a", "b"), _block(net, held_b.inputs, "b", "a")]
    net.train()
    picture = torch.cat(blocks, 2)  # (3, H, W)
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _block(net: SwapNet, faces: Tensor, own: Side, other: Side) -> Tensor:
    chosen = torch.linspace(0, len(faces) - 1, _FACES).round().long()
    original = faces[chosen.to(faces.device)]
    again, swapped = net(original, own, own).patch, net(original, own, other).patch
    columns = torch.cat([original, again, swapped], 3)  # (F, 3, S, 3 S)
    return torch.cat(list(columns), 1)  # (3, F S, 3 S)


def forget_previews(folder: Path, iteration: int) -> None:
    """Drop kept previews of later iterations: the model went back to an earlier state."""
    for path in (folder / PREVIEWS).glob("*.jpg"):
        if path.stem.isdigit() and int(path.stem) > iteration:
            path.unlink()


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
