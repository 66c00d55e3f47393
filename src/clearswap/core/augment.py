"""Augmentation: from a few hundred faces, never the same picture twice.

Each face is turned, scaled, shifted and mirrored a little at random; that is the *target*. The *input* is the same
face, pulled out of shape by a random 5x5 grid ("random warp"). Asked to undo the warp, the network has to learn what a
face is instead of copying pixels, and a face of the other person is to it just one more warped face.

The modern network gets more: the light of the other person's pictures (`mix_light`), and things held before the face
(`occlude`), so that it learns what is face and what is in front of it. All random numbers of a batch are drawn first
(`sample_random`), so that each of several processes can take its part of one and the same batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from clearswap.checks import Share, check_fields
from clearswap.core.expression import MEASURES
from clearswap.core.network import ModelConfig


@dataclass(frozen=True)
class AugmentConfig:
    """How much faces are changed at random.

    Aligned faces are upright and centred already. Turning them by 10 degrees, as is usual, costs a small network
    most of its time: with 2 degrees and 1 % the same 400 steps left 0.6 of the error (demo pair).

    Attributes:
        rotation: Largest turn of a face in training, in degrees either way.
        scale: Largest change of a face's size in training, as a share.
        shift: Largest shift of a face in training, as a share of the square's side.
        mirror: How often (0..1) a face is mirrored in training.
        warp: Standard deviation of the 5x5 points that pull a face out of shape, as a share of the square's side.
        light: Largest change of a face's brightness and of each of its colours in training, as a share.
        mix_light: How often (0..1) a face is trained in the light of one of the other person's; not in `classic`.
        occlude: How often (0..1) something is held before a face in training; not in `classic`.
        mix_expressions: Share of the numbers of a face's expression that are told wrong in training, as another face's;
            not with a base.
    """

    rotation: Annotated[float, Meta(ge=0, le=180)] = 2.0
    scale: Annotated[float, Meta(ge=0, le=0.9)] = 0.02
    shift: Share = 0.01
    mirror: Share = 0.5
    warp: Share = 0.03
    light: Share = 0.05
    mix_light: Share = 0.5
    occlude: Share = 0.3
    mix_expressions: Share = 0.05

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class RandomDraws:
    """The random numbers for a batch of B faces; uniformly distributed where nothing else is said."""

    face: Tensor  # (B,) in 0..1: which one of the set
    place: Tensor  # (B, 4) in -1..1: turn, size, shift across and down
    mirror: Tensor  # (B,) in 0..1: whether it is mirrored
    warp: Tensor  # (B, 2, 5, 5), normal: the grid's points
    light: Tensor  # (B, 4) in -1..1: the three colours, and all of them
    mix: Tensor  # (B, 2) in 0..1: whether it stands in another light, and how much
    occluded: Tensor  # (B,) in 0..1: whether something is held before the face
    occluders: Tensor  # (B, 4, 9) in 0..1: what is held there, see `occlude`
    noise: Tensor  # (B, L), normal: added to the latent, see `modern.LatentNorm`
    forget: Tensor  # (B, 1) in 0..1: whether it is drawn by its expression alone
    told: Tensor  # (B, MEASURES) in 0..1: which numbers of its expression are another face's

    def part(self, chosen: slice) -> RandomDraws:
        """The random numbers of some of the faces."""
        return RandomDraws(*(getattr(self, field.name)[chosen] for field in fields(self)))


def sample_random(batch: int, latent: int, device: torch.device, generator: torch.Generator) -> RandomDraws:
    """Draw the random numbers for `batch` faces and `latent` numbers that describe each."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, device=device)

    place = 2 * uniform(4) - 1
    light = 2 * uniform(4) - 1  # models are repeatable from a seed only as long as this order stays
    return RandomDraws(
        face=uniform(),
        place=place,
        mirror=uniform(),
        warp=normal(2, 5, 5),
        light=light,
        mix=uniform(2),
        occluded=uniform(),
        occluders=uniform(4, 9),
        noise=normal(latent),
        forget=uniform(1),
        told=uniform(MEASURES),
    )


