"""The network: one encoder that both persons share, and one decoder for each.

Trained to give back each person's own faces, the shared encoder can only note what the two have in common
(pose, expression, light), and each decoder adds the person. Swapping is then: encode A's face, decode it with
B's decoder. (The "deepfakes" autoencoder, 2017.)

    aligned (B, 3, S, S) in 0..1  ->  encoder  ->  latent  ->  decoder_a or decoder_b  ->  (B, 3, S, S) in 0..1

`PRESETS` is the table of sizes; `build` makes the network of one. Its layers: `classic.py` and `modern.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from clearswap.core import classic, modern
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


class SwapNet(nn.Module):
    """One encoder, two decoders."""

    def __init__(self, encoder: nn.Module, decoders: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder_a, self.decoder_b = decoders

    def forward(self, aligned: Tensor, seen: Side, drawn: Side) -> Tensor:
        """Draw a face of person `seen` as person `drawn`.

        `aligned`: (B, 3, S, S) in 0..1. Returns the patch and, where the network knows it, the mask: (B, 3, S, S) or
        (B, 4, S, S) in 0..1, the fourth channel 1 where `aligned` shows face and 0 where it shows something else.
        """
        return self.through([aligned], [(seen, drawn)])[0][0]

    def through(
        self, faces: list[Tensor], ways: list[tuple[Side, Side]], noise: list[Tensor] | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """The same of as many faces of several persons at once, seen and drawn as `ways` says; and the expressions
        (B, E) that the encoder reads off them; E is 0 where it reads none.

        `noise`: (B, `ModelConfig.latent`) of each, normally distributed; in training only.
        """
        del noise
        latents: Tensor = self.encoder(torch.cat(faces))
        parts = zip(latents.chunk(len(ways)), ways, strict=True)
        patches = [self._decoder(drawn)(latent) for latent, (_, drawn) in parts]
        return [(patch, patch.new_zeros(len(patch), 0)) for patch in patches]

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
        layers = [modern.make_decoder(size, width, MEASURES + config.latent) for _ in "ab"]
        parted = modern.COMMON
        super().__init__(
            modern.Encoder(size, width, MEASURES + config.latent), (layers[0][parted:], layers[1][parted:])
        )
        self.level_a, self.level_b = modern.Level(config.latent), modern.Level(config.latent)
        self.common = layers[0][:parted]
        self.mask = modern.Mask(size, width)

    def through(
        self, faces: list[Tensor], ways: list[tuple[Side, Side]], noise: list[Tensor] | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        persons, added = len(ways), noise or [None] * len(ways)
        latents: Tensor
        latents, maps = self.encoder(torch.cat(faces))
        expressions, rest = latents[:, :MEASURES], latents[:, MEASURES:]
        levels = [self.level_a if seen == "a" else self.level_b for seen, _ in ways]
        levelled = [level(x, extra) for level, x, extra in zip(levels, rest.chunk(persons), added, strict=True)]
        common: Tensor = self.common(torch.cat([expressions, torch.cat(levelled)], 1))
        patches = [self._decoder(drawn)(x) for x, (_, drawn) in zip(common.chunk(persons), ways, strict=True)]
        outputs = torch.cat([torch.cat(patches), self.mask(maps)], 1)
        return list(zip(outputs.chunk(persons), expressions.chunk(persons), strict=True))


class Lesson(nn.Module):
    """Both persons' faces given back, in one call: DistributedDataParallel wants to see a whole step, and what the two
    share takes less at once than one after the other (4 faces of each: 0.88 to 0.96 of the step, 16: 0.97 to 0.98).
    """

    def __init__(self, net: SwapNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: list[Tensor], noise: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """`SwapNet.through` of each person's faces (B, 3, S, S), drawn as themselves."""
        return self.net.through(faces, [("a", "a"), ("b", "b")], noise)


def build(config: ModelConfig) -> SwapNet:
    """The untrained network of a preset."""
    if config.network == "classic":
        return SwapNet(classic.classic_encoder(), (classic.classic_decoder(), classic.classic_decoder()))
    return ModernNet(config)


def parameters(net: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in net.parameters())
