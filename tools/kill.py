"""Kill runs at random moments, run them again, and run two into one place: nothing may be lost, mixed or left behind.

    python tools/kill.py MODEL --kills 30 --seed 0

Each verb that writes is started as people start it, killed (SIGKILL) at a random moment, and started again. The second
run has to end well, with its output whole and no hidden file next to it, and where the first had kept something (a
model, some segments, part of a first pass) it has to go on from there. Then each verb is started twice at once into one
place: one of the two ends well, the other says in one sentence that the place is in use.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2

import clearswap
from clearswap.media.video import read_frames
from clearswap.training import checkpoint

DEMO = Path(clearswap.__file__).parent / "demo_clips"
CLIP = ("--faces", "largest", "--end", "2")
SYNTHETIC = ("--basis-a", "synthetic", "--basis-b", "synthetic")
LONG = 1000  # frames of the clip whose first pass takes a while
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
    training = ("--iterations", "60", "--batch", "4", "--no-base", "--save-every", "10")
    long = ("convert", str(model), str(work / "long.mp4"), "--to", "b", "--faces", "largest", "-o", "OUT/o.mp4")
    folder = ("convert", str(model), str(work / "clips"), "--to", "a", *CLIP, "-o", "OUT/clips")
    judged = ("evaluate", done, done, "--identity", sets[0], "--samples", "4", "-o", "OUT/eval")
    return [
        Verb("extract", ("extract", clip, "--every", "4", "-o", "OUT/set"), "set/index.jsonl"),
        Verb("review", ("review", *sets, "-o", "OUT/poses.png"), "poses.png"),
        Verb("train", ("train", *sets, "-o", "OUT/model", *training, *SYNTHETIC), "model/model.safetensors"),
        Verb("plot", ("plot", str(model), "-o", "OUT/plot.png"), "plot.png"),
        Verb("convert", ("convert", str(model), clip, "--to", "a", *CLIP, "-o", "OUT/o.mp4"), "o.mp4", ("--resume",)),
        Verb("first pass", long, "o.mp4", ("--resume",)),
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


def kept(out: Path) -> str:
    """What a killed run has left to go on with, in words. Raises `ModelError` for a model that is damaged."""
    if checkpoint.exists(out / "model"):
        return f"{checkpoint.read_about(out / 'model')[1].iteration} iterations"
    work = out / ".o.mp4.work"
    segments = len(list(work.glob("segment_*")))
    if segments:
        return f"{segments} segments"
    note = work / "first_pass.json"
    frames = json.loads(note.read_text())["frames"] if note.is_file() else 0
    return f"{frames} frames looked through" if frames else ""


def killed(verb: Verb, out: Path, seconds: float) -> tuple[str, str]:
    """Kill a run after some seconds and run again; returns what is wrong, and what the first run had done and kept."""
    out.mkdir()
    run, begun = start(verb, out), time.monotonic()
    try:
        run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        run.communicate()
    took, there = time.monotonic() - begun, kept(out)
    about = f"after {took:.1f} s" + f", with {there}" * bool(there)
    if verb.name in ("folder", "train") or not (out / verb.made).exists():
        code, said = ended(start(verb, out, *verb.again))
        if verb.again and there and "going on with" not in said:
            return f"does not go on: {said[-300:]}", about
        if verb.name == "train" and checkpoint.read_about(out / "model")[1].iteration != 60:
            return "another number of iterations", about
        return fault_of(verb, out, code, said), about
    return "", about


def write_long(clip: Path) -> None:
    """A small clip of many frames."""
    with av.open(str(clip), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        pictures = [cv2.resize(frame.picture, (320, 180)) for frame in read_frames(DEMO / "person_a.mp4")]
        for number in range(LONG):
            frame = av.VideoFrame.from_ndarray(pictures[number % len(pictures)], "rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


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
        write_long(work / "long.mp4")
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
            fault, about = killed(verb, work / f"kill{number}", chance.uniform(0.1, 1.0) * lengths[verb.name])
            faults += bool(fault)
            print(f"kill {number}, {verb.name} {about}: {fault or 'the second run ends well'}", flush=True)
    print(f"{given.kills} kills of seed {given.seed}, {len(every)} pairs: {faults} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
