"""How fast is extraction, and what does tracking buy? `python benchmarks/extract_speed.py [CLIP ...]`

Finds the faces of each clip by tracking and by looking afresh in every frame, in one process and in turn; and runs the
whole command in a process of its own: start-up, decoding, faces, cropping and writing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import clips
import common
from clearswap.core.align import Frame, Points
from clearswap.faces.face_models import Detector, Landmarker
from clearswap.faces.tracker import TrackConfig, Tracker
from clearswap.media.video import probe
from common import Cell, Plot, Point, Result, Table

FRAMES = 150  # of a clip, for the tracker


def speed_and_jitter(frames: list[Frame], make: Callable[[], Tracker], *, afresh: bool) -> tuple[float, float]:
    """Frames a second, and jitter, of one pass over a clip."""
    begun, tracker = time.perf_counter(), make()
    landmarks: list[Points] = []
    for frame in frames:
        tracker = make() if afresh else tracker
        landmarks += [face.landmarks for face in tracker(frame)]
    return len(frames) / (time.perf_counter() - begun), jitter(np.array(landmarks))


def jitter(landmarks: Points) -> float:
    """Median length of the second difference over time of landmarks (T, 478, 2), per thousand of the eye distance."""
    eyes = np.linalg.norm(landmarks[:, 263] - landmarks[:, 33], axis=-1).mean()
    return float(1000 * np.median(np.linalg.norm(np.diff(landmarks, 2, axis=0), axis=-1)) / eyes)


def whole_command(clip: Path) -> float:
    """Frames a second of the whole command, start-up included."""
    with common.scratch() as folder:
        command = [sys.executable, "-m", "clearswap", "extract", str(clip), "-o", f"{folder}/faces"]
        return probe(clip).frames / common.seconds(lambda: subprocess.run(command, check=True, capture_output=True))


def measure(clip: Path, make: Callable[[], Tracker], frames: int, rounds: int) -> list[Cell]:
    """One line of the table."""
    pictures = list(clips.pictures(clip, frames))
    tracked: list[tuple[float, float]] = []
    fresh: list[tuple[float, float]] = []
    whole: list[float] = []
    for _ in range(rounds):
        tracked.append(speed_and_jitter(pictures, make, afresh=False))
        fresh.append(speed_and_jitter(pictures, make, afresh=True))
        whole.append(whole_command(clip))
    (fast, calm), (slow, shaky) = max(tracked), max(fresh)
    size = f"{pictures[0].shape[1]}x{pictures[0].shape[0]}"
    return [f"{clip.name}, {size}", fast, slow, fast / slow, calm, shaky, max(whole)]


def main() -> None:
    """Measure every clip."""
    wanted = common.options(__doc__)
    frames, rounds = (20, 1) if wanted.quick else (FRAMES, 5)
    detector, mesh = Detector(), Landmarker()
    with common.scratch() as folder:
        given = wanted.clips or [clips.clip_of("a"), clips.standard_clip(folder, frames, [])]
        rows = [measure(clip, lambda: Tracker(TrackConfig(), detector, mesh), frames, rounds) for clip in given]
    columns = [
        "clip",
        "tracking, frames/s",
        "afresh, frames/s",
        "ratio",
        "jitter",
        "jitter afresh",
        "command, frames/s",
    ]
    drawn = {name: at for at, name in enumerate(columns) if "frames/s" in name}
    series: dict[str, list[Point]] = {
        name.split(",")[0]: [(str(row[0]), float(row[at])) for row in rows] for name, at in drawn.items()
    }
    result = Result(
        "extract_speed",
        "How fast is extraction, and what does tracking buy?",
        f"The first {frames} frames of each clip, with the tracker and with a look afresh in every frame, in one"
        f" process and in turn, best of {rounds}; `command` is the whole command on the whole clip, start-up and all.",
        [Table("", columns, rows)],
        [Plot("finding faces", "bars", "", "frames a second", series)],
        ["Jitter is the median second difference over time of the landmarks, in thousandths of the eye distance."],
    )
    common.save(result, wanted)


if __name__ == "__main__":
    main()
