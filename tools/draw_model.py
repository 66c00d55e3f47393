"""Draw the layers of classic and lite, from the networks themselves: `python tools/draw_model.py` writes docs/*.svg.

A picture is sent through and every layer says what comes out of it: a box's height is the side of its feature maps,
its width the number of their channels (both as logarithms, so that 3 and 1024 fit on one page).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from clearswap.core.modern import ModernEncoder, ModernNet, Place, build
from clearswap.core.network import PRESETS, SwapNet

DOCS = Path(__file__).parent.parent / "docs"
QUIET = (nn.LeakyReLU, nn.Flatten, nn.Unflatten, nn.Identity, nn.Sigmoid, Place)  # shape nothing: not drawn
COLOURS = {"Conv2d": "#4c78a8", "Linear": "#e45756", "PixelShuffle": "#54a24b"}
COLOURS |= {"Residual": "#72b7b2", "Standardise": "#b0b0b0", "input": "#b0b0b0"}


@dataclass(frozen=True)
class Layer:
    """What one layer gives out."""

    kind: str
    channels: int
    side: int  # 1 for a flat vector


def layers(part: nn.Module, x: Tensor) -> tuple[list[Layer], Tensor]:
    """Send `x` through `part` and note each layer's output."""
    found: list[Layer] = []
    for layer in flat(part):
        x = layer(x)
        if not isinstance(layer, QUIET):
            found.append(Layer(type(layer).__name__, x.shape[1], x.shape[-1] if x.dim() == 4 else 1))
    return found, x


def flat(part: nn.Module) -> list[nn.Module]:
    """The layers of nested sequences in order."""
    if isinstance(part, nn.Sequential):
        return [layer for child in part for layer in flat(child)]
    return [part]


def draw_row(axes: Axes, row: list[Layer], left: float, middle: float) -> float:
    """Draw layers from `left` on, centred on height `middle`; returns where they end."""
    for layer in row:
        width, height = 0.12 * math.log2(layer.channels + 1), 0.28 * math.log2(layer.side * 2)
        colour = COLOURS.get(layer.kind, "#888888")
        axes.add_patch(Rectangle((left, middle - height / 2), width, height, facecolor=colour, edgecolor="white"))
        label = f"{layer.channels}" if layer.side == 1 else f"{layer.channels}·{layer.side}²"
        axes.text(left + width / 2, middle - height / 2 - 0.08, label, ha="center", va="top", fontsize=6, rotation=90)
        left += width + 0.12
    return left


def parts(net: SwapNet) -> tuple[nn.Module, nn.Module]:
    """What both persons share, and what one has of its own, as a face goes through it.

    The mask is left out, and the expression, which joins in the middle, is the encoder's own reading.
    """
    if not isinstance(net, ModernNet) or not isinstance(net.encoder, ModernEncoder):
        return net.encoder, net.decoder_a
    encoder = net.encoder
    return nn.Sequential(encoder.first, *encoder.halve, encoder.last, net.common), net.decoder_a


def parameters(net: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in net.parameters())


def draw(preset: str) -> None:
    """Write docs/network-PRESET.svg."""
    config = PRESETS[preset]
    net = build(config).eval()
    shared, own = parts(net)
    with torch.inference_mode():
        before, latent = layers(shared, torch.rand(1, 3, config.seen, config.seen))
        decoder, _ = layers(own, latent)
    figure, axes = plt.subplots(figsize=(11, 4.2), layout="constrained")
    start = draw_row(axes, [Layer("input", 3, config.seen), *before], 0, 0)
    ends = [draw_row(axes, decoder, start + 0.5, middle) for middle in (1.75, -1.75)]
    for middle, name in ((1.75, "decoder a"), (-1.75, "decoder b")):
        arrow = {"arrowstyle": "->", "color": "#555555"}
        axes.annotate("", (start + 0.45, middle), (start - 0.05, 0), arrowprops=arrow)
        axes.text(ends[0], middle, f" {name}\n {parameters(net.decoder_a) / 1e6:.2f} M", va="center", fontsize=8)
    axes.text(0, 1.6, f"shared\n{parameters(shared) / 1e6:.2f} M parameters", fontsize=8)
    title = f"{preset}: {config.size} px, {parameters(net) / 1e6:.1f} M parameters (under each box: channels·side²)"
    axes.set_title(title, fontsize=10)
    for at, (kind, colour) in enumerate(COLOURS.items()):
        axes.text(0.09 * at, -0.02, kind, color=colour, fontsize=8, weight="bold", transform=axes.transAxes)
    axes.set(xlim=(-0.3, ends[0] + 1.3), ylim=(-3.4, 3.1))
    axes.axis("off")
    figure.savefig(DOCS / f"network-{preset}.svg")
    plt.close(figure)


if __name__ == "__main__":
    for name in ("classic", "lite"):
        draw(name)
