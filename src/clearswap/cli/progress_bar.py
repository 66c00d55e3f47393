"""Progress from what the verbs report: bars on a terminal, plain lines elsewhere (nohup, CI, a pipe)."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from clearswap.cli.terminal import visible
from clearswap.progress import OnProgress, Progress


@contextmanager
def progress_bar(console: Console, *, interval: float = 30.0) -> Generator[OnProgress]:
    """Yield an `on_progress` that draws one bar for each stage.

    Off a terminal it prints a line when a stage begins, after each `interval` in seconds, and when the stage ends.
    """
    if not console.is_terminal:
        lines = _Lines(console, interval)
        try:
            yield lines.on_progress
        finally:
            lines.end_stage()
        return
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
                console.print(Text(visible(progress.note)))
                return
            if progress.stage not in tasks:
                stage = visible(progress.stage)
                tasks[progress.stage] = bars.add_task(stage, total=progress.total, count="", values="")
            bars.update(
                tasks[progress.stage],
                completed=progress.done,
                total=progress.total,
                count=_count(progress),
                values=_values(progress),
            )

        yield on_progress


class _Lines:
    """Prints progress as lines that can be read in a log."""

    def __init__(self, console: Console, interval: float) -> None:
        self._console, self._interval = console, interval
        self._latest: Progress | None = None  # of the stage that is running
        self._printed: Progress | None = None
        self._due = 0.0

    def on_progress(self, progress: Progress) -> None:
        """Print the note, or where the stage is if that is due."""
        if progress.note:
            self._print(progress.note)
            return
        if self._latest is None or progress.stage != self._latest.stage:
            self.end_stage()
            self._due = 0.0
        self._latest = progress
        if time.monotonic() >= self._due:
            self._print_stage(progress)

    def end_stage(self) -> None:
        """Print where the stage came to, if that was not printed yet."""
        if self._latest is not None and self._latest is not self._printed:
            self._print_stage(self._latest)

    def _print_stage(self, progress: Progress) -> None:
        self._printed, self._due = progress, time.monotonic() + self._interval
        self._print(f"{progress.stage}: {_count(progress)}  {_values(progress)}".rstrip())

    def _print(self, text: str) -> None:
        self._console.print(Text(visible(text)), soft_wrap=True)


def _count(progress: Progress) -> str:
    total = "" if progress.total is None else f"/{progress.total:.0f}"
    return f"{progress.done:.0f}{total} {progress.unit}"


def _values(progress: Progress) -> str:
    return "  ".join(f"{name} {_short(value)}" for name, value in progress.values.items())


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or abs(value) >= 10 else f"{value:.4f}"
