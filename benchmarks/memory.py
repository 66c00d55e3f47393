"""Does memory grow with the length of a video? `python benchmarks/memory.py [CLIP]`

Runs the commands on videos of 30 seconds, 2 minutes and 10 minutes, each in a process of its own, and watches how much
memory that process holds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import clips
import common
from common import Plot, Point, Result, Table

LENGTHS = {"30 s": 30.0, "2 min": 120.0, "10 min": 600.0}
SHORT = {"1 s": 1.0, "2 s": 2.0}
CYCLE = 200  # frames that are encoded; the rest repeats them
SHOWN = 80  # points of a curve that are kept


@dataclass(frozen=True)
class Watched:
    """One run: its peak, and how memory went."""

    peak: float  # MB, as the system says it
    curve: list[Point]  # seconds, MB


def watch(arguments: list[str]) -> Watched:
    """Run a command of Clearswap and watch its memory."""
    begun, peak = time.perf_counter(), 0.0
    curve = [(0.0, 0.0)]
    with subprocess.Popen(
        [sys.executable, "-m", "clearswap", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        while child.poll() is None:
            now, most = resident(child.pid)
            if now:
                curve.append((time.perf_counter() - begun, now))
            peak = max(peak, most)
            time.sleep(0.1)
        complaint = child.stderr.read().decode() if child.stderr else ""
    if child.returncode:
        sys.exit(f"clearswap {' '.join(arguments)} failed: {complaint}")
    return Watched(peak, thinned(curve))


def thinned(curve: list[tuple[float, float]]) -> list[Point]:
    """At most `SHOWN` points of a curve; of neighbours the highest is kept, for peaks are what it is about."""
    step = -(-len(curve) // SHOWN)
    kept = [max(curve[at : at + step], key=lambda point: point[1]) for at in range(0, len(curve), step)]
    return [(round(at, 2), round(mb, 1)) for at, mb in kept]


def resident(process: int) -> tuple[float, float]:
    """What a process holds now and has held at most, in MB; zeros when it has just ended.

    (The kernel's own account of ended children cannot be used: it starts with what the parent held.)
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    held = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(held.get("VmRSS", 0)) / 1024, int(held.get("VmHWM", 0)) / 1024


def watch_length(folder: Path, once: Path, length: float, basis: str) -> dict[str, Watched]:
    """All commands on a video of `length` seconds, which is used on this basis."""
    clip = clips.looped(once, folder / "clip.mp4", length)
    faces = folder / "faces"
    runs = {
        "extract": watch(["extract", str(clip), "-o", str(faces)]),
        "train": watch(
            ["train", str(faces), str(faces), "-o", str(folder / "trained"), "--iterations", "3"]
            + ["--basis-a", basis, "--basis-b", basis]
        ),
        "convert": watch(["convert", str(folder / "model"), str(clip), "-o", str(folder / "swapped.mp4"), "--to", "a"]),
    }
    for used in (faces, folder / "trained"):
        shutil.rmtree(used)
    return runs


def main() -> None:
    """Measure all lengths, the shortest first."""
    wanted = common.options(__doc__)
    if not Path("/proc/self/status").is_file():
        sys.exit("memory.py reads /proc, which only Linux has.")
    lengths = SHORT if wanted.quick else LENGTHS
    with common.scratch() as folder:
        clips.untrained_model(folder / "model")
        source = wanted.clips[0] if wanted.clips else clips.clip_of("b")
        frames = (clips.sized(picture, 640, 480) for picture in clips.pictures(source, CYCLE))
        once = clips.write_clip(frames, folder / "once.mp4")
        basis = "research" if wanted.clips else "synthetic"
        found = {name: watch_length(folder, once, length, basis) for name, length in lengths.items()}
    common.save(result(found, lengths), wanted)


def result(found: dict[str, dict[str, Watched]], lengths: dict[str, float]) -> Result:
    """Peaks beside each other, and the curve of the longest run of each command."""
    verbs = list(next(iter(found.values())))
    first, last = next(iter(lengths)), list(lengths)[-1]
    rows = [
        (verb, *(found[name][verb].peak for name in lengths), found[last][verb].peak / found[first][verb].peak)
        for verb in verbs
    ]
    columns = ["peak, MB", *lengths, f"{last} / {first}"]
    peaks = {verb: [(seconds, found[n][verb].peak) for n, seconds in lengths.items()] for verb in verbs}
    curves = {verb: found[last][verb].curve for verb in verbs}
    return Result(
        "memory",
        "Does memory grow with the length of a video?",
        "Peak resident memory (VmHWM) of each command in a process of its own, for videos of 640x480 at 25 frames/s"
        " with a face in every frame.",
        [Table("", columns, rows)],
        [
            Plot("peak memory against the length of the video", "lines", "seconds of video", "MB", peaks),
            Plot(f"memory during the run on {last}", "lines", "seconds since the start", "MB", curves),
        ],
        ["`train` takes three steps on the faces of the whole video on both sides: this is what holding them takes."],
    )


if __name__ == "__main__":
    main()
