r"""The network: one encoder that both persons share, and one decoder for each.

    aligned (B, 3, S, S) in 0..1  ->  encoder  ->  latent  ->  decoder_a or decoder_b  ->  patch (B, 3, S, S)

Trained to give back each person's own faces, the shared encoder can only note what the two have in common (pose,
expression, light), and each decoder adds the person. Swapping is then: encode a frame of b, decode it with a's
decoder, and a's face has b's expression. (The "deepfakes" autoencoder, 2017.)

The preset `classic` is that autoencoder, layer for layer as everybody knows it, for study and to measure others by.
All other presets are sizes of a modern one, which computes nothing at full size, where most of the time would go:
pictures are folded to a quarter of their side (`PixelUnshuffle`) and unfolded at the end.

    aligned -> ModernEncoder -> latent: expression (B, MEASURES) --------------> common layers -> decoder -> patch
                          |          \-> the other numbers (B, L) -> LatentNorm -/
                          \-> feature maps -> MaskHead -> where the aligned square shows face (B, 1, S, S)

Letters in shapes, in all of core: B faces of a batch; N faces of a set, or points of a face; S pixels of the network's
square's side, R of the stored `whole_face` square's; L numbers besides the expression (`ModelConfig.latent`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from clearswap.core.expression import MEASURES
from clearswap.errors import OptionError

Side = Literal["a", "b"]  # one of the two persons


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a network and how it is trained.

    Attributes:
        preset: Name in `PRESETS`.
        network: Architecture, "classic" or "modern".
        size: Side in pixels of the square that goes in and comes out.
        coverage: Share (0..1] of the `whole_face` square's side that the network sees, from the middle. Less leaves
            out hair and background, so that eyes and mouth get more pixels.
        drop: How far that part lies below the middle, as a share of the `whole_face` square: foreheads need less
            room than chins (landmarks of five clips reach from 0.16 to 0.83 across and 0.20 to 0.92 down).
        only_face: Paint over what lies outside the landmarks' hull before the network sees a face.
        learning_rate: Of Adam (classic) or AdamW (modern).
        batch: Faces of each person in one step.
        first_batch: Faces of each person in the first steps, where fewer are enough; doubled every `doubling` steps
            until they are `batch`. None: `batch` from the beginning.
        doubling: Steps after which the first batches double.
        width: Channels of the modern network, in multiples of those of `lite`.
        latent: Numbers that describe a face to the modern network, besides its expression (`core/expression.py`).
        face_weight: Weight of a pixel of the face in the loss, where one around it has 1.
        detail_weight: Weight of a pixel of the eyes or the mouth, as a multiple of `face_weight`. With 1 for both,
            the loss is plain L1.
        structure_weight: Weight of the structural dissimilarity, where the L1 loss has 1.
        expression_weight: Weight of the error in the expression that the encoder reads off a face.
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
        """Whether the network also draws a mask of the face."""
        return self.network != "classic"

    def batch_at(self, iteration: int) -> int:
        """Faces of each person in step number `iteration`, counted from 0."""
        return min(self.batch, (self.first_batch or self.batch) << iteration // self.doubling)

    def with_batch(self, batch: int) -> ModelConfig:
        """A copy that trains on `batch` faces of each person in every step."""
        return replace(self, batch=batch, first_batch=None)


@dataclass
class Counters:
    """How far the training of a model has come, all runs together; saved with its weights."""

    iteration: int = 0
    seconds: float = 0.0
    images: int = 0
    held: float | None = None  # the latest held-out error, the mean of both persons


# 82.1 million parameters, 1.9 billion multiply-adds a face.
_CLASSIC = ModelConfig(
    "classic", "classic", size=64, coverage=0.75, drop=0.05, only_face=False, learning_rate=5e-5, batch=64
)
# Learns on a 2-core CPU in minutes. For an error of 0.0535 (presenter and woman) it has to see 1,800 faces if the first
# batches hold 4, and 3,500 if all hold 16. If they hold 4 for as long as 500 steps, the end is worse (demo pair).
_LITE = ModelConfig(
    "lite",
    "modern",
    size=96,
    coverage=0.7,
    drop=0.055,
    only_face=True,
    learning_rate=1.5e-3,
    batch=16,
    first_batch=4,
    face_weight=30,
    detail_weight=3,
    structure_weight=0.5,
    expression_weight=0.3,
)
# For GPUs: a face that fills a third of a 720p frame's height, and of a 1440p frame's.
_HD = replace(_LITE, preset="hd", size=256, width=2.0, latent=48, learning_rate=8e-4, first_batch=None)
_XL = replace(_LITE, preset="xl", size=512, width=2.5, latent=64, learning_rate=5e-4, batch=8, first_batch=None)
PRESETS = {"classic": _CLASSIC, "lite": _LITE, "hd": _HD, "xl": _XL}


def _downsample(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Half the side."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2), nn.LeakyReLU(0.1))


def _upsample(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Twice the side: four times the channels wanted, each four of which become the pixels of a 2x2 square."""
    conv = nn.Conv2d(inputs, outputs * 4, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.LeakyReLU(0.1), nn.PixelShuffle(2))