def augment(faces: Tensor, draws: RandomDraws, model: ModelConfig, config: AugmentConfig) -> tuple[Tensor, Tensor]:
    """Make inputs and targets of aligned faces.

    `faces`: (B, C, R, R) in 0..1, aligned as `whole_face`; channels past the third (weights, mask) get the same
    geometry and no light. Returns the warped input (B, 3, `model.seen`, `model.seen`) and the target (B, C, S, S): the
    part of the square that the model sees, changed at random. Place and warp are one grid, so that a face is sampled,
    and blurred, once.
    """
    warp = random_warp(draws.warp, model.seen, config.warp * model.coverage)
    inputs = _sample(faces[:, :3], random_grid(draws, model, config, model.seen) + warp)
    targets = _sample(faces, random_grid(draws, model, config, model.size))
    gain = 1 + config.light * (draws.light[:, :3] + draws.light[:, 3:]) / 2  # half common to all colours, half not
    for pictures in (inputs, targets):
        relight(pictures, gain[..., None, None])
    return inputs, targets


def framed(faces: Tensor, model: ModelConfig) -> Tensor:
    """The part that the model sees of aligned faces (B, C, R, R), unchanged: (B, C, S, S). For previews."""
    one, shift = faces.new_ones(len(faces)), faces.new_zeros(len(faces), 2)
    return _sample(faces, _grid(model.coverage * one, 0 * one, one, shift, model, model.size))


def random_grid(draws: RandomDraws, model: ModelConfig, config: AugmentConfig, size: int) -> Tensor:
    """Sampling grids (B, size, size, 2) in -1..1 of randomly turned, scaled, shifted and mirrored squares."""
    angle = draws.place[:, 0] * config.rotation * torch.pi / 180
    scale = model.coverage * (1 + draws.place[:, 1] * config.scale)
    flip = torch.where(draws.mirror < config.mirror, -1.0, 1.0)
    shift = draws.place[:, 2:] * config.shift * 2 * model.coverage
    return _grid(scale * angle.cos(), scale * angle.sin(), flip, shift, model, size)


def _grid(scaled_cos: Tensor, scaled_sin: Tensor, flip: Tensor, shift: Tensor, model: ModelConfig, size: int) -> Tensor:
    centres = ((2 * torch.arange(size, device=flip.device) + 1) / size - 1)[:, None]  # of pixels, -1..1
    # (B, 2): where a step to the right in the new square leads in the stored one, and a step down
    right, down = torch.stack([scaled_cos * flip, scaled_sin * flip], 1), torch.stack([-scaled_sin, scaled_cos], 1)
    middle = torch.stack([shift[:, 0], shift[:, 1] + 2 * model.drop], 1)
    by_column, by_row = centres * right[:, None], centres * down[:, None] + middle[:, None]  # (B, S, 2)
    return by_column[:, None] + by_row[:, :, None]  # a third of the time of `affine_grid`, which multiplies matrices


def random_warp(points: Tensor, size: int, strength: float) -> Tensor:
    """Smooth displacements (B, size, size, 2) of a sampling grid, from 5x5 random `points` (B, 2, 5, 5)."""
    return _resize(points * (2 * strength), size, "bicubic", corners=True).permute(0, 2, 3, 1)  # 2: from -1 to 1


