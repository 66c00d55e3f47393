r"""The network of all presets but `classic`: small for its size, of the arithmetic that processors are good at.

    aligned (B, 3, S, S) -> Encoder -> latent (B, L) -> Level -> decoder -> patch (B, 3, S, S)
                               \-> feature maps -> Mask -> what of the picture is face (B, 1, S, S)

Nothing is computed at full size, where most of the time would go: pictures are folded to a quarter of their side
(`PixelUnshuffle`) and unfolded at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

COMMON = 8  # layers at the beginning of a decoder that both persons share: up to maps of twice the smallest side
FOLD = 4  # pixels of a picture's side that become channels
_NOISE = 0.5  # standard deviation
_LEAST = 8  # the side of the smallest feature maps is at most this
_WIDTHS = (48, 96, 160, 224, 256)  # channels from the largest maps to the smallest, times the preset's `width`
_DECODED = (64, 96, 96, 128, 160)  # the same on the way back


class Even(nn.Module):
    """Takes each picture's own brightness, contrast and tint away: zero mean and unit spread in each colour.

    Skin tone would tell the encoder who it sees, and it is to learn only what the two have in common. On the
    demo pair this and `only_face` brought the error of the swap from 0.083 to 0.059 in the same 2 minutes.
    """

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 0.05)


class Residual(nn.Module):
    """A depthwise 3x3 convolution (looks around) and two pointwise ones (think), added to what came in.

    Source: the inverted bottleneck of ConvNeXt (Liu et al. 2022), without its normalisation, and 3x3:
    a depthwise 5x5 takes 8 times as long on a CPU (benchmarks/layer_speed.py).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.Conv2d(channels, channels * 2, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels * 2, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Encoder(nn.Module):
    """(B, 3, S, S) to the latent (B, L), and to its feature maps, the largest first."""

    def __init__(self, size: int, width: float, latent: int) -> None:
        super().__init__()
        widths = [round(w * width) for w in _WIDTHS[: halvings(size) + 1]]
        self.first = nn.Sequential(
            Even(),
            nn.PixelUnshuffle(FOLD),  # (B, 48, S/4, S/4)
            nn.Conv2d(3 * FOLD**2, widths[0], 3, padding=1),
            nn.LeakyReLU(0.1),
            Residual(widths[0]),
        )
        self.halve = nn.ModuleList(_shrink(inputs, outputs) for inputs, outputs in pairwise(widths))
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * smallest(size) ** 2, latent))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = [self.first(x)]
        for halve in self.halve:
            maps.append(halve(maps[-1]))
        return self.last(maps[-1]), maps


class Level(nn.Module):
    """Brings the latents (B, L) of one person's faces to zero mean and unit spread, and in training adds noise.

    In training by the batch's own mean and variance, whose running averages serve afterwards: a batch normalisation
    (Ioffe and Szegedy 2015) that learns nothing. Of several processes, all average over the whole batch: `mean_of`
    makes of each process's mean that of all.

    The noise leaves room for less: what a decoder is told here it must get from a rough hint, and from the other person
    it gets hints nearly as good. Demo pair and man_woman, 600 steps: 20.5 and 19.9 dB without, 20.8 and 21.4 dB with.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("variance", torch.ones(latent))
        self.mean_of: Callable[[Tensor], Tensor] = lambda own: own

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        mean, variance = self.mean, self.variance
        if self.training:
            x = x.float()
            mean = self.mean_of(x.mean(0))
            variance = self.mean_of(((x - mean) ** 2).mean(0))
            with torch.no_grad():
                self.mean.lerp_(mean, 0.02)
                self.variance.lerp_(variance, 0.02)
        levelled = (x - mean) / (variance + 1e-5).sqrt()
        return levelled if noise is None else levelled + _NOISE * noise


class Mask(nn.Module):
    """What of a picture is face (B, 1, S, S) in 0..1, from the encoder's feature maps, the largest first.

    From the smallest maps, which have seen everything, to the largest, which know where edges run (a U-Net,
    Ronneberger et al. 2015). Both persons share it: it says what covers a face, whoever's it is.
    """

    def __init__(self, size: int, width: float) -> None:
        super().__init__()
        widths = [round(w * width) for w in _WIDTHS[: halvings(size) + 1]]
        inner = round(32 * width)
        self.into = nn.ModuleList(nn.Conv2d(w, inner, 1) for w in widths)
        self.think = nn.ModuleList(Residual(inner) for _ in widths)
        self.up = nn.Upsample(scale_factor=2)
        self.last = nn.Conv2d(inner, FOLD**2, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = self.think[-1](self.into[-1](maps[-1]))
        for into, think, seen in list(zip(self.into, self.think, maps, strict=True))[-2::-1]:
            x = think(self.up(x) + into(seen))
        return torch.sigmoid(nn.functional.pixel_shuffle(self.last(x), FOLD) + 3)  # begins with: all is face


def make_decoder(size: int, width: float, latent: int) -> nn.Sequential:
    """The levelled latent (B, L) to a face (B, 3, S, S)."""
    widths = [round(w * width) for w in _DECODED[: halvings(size) + 1]][::-1]
    side = smallest(size)
    layers: list[nn.Module] = [
        nn.Linear(latent, widths[0] * side * side),
        nn.Unflatten(1, (widths[0], side, side)),
        nn.LeakyReLU(0.1),
        Residual(widths[0]),
    ]
    for inputs, outputs in pairwise(widths):
        layers += _grow(inputs, outputs)
    layers += [Residual(widths[-1]), nn.Conv2d(widths[-1], 3 * FOLD**2, 3, padding=1)]
    return nn.Sequential(*layers, nn.PixelShuffle(FOLD), nn.Sigmoid())


def halvings(size: int) -> int:
    """How often the folded picture is halved: 2 for 96 px (24, 12, 6), 3 for 256 px (64, 32, 16, 8)."""
    count = 0
    while size // FOLD >> count > _LEAST:
        count += 1
    return count


def smallest(size: int) -> int:
    """Side of the smallest feature maps."""
    return size // FOLD >> halvings(size)


def _shrink(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.LeakyReLU(0.1), Residual(outputs))


def _grow(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs * 4, 1), nn.PixelShuffle(2), nn.LeakyReLU(0.1), Residual(outputs)]
