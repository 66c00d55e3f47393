"""Augmentation: from a few hundred faces, never the same picture twice. One batched sampling grid does it all.

Each face is turned, scaled, shifted and mirrored a little at random; that is the *target*. The *input* is the
same face, bent besides by a random 5x5 grid ("random warp"). Asked to undo the bend, the network has to learn
what a face is instead of copying pixels, and a face of the other person is to it just one more bent face.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clearswap.core.model import ModelConfig


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
        bend: Standard deviation of the 5x5 grid's points, as a share of the square's side.
        light: Largest change of brightness and of each colour, as a share.
    """

    rotation: float = 2.0
    scale: float = 0.02
    shift: float = 0.01
    mirror: float = 0.5
    bend: float = 0.03
    light: float = 0.05


def augment(
    faces: Tensor, model: ModelConfig, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw inputs and targets from whole faces.

    `faces`: (B, C, R, R) in 0..1, aligned as `whole_face`; channels past the third (weights) get the same
    geometry and no light. Returns the bent input (B, 3, S, S) and the target (B, C, S, S): the part of the square
    that the model sees, changed at random. One `grid_sample` for both: 240 ms for 16 faces at 256 px on
    2 CPU cores, against 799 ms for one of them by a library that resamples twice.
    """
    batch, size = len(faces), model.size
    straight = random_grid(batch, model, config, faces.device, generator)
    bent = straight + random_bend(batch, size, config.bend * model.coverage, faces.device, generator)
    grids = torch.cat([bent, straight], 1)  # (B, 2 * size, size, 2): the two pictures one above the other
    drawn = F.grid_sample(faces, grids, mode="bilinear", padding_mode="border", align_corners=False)
    inputs, targets = drawn[:, :3, :size], drawn[:, :, size:]
    gain = 1 + config.light * (2 * torch.rand(batch, 4, generator=generator, device=faces.device) - 1)
    gain = (gain[:, :3] * 0.5 + gain[:, 3:] * 0.5)[..., None, None]  # half common to all colours, half not
    lit = torch.cat([(targets[:, :3] * gain).clamp(0, 1), targets[:, 3:]], 1)
    return (inputs * gain).clamp(0, 1), lit


def random_grid(
    batch: int, model: ModelConfig, config: AugmentConfig, device: torch.device, generator: torch.Generator
) -> Tensor:
    """Sampling grids (B, S, S, 2) in -1..1 of randomly turned, scaled, shifted and mirrored squares."""
    random = 2 * torch.rand(batch, 4, generator=generator, device=device) - 1  # (B, 4) in -1..1
    angle = random[:, 0] * config.rotation * torch.pi / 180
    scale = model.coverage * (1 + random[:, 1] * config.scale)
    mirror = torch.rand(batch, generator=generator, device=device) < config.mirror
    cos, sin = scale * angle.cos(), scale * angle.sin()
    flip = torch.where(mirror, -1.0, 1.0)
    shift = random[:, 2:] * config.shift * 2 * model.coverage
    shift[:, 1] += 2 * model.drop
    theta = torch.stack([cos * flip, -sin, shift[:, 0], sin * flip, cos, shift[:, 1]], 1).view(batch, 2, 3)
    return F.affine_grid(theta, [batch, 1, model.size, model.size], align_corners=False)


def random_bend(batch: int, size: int, bend: float, device: torch.device, generator: torch.Generator) -> Tensor:
    """Smooth random displacements (B, size, size, 2) of a sampling grid, from a 5x5 grid of random ones."""
    points = torch.randn(batch, 2, 5, 5, generator=generator, device=device) * (2 * bend)
    smooth = F.interpolate(points, (size, size), mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)


def framed(faces: Tensor, model: ModelConfig) -> Tensor:
    """The part that the model sees of aligned faces (B, C, R, R), unchanged: (B, C, S, S). For previews."""
    still = AugmentConfig(rotation=0, scale=0, shift=0, mirror=0, bend=0, light=0)
    grid = random_grid(len(faces), model, still, faces.device, torch.Generator(faces.device))
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)
