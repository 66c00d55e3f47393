"""The held-out error: how well a network draws faces that it was never trained on.

It is the one figure that training reports, logs and is stopped by. Every network is asked the same question at the
same size, whatever its own is: its patch is drawn at 128 px, as a conversion would draw it, and compared there in the
face area. A network of 64 px pays for its blur.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clearswap.core.losses import weighted_l1
from clearswap.core.network import ModelConfig, Side, SwapNet

SIDE = 128  # of the square in which networks are compared
COVERAGE, DROP = 0.7, 0.055  # which part of the `whole_face` square it shows, as in `ModelConfig`
_BATCH = 32


@dataclass(frozen=True)
class HeldOut:
    """Faces of one person kept apart from training."""

    inputs: Tensor  # (H, 3, S, S) in 0..1, what the network sees
    truth: Tensor  # (H, 3, 128, 128) in 0..1, what it should draw
    area: Tensor  # (H, 1, 128, 128), 1 in the face


@torch.inference_mode()
def held_out_error(net: SwapNet, model: ModelConfig, held: HeldOut, side: Side) -> float:
    """Mean absolute difference, 0..1, of a person's held-out faces and what `net` makes of them, in the face area."""
    was_training = net.training
    net.eval()
    grid = _view(model).to(held.inputs.device)
    total = torch.zeros((), device=held.inputs.device)
    for start in range(0, len(held.inputs), _BATCH):
        chosen = slice(start, start + _BATCH)
        patch = net(held.inputs[chosen], side, side)[:, :3]
        drawn = F.grid_sample(
            patch, grid.expand(len(patch), -1, -1, -1), mode="bicubic", padding_mode="border", align_corners=False
        )
        total += weighted_l1(drawn.clamp(0, 1), held.truth[chosen], held.area[chosen]) * len(patch)
    net.train(was_training)
    return float(total) / len(held.inputs)


def _view(model: ModelConfig) -> Tensor:
    """Where in the model's own square (-1..1) each pixel of the common one lies: (1, 128, 128, 2)."""
    zoom, down = COVERAGE / model.coverage, 2 * (DROP - model.drop) / model.coverage
    theta = torch.tensor([[[zoom, 0, 0], [0, zoom, down]]])
    return F.affine_grid(theta, [1, 1, SIDE, SIDE], align_corners=False)


def minutes_without_gain(seconds: list[float], errors: list[float], *, least_gain: float = 0.01) -> float | None:
    """How many minutes of training have brought nothing, or None while it still gains (or is too young to tell).

    `errors` are held-out errors at `seconds` of training. Nothing means: over the last third of the training, and
    two minutes at least, the error fell by less than `least_gain` of itself. A third, because gains come ever
    slower: what two minutes bring in the first ten takes an hour in the fifth. Medians of five keep single lucky
    measurements out; when the error rises again (too few faces, learned by heart), that is no gain either.
    """
    if len(seconds) < 10:
        return None
    window = max(120.0, seconds[-1] / 3)
    smooth = [float(np.median(errors[max(0, i - 4) : i + 1])) for i in range(len(errors))]
    before = [e for t, e in zip(seconds, smooth, strict=True) if t < seconds[-1] - window]
    since = [e for t, e in zip(seconds, smooth, strict=True) if t >= seconds[-1] - window]
    if len(before) < 5 or len(since) < 5 or min(since) < (1 - least_gain) * min(before):
        return None
    return window / 60
