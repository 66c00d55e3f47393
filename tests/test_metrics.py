"""Metrics: known pictures have known figures, and a known displacement or tint is found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from clearswap.evaluation.metrics import (
    Colours,
    Placement,
    best_colours,
    best_placement,
    blurred,
    borders,
    flicker,
    psnr,
    ssim,
)
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


def undone(placement: Placement) -> Placement:
    """The similarity that `placement` takes back."""
    cos, sin = np.cos(placement.turn) / placement.zoom, np.sin(placement.turn) / placement.zoom
    right = -cos * placement.right - sin * placement.down
    down = sin * placement.right - cos * placement.down
    return Placement(1 / placement.zoom, -placement.turn, float(right), float(down))


@pytest.mark.parametrize(
    "known",
    [
        Placement(),
        Placement(zoom=1.06),
        Placement(turn=0.05),
        Placement(zoom=0.95, right=0.03, down=-0.05),
        Placement(right=0.1, down=0.08),
        Placement(zoom=1.04, turn=-0.04, right=-0.05, down=0.02),
    ],
    ids=str,
)
def test_a_known_similarity_is_found_again(known: Placement) -> None:
    truth, area = blobs(), torch.zeros(2, 1, 96, 96)
    area[..., 24:72, 24:72] = 1
    result = undone(known).apply(truth)
    found = best_placement(result, truth, area)
    assert (found.zoom, found.turn, found.right, found.down) == pytest.approx(
        (known.zoom, known.turn, known.right, known.down), abs=0.004
    )
    assert float(psnr(found.apply(result), truth, area).mean()) > 32


def test_a_placement_moves_right_and_down_turns_and_enlarges() -> None:
    dot = torch.zeros(1, 1, 65, 65)
    dot[..., 32, 32] = 1
    moved = Placement(right=20 / 32.5, down=-10 / 32.5).apply(dot)
    row, column = divmod(int(moved.argmax()), 65)
    assert (row, column) == (22, 52)
    turned = Placement(turn=np.pi / 2).apply(moved)  # clockwise about the middle
    assert divmod(int(turned.argmax()), 65) == (52, 42)
    square = torch.zeros(1, 1, 64, 64)
    square[..., 24:40, 24:40] = 1
    assert float(Placement(zoom=2.0).apply(square).sum()) == pytest.approx(4 * 256, rel=0.05)


def test_no_placement_changes_nothing_at_all() -> None:
    assert torch.equal(Placement().apply(tensor(0)), tensor(0))


@pytest.mark.parametrize("gain", [0.8, 1.0, 1.3])
@pytest.mark.parametrize("offset", [-0.1, 0.0, 0.08])
def test_a_known_gain_and_offset_of_each_colour_is_found_again(gain: float, offset: float) -> None:
    truth = 0.4 + 0.2 * blobs()  # in no case is anything cut off at black or white
    area = torch.zeros(2, 1, 96, 96)
    area[..., 24:72, 24:72] = 1
    known = Colours((1 / gain, 1.0, 1.1), (-offset / gain, 0.0, -0.05))
    found = best_colours(known.apply(truth), truth, area)
    assert found.gain == pytest.approx((gain, 1.0, 1 / 1.1), abs=0.01)
    assert found.offset == pytest.approx((offset, 0.0, 0.05 / 1.1), abs=0.01)
    assert float(psnr(found.apply(known.apply(truth)), truth, area).mean()) > 45


def test_colours_do_not_reward_a_blur_with_less_contrast() -> None:
    truth, area = blobs(), torch.ones(2, 1, 96, 96)
    found = best_colours(blurred(truth, 3), truth, area)
    assert min(found.gain) > 1


def test_flicker_is_nothing_for_steady_change_and_counts_what_jumps() -> None:
    before, area = 0.2 + 0.5 * tensor(0), everywhere()
    assert float(flicker(before, before + 0.1, before + 0.2, area)) == pytest.approx(0, abs=1e-6)
    assert float(flicker(before, before + 0.1, before, area)) == pytest.approx(0.2, abs=1e-5)


def test_a_seam_counts_on_the_border_and_a_steep_truth_does_not() -> None:
    """A step along the border of the swapped area; the same step in the truth; and a soft one."""
    inside, band = torch.zeros(2, 1, 1, 96, 96).unbind()
    inside[..., 24:72, 24:72] = 1
    band[..., 20:76, 20:76] = 1
    band[..., 30:66, 30:66] = 0
    truth = torch.full((1, 3, 96, 96), 0.5)
    seam = truth + 0.1 * inside
    assert float(borders(truth, truth, inside, band).excess) == 0
    assert float(borders(seam, seam, inside, band).excess) == 0
    assert float(borders(truth, seam, inside, band).excess) == pytest.approx(0, abs=1e-7)
    counted = float(borders(seam, truth, inside, band).excess)
    assert counted > 0.004
    assert float(borders(truth + 0.2 * inside, truth, inside, band).excess) == pytest.approx(2 * counted, rel=1e-3)
    assert float(borders(truth + 0.1, truth, inside, band).excess) == pytest.approx(0, abs=1e-7)
    soft = truth + 0.1 * blurred(inside, 6)
    assert float(borders(soft, truth, inside, band).excess) < 0.6 * counted
    assert float(borders(truth, truth, inside, band).result) == 0
    own = float(borders(seam, truth, inside, band).result)
    assert own == pytest.approx(counted)  # in all, where the truth has none
    assert float(borders(truth + 0.2 * inside, truth, inside, band).result) == pytest.approx(2 * counted, rel=1e-3)
