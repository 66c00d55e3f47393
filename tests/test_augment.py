"""Augmentation: nothing changes when nothing may, chance is repeatable, and each change is what its name says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clearswap.core.augment import (
    AugmentConfig,
    augment,
    framed,
    mix_light,
    occlude,
    random_warp,
    relight,
    sample_random,
)
from clearswap.core.network import PRESETS, ModelConfig
from makers import scene

STILL = AugmentConfig(rotation=0, scale=0, shift=0, mirror=0, warp=0, light=0)
MODEL = replace(PRESETS["lite"], size=64, seen=64, coverage=0.75, drop=0.05)
CPU = torch.device("cpu")


def faces(count: int = 3, side: int = 128) -> Tensor:
    """Smooth pictures with a fourth channel."""
    pictures = [torch.from_numpy(scene(4 * i, side, side)).permute(2, 0, 1).float() / 255 for i in range(count)]
    weights = torch.linspace(0, 1, side).expand(count, 1, side, side)
    return torch.cat([torch.stack(pictures), weights], 1)


def draw(config: AugmentConfig, seed: int = 0, model: ModelConfig = MODEL, count: int = 3) -> tuple[Tensor, Tensor]:
    draws = sample_random(count, 4, CPU, torch.Generator().manual_seed(seed))
    return augment(faces(count), draws, model, config)


def test_with_everything_zero_input_target_and_preview_are_one() -> None:
    inputs, targets = draw(STILL)
    assert inputs.shape == (3, 3, 64, 64)
    assert targets.shape == (3, 4, 64, 64)
    assert torch.allclose(inputs, targets[:, :3], atol=1e-6)
    assert torch.allclose(targets, framed(faces(), MODEL), atol=1e-6)


def test_the_frame_is_the_middle_of_the_square_moved_down() -> None:
    """At a whole scale and shift the pixels are the picture's own: 0.5 of 128 is 64 pixels, 1/16 down is 8."""
    model = replace(MODEL, coverage=0.5, drop=1 / 16)
    assert torch.allclose(framed(faces(), model), faces()[:, :, 40:104, 32:96], atol=1e-5)


def test_the_same_seed_gives_the_same_batch_and_another_does_not() -> None:
    one, again, other = (draw(AugmentConfig(), seed) for seed in (1, 1, 2))
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])


def test_every_face_of_a_batch_is_changed_in_its_own_way() -> None:
    picture = faces(1).expand(4, -1, -1, -1)
    draws = sample_random(4, 4, CPU, torch.Generator().manual_seed(0))
    _, targets = augment(picture, draws, MODEL, AugmentConfig())
    assert all((targets[0] - targets[i]).abs().mean() > 0.01 for i in range(1, 4))


def test_mirror_mirrors() -> None:
    inputs, targets = draw(replace(STILL, mirror=1))
    assert torch.allclose(targets, framed(faces(), MODEL).flip(3), atol=1e-5)
    assert torch.allclose(inputs, targets[:, :3], atol=1e-5)


def test_about_half_are_mirrored() -> None:
    _, targets = draw(replace(STILL, mirror=0.5), count=200)
    plain = framed(faces(200), MODEL)
    mirrored = ((targets - plain).abs().mean((1, 2, 3)) > 0.01).sum()
    assert 70 < mirrored < 130


def test_a_bend_changes_the_input_and_not_the_target() -> None:
    inputs, targets = draw(replace(STILL, warp=0.05))
    plain = framed(faces(), MODEL)
    assert torch.allclose(targets, plain, atol=1e-6)
    assert (inputs - plain[:, :3]).abs().mean() > 0.01


@pytest.mark.parametrize("size", [64, 128])
def test_the_bend_is_as_strong_as_it_says_and_smooth(size: int) -> None:
    bends = random_warp(torch.randn(400, 2, 5, 5, generator=torch.Generator().manual_seed(0)), size, 0.03)
    corners = bends[:, [0, 0, -1, -1], [0, -1, 0, -1]]  # where the grid's own points lie
    assert float(corners.std()) == pytest.approx(2 * 0.03, rel=0.05)  # -1..1 is two sides
    assert float(bends.diff(dim=1).std()) < 8 * 2 * 0.03 / size  # five points a side: 4 * 2 ** 0.5 at most


def test_a_bend_of_zero_strength_is_none() -> None:
    assert not random_warp(torch.ones(2, 2, 5, 5), 32, 0.0).any()


