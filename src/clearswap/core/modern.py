r"""The modern network: `lite`, `hd` and `xl` are sizes of it.

    aligned -> ModernEncoder -> a few numbers (B, L) -> LatentNorm -> common layers -> decoder -> patch
    landmarks ------------------> expression (B, MEASURES) -----------/
                          ModernEncoder's feature maps -> MaskHead -> where the aligned square shows face (B, 1, S, S)

It computes nothing at full size, where most of the time would go: pictures are folded to a quarter of their side and
unfolded at the end. Letters in shapes are those of `network.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearswap.core.expression import COEFFICIENT, COEFFICIENTS, MEASURES, WHOEVER, at_rest
from clearswap.core.network import (
    Drawn,
    ModelConfig,
    Side,
    SwapNet,
    classic_decoder,
    classic_encoder,
    downsample,
    upsample,
)
from clearswap.errors import OptionError

FOLD = 4  # pixels of a picture's side that become channels
COMMON = 8  # layers at the beginning of a decoder that both persons share: up to maps of twice the smallest side
_SMALLEST = 8  # the side of the smallest feature maps is at most this
_ENCODED = (48, 96, 160, 224, 256)  # channels from the largest maps to the smallest, times the preset's `width`
_DECODED = (64, 96, 96, 128, 160)  # channels of the decoder's maps, likewise
_FINER = 24  # channels of maps that are larger than the encoder's
_MOST_FOLDED = 6  # pixels of the drawn picture's side that come out of one place of the largest maps, at most
_MAIN = 8  # directions of a person's expressions
# How far beyond what a person has shown one goes that began with a base. All the way, people whose footage lacks what
# the truth does follow as far, but mouths are softer (perceptual distance 0.185 instead of 0.171).
_BEYOND = 0.5
_PERSON = 3.0  # how many times as fast a `Person` is learned as the weights of layers that know everybody
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
        self.channels = channels
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
    """(B, 3, S, S) to what it reads, (B, MEASURES + L), and to its feature maps, the largest first.

    The first MEASURES numbers are to be the expression.
    """

    def __init__(self, size: int, width: float, numbers: int) -> None:
        super().__init__()
        widths = _widths(_ENCODED, size, width)
        self.size = size
        self.first = nn.Sequential(
            Standardise(),
            nn.Conv2d(3, widths[0], 2 * FOLD, stride=FOLD, padding=FOLD // 2),  # (B, 48, S/4, S/4)
            nn.LeakyReLU(0.1),
            Residual(widths[0]),
        )
        self.halve = nn.ModuleList(
            nn.Sequential(*downsample(inputs, outputs, 3), Residual(outputs)) for inputs, outputs in pairwise(widths)
        )
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * map_sides(size)[-1] ** 2, numbers))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        if x.shape[-1] != self.size:
            x = F.interpolate(x, (self.size, self.size), mode="area")
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


class Place(nn.Module):
    """Adds to feature maps (B, C, H, W) what each place always has: here a mole, there the line of a lip."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.zeros(channels, side, side))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.map


