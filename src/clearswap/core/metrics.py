"""How near a swapped clip is to the right answer, in the face area."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clearswap.core.losses import structural_similarity


def psnr(result: Tensor, truth: Tensor, area: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB of frames (B, 3, H, W) in 0..1, over the pixels of `area` (B, 1, H, W)."""
    error = ((result - truth) ** 2 * area).sum((1, 2, 3)) / (3 * area.sum((1, 2, 3))).clamp(min=1e-6)
    return -10 * error.clamp(min=1e-10).log10()


def ssim(result: Tensor, truth: Tensor, area: Tensor) -> Tensor:
    """Structural similarity (B,), -1..1 with 1 for equal, over `area`; shapes as for `psnr`.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004: a
    Gaussian window of 11 pixels and sigma 1.5, constants (0.01)^2 and (0.03)^2; here the mean over RGB.
    """
    similarity = structural_similarity(result, truth, _blurred)
    return (similarity * area).sum((1, 2, 3)) / (3 * area.sum((1, 2, 3))).clamp(min=1e-6)


def _blurred(frames: Tensor) -> Tensor:
    x = torch.arange(11, device=frames.device) - 5.0
    window = torch.exp(-(x**2) / (2 * 1.5**2))
    window = (window / window.sum()).expand(frames.shape[1], 1, 1, 11)
    across = F.conv2d(frames, window, padding=(0, 5), groups=frames.shape[1])
    return F.conv2d(across, window.transpose(2, 3), padding=(5, 0), groups=frames.shape[1])


@dataclass(frozen=True)
class Placement:
    """A constant zoom about the frame's middle and a shift, in shares of half the frame's width and height."""

    zoom: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def apply(self, frames: Tensor) -> Tensor:
        """`frames` (B, 3, H, W), zoomed and shifted."""
        theta = torch.tensor([[1, 0, -self.right], [0, 1, -self.down]], device=frames.device) / self.zoom
        grid = F.affine_grid(theta.expand(len(frames), 2, 3), list(frames.shape), align_corners=False)
        return F.grid_sample(frames, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)


def best_placement(result: Tensor, truth: Tensor, area: Tensor) -> Placement:
    """The one zoom and shift for the whole clip under which `result` is nearest to `truth` in `area`.

    Two people's features sit differently in their heads, and a swap is placed by those of the face it covers:
    this takes that constant difference out of the comparison. Found by a search that halves its steps.
    """
    best = Placement()
    score = float(psnr(result, truth, area).mean())
    step = 0.04
    while step > 0.0005:
        zoom, right, down = best.zoom, best.right, best.down
        tries = [Placement(zoom + s * z, right + s * x, down + s * y) for s in (step, -step) for z, x, y in _AXES]
        scores = [float(psnr(near.apply(result), truth, area).mean()) for near in tries]
        if max(scores) > score:
            score = max(scores)
            best = tries[scores.index(score)]
        else:
            step /= 2
    return best


_AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
