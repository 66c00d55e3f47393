"""`clearswap demo`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.cli.commands.evaluate import print_evaluation
from clearswap.cli.keys import keys_pressed
from clearswap.cli.progress_bar import progress_bar
from clearswap.training.loop import TrainConfig


def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("demo"),
    training: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),
) -> None:
    """Go the whole way on two synthetic people who never existed, and measure the result.

    Parameters
    ----------
    output
        Folder for everything that is made.
    """
    console = Console()
    if training.iterations is None and training.minutes is None:
        training = replace(training, minutes=7.0)
    with keys_pressed() as keys, progress_bar(console) as on_progress:
        done = clearswap.demo(output, training=training, on_progress=on_progress, stop=keys.stop, pause=keys.paused)
    print_evaluation(console, done.evaluation)
    console.print(f"{done.converted}", markup=False, highlight=False)
    for name, path in (
        ("video", done.video),
        ("contact sheet", done.sheet),
        ("losses", done.losses),
        ("training", done.animation),
    ):
        console.print(f"{name:14} {path}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{done.seconds:.0f} seconds in all")
