"""Colour: the way to L*a*b* and back, and matching one face's light to another's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from clearswap.core.blend import Method, colour_stats, lab_to_rgb, rgb_to_lab, transfer_colour
from makers import scene


def smooth(seed: int, mean: float = 0.5, spread: float = 0.06) -> Tensor:
    """A picture (1, 3, 48, 48) far from black and white, so that matching never clips."""
    generator = torch.Generator().manual_seed(seed)
    return (mean + spread * torch.randn(1, 3, 48, 48, generator=generator)).clamp(0.15, 0.85)


def match_colour(
    patch: Tensor, goal: Tensor, mask: Tensor, strength: float = 1.0, method: Method = "reinhard"
) -> Tensor:
    """What a swap does: the patch's colour_stats brought to that of the face it replaces."""
    return transfer_colour(patch, colour_stats(patch, mask, method), colour_stats(goal, mask, method), method, strength)


def statistics(picture: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    pixels = rgb_to_lab(picture)[0][:, mask[0, 0] > 0.5]
    return pixels.mean(1), pixels.std(1)


def test_there_and_back_is_the_same_colour() -> None:
    cube = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 17)] * 3, indexing="ij")).reshape(1, 3, 17, 289)
    assert torch.allclose(lab_to_rgb(rgb_to_lab(cube)), cube, atol=2e-3)


def test_known_colours() -> None:
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]])
    lab = rgb_to_lab(colours.T[None, :, :, None])[0, :, :, 0].T
    known = [[0, 0, 0], [100, 0, 0], [53.24, 80.09, 67.20], [87.74, -86.18, 83.18], [32.30, 79.19, -107.86]]
    assert torch.allclose(lab, torch.tensor([*known, [53.39, 0, 0]]), atol=0.05)


def test_it_is_the_lab_that_opencv_computes() -> None:
    picture = scene(1, 40, 30).astype(np.float32) / 255
    ours = rgb_to_lab(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)).max() < 0.5


def test_colours_out_of_gamut_are_clipped() -> None:
    rgb = lab_to_rgb(torch.tensor([[50.0, 200, 200], [120, 0, 0], [-5, 0, 0]]).T[None, :, :, None])
    assert torch.isfinite(rgb).all()
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_mean_and_spread_become_those_of_the_goal() -> None:
    patch, goal, mask = smooth(1, 0.6, 0.05), smooth(2, 0.4, 0.07), torch.ones(1, 1, 48, 48)
    before, wanted = statistics(patch, mask), statistics(goal, mask)
    after = statistics(match_colour(patch, goal, mask), mask)
    assert (before[0] - wanted[0]).abs().max() > 5
    assert torch.allclose(after[0], wanted[0], atol=0.3)
    assert torch.allclose(after[1], wanted[1], rtol=0.03)


def test_a_patch_that_matches_already_stays_as_it_is() -> None:
    patch = smooth(3)
    assert torch.allclose(match_colour(patch, patch, torch.ones(1, 1, 48, 48)), patch, atol=2e-3)


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_strength_goes_from_nothing_to_all(strength: float) -> None:
    patch, goal, mask = smooth(4, 0.6), smooth(5, 0.4), torch.ones(1, 1, 48, 48)
    start, end = statistics(patch, mask)[0], statistics(goal, mask)[0]
    after = statistics(match_colour(patch, goal, mask, strength), mask)[0]
    assert torch.allclose(after, torch.lerp(start, end, strength), atol=0.3)


def test_only_what_the_mask_covers_counts() -> None:
    patch, goal = smooth(6, 0.6), smooth(7, 0.4)
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., 10:40, 10:40] = 1
    other = goal.clone()
    other[..., :8, :] = 1
    assert torch.allclose(match_colour(patch, goal, mask), match_colour(patch, other, mask), atol=1e-5)