def test_light_is_the_same_for_input_and_target_and_never_touches_the_weights() -> None:
    inputs, targets = draw(replace(STILL, light=0.3))
    plain = framed(faces(), MODEL)
    assert torch.allclose(inputs, targets[:, :3], atol=1e-6)
    assert torch.equal(targets[:, 3], plain[:, 3])
    bright = (plain[:, :3] > 0.2) & (plain[:, :3] < 0.7)
    gain = (targets[:, :3] / plain[:, :3])[bright]
    assert 0.69 < gain.min() < gain.max() < 1.31
    assert gain.max() - gain.min() > 0.05
    assert targets.min() >= 0
    assert targets.max() <= 1


@pytest.mark.parametrize("name", ["rotation", "scale", "shift"])
def test_geometry_moves_input_and_target_alike_weights_included(name: str) -> None:
    strong = {"rotation": 20.0, "scale": 0.2, "shift": 0.1}[name]
    inputs, targets = draw(replace(STILL, **{name: strong}))
    assert torch.allclose(inputs, targets[:, :3], atol=1e-6)
    assert (targets - framed(faces(), MODEL)).abs().mean() > 0.005
    assert (targets[:, 3] - framed(faces(), MODEL)[:, 3]).abs().mean() > 0.0005


def test_a_turn_is_at_most_what_it_says() -> None:
    """The weights rise from left to right: their slope shows the turn."""
    _, targets = draw(replace(STILL, rotation=15), count=200)
    slope = targets[:, 3].diff(dim=1).mean((1, 2)) / targets[:, 3].diff(dim=2).mean((1, 2))
    angles = torch.atan(slope).rad2deg().abs()
    assert 13 < angles.max() < 15.5


def test_a_share_of_the_chances_is_what_those_faces_would_get_in_the_whole_batch() -> None:
    draws = sample_random(6, 4, CPU, torch.Generator().manual_seed(0))
    whole, part = (
        augment(faces(6)[chosen], draws.part(chosen), MODEL, AugmentConfig()) for chosen in (slice(None), slice(2, 5))
    )
    assert torch.equal(whole[0][2:5], part[0])
    assert torch.equal(whole[1][2:5], part[1])


def test_mixed_light_brings_a_face_into_the_light_of_the_other() -> None:
    skin = torch.full((1, 3, 64, 64), 0.4)
    lit = skin * torch.linspace(0.6, 1.4, 64)  # from the right
    draws = sample_random(1, 4, CPU, torch.Generator().manual_seed(0))
    always = replace(draws, mix=torch.tensor([[0.0, 1.0]]))
    mixed = skin.clone()
    relight(mixed, mix_light(skin, lit, always, AugmentConfig(mix_light=0.5)))
    assert float((mixed - lit).abs().mean()) < 0.02  # 4x4 cells know no more
    darker = skin.clone()
    relight(darker, mix_light(skin, 0.5 * lit, always, AugmentConfig(mix_light=0.5)))
    assert float((darker - mixed).abs().mean()) < 0.02  # whose skin is darker is no matter of light
    assert torch.equal(mix_light(skin, lit, always, AugmentConfig(mix_light=0.0)), torch.ones(1, 3, 4, 4))
    assert torch.allclose(mix_light(lit, lit, always, AugmentConfig(mix_light=1.0)), torch.ones(1, 3, 4, 4))


def test_a_cover_hides_what_the_mask_leaves_out_and_nothing_else() -> None:
    plain = faces(40)[:, :3]
    draws = sample_random(40, 4, CPU, torch.Generator().manual_seed(0)).occluders
    covered = plain.clone()
    free = occlude(covered, draws, torch.ones(40, dtype=torch.bool))
    assert free.shape == (40, 1, 128, 128)
    assert torch.equal((covered * free)[free.expand(-1, 3, -1, -1) == 1], plain[free.expand(-1, 3, -1, -1) == 1])
    assert (covered - plain).abs().mean(1, keepdim=True)[free == 0].mean() > 0.05
    hidden = (1 - free).mean((1, 2, 3))
    assert (hidden > 0.005).float().mean() > 0.9  # of those that begin outside, some stay there
    assert 0.05 < hidden.mean() < 0.4
    untouched = plain.clone()
    assert occlude(untouched, draws, torch.zeros(40, dtype=torch.bool)).min() == 1
    assert torch.equal(untouched, plain)
