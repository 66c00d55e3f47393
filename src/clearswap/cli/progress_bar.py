"""Progress bars on the terminal, drawn from what the verbs report."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from clearswap.progress import OnProgress, Progress


@contextmanager
def progress_bar(console: Console) -> Generator[OnProgress]:
    """Yield a report that draws one bar for each stage. Off a terminal, one line for each finished stage."""
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[count]}"),
        TextColumn("[cyan]{task.fields[values]}"),
        TimeRemainingColumn(),
    ]
    with Bars(*columns, console=console, refresh_per_second=4) as bars:
        tasks: dict[str, TaskID] = {}

        def on_progress(progress: Progress) -> None:
            if progress.note:
                console.print(progress.note, markup=False, highlight=False)
                return
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total, count="", values="")
            bars.update(
                tasks[progress.stage],
                completed=progress.done,
                total=progress.total,
                count=_count(progress),
                values="  ".join(f"{name} {_short(value)}" for name, value in progress.values.items()),
            )

        yield on_progress


def _count(progress: Progress) -> str:
    total = "" if progress.total is None else f"/{progress.total:.0f}"
    return f"{progress.done:.0f}{total} {progress.unit}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or abs(value) >= 10 else f"{value:.4f}"
