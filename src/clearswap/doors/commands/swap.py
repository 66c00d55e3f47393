"""`clearswap swap`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.core.label import LabelConfig
from clearswap.doors.ask import ask_footing
from clearswap.doors.bar import progress_bar
from clearswap.doors.keys import keys_pressed
from clearswap.machinery.subjects import Footing
from clearswap.machinery.tracker import TrackConfig
from clearswap.machinery.train_loop import TrainConfig
from clearswap.machinery.who import WhoConfig
from clearswap.verbs.swap import Work, work_beside


def swap(
    a: Path,
    b: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    subject_a: Footing | None = None,
    subject_b: Footing | None = None,
    work: Path | None = None,
    training: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),
    tracking: Annotated[TrackConfig, Parameter(name="*")] = TrackConfig(),
    who: Annotated[WhoConfig, Parameter(name="*")] = WhoConfig(),
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
    subject_a
        On what footing person a's footage is used: the person "agreed" to it, it is "me", a "synthetic" person,
        "licensed" footage, a "research" corpus. Kept in the face set; asked at a terminal when nobody has said yet.
    subject_b
        The same of person b.
    work
        The working folder; OUTPUT-work when left out.
    """
    console = Console()
    if training.iterations is None and training.minutes is None:
        training = replace(training, minutes=10.0)
        console.print("training for 10 minutes (change it with --minutes or --iterations; Q ends it early)")
    folders = Work(work) if work is not None else work_beside(output)
    subject_a = subject_a or ask_footing(console, a, folders.faces_a)
    subject_b = subject_b or ask_footing(console, b, folders.faces_b)
    with keys_pressed() as keys, progress_bar(console) as report:
        done = clearswap.swap(
            *(a, b, output),
            subject_a=subject_a,
            subject_b=subject_b,
            work=work,
            training=training,
            tracking=tracking,
            who=who,
            label=label,
            report=report,
            stop=keys.stop,
        )
    console.print(f"{output}: {done}", markup=False, highlight=False, soft_wrap=True)
