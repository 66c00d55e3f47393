r"""The network: one encoder that both persons share, and one decoder for each.

TrainResult to give back each person's own faces, the shared encoder can only note what the two have in common
(pose, expression, light), and each decoder adds the person. Swapping is then: encode A's face, decode it with
B's decoder. (The "deepfakes" autoencoder, 2017.)

    aligned (B, 3, S, S) in 0..1  ->  encoder  ->  latent  ->  decoder_a or decoder_b  ->  (B, 3, S, S) in 0..1

`PRESETS` is the table of sizes; `build` makes the network of one. Its layers: `classic.py` and `modern.py`.

The network of all presets but `classic`: small for its size, of the arithmetic that processors are good at.

    aligned (B, 3, S, S) -> Encoder -> latent (B, L) -> LatentNorm -> decoder -> patch (B, 3, S, S)
                               \-> feature maps -> Mask -> what of the picture is face (B, 1, S, S)

Nothing is computed at full size, where most of the time would go: pictures are folded to a quarter of their side
(`PixelUnshuffle`) and unfolded at the end.

The classic network, layer for layer as everybody knows it (the "deepfakes" autoencoder, 2017).

82.1 million parameters, 1.9 billion multiply-adds a face; 64 pixels, a dense layer that sees the whole face, no levels
and no mask. For study, and to measure others by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from clearswap.core.expression import MEASURES

Side = Literal["a", "b"]


@dataclass(frozen=True)
class ModelConfig:
    """What a network looks like.

    Attributes:
        preset: Its name in `PRESETS`.
        network: Which architecture: "classic" or "modern".
        size: Side in pixels of the square that goes in and comes out.
        coverage: How much of the `whole_face` square the network sees, from the middle (0..1]. Less leaves out
            hair and background, so that eyes and mouth get more pixels.
        drop: How far that part lies below the middle, as a share of the `whole_face` square: foreheads need less
            room than chins (landmarks of five clips reach from 0.16 to 0.83 across and 0.20 to 0.92 down).
        only_face: Whether what lies outside the landmarks' hull is painted over before the network sees a face.
        learning_rate: Of Adam or AdamW.
        batch: Faces of each person in one step.
        first_batch: The same in the first steps, where fewer are enough: `lite` comes to an error of 0.0535 (presenter
            and woman) with 1,800 faces when it begins with 4 of them, with 3,500 in batches of 16. It doubles every
            `doubling` steps until it is `batch`; where 4 stay for 500 steps, what comes after is worse (demo pair).
            None: all are alike.
        doubling: See `first_batch`.
        width: Of the modern network: its channels in multiples of those of `lite`.
        latent: Of the modern network: numbers that describe a face beside its expression (`core/expression.py`).
        face_weight: How many times more a pixel of the face counts than one around it; eyes and mouth count
            `detail_weight` times more again. 1 and 1 is the plain L1 loss.
        detail_weight: See `face_weight`.
        structure_weight: How much the structural dissimilarity counts beside the L1 loss.
        expression_weight: How much it counts that the encoder reads the expression off a face.
        hold_out: Share of each face set, at the end of its clips, that is never trained on.
    """

    preset: str
    network: Literal["classic", "modern"]
    size: int
    coverage: float
    drop: float
    only_face: bool
    learning_rate: float
    batch: int
    first_batch: int | None = None
    doubling: int = 150
    width: float = 1.0
    latent: int = 24
    face_weight: float = 1.0
    detail_weight: float = 1.0
    structure_weight: float = 0.0
    expression_weight: float = 0.0
    hold_out: float = 0.1

    @property
    def masks(self) -> bool:
        """Whether the network also says which pixels are face."""
        return self.network != "classic"

    def batch_at(self, iteration: int) -> int:
        """Faces of each person in a step after so many others."""
        return min(self.batch, (self.first_batch or self.batch) << iteration // self.doubling)

    def with_batch(self, batch: int) -> ModelConfig:
        """The same with as many faces in every step."""
        return replace(self, batch=batch, first_batch=None)


def _modern(preset: str, size: int, width: float, latent: int, batch: int, learning_rate: float) -> ModelConfig:
    return ModelConfig(
        *(preset, "modern", size),
        coverage=0.7,
        drop=0.055,
        only_face=True,
        learning_rate=learning_rate,
        batch=batch,
        width=width,
        latent=latent,
        face_weight=30,
        detail_weight=3,
        structure_weight=0.5,
        expression_weight=0.3,
    )


PRESETS = {
    # The network as everybody knows it, for study and comparison: 82.1 M parameters, 1.9 GMAC an image.
    "classic": ModelConfig(
        "classic", "classic", size=64, coverage=0.75, drop=0.05, only_face=False, learning_rate=5e-5, batch=64
    ),
    # Learns on a 2-core CPU in minutes.
    "lite": replace(_modern("lite", size=96, width=1.0, latent=24, batch=16, learning_rate=1.5e-3), first_batch=4),
    # For GPUs: a face that fills a third of a 720p frame's height, and of a 1440p frame's.
    "hd": _modern("hd", size=256, width=2.0, latent=48, batch=16, learning_rate=8e-4),
    "xl": _modern("xl", size=512, width=2.5, latent=64, batch=8, learning_rate=5e-4),
}


class Drawn(NamedTuple):
    """What a network makes of B aligned faces."""

    patch: Tensor  # (B, 3, S, S) in 0..1: the face, drawn as the person asked for
    mask: Tensor | None = None  # (B, 1, S, S) in 0..1: 1 where the aligned square shows face; None: it draws no mask
    expression: Tensor | None = None  # (B, MEASURES), read off the aligned face; None: it reads none


class SwapNet(nn.Module):
    """One encoder, two decoders."""

    def __init__(self, encoder: nn.Module, decoders: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder_a, self.decoder_b = decoders

    def forward(self, aligned: Tensor, seen: Side, drawn: Side) -> Drawn:
        """Draw faces `aligned` (B, 3, S, S) in 0..1 of person `seen` as person `drawn`."""
        return self.decode_pairs([aligned], [(seen, drawn)])[0]

    def decode_pairs(self, faces: list[Tensor], pairs: list[tuple[Side, Side]]) -> list[Drawn]:
        """Draw several batches of faces (B, 3, S, S) in one call; `pairs[i]`: (person seen, person drawn)."""
        latents: Tensor = self.encoder(torch.cat(faces))
        parts = zip(latents.chunk(len(pairs)), pairs, strict=True)
        return [Drawn(self._decoder(drawn)(latent)) for latent, (_, drawn) in parts]

    def _decoder(self, drawn: Side) -> nn.Module:
        return self.decoder_a if drawn == "a" else self.decoder_b


class ModernNet(SwapNet):
    """The same with four additions, each for a fault of the plain one.

    - Some numbers of the latent are to be the *expression*, read off the landmarks in training: so an open mouth is the
      same number for both persons. Left to itself, the encoder finds other signs of it in each.
    - The others go through a *level* of the person seen: whatever still tells the persons apart in their averages is
      taken out there, and a decoder gets from the other person what it knows from its own.
    - What the latent is unfolded into is *common* to both; only after that does each person have its own decoder.
    - A *mask* says what of the picture is face, and what a hand before it.
    """

    def __init__(self, config: ModelConfig) -> None:
        size, width = config.size, config.width
        layers = [make_decoder(size, width, MEASURES + config.latent) for _ in "ab"]
        parted = COMMON
        super().__init__(Encoder(size, width, MEASURES + config.latent), (layers[0][parted:], layers[1][parted:]))
        self.level_a, self.level_b = LatentNorm(config.latent), LatentNorm(config.latent)
        self.common = layers[0][:parted]
        self.mask = Mask(size, width)

    def decode_pairs(
        self, faces: list[Tensor], pairs: list[tuple[Side, Side]], noise: list[Tensor] | None = None
    ) -> list[Drawn]:
        """Draw several batches of faces (B, 3, S, S) in one call; `pairs[i]`: (person seen, person drawn).

        `noise`: (B, `ModelConfig.latent`) of each batch, normally distributed; in training only.
        """
        persons, added = len(pairs), noise or [None] * len(pairs)
        latents: Tensor
        latents, maps = self.encoder(torch.cat(faces))
        expressions, rest = latents[:, :MEASURES], latents[:, MEASURES:]
        levels = [self.level_a if seen == "a" else self.level_b for seen, _ in pairs]
        levelled = [level(x, extra) for level, x, extra in zip(levels, rest.chunk(persons), added, strict=True)]
        common: Tensor = self.common(torch.cat([expressions, torch.cat(levelled)], 1))
        patches = [self._decoder(drawn)(x) for x, (_, drawn) in zip(common.chunk(persons), pairs, strict=True)]
        masks: Tensor = self.mask(maps)
        return list(map(Drawn, patches, masks.chunk(persons), expressions.chunk(persons)))


class ReconstructBoth(nn.Module):
    """Both persons' faces given back, in one call: DistributedDataParallel wants to see a whole step, and what the two
    share takes less at once than one after the other (4 faces of each: 0.88 to 0.96 of the step, 16: 0.97 to 0.98).
    """

    def __init__(self, net: SwapNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: list[Tensor], noise: list[Tensor]) -> list[Drawn]:
        """Draw each person's faces (B, 3, S, S) as themselves; `noise` as in `ModernNet.decode_pairs`."""
        pairs: list[tuple[Side, Side]] = [("a", "a"), ("b", "b")]
        if isinstance(self.net, ModernNet):
            return self.net.decode_pairs(faces, pairs, noise)
        return self.net.decode_pairs(faces, pairs)


