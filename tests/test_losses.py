"""Losses: what they measure, and that they fall where they should."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clearswap.core.losses import dissimilarity, structural_similarity, weighted_l1


def pictures(seed: int = 0) -> Tensor:
    """Smooth random pictures (2, 3, 48, 48) in 0..1."""
    coarse = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, 48, mode="bilinear")


def ones() -> Tensor:
    return torch.ones(2, 1, 48, 48)


def test_l1_with_weight_one_is_the_mean_absolute_difference() -> None:
    one, other = pictures(0), pictures(1)
    assert weighted_l1(one, other, ones()).item() == pytest.approx((one - other).abs().mean().item(), rel=1e-5)


def test_pixels_without_weight_do_not_count() -> None:
    one, other, weight = pictures(0), pictures(0), ones()
    other[..., :24] = 0.5
    weight[..., :24] = 0
    assert weighted_l1(one, other, weight).item() == 0
    weight[..., :32] = 0  # a window of 7 reaches over the border
    assert dissimilarity(one, other, weight).item() < 0.01


def test_dissimilarity_is_nothing_for_equal_pictures_and_grows_with_blur() -> None:
    truth = pictures()
    blurs = [truth, *(torch.nn.functional.avg_pool2d(truth, k, 1, k // 2) for k in (5, 9, 15))]
    values = [dissimilarity(blurred, truth, ones()).item() for blurred in blurs]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values == sorted(values)
    assert values[-1] > 0.1


def test_a_blur_costs_more_structure_than_a_change_of_light_of_the_same_l1() -> None:
    truth = pictures()
    blurred = torch.nn.functional.avg_pool2d(truth, 9, 1, 4)
    lighter = truth + weighted_l1(blurred, truth, ones())
    assert weighted_l1(lighter, truth, ones()).item() == pytest.approx(
        weighted_l1(blurred, truth, ones()).item(), rel=1e-4
    )
    assert dissimilarity(blurred, truth, ones()) > 2 * dissimilarity(lighter, truth, ones())


def test_dissimilarity_is_that_of_7x7_windows_at_every_third_pixel() -> None:
    """The windows are averaged by matrix products; torch's own pooling says what they should be, of grey pictures."""

    def pooled(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 7, stride=3)

    one, other = (F.interpolate(pictures(seed), 96) for seed in (0, 1))
    weight = torch.rand(2, 1, 96, 96)
    grey, other_grey = ((x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, True) for x in (one, other))
    lost = (1 - structural_similarity(grey, other_grey, pooled)) / 2 * pooled(weight)
    expected = (lost.sum((1, 2, 3)) / pooled(weight).sum((1, 2, 3))).mean()  # each picture counts alike
    assert dissimilarity(one, other, weight).item() == pytest.approx(expected.item(), rel=1e-4)
