"""Metrics: known pictures have known figures, and a known displacement is found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from clearswap.core.metrics import Placement, best_placement, psnr, ssim
from makers import scene


def tensor(index: int, width: int = 64, height: int = 64) -> Tensor:
    return torch.from_numpy(scene(index, width, height)).permute(2, 0, 1)[None].float() / 255


def everywhere(width: int = 64, height: int = 64) -> Tensor:
    return torch.ones(1, 1, height, width)


def noise(deviation: float, seed: int = 0) -> Tensor:
    return deviation * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_equal_pictures() -> None:
    assert float(psnr(tensor(0), tensor(0), everywhere())) == pytest.approx(100)
    assert float(ssim(tensor(0), tensor(0), everywhere())) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("deviation", [0.01, 0.05, 0.2])
def test_psnr_of_noise_is_its_variance(deviation: float) -> None:
    measured = float(psnr(tensor(0) + noise(deviation), tensor(0), everywhere()))
    assert measured == pytest.approx(-20 * np.log10(deviation), abs=0.2)


def test_psnr_of_a_constant_difference() -> None:
    assert float(psnr(tensor(0) + 0.1, tensor(0), everywhere())) == pytest.approx(20, abs=1e-3)


def test_only_the_area_counts_and_each_frame_has_its_own_figure() -> None:
    area = torch.zeros(2, 1, 64, 64)
    area[0, :, :32], area[1, :, 32:] = 1, 1
    truth = tensor(0).repeat(2, 1, 1, 1)
    result = truth.clone()
    result[:, :, :32] += 0.1
    figures = psnr(result, truth, area)
    assert figures.tolist() == pytest.approx([20, 100], abs=1e-3)
    similar = ssim(result, truth, area)
    assert similar[0] < similar[1]


def ssim_by_hand(one: np.ndarray, other: np.ndarray, row: int, column: int) -> float:
    """Structural similarity of one channel at one pixel, straight from the paper's formula."""
    x = np.arange(-5, 6)
    window = np.exp(-(x[:, None] ** 2 + x[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    a, b = (picture[row - 5 : row + 6, column - 5 : column + 6].astype(np.float64) for picture in (one, other))
    mean_a, mean_b = (window * a).sum(), (window * b).sum()
    var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
    covariance = (window * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def test_ssim_is_the_papers() -> None:
    truth = tensor(0)
    result = (truth + noise(0.05)).clamp(0, 1)
    area = torch.zeros(1, 1, 64, 64)
    area[..., 20:30, 25:40] = 1
    one, other = result[0].double().numpy(), truth[0].double().numpy()
    places = [(row, column) for row in range(20, 30) for column in range(25, 40)]
    by_hand = [ssim_by_hand(one[channel], other[channel], *place) for channel in range(3) for place in places]
    assert float(ssim(result, truth, area)) == pytest.approx(np.mean(by_hand), abs=1e-3)


def test_both_fall_as_pictures_drift_apart() -> None:
    truth = tensor(0)
    shifted = [torch.roll(truth, shift, 3) for shift in (0, 1, 2, 4)]
    for metric in (psnr, ssim):
        figures = [float(metric(result, truth, everywhere())) for result in shifted]
        assert figures == sorted(figures, reverse=True)
        assert len(set(figures)) == 4


def blobs(size: int = 96) -> Tensor:
    """A smooth picture with structure everywhere."""
    generator = torch.Generator().manual_seed(5)
    small = torch.rand(2, 3, 14, 14, generator=generator)
    return torch.nn.functional.interpolate(small, (size, size), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize(
    ("zoom", "right", "down"), [(1.0, 0.0, 0.0), (1.06, 0.0, 0.0), (0.95, 0.03, -0.05), (1.0, 0.1, 0.08)]
)
def test_a_known_zoom_and_shift_is_found_again(zoom: float, right: float, down: float) -> None:
    truth, area = blobs(), torch.zeros(2, 1, 96, 96)
    area[..., 24:72, 24:72] = 1
    result = Placement(1 / zoom, -right / zoom, -down / zoom).apply(truth)
    found = best_placement(result, truth, area)
    assert (found.zoom, found.right, found.down) == pytest.approx((zoom, right, down), abs=0.004)
    assert float(psnr(found.apply(result), truth, area).mean()) > 32


def test_a_placement_moves_right_and_down_and_enlarges() -> None:
    dot = torch.zeros(1, 1, 65, 65)
    dot[..., 32, 32] = 1
    moved = Placement(1.0, right=20 / 32.5, down=-10 / 32.5).apply(dot)
    row, column = divmod(int(moved.argmax()), 65)
    assert (row, column) == (22, 52)
    square = torch.zeros(1, 1, 64, 64)
    square[..., 24:40, 24:40] = 1
    assert float(Placement(zoom=2.0).apply(square).sum()) == pytest.approx(4 * 256, rel=0.05)
