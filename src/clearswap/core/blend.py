"""Blend: put the swapped square back into its frame, touching only the pixels that the face covers, in the light and
tint that the frame has there.

Where place and colour are right, blur and grain still tell a swapped face from its frame: a head that moves is blurred
in the frame, in a close-up the patch is, and every camera's picture is grainy, and no network's. So a patch is first
made as sharp as the face that it replaces (`match_sharpness`), and gets the frame's grain as it is laid in (`paste`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal, TypeAlias, TypeVar, assert_never

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from clearswap.checks import Share, check_fields
from clearswap.core.align import Frame, Matrix, Points, invert, transform

Floats: TypeAlias = NDArray[np.float32]
Seam: TypeAlias = Literal["feather", "pyramid"]
Ramp = TypeVar("Ramp", Tensor, NDArray[np.float32])

Method: TypeAlias = Literal["reinhard", "mkl", "none"]

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are, ITU-R BT.601
_LUMA = np.array(LUMA, np.float32)
_BLURS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # in pixels of the patch
_FINE = 1.0  # in pixels of the patch: what is finer is strengthened
_FINER = 3  # times as many pixels in a patch that is much enlarged
# The residual of Immerkær 1996 ("Fast noise variance estimation"): blind to steps and slopes, sees grain.
_RESIDUAL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_MOST_GRAIN = 0.03  # more than this, of 0..1, is texture rather than grain
_FIELD = 1021  # pixels; prime, so that where it repeats is no multiple of anything


# The mask


@dataclass(frozen=True)
class MaskConfig:
    """How the face area is cut out.

    Attributes:
        shrink: How far the replaced area is pulled in from the face's outline, as a share of the square's side.
        feather: Width of the replaced area's soft edge, inside the outline, as a share of the square's side.
        learned: Leave hands, and whatever else the network takes for something before the face, in front.
    """

    shrink: Annotated[float, Meta(ge=-0.5, le=0.5)] = 0.01
    feather: Annotated[float, Meta(ge=0, le=0.5)] = 0.08
    learned: bool = True

    def __post_init__(self) -> None:
        check_fields(self)


def hull(landmarks: Points, height: int, width: int | None = None) -> NDArray[np.uint8]:
    """The filled convex hull of `landmarks` (N, 2), given in pixels: (height, width), square by default, 0 or 255."""
    area = np.zeros((height, width or height), np.uint8)
    cv2.fillConvexPoly(area, cv2.convexHull(np.round(landmarks).astype(np.int32)), 255)
    return area


def only_face(face: Frame, landmarks: Points) -> Frame:
    """An aligned face (S, S, 3) whose surroundings are painted over with its own mean colour.

    What a network does not see it cannot mistake for the person: with hair and background in view, the encoder
    soon tells the two persons apart by them, and one person's decoder gets latents that it was never taught.
    And what it never has to draw does not show at the edge of a swap.
    """
    area = hull(landmarks, len(face))
    colour = np.array(cv2.mean(face, area)[:3], np.float32)
    soft = cv2.GaussianBlur(area, (0, 0), 0.01 * len(face)).astype(np.float32)[..., None] / 255
    return np.round(colour + soft * (face - colour)).astype(np.uint8)


def face_mask(landmarks: Points, size: int, config: MaskConfig) -> NDArray[np.float32]:
    """The feathered mask (size, size), 0..1, of the face whose `landmarks` are in pixels of the square."""
    area = hull(landmarks, size)
    area[[0, -1]] = 0  # a hull that leaves the square must still fade out inside it
    area[:, [0, -1]] = 0
    depth = cv2.distanceTransform(area, cv2.DIST_L2, cv2.DIST_MASK_5) / size  # how far inside the hull a pixel lies
    ramp = np.clip((depth - config.shrink) / max(config.feather, 1e-6), 0, 1)
    return smoothstep(ramp.astype(np.float32))


def decided(mask: Tensor) -> Tensor:
    """A learned mask (B, 1, S, S) in 0..1, made surer of itself: nearly face is face, and edges are narrow."""
    return smoothstep(((mask - 0.3) / 0.4).clamp(0, 1))


def smoothstep(ramp: Ramp) -> Ramp:
    """A ramp (0..1) that begins and ends with no slope: a linear one shows as two faint lines where it does."""
    return ramp * ramp * (3 - 2 * ramp)


# Colour
#
# In a space that separates lightness from colour (L*a*b*) the patch gets what the face that it replaces has:
#
# - "reinhard": mean and spread of each channel (Reinhard et al., "Color transfer between images", 2001);
# - "mkl": mean and covariance, so that tints that go with light stay together (Pitié and Kokaram, "The linear
#   Monge-Kantorovitch linear colour mapping", 2007);
# - "none": nothing.

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


# The frame


@dataclass(frozen=True)
class BlendConfig:
    """How the new face is fitted into the frame.

    Attributes:
        colour: How much of the frame's own colour and light the new face takes on (0..1).
        colour_method: How colours are matched: "reinhard" (mean and spread of each channel), "mkl" (means and
            covariance of all three) or "none".
        colour_frames: Over how many frames before and after colours are averaged, so that a face whose mouth opens
            does not change its tint. The mask is averaged with its neighbours; at 0, neither is.
        seam: How the face passes over into the frame: "feather" (mixed by the mask, whose soft edge is
            `MaskConfig.feather` wide) or "pyramid" (coarse structure over a wide edge, fine over a sharp one).
        sharpen: How many times sharper than drawn a face may be made (1 or more), where the frame is sharper; where it
            is blurred, the face is blurred as much. 0 does neither.
        grain: How much of the frame's grain the face gets (0..1).
        detail: How much of the person's own fine detail is laid over what was drawn (0..1), where the model's folder
            holds pictures of the person.
    """

    colour: Share = 1.0
    colour_method: Method = "reinhard"
    colour_frames: Annotated[int, Meta(ge=0, le=100)] = 1
    seam: Seam = "feather"
    sharpen: Annotated[float, Meta(ge=0, le=100)] = 1.0
    grain: Share = 1.0
    detail: Share = 1.0

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def method(self) -> Method:
        """The colour method, "none" where it would change nothing."""
        return self.colour_method if self.colour else "none"


def match_sharpness(patch: Floats, aligned: Floats, mask: Floats, most: float) -> Floats:
    """Bring a patch to the sharpness of the face that it replaces: how sharp, its Laplacian in the mask says.

    `patch`, `aligned`: (S, S, 3) in 0..1, `mask`: (S, S). A sharper patch is blurred. A blurrier one is sharpened (its
    difference to itself blurred is added), up to `most` times as much Laplacian as it has: sharpening does
    not bring back what a network left out, and beyond 1.5 times faces look like drawings. At 1.5, on the demo pair, the
    PSNR falls by 0.4 dB, and the person is more alike (identity 0.324 away instead of 0.335).
    """
    wanted, own = _detail(aligned, mask), _detail(patch, mask)
    if own > 1.1 * wanted:  # where even the strongest blur leaves more than that, the patch stays as it was drawn
        softer = (blurred(patch, sigma) for sigma in _BLURS)
        return next((one for one in softer if _detail(one, mask) <= 1.1 * wanted), patch)
    goal = min(wanted, most * own)
    if goal <= own:
        return np.asarray(patch.clip(0, 1), np.float32)
    fine = patch - blurred(patch, _FINE)
    low, high = 0.0, 4.0
    for _ in range(6):  # by halves
        middle = (low + high) / 2
        if _detail(np.asarray(patch + middle * fine, np.float32), mask) < goal:
            low = middle
        else:
            high = middle
    return np.asarray((patch + low * fine).clip(0, 1), np.float32)


def _detail(picture: Floats, mask: Floats) -> float:
    """Mean strength of the Laplacian where the mask is."""
    edges = np.abs(np.asarray(cv2.Laplacian(picture @ _LUMA, cv2.CV_32F), np.float32))
    return float((edges * mask).sum() / max(float(mask.sum()), 1e-6))


def blurred(picture: Floats, sigma: float) -> Floats:
    """A picture (H, W) or (H, W, C) under a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


