"""What do single choices in the network cost, side by side? `python benchmarks/layer_speed.py`

Each pair is run forwards and back in turn in one process.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import common
from clearswap.core.expression import MEASURES
from clearswap.core.modern import build
from clearswap.core.network import PRESETS
from common import Cell, Result, Table


def step(net: nn.Module, shape: tuple[int, ...], *, channels_last: bool = True) -> Callable[[], object]:
    """One pass forwards and back through `net`, as something to call."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = net.to(memory_format=layout)
    x = torch.rand(shape).contiguous(memory_format=layout).requires_grad_()
    return lambda: net(x).sum().backward()


class Patches(nn.Module):
    """The lite network, a person drawn as themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build(PRESETS["lite"])

    def forward(self, aligned: Tensor) -> Tensor:
        """The patches (B, 3, S, S) drawn for `aligned` (B, 3, S, S)."""
        return self.net(aligned, torch.zeros(len(aligned), MEASURES), "a", "a").patch


def grids(*, together: bool) -> Callable[[], Tensor | list[Tensor]]:
    """Input and target drawn by one sampling grid or by two."""
    faces, grid = torch.rand(16, 4, 176, 176), torch.rand(16, 192, 96, 2) * 2 - 1
    parts = [grid] if together else list(grid.split(96, 1))
    return lambda: [F.grid_sample(faces, part, align_corners=False) for part in parts]


def pairs() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """What is compared: the slower one, as we believe, first."""
    return {
        "depthwise 5x5 against 3x3, 16x64x24x24": (
            step(nn.Conv2d(64, 64, 5, padding=2, groups=64), (16, 64, 24, 24)),
            step(nn.Conv2d(64, 64, 3, padding=1, groups=64), (16, 64, 24, 24)),
        ),
        "lite, channels first against last": (
            step(Patches(), (16, 3, 96, 96), channels_last=False),
            step(Patches(), (16, 3, 96, 96)),
        ),
        "two sampling grids against one": (grids(together=False), grids(together=True)),
    }


def main() -> None:
    """Measure all pairs, on the CPU."""
    wanted = common.options(__doc__)
    rounds = 2 if wanted.quick else 30
    rows: list[tuple[Cell, ...]] = []
    for name, (first, second) in pairs().items():
        best = common.fastest({"first": first, "second": second}, rounds)
        rows.append((name, 1000 * best["first"], 1000 * best["second"], best["first"] / best["second"]))
    result = Result(
        "layer_speed",
        "What do single choices in the network cost, side by side?",
        f"Each pair forwards and back on the CPU, in one process and in turn, best of {rounds}.",
        [Table("", ["", "first, ms", "second, ms", "ratio"], rows)],
    )
    common.save(result, wanted)


if __name__ == "__main__":
    main()
