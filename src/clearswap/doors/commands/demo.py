"""`clearswap demo`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

import clearswap
from clearswap.doors.bar import progress_bar
from clearswap.doors.keys import stop_on_request
from clearswap.verbs.train import TrainConfig


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
    with stop_on_request() as stop, progress_bar(console) as report:
        done = clearswap.demo(output, training=training, report=report, stop=stop)
    table = Table(title="In the face area, against the truth (higher is better)")
    for column in ("", "PSNR dB", "SSIM", "placed: PSNR dB", "placed: SSIM"):
        table.add_column(column, justify="left" if not column else "right")
    for line in done.lines:
        figures = (f"{line.psnr:.1f}", f"{line.ssim:.3f}", f"{line.placed_psnr:.1f}", f"{line.placed_ssim:.3f}")
        table.add_row(line.name, *figures, style="bold" if line.name == "this swap" else "")
    console.print(table)
    console.print("placed: after the clip's best constant zoom and shift; features sit differently in two heads")
    console.print(f"{done.converted}", markup=False, highlight=False)
    for name, path in (
        ("video", done.video),
        ("contact sheet", done.sheet),
        ("losses", done.losses),
        ("training", done.animation),
    ):
        console.print(f"{name:14} {path}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{done.seconds:.0f} seconds in all")
