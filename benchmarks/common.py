"""What the benchmarks share: options, timing in turn, what machine it was, and a result written whole.

A script measures, and hands tables and plots (as figures, not as pictures) to `save`. `run.py` makes the report of all
that was saved. Import this first: it sets what has to be set before torch is imported.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line does
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import json
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"

Cell = str | int | float
Point = tuple[str | float, float]


@dataclass(frozen=True)
class Options:
    """What a script was asked for.

    Attributes:
        quick: Everything small: shows that the script works, says nothing about speed.
        out: Where the result is written.
        clips: Videos to measure with, in place of the demo's.
    """

    quick: bool
    out: Path
    clips: list[Path]


@dataclass(frozen=True)
class Table:
    """Figures for the report; numbers are rounded when they are shown, not here."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Plot:
    """A plot for the report: named series of (x, y). The x of bars and stacked bars are words."""

    title: str
    kind: Literal["lines", "bars", "stacked"]
    x: str
    y: str
    series: Mapping[str, Sequence[Point]]
    log: bool = False  # both axes in powers


@dataclass(frozen=True)
class Result:
    """One question's answer, as it is kept in `results/NAME.json`."""

    name: str
    question: str
    how: str  # one sentence: how it is measured
    tables: Sequence[Table]
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = ()
    quick: bool = False
    about: Mapping[str, str] = field(default_factory=dict)  # machine, commit, command and date


def options(text: str | None) -> Options:
    """Read a script's command line; `text` is its docstring. Quick results never land among the real ones."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, help="videos to measure with (default: the demo's)")
    add_common(parser)
    given = parser.parse_args()
    return Options(given.quick, output_folder(parser, given), given.clips)


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that every script and `run.py` take."""
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; not for the report")
    parser.add_argument("--out", type=Path, help=f"folder for the results (default: {RESULTS})")


def output_folder(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Path:
    """Where results go: `--out`, else the real place, and for quick ones a temporary folder."""
    if given.quick and given.out is not None and given.out.resolve() == RESULTS:
        parser.error("quick results may not replace the real ones; choose another --out")
    if given.out is None:
        return Path(tempfile.mkdtemp(prefix="clearswap-quick-")) / "results" if given.quick else RESULTS
    return given.out.resolve()


def save(result: Result, wanted: Options) -> None:
    """Print a result, and write it whole to `NAME.json` with what it was measured on beside it."""
    about = {"machine": machine(), "commit": commit(), "command": command(), "date": time.strftime("%Y-%m-%d %H:%M %z")}
    fields = asdict(result) | {"quick": wanted.quick, "about": about}
    wanted.out.mkdir(parents=True, exist_ok=True)
    path = wanted.out / f"{result.name}.json"
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)
    print("\n".join(["", result.question, *(as_text(table) for table in result.tables), *result.notes]))
    print("\n".join(f"{name}: {value}" for name, value in about.items()), f"\nwritten: {path}")


def load(path: Path) -> Result:
    """A result that was saved."""
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    tables = [Table(**table) for table in fields.pop("tables")]
    plots = [Plot(**plot) for plot in fields.pop("plots")]
    return Result(tables=tables, plots=plots, **fields)


def figure(value: Cell) -> str:
    """A number as people read it: three digits that count."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def as_text(table: Table) -> str:
    """A table in columns, for the terminal."""
    lines = [list(table.columns), *([figure(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.columns))]
    rows = [
        "  ".join(
            f"{cell:<{width}}" if not at else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(["", table.title, *rows])


def machine() -> str:
    """The computer and what runs on it, in one line."""
    from clearswap.training.device import used_device  # torch takes seconds to import, and memory in the parent

    device = str(used_device())
    if device == "cuda":
        import torch

        device = torch.cuda.get_device_name()
    parts = [f"{_cpu()}, {_cores()} cores, {_memory()}", platform.platform(aliased=True, terse=True)]
    return ", ".join([*parts, f"Python {platform.python_version()}", f"torch {version('torch')} on {device}"])


def _cpu() -> str:
    """The processor's name, as precisely as the system says it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    if not hasattr(os, "sysconf"):
        return "memory unknown"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB"


def commit() -> str:
    """The commit that was measured, and whether what is measured was changed since."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=HERE.parent, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "benchmarks/*.py", "pyproject.toml")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (" (dirty)" if changed else "")


def command() -> str:
    """What was typed, as it can be typed again."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(HERE.parent) if script.is_relative_to(HERE.parent) else script
    return shlex.join(["python", str(name), *sys.argv[1:]])


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turn(tasks: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run all tasks one after the other, and all of them again: whatever slows the machine down for a while slows
    all of them down. Each task returns its own figure; take the best of each list.
    """
    figures: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            figures[name].append(task())
    return figures


def fastest(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The shortest time of each of `works`, run in turn."""
    return {name: min(times) for name, times in in_turn({n: _timed(w) for n, w in works.items()}, rounds).items()}


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    return lambda: seconds(work)


@contextmanager
def scratch() -> Generator[Path]:
    """A temporary folder for clips, face sets and models."""
    with tempfile.TemporaryDirectory(prefix="clearswap-benchmark-") as folder:
        yield Path(folder)
