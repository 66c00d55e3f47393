"""How near pictures of faces are to the right ones: what `evaluate` measures in pixels.

Everything here takes aligned faces, (B, 3, S, S) in 0..1, the same frames of the same clip in both arguments, and
looks only at the pixels of `area` (B, 1, S, S), 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clearswap.core.blend import LUMA
from clearswap.core.losses import structural_similarity
from clearswap.faces.face_models import PERCEPTUAL, find_weights


def psnr(result: Tensor, truth: Tensor, area: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB over `area`; 100 for pictures that are equal."""
    error = ((result - truth) ** 2 * area).sum((1, 2, 3)) / (3 * area.sum((1, 2, 3))).clamp(min=1e-6)
    return -10 * error.clamp(min=1e-10).log10()


def ssim(result: Tensor, truth: Tensor, area: Tensor) -> Tensor:
    """Structural similarity (B,), -1..1 with 1 for equal, over `area`.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004: a
    Gaussian window of 11 pixels and sigma 1.5, constants (0.01)^2 and (0.03)^2; here the mean over RGB.
    """
    similarity = structural_similarity(result, truth, lambda x: blurred(x, 1.5))
    return (similarity * area).sum((1, 2, 3)) / (3 * area.sum((1, 2, 3))).clamp(min=1e-6)


def blurred(frames: Tensor, sigma: float) -> Tensor:
    """`frames` (B, C, H, W) under a Gaussian of `sigma` pixels; beyond the border is black."""
    reach, channels = int(3.5 * sigma), frames.shape[1]
    x = torch.arange(-reach, reach + 1, device=frames.device)
    window = torch.exp(-(x**2) / (2 * sigma**2))
    window = (window / window.sum()).expand(channels, 1, 1, len(x))
    across = F.conv2d(frames, window, padding=(0, reach), groups=channels)
    return F.conv2d(across, window.transpose(2, 3), padding=(reach, 0), groups=channels)


def flicker(before: Tensor, now: Tensor, after: Tensor, area: Tensor) -> Tensor:
    """Mean second difference (B,) over three successive frames of aligned faces: what shakes or shimmers."""
    return ((before - 2 * now + after).abs() * area).sum((1, 2, 3)) / (3 * area.sum((1, 2, 3))).clamp(min=1)


class Borders(NamedTuple):
    """How steeply pictures step across the border of the swapped area; each (B,), the mean of the steepest tenth."""

    excess: Tensor  # of the result over the truth: 0 where the truth is as steep, as at a jaw
    result: Tensor
    truth: Tensor


def borders(result: Tensor, truth: Tensor, inside: Tensor, band: Tensor) -> Borders:
    """Measure the steps across the border of the swapped area.

    `inside` (B, 1, S, S): 1 in the swapped area; `band`: where its blended border lies. What is counted is the slope
    of the luma across the border, averaged along it over about five pixels: the two sides of a seam differ all along,
    pores and hairs cancel out.
    """
    slopes = _slopes(blurred(inside, 4.0))
    # unit vectors across the border, 0 far from it; `F.normalize` takes 30 times as long
    normal = slopes / torch.hypot(slopes[:, :1], slopes[:, 1:]).clamp(min=1e-12)
    steep, allowed = (_slopes_along(faces, normal) for faces in (result, truth))
    return Borders(*(_steepest(s, band) for s in ((steep - allowed).clamp(min=0), steep, allowed)))


def _slopes_along(faces: Tensor, normal: Tensor) -> Tensor:
    """The slopes (B, 1, S, S) of the luma in the direction of `normal`, averaged over some five pixels."""
    return blurred((_slopes(_luma(faces)) * normal).sum(1, keepdim=True), 2.0).abs()


def _steepest(slopes: Tensor, band: Tensor) -> Tensor:
    worst = max(1, int(band.sum() / len(band) / 10))  # a seam is a line in the band, not all of it
    return (slopes * band).flatten(1).topk(worst).values.mean(1)


