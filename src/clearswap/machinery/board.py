"""TensorBoard: the same curves as `history.csv`, and the previews, for `tensorboard --logdir MODEL`."""

from __future__ import annotations

import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from clearswap.core.align import Frame
from clearswap.machinery.history import Moment

FOLDER = "tensorboard"


class Board:
    """Writes curves and pictures. A board that cannot be written must not stop a training of hours: it falls silent,
    and `trouble` says why.

    Its records are written here and now. TensorBoard's own writer has a thread for that, which meets a full disk with a
    traceback on the terminal; and names its files after the host.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        """`iteration`: where the training stands; what an earlier run wrote past it is hidden."""
        self.trouble = ""
        self._place = folder / FOLDER
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

    def add(self, moment: Moment) -> None:
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