class Shown(nn.Module):
    """What one person's footage shows: how the face reads at rest, the range of each number, and which go together.

    Of numbers that one person never shows, or never together, a decoder makes no face at all: those of somebody who
    smiles with shut eyes, for one who never did either. So an expression is first brought into the range of what was
    shown, and then laid onto its few main directions (of two real people eight hold 98 % of what they do).
    """

    rest: Tensor
    low: Tensor
    high: Tensor
    mean: Tensor
    directions: Tensor
    least: Tensor
    most: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, end in (("rest", 0.0), ("low", -1e3), ("high", 1e3), ("mean", 0.0)):
            self.register_buffer(name, torch.full((MEASURES,), end))
        self.register_buffer("directions", torch.eye(_MAIN, MEASURES))  # at right angles, of length 1
        for name, end in (("least", -1e3), ("most", 1e3)):  # along the directions, from the mean
            self.register_buffer(name, torch.full((_MAIN,), end))

    def learn(self, expressions: Tensor) -> None:
        """Learn from `expressions` (N, 2, MEASURES) of faces and their mirror images; one face in fifty is left out at
        either end.
        """
        self.rest.copy_(torch.from_numpy(at_rest(expressions[:, 0].float().cpu().numpy())))
        found = expressions.flatten(0, 1).float().cpu()
        self.mean.copy_(found.mean(0))
        directions = torch.from_numpy(np.linalg.svd((found - found.mean(0)).numpy(), full_matrices=False)[2][:_MAIN])
        self.directions.zero_()  # where there are fewer faces than directions
        self.directions[: len(directions)].copy_(directions)
        along = (found - found.mean(0)) @ self.directions.cpu().T
        ends = torch.tensor([0.02, 0.98])
        for low, high, values in ((self.low, self.high, found), (self.least, self.most, along)):
            least, most = values.quantile(ends, 0)
            low.copy_(least)
            high.copy_(most)

    def forward(self, expression: Tensor) -> Tensor:
        shown = torch.minimum(torch.maximum(expression, self.low), self.high)
        along = (shown - self.mean) @ self.directions.T
        return self.mean + torch.minimum(torch.maximum(along, self.least), self.most) @ self.directions


def modern_decoder(config: ModelConfig) -> nn.Sequential:
    """The expression and the normalised latent (B, MEASURES + L) to a face (B, 3, S, S) in 0..1."""
    sides, widths = map_sides(config.seen)[::-1], _widths(_DECODED, config.seen, config.width)[::-1]
    finer = 0
    while config.size > _MOST_FOLDED * sides[-1] << finer:
        finer += 1
    layers: list[nn.Module] = [
        nn.Linear(MEASURES + config.latent, widths[0] * sides[0] ** 2),
        nn.Unflatten(1, (widths[0], sides[0], sides[0])),
        nn.LeakyReLU(0.1),
        Residual(widths[0]),
    ]
    for inputs, outputs in pairwise(widths):
        layers += [*upsample(inputs, outputs, 1), Residual(outputs)]
    channels, side = widths[-1], sides[-1]
    for _ in range(finer):
        layers += upsample(channels, round(_FINER * config.width), 1)
        channels, side = round(_FINER * config.width), 2 * side
    fold = config.size // side
    layers += [Place(channels, side), Residual(channels), nn.Conv2d(channels, 3 * fold**2, 3, padding=1)]
    return nn.Sequential(*layers, nn.PixelShuffle(fold), nn.Sigmoid())


class MaskHead(nn.Module):
    """The encoder's feature maps, the largest first, to a mask in 0..1 of what is face, as large as the encoder sees.

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


class Told(NamedTuple):
    """What the modern network is told of B faces in training, besides their pictures."""

    expression: Tensor  # (B, MEASURES)
    noise: Tensor  # (B, L), normal: blurs the latent
    kept: Tensor  # (B, 1): 0 where a face is to be drawn by its expression alone, else 1


def adapted(layers: Iterable[nn.Module], x: Tensor, begin: Tensor, changes: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Let `layers`, which draw anybody, draw one person.

    `begin` is added to what the first layer makes of `x`. Each of `changes` belongs to one `Residual`: what comes out
    of it (B, C, H, W) is scaled by one more than the first and shifted by the second. All zeros change nothing.
    (FiLM, Perez et al. 2018.)
    """
    left = iter(changes)
    for number, layer in enumerate(layers):
        x = layer(x)
        if number == 0:
            x = x + begin
        if isinstance(layer, Residual):
            scale, shift = next(left)
            x = x * (1 + scale) + shift
    return x


