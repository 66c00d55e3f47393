"""Augmentation: from a few hundred faces, never the same picture twice. One batched sampling grid moves them.

Each face is turned, scaled, shifted and mirrored a little at random; that is the *target*. The *input* is the
same face, warped besides by a random 5x5 grid ("random warp"). Asked to undo the bend, the network has to learn
what a face is instead of copying pixels, and a face of the other person is to it just one more warped face.

Chance comes first (`sample_random`), what it leads to after: a process that trains its share of a batch draws the
numbers of the whole batch, as all others do, and takes its own.

Covers: things held before a face at random, so that a network learns what is face and what is in front of it.

Source of the idea: networks trained on faces with things pasted over them leave real hands out, too (Voo et al. 2022,
"Delving into High-Quality Synthetic Face Occlusion Segmentation Datasets"). Here a cover is up to four capsules (thick
lines with round ends, like fingers, pens and microphones), in any colour or in that of the face itself.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from clearswap.core.network import ModelConfig


@dataclass(frozen=True)
class AugmentConfig:
    """How much faces are changed at random.

    Aligned faces are upright and centred already. Turning them by 10 degrees, as is usual, costs a small network
    most of its time: with 2 degrees and 1 % the same 400 steps left 0.6 of the error (demo pair).

    Attributes:
        rotation: Largest turn in degrees, either way.
        scale: Largest change of size, as a share.
        shift: Largest shift, as a share of the square's side.
        mirror: How often (0..1) a face is mirrored.
        warp: Standard deviation of the 5x5 grid's points, as a share of the square's side.
        light: Largest change of brightness and of each colour, as a share.
        mix_light: How often (0..1) a face is shown in the light of one of the other person's; not in `classic`.
        occlude: How often (0..1) something is held before a face, which the mask is to leave out; not in `classic`.
    """

    rotation: float = 2.0
    scale: float = 0.02
    shift: float = 0.01
    mirror: float = 0.5
    warp: float = 0.03
    light: float = 0.05
    mix_light: float = 0.5
    occlude: float = 0.3


@dataclass(frozen=True)
class RandomDraws:
    """The random numbers of a batch of B faces; evenly distributed unless it says otherwise."""

    face: Tensor  # (B,) in 0..1: which one of the set
    place: Tensor  # (B, 4) in -1..1: turn, size, shift across and down
    mirror: Tensor  # (B,) in 0..1
    warp: Tensor  # (B, 2, 5, 5), normally distributed
    light: Tensor  # (B, 4) in -1..1: the three colours, and all of them
    mix: Tensor  # (B, 2) in 0..1: whether, and how much
    occluded: Tensor  # (B,) in 0..1: whether something is held before the face
    occluders: Tensor  # (B, 4, 9) in 0..1: and what, see `core/augment.py`
    noise: Tensor  # (B, L), normally distributed: see `modern.Level`

    def part(self, chosen: slice) -> RandomDraws:
        """Those of some of the faces."""
        return RandomDraws(*(getattr(self, field.name)[chosen] for field in fields(self)))


def sample_random(batch: int, latent: int, device: torch.device, generator: torch.Generator) -> RandomDraws:
    """Random numbers for a batch."""

    def even(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, device=device)

    place, light = 2 * even(4) - 1, 2 * even(4) - 1
    return RandomDraws(even(), place, even(), normal(2, 5, 5), light, even(2), even(), even(4, 9), normal(latent))


def augment(faces: Tensor, draws: RandomDraws, model: ModelConfig, config: AugmentConfig) -> tuple[Tensor, Tensor]:
    """Make inputs and targets of whole faces.

    `faces`: (B, C, R, R) in 0..1, aligned as `whole_face`; channels past the third (weights, mask) get the same
    geometry and no light. Returns the warped input (B, 3, S, S) and the target (B, C, S, S): the part of the square
    that the model sees, changed at random. Bend and place are one grid, so that a face is sampled, and blurred, once.
    """
    straight = random_grid(draws, model, config)
    warped = straight + random_warp(draws.warp, model.size, config.warp * model.coverage)
    inputs, targets = _sample(faces[:, :3], warped), _sample(faces, straight)
    gain = 1 + config.light * (draws.light[:, :3] + draws.light[:, 3:]) / 2  # half common to all colours, half not
    for drawn in (inputs, targets):
        relight(drawn, gain[..., None, None])
    return inputs, targets


def _sample(faces: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)


def relight(faces: Tensor, gain: Tensor) -> None:
    """Multiply the colours of `faces` (B, C, S, S) by `gain` (B, 3, ...), in place, and keep them in 0..1."""
    faces[:, :3].mul_(gain).clamp_(0, 1)


def random_grid(draws: RandomDraws, model: ModelConfig, config: AugmentConfig) -> Tensor:
    """Sampling grids (B, S, S, 2) in -1..1 of randomly turned, scaled, shifted and mirrored squares."""
    angle = draws.place[:, 0] * config.rotation * torch.pi / 180
    scale = model.coverage * (1 + draws.place[:, 1] * config.scale)
    flip = torch.where(draws.mirror < config.mirror, -1.0, 1.0)
    shift = draws.place[:, 2:] * config.shift * 2 * model.coverage
    return _grid(scale * angle.cos(), scale * angle.sin(), flip, shift, model)


def _grid(cos: Tensor, sin: Tensor, flip: Tensor, shift: Tensor, model: ModelConfig) -> Tensor:
    centres = ((2 * torch.arange(model.size, device=cos.device) + 1) / model.size - 1)[:, None]
    right, down = torch.stack([cos * flip, sin * flip], 1), torch.stack([-sin, cos], 1)  # (B, 2): where these go
    middle = torch.stack([shift[:, 0], shift[:, 1] + 2 * model.drop], 1)
    rows, columns = centres * right[:, None], centres * down[:, None] + middle[:, None]  # (B, S, 2)
    return rows[:, None] + columns[:, :, None]  # a third of the time of `affine_grid`, which multiplies matrices


def random_warp(points: Tensor, size: int, strength: float) -> Tensor:
    """Smooth displacements (B, size, size, 2) of a sampling grid, from 5x5 random `points` (B, 2, 5, 5)."""
    return _enlarged(points * (2 * strength), size, "bicubic", corners=True).permute(0, 2, 3, 1)


def _enlarged(points: Tensor, size: int, mode: str, *, corners: bool) -> Tensor:
    """`F.interpolate` of small squares (B, C, N, N) to (B, C, size, size), in a fifth of the time: as the products of
    two matrices, which are what it makes of the corners of a unit square.
    """
    ends = torch.eye(points.shape[-1], device=points.device)[None, :, :, None]
    basis = F.interpolate(ends, (size, 1), mode=mode, align_corners=corners)[0, :, :, 0]  # (N, size)
    return basis.T @ points @ basis


def framed(faces: Tensor, model: ModelConfig) -> Tensor:
    """The part that the model sees of aligned faces (B, C, R, R), unchanged: (B, C, S, S). For previews."""
    one = torch.ones(len(faces), device=faces.device)
    grid = _grid(model.coverage * one, 0 * one, one, torch.zeros(len(faces), 2, device=faces.device), model)
    return _sample(faces, grid)


def mix_light(faces: Tensor, others: Tensor, draws: RandomDraws, config: AugmentConfig) -> Tensor:
    """What to multiply each picture of some faces by, (B, 3, S, S), so that they stand in the light of `others`.

    `faces`, `others`: (B, 3, S, S) in 0..1 of the two persons. Light is what is left of a face when it is averaged to
    4x4 cells: its bright and dark sides. Cell by cell, the ratio of the other's to the own is what that light would
    make of this skin, once the ratio of their averages is taken out: that is skin tone, and no network that sees faces
    evened out could know it (left in, the held-out error was half as much again, and swaps no better). Whether, and how
    much of it, is up to chance.
    """
    own, other = (F.adaptive_avg_pool2d(x, 4) + 0.05 for x in (faces, others))
    own, other = (x / x.mean((2, 3), keepdim=True) for x in (own, other))
    share = torch.where(draws.mix[:, 0] < config.mix_light, draws.mix[:, 1], 0.0)[:, None, None, None]
    gain = (other / own).clamp(0.4, 2.5) ** share
    return _enlarged(gain, faces.shape[-1], "bilinear", corners=False)


_SLOPE = 0.35  # how much a capsule's shade changes from its one edge to the other


def occlude(faces: Tensor, draws: Tensor, covered: Tensor) -> Tensor:
    """Hold something before those of the faces that are to be `covered` (B,), in place.

    `faces`: (B, 3, S, S) in 0..1. `draws`: (B, 4, 9) in 0..1, for each capsule: where it begins (2), which way and
    how far it goes (2), its thickness, its colour (3), and, the first one's, whether that is the face's own. Returns
    what is left free (B, 1, S, S), 1 or 0 with soft edges.
    """
    batch, _, size, _ = faces.shape
    half = size // 2  # covers are smooth: at half the size they cost a quarter
    step = (torch.arange(half, device=faces.device, dtype=faces.dtype) + 0.5) / half
    numbers = draws.permute(2, 0, 1)[..., None, None]  # (9, B, 4, 1, 1)
    x, y, turn, length, thick = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    # fingers of one hand: all begin near the first one and go about its way
    x, y = x[:, :1] + 0.35 * (x - x[:, :1]), y[:, :1] + 0.35 * (y - y[:, :1])
    angle, length = 2 * torch.pi * (turn[:, :1] + 0.1 * (turn - 0.5)), 0.2 + 0.6 * length
    cos, sin, radius = angle.cos(), angle.sin(), 0.03 + 0.1 * thick * thick
    across, down = step - x, step[:, None] - y  # (B, 4, 1, W), (B, 4, H, 1): from where the capsule begins
    along = torch.minimum((across * cos + down * sin).clamp(min=0), length)
    across, down = across - along * cos, down - along * sin  # (B, 4, H, W): from the nearest point of its middle line
    depth = radius - (across * across + down * down).sqrt()
    there = covered.to(faces.dtype)[:, None, None, None]
    inside = (depth * half + 0.5).clamp(0, 1) * there  # one pixel soft
    shade = 1 + _SLOPE * (across + down) / radius
    own, colour = faces.mean((2, 3))[:, None], draws[..., 5:8]  # (B, 1, 3), (B, 4, 3)
    tint = torch.where(draws[:, :1, 8:] < 0.6, own * (0.75 + 0.5 * colour), colour[:, :1])
    paint, free = faces.new_zeros(batch, 3, half, half), faces.new_ones(batch, 1, half, half)
    for i in range(draws.shape[1]):  # each lies over those before
        mask = inside[:, i, None]
        paint = paint + mask * ((tint[:, i, :, None, None] * shade[:, i, None]).clamp(0, 1) - paint)
        free = free * (1 - mask)
    both = F.interpolate(torch.cat([paint, free], 1), faces.shape[-2:], mode="bilinear", align_corners=False)
    paint, free = both[:, :3], both[:, 3:]
    torch.lerp(paint, faces, free, out=faces)
    return free
