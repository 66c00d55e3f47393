"""What single choices in the network cost, side by side: `python benchmarks/layer_speed.py`

Each pair is run forwards and back in turn, ten times, in one process; printed are the best time of each and their
ratio.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line does

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearswap.core.model import PRESETS, build


def step(net: nn.Module, shape: tuple[int, ...], *, channels_last: bool = True) -> Callable[[], object]:
    """One pass forwards and back through `net`, as something to call."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = net.to(memory_format=layout)
    x = torch.rand(shape).contiguous(memory_format=layout).requires_grad_()
    return lambda: net(x).sum().backward()


def lite(*, channels_last: bool) -> Callable[[], object]:
    """A step of the lite network."""
    net = build(PRESETS["lite"])
    both = nn.Sequential(net.encoder, net.level_a, net.decoder_a)
    return step(both, (16, 3, 96, 96), channels_last=channels_last)


def grids(*, together: bool) -> Callable[[], Tensor | list[Tensor]]:
    """Input and target drawn by one sampling grid or by two."""
    faces, grid = torch.rand(16, 4, 176, 176), torch.rand(16, 192, 96, 2) * 2 - 1
    parts = [grid] if together else list(grid.split(96, 1))
    return lambda: [F.grid_sample(faces, part, align_corners=False) for part in parts]


PAIRS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "depthwise 5x5 against 3x3, 16x64x24x24": (
        step(nn.Conv2d(64, 64, 5, padding=2, groups=64), (16, 64, 24, 24)),
        step(nn.Conv2d(64, 64, 3, padding=1, groups=64), (16, 64, 24, 24)),
    ),
    "lite, channels first against last": (lite(channels_last=False), lite(channels_last=True)),
    "two sampling grids against one": (grids(together=False), grids(together=True)),
}


def main() -> None:
    """Measure all pairs."""
    for name, (first, second) in PAIRS.items():
        best = [float("inf"), float("inf")]
        for _ in range(10):
            for at, run in enumerate((first, second)):
                begun = time.perf_counter()
                run()
                best[at] = min(best[at], time.perf_counter() - begun)
        print(f"{name:42} {1000 * best[0]:7.2f} ms {1000 * best[1]:7.2f} ms  ratio {best[0] / best[1]:.2f}")


if __name__ == "__main__":
    main()
