"""How fast is extraction, and what does tracking buy? `python benchmarks/extract_speed.py CLIP...`

Runs each clip in turn with tracking and with detecting afresh in every frame, in one process, three times each,
interleaved, and prints the best of each, their ratio, and the jitter of the landmarks: the median second difference
over time, in thousandths of the distance between the eyes. Start-up is counted in the last column: the same clip
through the command line, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import clearswap
from clearswap.machinery.faceset import read_index
from clearswap.machinery.sources import count_frames

WAYS = {"tracking": clearswap.TrackConfig(), "afresh": clearswap.TrackConfig(detect_every=1)}


def extract_once(clip: Path, tracking: clearswap.TrackConfig) -> tuple[float, float]:
    """Frames a second and jitter of one extraction."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        done = clearswap.extract([clip], Path(folder) / "faces", tracking=tracking)
        seconds = time.perf_counter() - begun
        return done.frames / seconds, jitter(Path(folder) / "faces")


def jitter(faces: Path) -> float:
    """Median length of the landmarks' second difference over time, per thousand of the eye distance."""
    landmarks = np.array([record.landmarks for record in read_index(faces)])  # (T, 468, 2)
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
    print(f"{'clip':28} {'tracking':>10} {'afresh':>10} {'ratio':>6} {'jitter':>8} {'afresh':>8} {'command':>10}")
    for clip in map(Path, sys.argv[1:]):
        best = dict.fromkeys(WAYS, 0.0)
        shake = dict.fromkeys(WAYS, 0.0)
        for _ in range(3):
            for name, tracking in WAYS.items():
                speed, shake[name] = extract_once(clip, tracking)
                best[name] = max(best[name], speed)
        whole = max(with_start_up(clip, count_frames(clip)) for _ in range(3))
        ratio = best["tracking"] / best["afresh"]
        print(
            f"{clip.name:28} {best['tracking']:6.0f} f/s {best['afresh']:6.0f} f/s {ratio:6.2f}"
            f" {shake['tracking']:8.2f} {shake['afresh']:8.2f} {whole:6.0f} f/s"
        )


if __name__ == "__main__":
    main()
