"""Do everything again and again in one process: threads, open files and memory must not grow.

    python tools/soak.py MODEL --minutes 60

A round is an extraction, a training that goes on, a conversion of a video and one of a picture, a check, an evaluation,
and three that fail: a damaged file, a conversion that an error stops in the middle, and a training that is stopped.
After each round it prints what the process holds. At the end the last rounds are compared with those after the first
tenth, when all caches are filled; leaves with 1 where more threads or files are held, or 5 % more memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import clearswap
from clearswap.progress import Progress

DEMO = Path(clearswap.__file__).parent / "demo_clips"
LARGEST = clearswap.SelectConfig(faces="largest")
MORE = 1.05  # times the memory: more is a leak


@dataclass(frozen=True)
class Held:
    """What the process holds, and how many hidden or partial files lie in the working folder."""

    threads: int
    files: int
    memory: float  # MB, resident
    left: int

    def __str__(self) -> str:
        return f"threads {self.threads}  files {self.files}  memory {self.memory:.0f} MB  left behind {self.left}"


def held(work: Path) -> Held:
    """What this process holds now (Linux)."""
    gc.collect()
    own = Path("/proc/self")
    pages = int((own / "statm").read_text().split()[1])
    hidden = list(work.rglob(".*"))
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Held(len(list((own / "task").iterdir())), len(list((own / "fd").iterdir())), memory, len(hidden))


class Stop(Exception):
    """An error in the middle of the work, which nobody expects."""


def stop_at(stage: str, done: int) -> clearswap.OnProgress:
    """Raises `Stop` when a stage has come so far."""

    def told(progress: Progress) -> None:
        if progress.stage.startswith(stage) and progress.done >= done:
            raise Stop

    return told


def play_round(number: int, model: Path, work: Path) -> None:
    """One round; `work` holds the face sets `a` and `b`, a clip of a second, and a damaged one."""
    clip, output, picture = work / "clip.mp4", work / "out.mp4", min((work / "a").glob("*.jpg"))
    clearswap.extract([clip], work / f"set {number}", config=clearswap.ExtractConfig(every=5))
    training = clearswap.TrainConfig(iterations=2 * number + 2, batch=2)
    clearswap.train(work / "a", work / "b", work / "model", training=training)
    clearswap.convert(model, clip, output, to="a", select=LARGEST)
    clearswap.convert(model, picture, work / "out.png", to="a", select=LARGEST)
    clearswap.check([output, work / "out.png"])
    clearswap.evaluate(
        output, clip, work / f"report {number}", identity=work / "a", config=clearswap.EvaluateConfig(samples=3)
    )
    with suppress(clearswap.InputError):
        clearswap.convert(model, work / "damaged.mp4", work / "none.mp4", to="a")
    with suppress(Stop):
        broken = stop_at("convert", 12)
        clearswap.convert(model, clip, output, to="a", select=LARGEST, on_progress=broken)
    with suppress(Stop):
        longer = clearswap.TrainConfig(iterations=10**6, batch=2)
        clearswap.train(work / "a", work / "b", work / "model", training=longer, on_progress=stop_at("train", 1))


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    given = parser.parse_args()
    until, rounds = time.monotonic() + 60 * given.minutes, list[Held]()
    with TemporaryDirectory() as folder:
        work = Path(folder)
        for name in "ab":
            config = clearswap.ExtractConfig(every=20)
            clearswap.extract([DEMO / f"person_{name}.mp4"], work / name, config=config)
            clearswap.set_consent(work / name, basis="synthetic")
        (work / "damaged.mp4").write_bytes((DEMO / "person_b.mp4").read_bytes()[:5000])
        second = clearswap.TimeRange(0, 1)
        clearswap.convert(
            given.model, DEMO / "person_b.mp4", work / "clip.mp4", to="a", select=LARGEST, time_range=second
        )
        while time.monotonic() < until or len(rounds) < 4:
            play_round(len(rounds), given.model, work)
            rounds.append(held(work))
            print(f"round {len(rounds)}  {rounds[-1]}", flush=True)
    part = max(1, len(rounds) // 10)
    early, late = rounds[part : 2 * part + 1], rounds[-part:]
    before, after = (statistics.median(one.memory for one in some) for some in (early, late))
    threads, files = (
        max(getattr(one, kind) for one in late) - max(getattr(one, kind) for one in early)
        for kind in ("threads", "files")
    )
    print(f"{len(rounds)} rounds: threads {threads:+d}, files {files:+d}, memory {before:.0f} -> {after:.0f} MB")
    if threads > 0 or files > 0 or after > MORE * before or any(one.left for one in rounds):
        sys.exit("something grows")


if __name__ == "__main__":
    main()
