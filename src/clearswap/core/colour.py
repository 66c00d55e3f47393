"""Colour: give the swapped face the light and tint of the frame it goes into.

Reinhard et al., "Color transfer between images", 2001: in a space that separates lightness from colour, shift
and stretch each channel of the patch so that its mean and spread become those of the face it replaces.
"""

from __future__ import annotations

import torch
from torch import Tensor

# linear sRGB to XYZ relative to the D65 white, IEC 61966-2-1
_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ.sum(1)
_XYZ_TO_RGB = _XYZ.inverse()
_EPSILON = 216 / 24389  # CIE 15: where the cube root meets the straight part
_KAPPA = 24389 / 27


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """RGB in sRGB (B, 3, H, W) in 0..1 to CIE L*a*b* (L 0..100)."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,bjhw->bihw", _XYZ.to(rgb) / _WHITE.to(rgb)[:, None], linear)
    f = torch.where(xyz > _EPSILON, xyz.clamp(min=1e-9) ** (1 / 3), (_KAPPA * xyz + 16) / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIE L*a*b* (B, 3, H, W) to sRGB, clipped to 0..1."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], 1)
    xyz = torch.where(f**3 > _EPSILON, f**3, (116 * f - 16) / _KAPPA)
    linear = torch.einsum("ij,bjhw->bihw", _XYZ_TO_RGB.to(lab), xyz * _WHITE.to(lab)[:, None, None]).clamp(0, 1)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055).clamp(
        0, 1
    )


def match_colour(patch: Tensor, aligned: Tensor, mask: Tensor, strength: float = 1.0) -> Tensor:
    """Give `patch` the colour statistics that `aligned` has inside `mask`.

    `patch`, `aligned`: (B, 3, S, S) RGB in 0..1. `mask`: (B, 1, S, S) in 0..1. `strength`: 0 leaves the patch
    as it is, 1 matches fully. The spread is changed by at most a half or a double: an open mouth or closed
    eyes change it for reasons that are not light.
    """
    if strength == 0:
        return patch
    weight = mask / mask.sum((2, 3), keepdim=True).clamp(min=1e-6)
    lab, goal = rgb_to_lab(patch), rgb_to_lab(aligned)
    mean, goal_mean = (lab * weight).sum((2, 3), keepdim=True), (goal * weight).sum((2, 3), keepdim=True)
    variance = ((lab - mean) ** 2 * weight).sum((2, 3), keepdim=True)
    goal_variance = ((goal - goal_mean) ** 2 * weight).sum((2, 3), keepdim=True)
    stretch = ((goal_variance + 1e-4) / (variance + 1e-4)).sqrt().clamp(0.5, 2.0)
    matched = (lab - mean) * stretch + goal_mean
    return lab_to_rgb(torch.lerp(lab, matched, strength))
