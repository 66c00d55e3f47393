"""`clearswap evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

import clearswap
from clearswap.api.evaluate import RESULT, EvaluateConfig, EvaluateResult
from clearswap.cli.progress_bar import progress_bar
from clearswap.faces.tracker import TrackConfig


def evaluate(
    result: Path,
    video: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("evaluation"),
    truth: Path | None = None,
    identity: Path | None = None,
    labels: Path | None = None,
    config: Annotated[EvaluateConfig, Parameter(name="*")] = EvaluateConfig(),
    tracking: Annotated[TrackConfig, Parameter(name="*")] = TrackConfig(),
) -> None:
    """Measure how good a swap is.

    Parameters
    ----------
    result
        The swapped video.
    video
        The video before the swap.
    output
        Folder for evaluation.json and report.html.
    truth
        The right answer: the identity person doing what the source person does, frame by frame.
    identity
        Face set of the person whose face was put in.
    labels
        Where something covers the face; CLIP.labels.npz beside the truth or the source when left out.
    """
    console = Console()
    with progress_bar(console) as on_progress:
        done = clearswap.evaluate(
            *(result, video, output),
            truth=truth,
            identity=identity,
            labels=labels,
            config=config,
            tracking=tracking,
            on_progress=on_progress,
        )
    print_evaluation(console, done)


def print_evaluation(console: Console, done: EvaluateResult) -> None:
    """The table, what it says, and where the report lies."""
    table = Table(title="How good is this swap?")
    table.add_column("")
    table.add_column("better")
    for name in done.lines:
        table.add_column(name, justify="right", style="bold" if name == RESULT else "")
    for figure in done.figures:
        title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        values = [f"{line.scores[figure.key]:.{1 if figure.unit == 'dB' else 3}f}" for line in done.lines.values()]
        table.add_row(title, figure.better, *values)
    console.print(table)
    for note in done.notes:
        console.print(note, markup=False, highlight=False)
    console.print(f"report         {done.report}", markup=False, highlight=False, soft_wrap=True)
