"""How fast is extraction, and what does tracking buy? `python benchmarks/extract_speed.py CLIP...`

Finds the faces of each clip by tracking and by looking afresh in every frame, in one process, three times each in turn;
prints the best frames a second of each, their ratio, and the jitter of the landmarks: the median second difference
over time, in thousandths of the distance between the eyes. The last column is the whole command in a process of its
own: start-up, decoding, faces, cropping and writing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clearswap.core.align import Frame, Points
from clearswap.machinery.detector import Detector
from clearswap.machinery.mesh import Mesh
from clearswap.machinery.sources import count_frames
from clearswap.machinery.tracker import TrackConfig, Tracker
from clearswap.machinery.video import read_frames


def speed_and_jitter(frames: list[Frame], make: Callable[[], Tracker], *, afresh: bool) -> tuple[float, float]:
    """Frames a second, and jitter, of one pass over a clip."""
    begun, tracker = time.perf_counter(), make()
    landmarks: list[Points] = []
    for frame in frames:
        tracker = make() if afresh else tracker
        landmarks += [face.landmarks for face in tracker(frame)]
    return len(frames) / (time.perf_counter() - begun), jitter(np.array(landmarks))


def jitter(landmarks: Points) -> float:
    """Median length of the second difference over time of landmarks (T, 468, 2), per thousand of the eye distance."""
    eyes = np.linalg.norm(landmarks[:, 263] - landmarks[:, 33], axis=-1).mean()
    return float(1000 * np.median(np.linalg.norm(np.diff(landmarks, 2, axis=0), axis=-1)) / eyes)


def with_start_up(clip: Path, frames_hint: float) -> float:
    """Frames a second of the whole command, start-up included (`frames_hint`: the clip's frames)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "clearswap", "extract", str(clip), "-o", f"{folder}/faces"]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return frames_hint / (time.perf_counter() - begun)


def main() -> None:
    """Measure every clip named on the command line."""
    detector, mesh = Detector(), Mesh()
    print(f"{'clip':28} {'tracking':>10} {'afresh':>10} {'ratio':>6} {'jitter':>8} {'afresh':>8} {'command':>10}")
    for clip in map(Path, sys.argv[1:]):
        frames = [frame.picture for frame in read_frames(clip)][:150]
        runs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for _ in range(3):
            for afresh, done in runs.items():
                done.append(speed_and_jitter(frames, lambda: Tracker(TrackConfig(), detector, mesh), afresh=afresh))
        (tracked, shake), (fresh, fresh_shake) = max(runs[False]), max(runs[True])
        whole = max(with_start_up(clip, count_frames(clip)) for _ in range(3))
        print(
            f"{clip.name:28} {tracked:6.0f} f/s {fresh:6.0f} f/s {tracked / fresh:6.2f}"
            f" {shake:8.2f} {fresh_shake:8.2f} {whole:6.0f} f/s"
        )


if __name__ == "__main__":
    main()
