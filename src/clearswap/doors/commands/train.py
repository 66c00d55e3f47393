"""`clearswap train`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.core.augment import AugmentConfig
from clearswap.doors.ask import ask_footing
from clearswap.doors.bar import progress_bar
from clearswap.doors.keys import keys_pressed
from clearswap.doors.window import has_display, preview_window
from clearswap.machinery.preview import PREVIEW
from clearswap.machinery.subjects import Footing
from clearswap.machinery.train_loop import TrainConfig


def train(
    faces_a: Path,
    faces_b: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    subject_a: Footing | None = None,
    subject_b: Footing | None = None,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    config: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),
    augmentation: Annotated[AugmentConfig, Parameter(name="*")] = AugmentConfig(),
    window: bool = True,
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
    subject_a
        On what footing person a's footage is used: the person "agreed" to it, it is "me", a "synthetic" person,
        "licensed" footage, a "research" corpus. Kept in the face set; asked at a terminal when nobody has said yet.
    subject_b
        The same of person b.
    from_
        Another model of the same preset that a new one begins with: its encoder, and the decoder of whoever is in both.
    window
        Show the preview in a window, where there is a display; it is in the model's folder as preview.jpg in any case.
    """
    leads = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, one speaks for all
    console = Console(quiet=not leads)
    subject_a = subject_a or ask_footing(console, faces_a, faces_a)
    subject_b = subject_b or ask_footing(console, faces_b, faces_b)
    with ExitStack() as opened:
        shown = leads and window and has_display()
        keys = opened.enter_context(
            keys_pressed(opened.enter_context(preview_window(output / PREVIEW))) if shown else keys_pressed()
        )
        report = opened.enter_context(progress_bar(console))
        if config.iterations is None and config.minutes is None:
            console.print("training until you press Q or Ctrl-C; P pauses")
        done = clearswap.train(
            *(faces_a, faces_b, output),
            subject_a=subject_a,
            subject_b=subject_b,
            warm_start=from_,
            config=config,
            augmentation=augmentation,
            report=report,
            stop=keys.stop,
            pause=keys.paused,
        )
    console.print(f"{output}: {done}", markup=False, highlight=False, soft_wrap=True)
