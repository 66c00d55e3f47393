"""Colour: give the swapped face the light and tint of the frame it goes into.

In a space that separates lightness from colour (L*a*b*) the patch gets what the face that it replaces has:

- "reinhard": mean and spread of each channel (Reinhard et al., "Color transfer between images", 2001);
- "mkl": mean and covariance, so that tints that go with light stay together (Pitié and Kokaram, "The linear
  Monge-Kantorovitch linear colour mapping", 2007);
- "none": nothing.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Method: TypeAlias = Literal["reinhard", "mkl", "none"]

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are, ITU-R BT.601
# linear sRGB to XYZ relative to the D65 white, IEC 61966-2-1
_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ.sum(1)
_XYZ_TO_RGB = _XYZ.inverse()
_SAMPLED = 64
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
    curve = 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, curve).clamp(0, 1)


def colour_stats(pictures: Tensor, mask: Tensor, method: Method) -> Tensor:
    """What a method compares of the colours of `pictures` (B, 3, H, W) inside `mask` (B, 1, H, W): (B, K).

    "reinhard": mean and variance of each channel of L*a*b* (K = 6); "mkl": mean and covariance of all three (K = 12);
    "none": nothing (K = 0). Those of successive frames can be averaged. Of a large picture means of a few pixels each
    are compared, `_SAMPLED` a side or more: a tenth of the time.
    """
    if method == "none":
        return pictures.new_zeros(len(pictures), 0)
    if (step := pictures.shape[-1] // _SAMPLED) > 1:
        pictures, mask = (F.avg_pool2d(x, step) for x in (pictures, mask))
    lab = rgb_to_lab(pictures).flatten(2)  # (B, 3, H W)
    weight = mask.flatten(2) / mask.sum((2, 3)).clamp(min=1e-6)[..., None]  # (B, 1, H W)
    mean = (lab * weight).sum(2, keepdim=True)
    centred = lab - mean
    if method == "reinhard":
        spread = (centred**2 * weight).sum(2)
    elif method == "mkl":
        spread = ((centred * weight) @ centred.transpose(1, 2)).flatten(1)
    else:
        assert_never(method)
    return torch.cat([mean.flatten(1), spread], 1)


def transfer_colour(patch: Tensor, own: Tensor, goal: Tensor, method: Method, strength: float = 1.0) -> Tensor:
    """Bring a patch (B, 3, S, S) in 0..1 from its `own` `colour_stats` (B, K) to those of the `goal`.

    `strength`: 0 leaves it as it is, 1 matches fully. Spreads are changed by at most a half or a double: an open mouth
    or closed eyes change them for reasons that are not light.
    """
    if strength == 0 or method == "none":
        return patch
    lab = rgb_to_lab(patch)
    mean, goal_mean = own[:, :3, None, None], goal[:, :3, None, None]
    spread, goal_spread = own[:, 3:], goal[:, 3:]
    if method == "reinhard":  # each channel for itself
        change = torch.diag_embed(((goal_spread + 1e-4) / (spread + 1e-4)).sqrt().clamp(0.5, 2.0))
    elif method == "mkl":
        change = _transport(spread, goal_spread)
    else:
        assert_never(method)
    matched = torch.einsum("bij,bjhw->bihw", change, lab - mean) + goal_mean
    return lab_to_rgb(torch.lerp(lab, matched, strength))


def _transport(own: Tensor, goal: Tensor) -> Tensor:
    """The transport (B, 3, 3) that turns one covariance (B, 9) into another and moves colours least (see "mkl")."""
    little = 1e-2 * torch.eye(3).to(own)
    one, other = (x.view(-1, 3, 3) + little for x in (own, goal))
    root, back = _power(one, 0.5), _power(one, -0.5)
    change = back @ _power(root @ other @ root, 0.5) @ back
    values, vectors = _eigen((change + change.transpose(1, 2)) / 2)
    return vectors @ torch.diag_embed(values.clamp(0.5, 2.0)) @ vectors.transpose(1, 2)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of symmetric positive matrices (B, 3, 3)."""
    values, vectors = _eigen(matrix)
    return vectors @ torch.diag_embed(values.clamp(min=1e-8) ** exponent) @ vectors.transpose(1, 2)


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (B, 3) and eigenvectors (B, 3, 3), in 64 bits: matrices are few and may be near singular."""
    values, vectors = np.linalg.eigh(matrix.double().cpu().numpy())
    return torch.from_numpy(values).to(matrix), torch.from_numpy(vectors).to(matrix)