class Person(nn.Module):
    """One person's look, for layers that draw anybody: how strong each channel is, and what each place always has.

    What differs from person to person is kept out of the layers' weights, so they need not forget the expressions that
    this person's footage lacks.
    """

    def __init__(self, layers: Iterable[nn.Module], side: int) -> None:
        """`side`: that of the smallest maps."""
        super().__init__()
        self.scales, self.shifts = nn.ParameterList(), nn.ParameterList()
        for layer in layers:
            if isinstance(layer, nn.Linear):
                self.begin = nn.Parameter(torch.zeros(layer.out_features))
            elif isinstance(layer, nn.PixelShuffle):
                side *= layer.upscale_factor
            elif isinstance(layer, Residual):
                self.scales.append(nn.Parameter(torch.zeros(layer.channels, 1, 1)))
                self.shifts.append(nn.Parameter(torch.zeros(layer.channels, side, side)))

    def forward(self, layers: Iterable[nn.Module], told: Tensor) -> Tensor:
        changes = [(_PERSON * scale, _PERSON * shift) for scale, shift in zip(self.scales, self.shifts, strict=True)]
        return adapted(layers, told, _PERSON * self.begin, changes)


class ModernNet(SwapNet):
    """A `SwapNet` with six additions, each for a fault of the plain one.

    - The *expression* comes from the landmarks, in numbers that mean the same for everybody. Left to itself, the
      encoder finds other signs of an open mouth in each person. (It learns to read the expression, too: what it has to
      see to do so is good to know for the mask, and whoever has no landmarks can use it.)
    - Some of these numbers also say how a face is made, so what differs between two people at rest is taken out.
    - No person can be drawn doing what their footage never shows: beyond it decoders fall to pieces, so an expression
      is brought into what the person drawn has `Shown`. One that began with a base goes half the way beyond, and with
      jaw, lips, lids and gaze all of it.
    - What else the encoder says is few numbers, which go through the `LatentNorm` of the person seen: it takes out
      whatever still tells the persons apart in their averages.
    - The layers that unfold all these are *common* to both; only after them does each person have a decoder.
    - A `MaskHead` says what of the picture is face, and what a hand before it.
    """

    free: Tensor

    def __init__(self, config: ModelConfig) -> None:
        decoder_a, decoder_b = modern_decoder(config), modern_decoder(config)
        encoder = ModernEncoder(config.seen, config.width, MEASURES + config.latent)
        super().__init__(encoder, (decoder_a[COMMON:], decoder_b[COMMON:]))
        self.size = config.size
        self.norm_a, self.norm_b = LatentNorm(config.latent), LatentNorm(config.latent)
        self.shown_a, self.shown_b = Shown(), Shown()
        self.common = decoder_a[:COMMON]
        self.mask = MaskHead(config.seen, config.width)
        self.based = config.base
        self.register_buffer("free", torch.tensor(WHOEVER), persistent=False)
        self.persons = nn.ModuleDict()
        if self.based:
            self.encoder.requires_grad_(requires_grad=False)
            self.mask.requires_grad_(requires_grad=False)
            smallest = map_sides(config.seen)[-1]
            self.persons = nn.ModuleDict({side: Person([*decoder_a], smallest) for side in ("a", "b")})

    def forward(self, aligned: Tensor, expression: Tensor, seen: Side, drawn: Side) -> Drawn:
        read, maps = self.encoder(aligned)
        norm = self.norm_a if seen == "a" else self.norm_b
        if seen != drawn:
            expression = self.translated(expression, seen, drawn)
        patch = self.draw(torch.cat([expression, norm(read[:, MEASURES:])], 1), drawn)
        return Drawn(patch, self._full(self.mask(maps)), read[:, :MEASURES])

    def draw(self, told: Tensor, drawn: Side) -> Tensor:
        """The faces of one person by expression and normalised latent (B, MEASURES + L)."""
        if not self.based:
            return self.decoder(drawn)(self.common(told))
        layers = [*self.common.children(), *self.decoder(drawn).children()]
        return self.persons[drawn](layers, told)

    def translated(self, expression: Tensor, seen: Side, drawn: Side) -> Tensor:
        """The expression (B, MEASURES) of the person `seen` in the numbers of the person `drawn`."""
        moved = expression + self.shown(drawn).rest - self.shown(seen).rest
        coefficients, lengths = moved.tensor_split([len(COEFFICIENTS)], 1)
        moved = torch.cat([coefficients.clamp(0, COEFFICIENT), lengths], 1)  # nobody's go beyond
        held = self.shown(drawn)(moved)
        return torch.where(self.free, moved, held.lerp(moved, _BEYOND)) if self.based else held

    def shown(self, drawn: Side) -> Shown:
        """What one person's footage shows."""
        return self.shown_a if drawn == "a" else self.shown_b

    def reconstruct(self, faces: list[Tensor], batches: list[Told]) -> list[Drawn]:
        """Draw each person's faces (B, 3, S, S) as themselves, in training; masks are as large as the encoder sees."""
        with torch.set_grad_enabled(not self.based):
            reads, maps = self.encoder(torch.cat(faces))
        pairs = zip((self.norm_a, self.norm_b), reads[:, MEASURES:].chunk(2), batches, strict=True)
        latents = [told.kept * norm(x, told.noise) for norm, x, told in pairs]
        told_a, told_b = [torch.cat([told.expression, x], 1) for told, x in zip(batches, latents, strict=True)]
        if self.based:
            return [Drawn(self.draw(told_a, "a")), Drawn(self.draw(told_b, "b"))]
        common: Tensor = self.common(torch.cat([told_a, told_b]))
        of_a, of_b = common.chunk(2)
        masks, read = self.mask(maps).chunk(2), reads[:, :MEASURES].chunk(2)
        return list(map(Drawn, (self.decoder_a(of_a), self.decoder_b(of_b)), masks, read))

    def _full(self, mask: Tensor) -> Tensor:
        """A mask as large as the faces that are drawn."""
        return F.interpolate(mask, (self.size, self.size), mode="bilinear", align_corners=False)