def _sample(faces: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _resize(points: Tensor, size: int, mode: str, *, corners: bool) -> Tensor:
    """`F.interpolate` small squares (B, C, P, P) to (B, C, size, size), in a fifth of the time.

    It is linear in the points: a product with one matrix from each side, whose rows are what becomes of unit vectors.
    """
    ends = torch.eye(points.shape[-1], device=points.device)[None, :, :, None]
    basis = F.interpolate(ends, (size, 1), mode=mode, align_corners=corners)[0, :, :, 0]  # (P, size)
    return basis.T @ points @ basis


def relight(faces: Tensor, gain: Tensor) -> None:
    """Multiply the colours of `faces` (B, C, S, S) by `gain` (B, 3, n, n), in place, and keep them in 0..1."""
    field = gain if gain.shape[-1] == 1 else _resize(gain, faces.shape[-1], "bilinear", corners=False)
    faces[:, :3].mul_(field).clamp_(0, 1)


def mix_light(faces: Tensor, others: Tensor, draws: RandomDraws, config: AugmentConfig) -> Tensor:
    """The gain (B, 3, 4, 4) that puts `faces` into the light of `others`; 1 where chance leaves a face as it is.

    `faces`, `others`: (B, 3, S, S) in 0..1 of the two persons. Light is what is left of a face when it is averaged to
    4x4 cells: its bright and dark sides. The gain is the ratio of these cells, the other's to the face's own, less the
    ratio of their averages: that is skin tone, and no network that sees standardised faces could know it (left in, the
    held-out error was half as much again, and swaps no better).
    """
    own, other = (F.adaptive_avg_pool2d(x, 4) + 0.05 for x in (faces, others))
    own, other = (x / x.mean((2, 3), keepdim=True) for x in (own, other))
    share = torch.where(draws.mix[:, 0] < config.mix_light, draws.mix[:, 1], 0.0)[:, None, None, None]
    return (other / own).clamp(0.4, 2.5) ** share


def occlude(faces: Tensor, occluders: Tensor, covered: Tensor) -> Tensor:
    """Hold something before those of the faces that are to be `covered` (B,), in place.

    Up to four capsules (thick lines with round ends, like fingers, pens and microphones), in any colour or in that of
    the face. Networks trained on faces with things pasted over them leave real hands out, too (Voo et al. 2022,
    "Delving into High-Quality Synthetic Face Occlusion Segmentation Datasets").

    `faces`: (B, 3, S, S) in 0..1. `occluders`: (B, 4, 9) in 0..1, for each capsule: where it begins (2), which way
    and how far it goes (2), its thickness, its colour (3), and, the first one's, whether that is the face's own.
    Returns what is left free (B, 1, S, S), 1 or 0 with soft edges.
    """
    batch, _, size, _ = faces.shape
    half = size // 2  # capsules are smooth: at half the size they cost a quarter
    step = (torch.arange(half, device=faces.device, dtype=faces.dtype) + 0.5) / half
    x, y, turn, length, thick = occluders.permute(2, 0, 1)[:5, ..., None, None]  # each (B, 4, 1, 1)
    # fingers of one hand: all begin near the first one and go about its way
    x, y = x[:, :1] + 0.35 * (x - x[:, :1]), y[:, :1] + 0.35 * (y - y[:, :1])
    angle, length = 2 * torch.pi * (turn[:, :1] + 0.1 * (turn - 0.5)), 0.2 + 0.6 * length
    cos, sin, radius = angle.cos(), angle.sin(), 0.03 + 0.1 * thick * thick
    across, down = step - x, step[:, None] - y  # (B, 4, 1, W), (B, 4, H, 1): from where the capsule begins
    along = torch.minimum((across * cos + down * sin).clamp(min=0), length)
    across, down = across - along * cos, down - along * sin  # (B, 4, H, W): from the nearest point of its middle line
    depth = radius - (across * across + down * down).sqrt()
    inside = (depth * half + 0.5).clamp(0, 1) * covered.to(faces.dtype)[:, None, None, None]  # one pixel soft
    shade = 1 + 0.35 * (across + down) / radius  # from one edge of the capsule to the other
    own, colour = faces.mean((2, 3))[:, None], occluders[..., 5:8]  # (B, 1, 3), (B, 4, 3)
    tint = torch.where(occluders[:, :1, 8:] < 0.6, own * (0.75 + 0.5 * colour), colour[:, :1])
    paint, free = faces.new_zeros(batch, 3, half, half), faces.new_ones(batch, 1, half, half)
    for i in range(occluders.shape[1]):  # each lies over those before
        mask = inside[:, i, None]
        paint = paint + mask * ((tint[:, i, :, None, None] * shade[:, i, None]).clamp(0, 1) - paint)
        free = free * (1 - mask)
    both = F.interpolate(torch.cat([paint, free], 1), faces.shape[-2:], mode="bilinear", align_corners=False)
    paint, free = both[:, :3], both[:, 3:]
    torch.lerp(paint, faces, free, out=faces)
    return free
