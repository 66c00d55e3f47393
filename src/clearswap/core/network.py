r"""The network: one encoder that both persons share, and one decoder for each.

    aligned (B, 3, S, S) in 0..1  ->  encoder  ->  latent  ->  decoder_a or decoder_b  ->  patch (B, 3, S, S)

Trained to give back each person's own faces, the shared encoder can only note what the two have in common (pose,
expression, light), and each decoder adds the person. Swapping is then: encode a frame of b, decode it with a's
decoder, and a's face has b's expression. (The "deepfakes" autoencoder, 2017.)

The preset `classic` is that autoencoder, layer for layer as everybody knows it, for study and to measure others by.
All other presets are sizes of a modern one (`modern.py`), which is told the expression and draws larger.

Letters in shapes, in all of core: B faces of a batch; N faces of a set, or points of a face; S pixels of the network's
square's side, R of the stored `whole_face` square's; L numbers besides the expression (`ModelConfig.latent`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta
from torch import Tensor, nn

from clearswap.checks import Amount, Count, Share, check_fields

Side = Literal["a", "b"]  # one of the two persons
Preset = Literal["lite", "hd", "xl", "classic"]
MOST_FACES = 4096  # of a person, in a step


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a network and how it is trained.

    Attributes:
        preset: Name in `PRESETS`.
        network: Architecture, "classic" or "modern".
        size: Side in pixels of the square that comes out.
        seen: Side in pixels at which the encoder sees it.
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
        latent: Numbers by which the encoder describes a face, besides its expression (`core/expression.py`). Few, so
            that they cannot say who it is: they are left for light, and what no expression names.
        forget: Share of the faces in training that are drawn without these numbers, by their expression alone.
        face_weight: Weight of a pixel of the face in the loss, where one around it has 1.
        detail_weight: Weight of a pixel of the eyes or the mouth, as a multiple of `face_weight`. With 1 for both,
            the loss is plain L1.
        structure_weight: Weight of the structural dissimilarity, where the L1 loss has 1.
        expression_weight: Weight of the error in the expression that the encoder reads off a face.
        hold_out: Share of each face set, at the end of its clips, that is never trained on.
        base: Begin with a base, a network that has seen many people (`tools/pretrain.py`). Its encoder and its mask
            stay as they are; what draws is trained, slowly, and each person's look fast (`modern.Person`).
    """

    preset: Preset
    network: Literal["classic", "modern"]
    size: Annotated[int, Meta(ge=16, le=2048)]
    seen: Annotated[int, Meta(ge=16, le=512)]
    coverage: Annotated[float, Meta(ge=0.1, le=1)]
    drop: Annotated[float, Meta(ge=-0.5, le=0.5)]
    only_face: bool
    learning_rate: Annotated[float, Meta(gt=0, le=1)]
    batch: Annotated[int, Meta(ge=1, le=MOST_FACES)]
    first_batch: Annotated[int, Meta(ge=1, le=MOST_FACES)] | None = None
    doubling: Annotated[int, Meta(ge=1, le=10**9)] = 150
    width: Annotated[float, Meta(ge=0.1, le=4)] = 1.0
    latent: Annotated[int, Meta(ge=1, le=64)] = 8
    forget: Share = 0.15
    face_weight: Amount = 1.0
    detail_weight: Amount = 1.0
    structure_weight: Amount = 0.0
    expression_weight: Amount = 0.0
    hold_out: Annotated[float, Meta(gt=0, le=0.5)] = 0.1
    base: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def masks(self) -> bool:
        """Whether the network also draws a mask of the face."""
        return self.network != "classic"

    def batch_at(self, iteration: int) -> int:
        """Faces of each person in step number `iteration`, counted from 0."""
        return min(self.batch, (self.first_batch or self.batch) << iteration // self.doubling)

    def with_base(self) -> ModelConfig:
        """A copy that begins with a base."""
        return replace(self, base=True, learning_rate=0.3 * self.learning_rate)

    def with_batch(self, batch: int) -> ModelConfig:
        """A copy that trains on `batch` faces of each person in every step."""
        return replace(self, batch=batch, first_batch=None)


@dataclass
class Counters:
    """How far the training of a model has come, all runs together; saved with its weights."""

    iteration: Count = 0
    seconds: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    images: Annotated[int, Meta(ge=0, le=10**15)] = 0
    held: Share | None = None  # the latest held-out error, the mean of both persons


# 82.1 million parameters, 1.9 billion multiply-adds a face.
_CLASSIC = ModelConfig(
    "classic", "classic", size=64, seen=64, coverage=0.75, drop=0.05, only_face=False, learning_rate=5e-5, batch=64
)
# Learns on a 2-core CPU in minutes. For an error of 0.0535 (presenter and woman) it has to see 1,800 faces if the first
# batches hold 4, and 3,500 if all hold 16. If they hold 4 for as long as 500 steps, the end is worse (demo pair).
_LITE = ModelConfig(
    "lite",
    "modern",
    size=192,
    seen=96,
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
_HD = replace(_LITE, preset="hd", size=384, seen=256, width=2.0, learning_rate=8e-4, first_batch=None)
_XL = replace(_LITE, preset="xl", size=768, seen=512, width=2.5, learning_rate=5e-4, batch=8, first_batch=None)
PRESETS: dict[Preset, ModelConfig] = {"classic": _CLASSIC, "lite": _LITE, "hd": _HD, "xl": _XL}


def downsample(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Half the side."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2), nn.LeakyReLU(0.1))


def upsample(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Twice the side: four times the channels wanted, each four of which become the pixels of a 2x2 square."""
    conv = nn.Conv2d(inputs, outputs * 4, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.LeakyReLU(0.1), nn.PixelShuffle(2))


def classic_encoder() -> nn.Sequential:
    """(B, 3, 64, 64) to the latent (B, 512, 8, 8)."""
    return nn.Sequential(
        downsample(3, 128, 5),  # (B, 128, 32, 32)
        downsample(128, 256, 5),  # (B, 256, 16, 16)
        downsample(256, 512, 5),  # (B, 512, 8, 8)
        downsample(512, 1024, 5),  # (B, 1024, 4, 4)
        nn.Flatten(),
        nn.Linear(1024 * 4 * 4, 1024),  # forgets where things are, sees the whole face
        nn.Linear(1024, 4 * 4 * 1024),
        nn.Unflatten(1, (1024, 4, 4)),
        upsample(1024, 512, 3),  # (B, 512, 8, 8)
    )


def classic_decoder() -> nn.Sequential:
    """The latent (B, 512, 8, 8) to a face (B, 3, 64, 64) in 0..1."""
    return nn.Sequential(
        upsample(512, 256, 3),  # (B, 256, 16, 16)
        upsample(256, 128, 3),  # (B, 128, 32, 32)
        upsample(128, 64, 3),  # (B, 64, 64, 64)
        nn.Conv2d(64, 3, 5, padding=2),
        nn.Sigmoid(),
    )


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

    def forward(self, aligned: Tensor, expression: Tensor, seen: Side, drawn: Side) -> Drawn:
        """Draw faces `aligned` (B, 3, S, S) in 0..1 with this `expression` (B, MEASURES) of person `seen` as `drawn`.

        `classic` does without the expression, and need not know who is seen.
        """
        del expression, seen
        latent: Tensor = self.encoder(aligned)
        return Drawn(self.decoder(drawn)(latent))

    def decoder(self, drawn: Side) -> nn.Module:
        """The decoder of one person."""
        return self.decoder_a if drawn == "a" else self.decoder_b
