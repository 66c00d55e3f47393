"""Losses: how far a reconstruction is from the face it should be."""

from __future__ import annotations

from torch import Tensor


def weighted_l1(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference of `output` and `target` (B, 3, S, S) in 0..1, each pixel counted by `weight`.

    `weight`: (B, 1, S, S), not negative. With a weight of 1 everywhere this is the classic L1 loss.
    """
    total = (weight.sum() * output.shape[1]).clamp(min=1e-6)
    return ((output - target).abs() * weight).sum() / total
