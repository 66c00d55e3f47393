"""How many faces a second does training see? `python benchmarks/train_speed.py FACES_A FACES_B`

Interleaves steps of each preset in one process and prints the best rate of each, beside the machine's
matrix-product rate measured in the same run.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line does

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from clearswap.core.augment import AugmentConfig
from clearswap.core.model import PRESETS, ModelConfig
from clearswap.machinery.checkpoint import TrainingState
from clearswap.machinery.device import describe_device, used_device
from clearswap.machinery.face_data import load_faces
from clearswap.verbs.train import start_training, train_step


def rate(state: TrainingState, data: list[torch.Tensor], steps: int) -> float:
    """Faces a second over a few steps."""
    begun = time.perf_counter()
    for _ in range(steps):
        losses = train_step(state, data, AugmentConfig())
    float(losses.sum())  # waits for the device
    return 2 * state.config.batch * steps / (time.perf_counter() - begun)


def matrix_rate(device: torch.device) -> float:
    """GFLOP/s of a 2048x2048 float32 product."""
    a = torch.rand(2048, 2048, device=device)
    begun = time.perf_counter()
    for _ in range(4):
        b = a @ a
    float(b.sum())
    return 4 * 2 * 2048**3 / (time.perf_counter() - begun) / 1e9


def main() -> None:
    """Measure all presets in turn, four rounds."""
    faces_a, faces_b = map(Path, sys.argv[1:3])
    device = used_device()
    print(describe_device(device))
    configs: dict[str, ModelConfig] = {**PRESETS, "classic, batch 16": replace(PRESETS["classic"], batch=16)}
    runs = {
        name: (start_training(config, 0, device), [load_faces(faces, config, device) for faces in (faces_a, faces_b)])
        for name, config in configs.items()
    }
    best = dict.fromkeys([*runs, "matrix product, GFLOP/s"], 0.0)
    for _ in range(4):
        best["matrix product, GFLOP/s"] = max(best["matrix product, GFLOP/s"], matrix_rate(device))
        for name, (state, data) in runs.items():
            best[name] = max(best[name], rate(state, data, 8 if name == "lite" else 1))
    for name, figure in best.items():
        print(
            f"{name:26} {figure:8.1f}" + ("" if "matrix" in name else f"  {figure / best['classic']:6.2f} of classic")
        )


if __name__ == "__main__":
    main()
