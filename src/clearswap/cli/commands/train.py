"""`clearswap train`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.cli.ask import ask_basis
from clearswap.cli.keys import keys_pressed
from clearswap.cli.progress_bar import progress_bar
from clearswap.cli.window import has_display, preview_window
from clearswap.core.augment import AugmentConfig
from clearswap.disclosure.consent import Basis
from clearswap.training.log import PREVIEW
from clearswap.training.loop import TrainConfig


def train(
    faces_a: Path,
    faces_b: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    basis_a: Basis | None = None,
    basis_b: Basis | None = None,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    training: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),
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
    basis_a
        On what basis person a's footage is used: the person "agreed" to it, it is "me", a "synthetic" person,
        "licensed" footage, a "research" corpus. Kept in the face set; asked at a terminal when nobody has said yet.
    basis_b
        The same of person b.
    from_
        Another model of the same preset that a new one begins with: its encoder, and the decoder of whoever is in both.
    window
        Show the preview in a window, where there is a display; it is in the model's folder as preview.jpg in any case.
    """
    leads = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, one speaks for all
    console = Console(quiet=not leads)
    basis_a = basis_a or ask_basis(console, faces_a, faces_a)
    basis_b = basis_b or ask_basis(console, faces_b, faces_b)
    with ExitStack() as opened:
        shown = leads and window and has_display()
        keys = opened.enter_context(
            keys_pressed(opened.enter_context(preview_window(output / PREVIEW))) if shown else keys_pressed()
        )
        on_progress = opened.enter_context(progress_bar(console))
        if training.iterations is None and training.minutes is None:
            console.print("training until you press Q or Ctrl-C; P pauses")
        done = clearswap.train(
            *(faces_a, faces_b, output),
            basis_a=basis_a,
            basis_b=basis_b,
            init_from=from_,
            training=training,
            augmentation=augmentation,
            on_progress=on_progress,
            stop=keys.stop,
            pause=keys.paused,
        )
    console.print(f"{output}: {done}", markup=False, highlight=False, soft_wrap=True)