def paste(
    frame: Frame, patch: Floats, mask: Floats, matrix: Matrix, seam: Seam = "feather", grain: float = 0.0, seed: int = 0
) -> Frame:
    """Lay `patch` over `frame` where `mask` says so; returns a new frame.

    `patch`: (S, S, 3) RGB in 0..1, `mask`: (S, S) in 0..1, both in the aligned square that `matrix` leads to.
    `grain`: how much of the frame's grain the patch gets (0..1), repeatable by `seed`. Pixels where the mask is 0 keep
    their exact value.
    """
    # only the mask's box is worked on: 9.7 ms for the square's box, 32 for all of a 1280x720 frame (2 cores)
    left, top, right, bottom = box_of_mask(mask, matrix, frame.shape)
    result = frame.copy()
    if right <= left or bottom <= top:
        return result
    to_box = invert(matrix) - np.array([[0, 0, left], [0, 0, top]])
    extent = (right - left, bottom - top)
    drawn = _draw_into(np.float32(255) * patch, to_box, extent)
    alpha = np.asarray(cv2.warpAffine(mask, to_box, extent, flags=cv2.INTER_LINEAR, borderValue=0), np.float32)
    under = frame[top:bottom, left:right]
    if grain:
        drawn = _add_grain(drawn, under, alpha, grain, seed)
    # rounded to bytes (at most 255) before it is mixed, in OpenCV's fused loops: 11 ms instead of 27 on one slow core
    over = np.asarray(cv2.convertScaleAbs(np.maximum(drawn, 0)), np.uint8)
    result[top:bottom, left:right] = (_feather if seam == "feather" else _pyramid)(over, under, alpha)
    return result