def build(config: ModelConfig) -> SwapNet:
    """The untrained network of a preset."""
    if config.network == "classic":
        return SwapNet(classic_encoder(), (classic_decoder(), classic_decoder()))
    return ModernNet(config)


def parameters(net: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in net.parameters())


COMMON = 8  # layers at the beginning of a decoder that both persons share: up to maps of twice the smallest side
FOLD = 4  # pixels of a picture's side that become channels
_NOISE = 0.5  # standard deviation
_LEAST = 8  # the side of the smallest feature maps is at most this
_WIDTHS = (48, 96, 160, 224, 256)  # channels from the largest maps to the smallest, times the preset's `width`
_DECODED = (64, 96, 96, 128, 160)  # the same on the way back


class Standardise(nn.Module):
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
            Standardise(),
            nn.PixelUnshuffle(FOLD),  # (B, 48, S/4, S/4)
            nn.Conv2d(3 * FOLD**2, widths[0], 3, padding=1),
            nn.LeakyReLU(0.1),
            Residual(widths[0]),
        )
        self.halve = nn.ModuleList(_downsample_residual(inputs, outputs) for inputs, outputs in pairwise(widths))
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * smallest(size) ** 2, latent))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = [self.first(x)]
        for halve in self.halve:
            maps.append(halve(maps[-1]))
        return self.last(maps[-1]), maps


