"""`clearswap swap`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.doors.bar import progress_bar
from clearswap.doors.keys import keys_pressed
from clearswap.machinery.tracker import TrackConfig
from clearswap.machinery.train_loop import TrainConfig
from clearswap.machinery.who import WhoConfig


def swap(
    a: Path,
    b: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    work: Path | None = None,
    training: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),
    tracking: Annotated[TrackConfig, Parameter(name="*")] = TrackConfig(),
    who: Annotated[WhoConfig, Parameter(name="*")] = WhoConfig(),
) -> None:
    """Extract, train and convert in one go: the video B with the face of the person in A.

    Parameters
    ----------
    a
        Clip, picture or folder of the person whose face is shown.
    b
        The video into which it is put.
    output
        The video to write, .mp4 or .mov.
    work
        The working folder; OUTPUT-work when left out.
    """
    console = Console()
    if training.iterations is None and training.minutes is None:
        training = replace(training, minutes=10.0)
        console.print("training for 10 minutes (change it with --minutes or --iterations; Q ends it early)")
    with keys_pressed() as keys, progress_bar(console) as report:
        done = clearswap.swap(
            a, b, output, work=work, training=training, tracking=tracking, who=who, report=report, stop=keys.stop
        )
    console.print(f"{output}: {done}", markup=False, highlight=False, soft_wrap=True)
