"""`clearswap train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.core.augment import AugmentConfig
from clearswap.doors.bar import progress_bar
from clearswap.doors.keys import keys_pressed
from clearswap.machinery.train_loop import TrainConfig


def train(
    faces_a: Path,
    faces_b: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    config: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),
    augmentation: Annotated[AugmentConfig, Parameter(name="*")] = AugmentConfig(),
) -> None:
    """Teach a model the faces of two persons. P pauses, Q or Ctrl-C saves and stops; the same command goes on.

    Parameters
    ----------
    faces_a
        Face set of person a.
    faces_b
        Face set of person b.
    output
        Folder of the model; one that is there already is trained further.
    from_
        Another model of the same preset that a new one begins with: its encoder, and the decoder of whoever is in both.
    """
    console = Console(quiet=os.environ.get("RANK", "0") != "0")  # of torchrun's processes, one speaks for all
    with keys_pressed() as keys, progress_bar(console) as report:
        if config.iterations is None and config.minutes is None:
            console.print("training until you press Q or Ctrl-C; P pauses")
        done = clearswap.train(
            *(faces_a, faces_b, output),
            warm_start=from_,
            config=config,
            augmentation=augmentation,
            report=report,
            stop=keys.stop,
            pause=keys.paused,
        )
    console.print(f"{output}: {done}", markup=False, highlight=False, soft_wrap=True)
