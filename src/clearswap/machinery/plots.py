"""Pictures about a training: its loss over time, and its previews as an animation."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")  # draws to files; needs no screen

import matplotlib.pyplot as plt
from PIL import Image

from clearswap.machinery.history import read_history
from clearswap.machinery.preview import HISTORY
from clearswap.machinery.whole import whole_file


def plot_losses(model: Path, output: Path) -> None:
    """Draw the losses of both sides over the minutes trained, as a PNG."""
    rows = read_history(model)
    minutes = [seconds / 60 for _, seconds, _, _ in rows]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(minutes, [loss for _, _, loss, _ in rows], label="person a", linewidth=1)
    axes.plot(minutes, [loss for _, _, _, loss in rows], label="person b", linewidth=1)
    axes.set(xlabel="minutes", ylabel="loss (mean absolute difference)", yscale="log", title="Training")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    with whole_file(output) as partial:
        figure.savefig(partial, format="png", dpi=120)
    plt.close(figure)


def animate_previews(model: Path, output: Path, *, seconds: float = 8.0) -> None:
    """Join the kept previews into a GIF that plays once through in about `seconds`, the last one longer."""
    pictures = [Image.open(path) for path in sorted((model / HISTORY).glob("*.jpg"))]
    if not pictures:
        return
    each = max(40, round(1000 * seconds / len(pictures)))
    times = [each] * (len(pictures) - 1) + [2500]
    with whole_file(output) as partial:
        pictures[0].save(partial, format="GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0)
