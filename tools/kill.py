"""Kill runs at random moments, run them again, and run two into one place: nothing may be lost, mixed or left behind.

    python tools/kill.py MODEL --kills 30 --seed 0

Each verb that writes is started as people start it, killed (SIGKILL) at a random moment, and started again. The second
run has to end well, with its output whole and no hidden file next to it. Then each verb is started twice at once into
one place: one of the two ends well, the other says in one sentence that the place is in use.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import clearswap

DEMO = Path(clearswap.__file__).parent / "demo_clips"
CLIP = ("--faces", "largest", "--end", "2")
SYNTHETIC = ("--basis-a", "synthetic", "--basis-b", "synthetic")
BUSY = "is being written by another run"


@dataclass(frozen=True)
class Verb:
    """A command with a place for its output, `OUT`, which it leaves `made` in; `again`: options of the second run."""

    name: str
    arguments: tuple[str, ...]
    made: str
    again: tuple[str, ...] = ()


def verbs(model: Path, work: Path) -> list[Verb]:
    """All that write. Two small face sets, a swapped clip and a folder of clips lie in `work`."""
    sets = (str(work / "set_a"), str(work / "set_b"))
    clip, done = str(DEMO / "person_b.mp4"), str(work / "done.mp4")
    training = ("--iterations", "30", "--batch", "4", "--no-base")
    folder = ("convert", str(model), str(work / "clips"), "--to", "a", *CLIP, "-o", "OUT/clips")
    judged = ("evaluate", done, done, "--identity", sets[0], "--samples", "4", "-o", "OUT/eval")
    return [
        Verb("extract", ("extract", clip, "--every", "4", "-o", "OUT/set"), "set/index.jsonl"),
        Verb("review", ("review", *sets, "-o", "OUT/poses.png"), "poses.png"),
        Verb("train", ("train", *sets, "-o", "OUT/model", *training, *SYNTHETIC), "model/model.safetensors"),
        Verb("plot", ("plot", str(model), "-o", "OUT/plot.png"), "plot.png"),
        Verb("convert", ("convert", str(model), clip, "--to", "a", *CLIP, "-o", "OUT/o.mp4"), "o.mp4", ("--resume",)),
        Verb("folder", folder, "clips/1.mp4"),
        Verb("evaluate", judged, "eval/report.html"),
        Verb("swap", ("swap", clip, clip, *training, *SYNTHETIC, "--faces", "largest", "-o", "OUT/s.mp4"), "s.mp4"),
    ]


def start(verb: Verb, out: Path, *more: str) -> subprocess.Popen[str]:
    """Start a verb whose output goes to `out`."""
    arguments = [
        argument.replace("OUT", str(out), 1) if argument.startswith("OUT") else argument for argument in verb.arguments
    ]
    command = [sys.executable, "-m", "clearswap", *arguments, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    """A run's exit status and what it said."""
    said, _ = run.communicate(timeout=600)
    return run.returncode, said


def left(out: Path) -> list[str]:
    """Hidden files and folders in and below a place, and partial ones."""
    return [
        str(path.relative_to(out)) for path in out.rglob("*") if path.name.startswith(".") or ".partial" in path.name
    ]


def fault_of(verb: Verb, out: Path, code: int, said: str) -> str:
    """What is wrong after a run that had to end well; empty where nothing is."""
    if code or "Traceback" in said:
        return f"exit {code}: {said[-300:]}"
    if not (out / verb.made).stat().st_size:
        return f"no {verb.made}"
    return f"left behind: {left(out)}" if left(out) else ""


def killed(verb: Verb, out: Path, seconds: float) -> tuple[str, float]:
    """Kill a run after some seconds and run again; returns what is wrong, and when it was killed."""
    out.mkdir()
    run, begun = start(verb, out), time.monotonic()
    try:
        run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        run.communicate()
    took = time.monotonic() - begun
    if verb.name == "folder" or not (out / verb.made).exists():
        return fault_of(verb, out, *ended(start(verb, out, *verb.again))), took
    return "", took


def twice(verb: Verb, out: Path) -> str:
    """Run a verb two times at once into one place."""
    out.mkdir()
    runs = [start(verb, out), start(verb, out)]
    results = sorted(ended(run) for run in runs)
    if [code for code, _ in results] == [0, 0] and verb.name in ("review", "plot", "evaluate"):
        return ""  # one after the other, which is as good
    if [code for code, _ in results] != [0, 2] or not any(word in results[1][1] for word in (BUSY, "is not empty")):
        return f"exits {[code for code, _ in results]}: {results[1][1][-300:]}"
    return fault_of(verb, out, *results[0])


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance, faults = random.Random(given.seed), 0
    with TemporaryDirectory() as folder:
        work = Path(folder)
        for name in "ab":
            clearswap.extract(
                [DEMO / f"person_{name}.mp4"], work / f"set_{name}", config=clearswap.ExtractConfig(every=20)
            )
        wanted = clearswap.SelectConfig(faces="largest")
        short = clearswap.TimeRange(0, 1)
        clearswap.convert(
            given.model, DEMO / "person_b.mp4", work / "done.mp4", to="a", select=wanted, time_range=short
        )
        (work / "clips").mkdir()
        for name in "12":
            (work / "clips" / f"{name}.mp4").write_bytes((DEMO / "person_b.mp4").read_bytes())
        every = verbs(given.model.resolve(), work)
        lengths: dict[str, float] = {}
        for verb in every:
            begun = time.monotonic()
            fault = twice(verb, work / f"twice_{verb.name}")
            lengths[verb.name] = 0.7 * (time.monotonic() - begun)
            faults += bool(fault)
            print(f"two at once, {verb.name}: {fault or 'one ends well, one is refused'}", flush=True)
        for number in range(given.kills):
            verb = every[number % len(every)]
            fault, after = killed(verb, work / f"kill{number}", chance.uniform(0.1, 1.0) * lengths[verb.name])
            faults += bool(fault)
            print(f"kill {number}, {verb.name} after {after:.1f} s: {fault or 'the second run ends well'}", flush=True)
    print(f"{given.kills} kills of seed {given.seed}, {len(every)} pairs: {faults} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