class ReconstructBoth(nn.Module):
    """Gives back the faces of both persons in one call.

    DistributedDataParallel wants to see a whole step, and what the two share takes less at once than one after the
    other (4 faces of each: 0.88 to 0.96 of the step, 16: 0.97 to 0.98).
    """

    def __init__(self, net: SwapNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: list[Tensor], told: list[Told]) -> list[Drawn]:
        """Draw each person's faces (B, 3, S, S) as themselves."""
        if isinstance(self.net, ModernNet):
            return self.net.reconstruct(faces, told)
        latents = self.net.encoder(torch.cat(faces)).chunk(2)
        return [Drawn(self.net.decoder_a(latents[0])), Drawn(self.net.decoder_b(latents[1]))]


_DRAWING = Lock()  # torch draws first weights from one generator for all threads


def build(config: ModelConfig, seed: int = 0) -> SwapNet:
    """The untrained network that `config` describes, with weights by `seed`, also where another thread builds one.

    Raises `OptionError` for a size that a modern one cannot have.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _build(config)


def _build(config: ModelConfig) -> SwapNet:
    if config.network == "classic":
        return SwapNet(classic_encoder(), (classic_decoder(), classic_decoder()))
    sides = map_sides(config.seen)
    if not 16 <= config.seen <= 512 or config.seen % FOLD or any(side % 2 for side in sides[:-1]):
        raise OptionError(f"An encoder of {config.seen} pixels is not possible; give 64, 96, 128, 192, 256 or 512.")
    if config.size % sides[0]:
        raise OptionError(f"Faces of {config.size} pixels are not possible; give a multiple of {sides[0]}.")
    return ModernNet(config)


def to_device(net: SwapNet, device: torch.device) -> SwapNet:
    """Move a network to a device, its weights laid out channels-last, as convolutions like them."""
    untyped: Any = net  # torch's stubs do not know that `to` takes both at once
    untyped.to(device=device, memory_format=torch.channels_last)
    return net
