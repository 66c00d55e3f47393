"""Covers: things held before a face at random, so that a network learns what is face and what is in front of it.

Source of the idea: networks trained on faces with things pasted over them leave real hands out, too (Voo et al. 2022,
"Delving into High-Quality Synthetic Face Occlusion Segmentation Datasets"). Here a cover is up to four capsules (thick
lines with round ends, like fingers, pens and microphones), in any colour or in that of the face itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SLOPE = 0.35  # how much a capsule's shade changes from its one edge to the other


def cover(faces: Tensor, chances: Tensor, covered: Tensor) -> Tensor:
    """Hold something before those of the faces that are to be `covered` (B,), in place.

    `faces`: (B, 3, S, S) in 0..1. `chances`: (B, 4, 9) in 0..1, for each capsule: where it begins (2), which way and
    how far it goes (2), its thickness, its colour (3), and, the first one's, whether that is the face's own. Returns
    what is left free (B, 1, S, S), 1 or 0 with soft edges.
    """
    batch, _, size, _ = faces.shape
    half = size // 2  # covers are smooth: at half the size they cost a quarter
    step = (torch.arange(half, device=faces.device, dtype=faces.dtype) + 0.5) / half
    numbers = chances.permute(2, 0, 1)[..., None, None]  # (9, B, 4, 1, 1)
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
    own, colour = faces.mean((2, 3))[:, None], chances[..., 5:8]  # (B, 1, 3), (B, 4, 3)
    tint = torch.where(chances[:, :1, 8:] < 0.6, own * (0.75 + 0.5 * colour), colour[:, :1])
    paint, free = faces.new_zeros(batch, 3, half, half), faces.new_ones(batch, 1, half, half)
    for i in range(chances.shape[1]):  # each lies over those before
        mask = inside[:, i, None]
        paint = paint + mask * ((tint[:, i, :, None, None] * shade[:, i, None]).clamp(0, 1) - paint)
        free = free * (1 - mask)
    both = F.interpolate(torch.cat([paint, free], 1), faces.shape[-2:], mode="bilinear", align_corners=False)
    paint, free = both[:, :3], both[:, 3:]
    torch.lerp(paint, faces, free, out=faces)
    return free