def box_of_mask(mask: Floats, matrix: Matrix, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of a frame of `shape` that an aligned `mask` (S, S) reaches; zeros if none."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return 0, 0, 0, 0
    room = 1 + len(mask) // 32
    (x, y), (x2, y2) = (columns[0] - room, rows[0] - room), (columns[-1] + 1 + room, rows[-1] + 1 + room)
    corners = transform(np.array([[x, y], [x2, y], [x, y2], [x2, y2]], np.float32), invert(matrix))
    left, top = np.floor(corners.min(0)).astype(int).tolist()
    right, bottom = np.ceil(corners.max(0)).astype(int).tolist()
    return max(left, 0), max(top, 0), min(right + 1, shape[1]), min(bottom + 1, shape[0])


def _draw_into(patch: Floats, to_box: Matrix, extent: tuple[int, int]) -> Floats:
    """A patch drawn into a box of `extent` (width, height).

    One that is much enlarged is first made three times as fine by cubic curves, upright, and turned by straight lines
    between those pixels: 2.5 ms for a face of 470 px, and 6.2 by cubic curves at once.
    """
    kind = cv2.INTER_CUBIC
    if max(extent) > 2 * len(patch):
        patch = np.asarray(cv2.resize(patch, None, fx=_FINER, fy=_FINER, interpolation=kind), np.float32)
        # pixel x of the patch, whose middle counts, is pixel 3 x + 1 of the finer one
        to_box = to_box @ np.array([[1 / _FINER, 0, -1 / _FINER], [0, 1 / _FINER, -1 / _FINER], [0, 0, 1]])
        kind = cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(patch, to_box, extent, flags=kind, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _feather(over: Frame, under: Frame, alpha: Floats) -> Frame:
    """A mean of both, by the mask. Where that is 0, it is exactly `under`."""
    return np.asarray(cv2.blendLinear(over, under, alpha, 1 - alpha), np.uint8)


def _pyramid(over: Frame, under: Frame, alpha: Floats) -> Frame:
    """Coarse structure fades over widely, fine structure sharply (Burt and Adelson 1983)."""
    count = max(1, min(5, int(np.log2(min(alpha.shape) / 8))))
    pyramids = [[np.asarray(x, np.float32)] for x in (over, under, alpha)]
    for levels in pyramids:
        for _ in range(count):
            levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.float32))
    one, other, masks = pyramids
    mixed = other[-1] + masks[-1][..., None] * (one[-1] - other[-1])
    for level in range(count - 1, -1, -1):
        size = masks[level].shape[::-1]
        fine_one, fine_other = (x[level] - cv2.pyrUp(x[level + 1], dstsize=size) for x in (one, other))
        mixed = cv2.pyrUp(mixed, dstsize=size) + fine_other + masks[level][..., None] * (fine_one - fine_other)
    # what spreads past the mask would show where the face's box ends
    return _feather(np.round(mixed).clip(0, 255).astype(np.uint8), under, np.minimum(1, 4 * alpha))


def _add_grain(drawn: Floats, under: Frame, alpha: Floats, share: float, seed: int) -> Floats:
    """Make `drawn` (H, W, 3) as grainy as `under`, both in 0..255, as the middle half of both shows it."""
    height, width = alpha.shape
    middle = np.s_[height // 4 : height - height // 4, width // 4 : width - width // 4]
    wanted, there = (grain_of(x[middle], alpha[middle]) for x in (under, drawn))
    missing = grain_like((height, width), 255 * max(0.0, wanted**2 - there**2) ** 0.5, seed)
    return np.asarray(cv2.add(drawn, cv2.cvtColor(np.float32(share) * missing, cv2.COLOR_GRAY2RGB)), np.float32)


def grain_of(picture: Frame | Floats, mask: Floats) -> float:
    """The standard deviation, 0..1, of the grain in a picture (H, W, 3) in 0..255 where `mask` (H, W) is 1.

    The median of the residual counts, so that lashes and hairs, which are few and strong, do not.
    """
    luma = (np.asarray(picture, np.float32) @ _LUMA) / 255
    residual = np.abs(np.asarray(cv2.filter2D(luma, cv2.CV_32F, _RESIDUAL), np.float32))[mask > 0.5]
    if not residual.size:
        return 0.0
    median = np.partition(residual, residual.size // 2)[residual.size // 2]  # an eighth of the time of np.median
    return float(min(_MOST_GRAIN, median / 0.6745 / 6))


def grain_like(shape: tuple[int, int], deviation: float, seed: int) -> Floats:
    """Grain (H, W) of a standard deviation, repeatable by `seed`: a part of one field, elsewhere for each seed.

    New numbers for each frame would take 3.2 ms for a face of 470 px, this takes 0.4.
    """
    random = np.random.default_rng(seed)
    rows = np.arange(shape[0]) + int(random.integers(_FIELD))
    columns = np.arange(shape[1]) + int(random.integers(_FIELD))
    return _field().take(rows, 0, mode="wrap").take(columns, 1, mode="wrap") * np.float32(deviation)


@cache
def _field() -> Floats:
    return np.random.default_rng(0).standard_normal((_FIELD, _FIELD), np.float32)
