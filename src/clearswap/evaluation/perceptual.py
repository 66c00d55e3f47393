"""How different two pictures of a face look: a distance that neither rewards a blur nor punishes a pixel's shift.

Source: Ghildyal & Liu, "Shift-tolerant perceptual similarity metric", ECCV 2022 (ST-LPIPS, the AlexNet one). AlexNet's
features of both pictures are compared at five depths by weights that were fitted to people's judgements. What makes it
bear shifts: the first layer has no stride, and every halving is a blur of three pixels over reflected borders, before
the first layer's rectifier.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from clearswap.faces.face_models import PERCEPTUAL, find_weights

_GREY = 0.5  # what stands in both pictures where they are not compared
_ROOM = 8  # pixels of grey kept around the area


class PerceptualDistance:
    """ST-LPIPS: 0 for equal pictures; successive frames of a clip about 0.03, two people's faces about 0.3."""

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