def _luma(faces: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, device=faces.device)
    return (faces * weights[:, None, None]).sum(1, keepdim=True)


def _slopes(x: Tensor) -> Tensor:
    """Central differences of (B, 1, S, S) across and down: (B, 2, S, S)."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return torch.cat([x[..., 1:-1, 2:] - x[..., 1:-1, :-2], x[..., 2:, 1:-1] - x[..., :-2, 1:-1]], 1) / 2


@dataclass(frozen=True)
class Colours:
    """A gain and an offset for each of R, G and B."""

    gain: tuple[float, ...] = (1.0, 1.0, 1.0)
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)

    def apply(self, faces: Tensor) -> Tensor:
        """`faces` (B, 3, S, S) in these colours."""
        gain, offset = (torch.tensor(x, device=faces.device)[:, None, None] for x in (self.gain, self.offset))
        return (faces * gain + offset).clamp(0, 1)


def best_colours(result: Tensor, truth: Tensor, area: Tensor) -> Colours:
    """The one gain and offset for the whole clip that give `result` the mean and spread of `truth` in `area`.

    Whose skin tone a swap should have is a choice, not an error. Mean and spread are matched, not the squared error:
    that would reward a blur with less contrast.
    """
    inside = area.expand_as(result) > 0
    gain: list[float] = []
    offset: list[float] = []
    for channel in range(3):
        own, goal = (x[:, channel][inside[:, channel]].double() for x in (result, truth))
        gain.append(float(goal.std() / own.std().clamp(min=1e-6)))
        offset.append(float(goal.mean()) - gain[-1] * float(own.mean()))
    return Colours(tuple(gain), tuple(offset))


@dataclass(frozen=True)
class Placement:
    """A constant similarity of the aligned square: a zoom about its middle, a turn in radians, and a shift in shares
    of half its side.
    """

    zoom: float = 1.0
    turn: float = 0.0
    right: float = 0.0
    down: float = 0.0

    def apply(self, faces: Tensor, box: tuple[slice, slice] = (slice(None), slice(None))) -> Tensor:
        """`faces` (B, 3, S, S), zoomed, turned and shifted; of the result only the rows and columns in `box`."""
        if self == Placement():
            return faces[..., *box]
        turn = torch.tensor(self.turn)
        cos, sin = float(turn.cos()) / self.zoom, float(turn.sin()) / self.zoom
        theta = torch.tensor(
            [
                [cos, sin, -cos * self.right - sin * self.down],
                [-sin, cos, sin * self.right - cos * self.down],
            ],
            device=faces.device,
        )
        grid = F.affine_grid(theta[None], [1, *faces.shape[1:]], align_corners=False)[:, *box]
        grid = grid.expand(len(faces), -1, -1, -1)
        return F.grid_sample(faces, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)


def best_placement(result: Tensor, truth: Tensor, area: Tensor) -> Placement:
    """The one similarity for the whole clip under which `result` is nearest to `truth` in `area`.

    Two people's features sit differently in their heads, and a swap is placed by those of the face it covers:
    this takes that constant difference out of the comparison. Found by a search that halves its steps.
    """
    rows, columns = (torch.nonzero(area.amax((0, 1, axis))).flatten() for axis in (3, 2))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def nearness(placement: Placement) -> float:
        return float(psnr(placement.apply(result, box), truth[..., *box], area[..., *box]).mean())

    best = Placement()
    score = nearness(best)
    step = 0.04 if score < 99 else 0.0  # equal already
    while step > 0.0005:
        tries = [replace(best, **{n: getattr(best, n) + s}) for s in (step, -step) for n in _AXES]
        scores = [nearness(one) for one in tries]
        if max(scores) > score:
            score = max(scores)
            best = tries[scores.index(score)]
        else:
            step /= 2
    return best


_AXES = ("zoom", "turn", "right", "down")


# --- how different two pictures look ----------------------------------------------------------------------

_GREY = 0.5  # what stands in both pictures where they are not compared
_ROOM = 8  # pixels of grey kept around the area


class PerceptualDistance:
    """A distance that neither rewards a blur nor punishes a pixel's shift: 0 for equal pictures, about 0.03 for
    successive frames of a clip, about 0.3 for two people's faces.

    Source: Ghildyal & Liu, "Shift-tolerant perceptual similarity metric", ECCV 2022 (ST-LPIPS, the AlexNet one).
    AlexNet's features of both pictures are compared at five depths by weights that were fitted to people's judgements.
    What makes it bear shifts: the first layer has no stride, and every halving is a blur of three pixels over reflected
    borders, before the first layer's rectifier.
    """

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        """All tensors by their names. Raises `FaceModelsMissing`."""
        return torch.load(find_weights(PERCEPTUAL), map_location="cpu", weights_only=True)

    def __call__(self, result: Tensor, truth: Tensor) -> Tensor:
        """The distance (B,) of pictures (B, 3, H, W) in 0..1, of 32 pixels or more."""
        total = torch.zeros(len(result))
        pairs = zip(self._features(result), self._features(truth), strict=True)
        for depth, (one, other) in enumerate(pairs):
            share = self._weights[f"lin{depth}.model.1.weight"]  # (1, C, 1, 1)
            total += F.conv2d((F.normalize(one, eps=1e-10) - F.normalize(other, eps=1e-10)) ** 2, share).mean((1, 2, 3))
        return total

    def in_area(self, result: Tensor, truth: Tensor, area: Tensor) -> Tensor:
        """The distance (B,) of faces (B, 3, S, S) in `area` (B, 1, S, S), 0 or 1, per pixel of it.

        Outside of `area` both are the same grey, and differ by nothing. So that a small area weighs as much as a large
        one, the mean over the picture is divided by the area's share of it.
        """
        rows, columns = (_span(area.amax((0, 1, axis))) for axis in (3, 2))
        own = area[..., rows, columns]
        faces = (_GREY + (x[..., rows, columns] - _GREY) * own for x in (result, truth))
        return self(*faces) / own.mean((1, 2, 3)).clamp(min=1e-3)

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """What AlexNet sees at its five depths."""
        w = self._weights
        pictures = pictures.contiguous(memory_format=torch.channels_last)  # takes a third of the time
        x = (2 * pictures - 1 - w["scaling_layer.shift"]) / w["scaling_layer.scale"]
        x = F.conv2d(x, w["net.slice1.0.weight"], w["net.slice1.0.bias"], padding=2)
        found = [F.relu(_halved(x, w["net.slice1.1.filt"]))]
        for blur, layer, padding in _LAYERS:
            x = found[-1]
            if blur:
                x = _halved(F.max_pool2d(x, 3, 1), w[f"net.{blur}.filt"])
            found.append(F.relu(F.conv2d(x, w[f"net.{layer}.weight"], w[f"net.{layer}.bias"], padding=padding)))
        return found


# of each layer after the first: the blur before it, if there is one; its own name; its padding
_LAYERS = (
    ("slice2.4", "slice2.5", 2),
    ("slice3.8", "slice3.9", 1),
    ("", "slice4.11", 1),
    ("", "slice5.13", 1),
)


def _halved(x: Tensor, window: Tensor) -> Tensor:
    """Every second pixel of `x` (B, C, H, W) under a blur; at the borders is their mirror image."""
    return F.conv2d(F.pad(x, (2, 2, 2, 2), "reflect"), window, stride=2, groups=x.shape[1])


def _span(used: Tensor) -> slice:
    """The part of an axis that is used, with some room around it; at least 32 pixels."""
    places = torch.nonzero(used).flatten()
    if len(places) == 0:
        return slice(0, 32)
    low, high = max(0, int(places[0]) - _ROOM), int(places[-1]) + 1 + _ROOM
    return slice(min(low, max(0, len(used) - 32)), max(high, low + 32))
