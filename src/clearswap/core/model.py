"""The network: one encoder that both persons share, and one decoder for each.

Trained to give back each person's own faces, the shared encoder can only note what the two have in common
(pose, expression, light), and each decoder adds the person. Swapping is then: encode A's face, decode it with
B's decoder. (The "deepfakes" autoencoder, 2017.)

    aligned (B, 3, S, S) in 0..1  ->  encoder  ->  latent  ->  decoder_a or decoder_b  ->  (B, 3, S, S) in 0..1

`PRESETS` is the table of sizes; `build` makes the network of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Side = Literal["a", "b"]


@dataclass(frozen=True)
class ModelConfig:
    """What a network looks like.

    Attributes:
        preset: Its name in `PRESETS`.
        network: Which of the two architectures below: "classic" or "lite".
        size: Side in pixels of the square that goes in and comes out.
        coverage: How much of the `whole_face` square the network sees, from the middle (0..1]. Less leaves out
            hair and background, so that eyes and mouth get more pixels.
        drop: How far that part lies below the middle, as a share of the `whole_face` square: foreheads need less
            room than chins (landmarks of five clips reach from 0.16 to 0.83 across and 0.20 to 0.92 down).
        only_face: Whether what lies outside the landmarks' hull is painted over before the network sees a face.
        learning_rate: Of Adam or AdamW.
        batch: Faces of each person in one step.
        face_weight: How many times more a pixel of the face counts than one around it; eyes and mouth count
            `detail_weight` times more again. 1 and 1 is the plain L1 loss.
        detail_weight: See `face_weight`.
        structure_weight: How much the structural dissimilarity counts beside the L1 loss.
        hold_out: Share of each face set, at the end of its clips, that is never trained on.
    """

    preset: str
    network: str
    size: int
    coverage: float
    drop: float
    only_face: bool
    learning_rate: float
    batch: int
    face_weight: float = 1.0
    detail_weight: float = 1.0
    structure_weight: float = 0.0
    hold_out: float = 0.1


PRESETS = {
    # The network as everybody knows it, for study and comparison: 82.1 M parameters, 1.9 GMAC an image.
    "classic": ModelConfig(
        "classic", "classic", size=64, coverage=0.75, drop=0.05, only_face=False, learning_rate=5e-5, batch=64
    ),
    # Learns on a 2-core CPU in minutes.
    "lite": ModelConfig(
        "lite",
        "lite",
        size=96,
        coverage=0.7,
        drop=0.055,
        only_face=True,
        learning_rate=1.5e-3,
        batch=16,
        face_weight=30,
        detail_weight=3,
        structure_weight=0.5,
    ),
}


class SwapNet(nn.Module):
    """One encoder, two decoders, and between them two levels.

    A level brings the latents of one person's faces to zero mean and unit spread (a batch normalisation of that
    person's own). Whatever still tells the persons apart in the latents' averages is taken out there, and a
    decoder gets from the other person what it knows from its own. The classic network has none.
    """

    def __init__(
        self, encoder: nn.Module, levels: tuple[nn.Module, nn.Module], decoders: tuple[nn.Module, nn.Module]
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.level_a, self.level_b = levels
        self.decoder_a, self.decoder_b = decoders

    def forward(self, aligned: Tensor, seen: Side, drawn: Side) -> Tensor:
        """Draw a face of person `seen` as person `drawn`: (B, 3, S, S) in 0..1 to the same shape and range."""
        latent = self.encoder(aligned)
        level = self.level_a if seen == "a" else self.level_b
        decoder = self.decoder_a if drawn == "a" else self.decoder_b
        return decoder(level(latent))


def build(config: ModelConfig) -> SwapNet:
    """The untrained network of a preset."""
    if config.network == "classic":
        no_levels = (nn.Identity(), nn.Identity())
        return SwapNet(classic_encoder(), no_levels, (classic_decoder(), classic_decoder()))
    levels = (lite_level(), lite_level())
    return SwapNet(lite_encoder(config.size), levels, (lite_decoder(config.size), lite_decoder(config.size)))


# --- classic: layer for layer the well-known network -----------------------------------------------------


def _halve(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 5, stride=2, padding=2), nn.LeakyReLU(0.1))


def _upscale(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs * 4, 3, padding=1), nn.LeakyReLU(0.1), nn.PixelShuffle(2))


def classic_encoder() -> nn.Module:
    """(B, 3, 64, 64) to the latent (B, 512, 8, 8)."""
    return nn.Sequential(
        _halve(3, 128),  # (B, 128, 32, 32)
        _halve(128, 256),  # (B, 256, 16, 16)
        _halve(256, 512),  # (B, 512, 8, 8)
        _halve(512, 1024),  # (B, 1024, 4, 4)
        nn.Flatten(),
        nn.Linear(1024 * 4 * 4, 1024),  # where the place of things is forgotten and the whole face is seen
        nn.Linear(1024, 4 * 4 * 1024),
        nn.Unflatten(1, (1024, 4, 4)),
        _upscale(1024, 512),  # (B, 512, 8, 8)
    )


def classic_decoder() -> nn.Module:
    """The latent (B, 512, 8, 8) to a face (B, 3, 64, 64)."""
    return nn.Sequential(
        _upscale(512, 256),  # (B, 256, 16, 16)
        _upscale(256, 128),  # (B, 128, 32, 32)
        _upscale(128, 64),  # (B, 64, 64, 64)
        nn.Conv2d(64, 3, 5, padding=2),
        nn.Sigmoid(),
    )


# --- lite: small, and made for the arithmetic that a CPU is good at --------------------------------------


LATENT = 256  # numbers that describe a face


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


def _shrink(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.LeakyReLU(0.1), Residual(outputs)]


def _grow(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs * 4, 1), nn.PixelShuffle(2), nn.LeakyReLU(0.1), Residual(outputs)]


def lite_encoder(size: int) -> nn.Module:
    """(B, 3, S, S) to the latent (B, 256)."""
    cells = (size // 16) ** 2
    return nn.Sequential(
        Even(),
        nn.PixelUnshuffle(4),  # (B, 48, S/4, S/4): nothing is computed at full size, where most of the time would go
        nn.Conv2d(48, 48, 3, padding=1),
        nn.LeakyReLU(0.1),
        Residual(48),
        *_shrink(48, 96),  # (B, 96, S/8, S/8)
        *_shrink(96, 160),  # (B, 160, S/16, S/16)
        nn.Flatten(),
        nn.Linear(160 * cells, LATENT),
    )


def lite_level() -> nn.Module:
    """The latents (B, 256) of one person to zero mean and unit spread."""
    return nn.BatchNorm1d(LATENT, momentum=0.02, affine=False)


def lite_decoder(size: int) -> nn.Module:
    """The latent (B, 256) to a face (B, 3, S, S)."""
    side = size // 16
    return nn.Sequential(
        nn.Linear(LATENT, 96 * side * side),
        nn.Unflatten(1, (96, side, side)),
        nn.LeakyReLU(0.1),
        Residual(96),
        *_grow(96, 96),  # (B, 96, S/8, S/8)
        *_grow(96, 64),  # (B, 64, S/4, S/4)
        Residual(64),
        nn.Conv2d(64, 48, 3, padding=1),
        nn.PixelShuffle(4),  # (B, 3, S, S)
        nn.Sigmoid(),
    )


def parameters(net: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in net.parameters())