def classic_encoder() -> nn.Sequential:
    """(B, 3, 64, 64) to the latent (B, 512, 8, 8)."""
    return nn.Sequential(
        _downsample(3, 128, 5),  # (B, 128, 32, 32)
        _downsample(128, 256, 5),  # (B, 256, 16, 16)
        _downsample(256, 512, 5),  # (B, 512, 8, 8)
        _downsample(512, 1024, 5),  # (B, 1024, 4, 4)
        nn.Flatten(),
        nn.Linear(1024 * 4 * 4, 1024),  # forgets where things are, sees the whole face
        nn.Linear(1024, 4 * 4 * 1024),
        nn.Unflatten(1, (1024, 4, 4)),
        _upsample(1024, 512, 3),  # (B, 512, 8, 8)
    )


def classic_decoder() -> nn.Sequential:
    """The latent (B, 512, 8, 8) to a face (B, 3, 64, 64) in 0..1."""
    return nn.Sequential(
        _upsample(512, 256, 3),  # (B, 256, 16, 16)
        _upsample(256, 128, 3),  # (B, 128, 32, 32)
        _upsample(128, 64, 3),  # (B, 64, 64, 64)
        nn.Conv2d(64, 3, 5, padding=2),
        nn.Sigmoid(),
    )


# The modern network's layers, up to `MaskHead`.
FOLD = 4  # pixels of a picture's side that become channels
COMMON = 8  # layers at the beginning of a decoder that both persons share: up to maps of twice the smallest side
_SMALLEST = 8  # the side of the smallest feature maps is at most this
_ENCODED = (48, 96, 160, 224, 256)  # channels from the largest maps to the smallest, times the preset's `width`
_DECODED = (64, 96, 96, 128, 160)  # channels of the decoder's maps, likewise
_NOISE = 0.5  # standard deviation, where latents have 1


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


def map_sides(size: int) -> list[int]:
    """Sides of the feature maps, the largest first: 24, 12, 6 for 96 px; 64, 32, 16, 8 for 256 px."""
    sides = [size // FOLD]
    while sides[-1] > _SMALLEST:
        sides.append(sides[-1] // 2)
    return sides


def _widths(channels: tuple[int, ...], size: int, width: float) -> list[int]:
    """Channels of the feature maps, the largest maps first."""
    return [round(count * width) for count in channels[: len(map_sides(size))]]


class ModernEncoder(nn.Module):
    """(B, 3, S, S) to the latent (B, MEASURES + L), and to its feature maps, the largest first."""

    def __init__(self, size: int, width: float, numbers: int) -> None:
        super().__init__()
        widths = _widths(_ENCODED, size, width)
        self.first = nn.Sequential(
            Standardise(),
            nn.PixelUnshuffle(FOLD),  # (B, 48, S/4, S/4)
            nn.Conv2d(3 * FOLD**2, widths[0], 3, padding=1),
            nn.LeakyReLU(0.1),
            Residual(widths[0]),
        )
        self.halve = nn.ModuleList(
            nn.Sequential(*_downsample(inputs, outputs, 3), Residual(outputs)) for inputs, outputs in pairwise(widths)
        )
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * map_sides(size)[-1] ** 2, numbers))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = [self.first(x)]
        for halve in self.halve:
            maps.append(halve(maps[-1]))
        return self.last(maps[-1]), maps


