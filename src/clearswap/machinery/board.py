"""TensorBoard: the same curves as `history.csv`, and the previews, for `tensorboard --logdir MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clearswap.core.align import Frame
from clearswap.machinery.history import Moment

FOLDER = "tensorboard"


class Board:
    """Writes curves and pictures. A board that cannot be written must not stop a training of hours: it falls silent,
    and `trouble` says why.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        """`iteration`: where the training stands; what an earlier run wrote past it is hidden."""
        self.trouble = ""
        self._place = folder / FOLDER
        self._writer: Any = None
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            from torch.utils.tensorboard.writer import SummaryWriter  # takes a second

            self._writer = SummaryWriter(str(self._place), purge_step=iteration + 1 if iteration else None)
        except Exception as error:  # whatever its many parts may raise
            self._give_up(error)

    def add(self, moment: Moment) -> None:
        """One line of the history."""
        curves = {"loss/a": moment.loss_a, "loss/b": moment.loss_b, "speed/images a second": moment.images_per_second}
        if moment.held_a is not None and moment.held_b is not None:
            curves |= {"held-out/a": moment.held_a, "held-out/b": moment.held_b}
        if self._writer is not None:
            try:
                for name, value in curves.items():
                    self._writer.add_scalar(name, value, moment.iteration)
            except OSError as error:
                self._give_up(error)

    def show(self, preview: Frame, iteration: int) -> None:
        """A preview."""
        if self._writer is not None:
            try:
                self._writer.add_image("preview", preview, iteration, dataformats="HWC")
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        self.trouble = f"TensorBoard's folder {self._place} cannot be written ({reason}); training goes on without it"
        self._writer = None