class LatentNorm(nn.Module):
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
        layers += _upsample_residual(inputs, outputs)
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


def _downsample_residual(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.LeakyReLU(0.1), Residual(outputs))


def _upsample_residual(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs * 4, 1), nn.PixelShuffle(2), nn.LeakyReLU(0.1), Residual(outputs)]


def _downsample(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 5, stride=2, padding=2), nn.LeakyReLU(0.1))


def _upsample(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs * 4, 3, padding=1), nn.LeakyReLU(0.1), nn.PixelShuffle(2))


def classic_encoder() -> nn.Module:
    """(B, 3, 64, 64) to the latent (B, 512, 8, 8)."""
    return nn.Sequential(
        _downsample(3, 128),  # (B, 128, 32, 32)
        _downsample(128, 256),  # (B, 256, 16, 16)
        _downsample(256, 512),  # (B, 512, 8, 8)
        _downsample(512, 1024),  # (B, 1024, 4, 4)
        nn.Flatten(),
        nn.Linear(1024 * 4 * 4, 1024),  # where the place of things is forgotten and the whole face is seen
        nn.Linear(1024, 4 * 4 * 1024),
        nn.Unflatten(1, (1024, 4, 4)),
        _upsample(1024, 512),  # (B, 512, 8, 8)
    )


def classic_decoder() -> nn.Module:
    """The latent (B, 512, 8, 8) to a face (B, 3, 64, 64)."""
    return nn.Sequential(
        _upsample(512, 256),  # (B, 256, 16, 16)
        _upsample(256, 128),  # (B, 128, 32, 32)
        _upsample(128, 64),  # (B, 64, 64, 64)
        nn.Conv2d(64, 3, 5, padding=2),
        nn.Sigmoid(),
    )


def to_device(net: SwapNet, device: torch.device) -> SwapNet:
    """Move a network there, its weights laid out channels-last, as convolutions like them."""
    anyhow: Any = net  # torch's stubs do not know that `to` takes both at once
    anyhow.to(device=device, memory_format=torch.channels_last)
    return net