def test_the_spread_is_never_more_than_doubled_or_halved() -> None:
    flat, lively, mask = smooth(8, 0.5, 0.01), smooth(9, 0.5, 0.1), torch.ones(1, 1, 48, 48)
    raised = statistics(match_colour(flat, lively, mask), mask)[1] / statistics(flat, mask)[1]
    lowered = statistics(match_colour(lively, flat, mask), mask)[1] / statistics(lively, mask)[1]
    assert torch.allclose(raised, torch.tensor(2.0), rtol=0.03)
    assert torch.allclose(lowered, torch.tensor(0.5), rtol=0.03)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_pictures_of_one_colour_and_empty_masks_do_no_harm(value: float) -> None:
    flat = torch.full((1, 3, 16, 16), value)
    for mask in (torch.ones(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)):
        result = match_colour(smooth(1)[..., :16, :16], flat, mask)
        assert torch.isfinite(result).all()
        assert result.min() >= 0
        assert result.max() <= 1


def test_each_face_of_a_batch_has_its_own_light() -> None:
    patches, goals = torch.cat([smooth(1), smooth(2)]), torch.cat([smooth(3, 0.3), smooth(4, 0.7)])
    mask = torch.ones(2, 1, 48, 48)
    both = match_colour(patches, goals, mask)
    for i in range(2):
        alone = match_colour(patches[i : i + 1], goals[i : i + 1], mask[:1])
        assert torch.allclose(both[i : i + 1], alone, atol=1e-5)


METHODS: list[Method] = ["reinhard", "mkl"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_brings_a_tinted_picture_back(method: Method) -> None:
    """A change of light: each channel scaled and shifted by itself, in L*a*b*."""
    goal, mask = smooth(1), torch.ones(1, 1, 48, 48)
    lab = rgb_to_lab(goal)
    tinted = lab_to_rgb(lab * torch.tensor([0.8, 0.9, 1.2])[:, None, None] + torch.tensor([9.0, 4, -6])[:, None, None])
    before, after = (tinted - goal).abs().mean(), (match_colour(tinted, goal, mask, 1.0, method) - goal).abs().mean()
    print(f"{method}: {before:.4f} to {after:.4f}")
    assert after < 0.15 * before


def test_mkl_takes_out_tints_that_go_with_light_and_reinhard_does_not() -> None:
    goal, mask = smooth(2), torch.ones(1, 1, 48, 48)
    lab = rgb_to_lab(goal)
    mixed = lab.clone()
    mixed[:, 2] = 0.6 * lab[:, 2] + 0.5 * (lab[:, 0] - lab[:, 0].mean())  # what is brighter is yellower
    tinted = lab_to_rgb(mixed)
    off: dict[str, float] = {}
    for method in METHODS:
        after = rgb_to_lab(match_colour(tinted, goal, mask, 1.0, method)).flatten(2)[0]
        off[method] = float((torch.cov(after) - torch.cov(lab.flatten(2)[0])).abs().max())
    print(off)
    assert off["mkl"] < 0.3 * off["reinhard"]


def test_none_leaves_the_patch_and_half_a_strength_goes_half_the_way() -> None:
    patch, goal, mask = smooth(1, 0.6), smooth(2, 0.4), torch.ones(1, 1, 48, 48)
    assert torch.equal(match_colour(patch, goal, mask, 1.0, "none"), patch)
    for method in METHODS:
        light = [rgb_to_lab(match_colour(patch, goal, mask, s, method))[:, 0].mean() for s in (0.0, 0.5, 1.0)]
        assert float(light[1]) == pytest.approx(float(light[0] + light[2]) / 2, abs=0.3)


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_mask_and_a_flat_face_do_no_harm(method: Method) -> None:
    flat = torch.full((1, 3, 48, 48), 0.5)
    for mask in (torch.zeros(1, 1, 48, 48), torch.ones(1, 1, 48, 48)):
        assert match_colour(smooth(1), flat, mask, 1.0, method).isfinite().all()
        assert match_colour(flat, smooth(1), mask, 1.0, method).isfinite().all()


def test_only_the_mask_counts_for_every_method() -> None:
    patch, goal, mask = smooth(1), smooth(2), torch.zeros(1, 1, 48, 48)
    mask[..., 10:40, 10:40] = 1
    other = torch.where(mask > 0, goal, torch.rand_like(goal))
    for method in METHODS:
        one, two = (match_colour(patch, g, mask, 1.0, method) for g in (goal, other))
        assert torch.allclose(one, two, atol=1e-4)