class LatentNorm(nn.Module):
    """Brings the latents (B, L) of one person's faces to zero mean and unit spread, and in training adds noise.

    A batch normalisation (Ioffe and Szegedy 2015) that learns nothing: in training it uses the batch's own mean and
    variance, afterwards their running averages. Where several processes train, `mean_of` makes of each one's mean that
    of the whole batch.

    Noise blurs the numbers, so a decoder learns to draw from a rough hint. The other person's numbers are hints nearly
    as good. Demo pair and man_woman, 600 steps: 20.5 and 19.9 dB without noise, 20.8 and 21.4 dB with it.
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
        normal = (x - mean) / (variance + 1e-5).sqrt()
        return normal if noise is None else normal + _NOISE * noise


def modern_decoder(size: int, width: float, numbers: int) -> nn.Sequential:
    """The latent (B, MEASURES + L), its last L numbers normalised, to a face (B, 3, S, S) in 0..1."""
    widths, side = _widths(_DECODED, size, width)[::-1], map_sides(size)[-1]
    layers: list[nn.Module] = [
        nn.Linear(numbers, widths[0] * side * side),
        nn.Unflatten(1, (widths[0], side, side)),
        nn.LeakyReLU(0.1),
        Residual(widths[0]),
    ]
    for inputs, outputs in pairwise(widths):
        layers += [*_upsample(inputs, outputs, 1), Residual(outputs)]
    layers += [Residual(widths[-1]), nn.Conv2d(widths[-1], 3 * FOLD**2, 3, padding=1)]
    return nn.Sequential(*layers, nn.PixelShuffle(FOLD), nn.Sigmoid())


class MaskHead(nn.Module):
    """The encoder's feature maps, the largest first, to a mask (B, 1, S, S) in 0..1 of what is face.

    It goes from the smallest maps, which have seen everything, to the largest, which know where edges run (a U-Net,
    Ronneberger et al. 2015). Both persons share it: it says what covers a face, whoever's it is.
    """

    def __init__(self, size: int, width: float) -> None:
        super().__init__()
        widths = _widths(_ENCODED, size, width)
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


class Drawn(NamedTuple):
    """What a network makes of B aligned faces."""

    patch: Tensor  # (B, 3, S, S) in 0..1: the face, drawn as the person asked for
    mask: Tensor | None = None  # (B, 1, S, S) in 0..1: 1 where the aligned square shows face; None from `classic`
    expression: Tensor | None = None  # (B, MEASURES), read off the aligned face; None from `classic`


class SwapNet(nn.Module):
    """One encoder, two decoders, nothing else: `classic`."""

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
    """A `SwapNet` with four additions, each for a fault of the plain one.

    - The first numbers of the latent are to be the *expression*, read off the landmarks in training: an open mouth is
      then one number for both persons. Left to itself, the encoder finds other signs of it in each.
    - The others go through the `LatentNorm` of the person seen: it takes out whatever still tells the persons apart in
      their averages, and a decoder gets from the other person what it knows from its own.
    - The layers that unfold the latent are *common* to both; only after them does each person have a decoder.
    - A `MaskHead` says what of the picture is face, and what a hand before it.
    """

    def __init__(self, config: ModelConfig) -> None:
        size, width, numbers = config.size, config.width, MEASURES + config.latent
        decoder_a, decoder_b = modern_decoder(size, width, numbers), modern_decoder(size, width, numbers)
        super().__init__(ModernEncoder(size, width, numbers), (decoder_a[COMMON:], decoder_b[COMMON:]))
        self.level_a, self.level_b = LatentNorm(config.latent), LatentNorm(config.latent)  # so named in saved models
        # decoder_b's first layers are thrown away; without building them, a seed would give other weights than before
        self.common = decoder_a[:COMMON]
        self.mask = MaskHead(size, width)

    def decode_pairs(
        self, faces: list[Tensor], pairs: list[tuple[Side, Side]], noise: list[Tensor] | None = None
    ) -> list[Drawn]:
        """Draw several batches of faces (B, 3, S, S) in one call; `pairs[i]`: (person seen, person drawn).

        `noise`: (B, `ModelConfig.latent`) for each batch, normally distributed; in training only.
        """
        count = len(pairs)
        latents: Tensor
        latents, maps = self.encoder(torch.cat(faces))
        expressions, others = latents[:, :MEASURES], latents[:, MEASURES:].chunk(count)
        norms = [self.level_a if seen == "a" else self.level_b for seen, _ in pairs]
        normal = [norm(x, extra) for norm, x, extra in zip(norms, others, noise or [None] * count, strict=True)]
        common: Tensor = self.common(torch.cat([expressions, torch.cat(normal)], 1))
        patches = [self._decoder(drawn)(x) for x, (_, drawn) in zip(common.chunk(count), pairs, strict=True)]
        return list(map(Drawn, patches, self.mask(maps).chunk(count), expressions.chunk(count)))


class ReconstructBoth(nn.Module):
    """Gives back the faces of both persons in one call.

    DistributedDataParallel wants to see a whole step, and what the two share takes less at once than one after the
    other (4 faces of each: 0.88 to 0.96 of the step, 16: 0.97 to 0.98).
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
    """The untrained network that `config` describes. Raises `OptionError` for a size that a modern one cannot have."""
    if config.network == "classic":
        return SwapNet(classic_encoder(), (classic_decoder(), classic_decoder()))
    if not 16 <= config.size <= 512 or config.size % FOLD or any(side % 2 for side in map_sides(config.size)[:-1]):
        raise OptionError(f"A network of {config.size} pixels is not possible; give 64, 96, 128, 192, 256, 384 or 512.")
    return ModernNet(config)


def to_device(net: SwapNet, device: torch.device) -> SwapNet:
    """Move a network to a device, its weights laid out channels-last, as convolutions like them."""
    untyped: Any = net  # torch's stubs do not know that `to` takes both at once
    untyped.to(device=device, memory_format=torch.channels_last)
    return net
