"""`clearswap swap`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.api.swap import Work, work_beside
from clearswap.cli.ask import ask_basis
from clearswap.cli.keys import keys_pressed
from clearswap.cli.progress_bar import progress_bar
from clearswap.disclosure.consent import Basis
from clearswap.disclosure.stamp import LabelConfig
from clearswap.faces.selection import SelectConfig
from clearswap.faces.tracker import TrackConfig
from clearswap.training.loop import TrainConfig


def swap(
    a: Path,
    b: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    basis_a: Basis | None = None,
    basis_b: Basis | None = None,
    work: Path | None = None,
    training: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),
    tracking: Annotated[TrackConfig, Parameter(name="*")] = TrackConfig(),
    select: Annotated[SelectConfig, Parameter(name="*")] = SelectConfig(),
    label: Annotated[LabelConfig, Parameter(name="*")] = LabelConfig(),
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
    basis_a
        On what basis person a's footage is used: the person "agreed" to it, it is "me", a "synthetic" person,
        "licensed" footage, a "research" corpus. Kept in the face set; asked at a terminal when nobody has said yet.
    basis_b
        The same of person b.
    work
        The working folder; OUTPUT-work when left out.
    """
    console = Console()
    if training.iterations is None and training.minutes is None:
        training = replace(training, minutes=10.0)
        console.print("training for 10 minutes (change it with --minutes or --iterations; Q ends it early)")
    folders = Work(work) if work is not None else work_beside(output)
    basis_a = basis_a or ask_basis(console, a, folders.faces_a)
    basis_b = basis_b or ask_basis(console, b, folders.faces_b)
    with keys_pressed() as keys, progress_bar(console) as on_progress:
        done = clearswap.swap(
            *(a, b, output),
            basis_a=basis_a,
            basis_b=basis_b,
            work=work,
            training=training,
            tracking=tracking,
            select=select,
            label=label,
            on_progress=on_progress,
            stop=keys.stop,
        )
    console.print(f"{output}: {done}", markup=False, highlight=False, soft_wrap=True)
