"""Plot: the curves of a training and its previews as an animation, from any model, during training or after.

plots = clearswap.plot("model")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clearswap.errors import ModelError
from clearswap.machinery.history import read_history
from clearswap.machinery.plots import animate_previews, plot_losses
from clearswap.machinery.preview import HISTORY


@dataclass(frozen=True)
class Plots:
    """Where the pictures lie."""

    losses: Path
    animation: Path


def plot(model: Path | str, output: Path | str | None = None) -> Plots:
    """Draw the curves of the model in folder `model` (`losses.png`) and its previews (`training.gif`) into `output`
    (default: the model's own folder). Raises `ModelError` when it has no history, and `OutputError`.
    """
    folder = Path(model)
    if not read_history(folder) or not any((folder / HISTORY).glob("*.jpg")):
        raise ModelError(f"{folder} has no history of a training; give the folder of a trained model.")
    home = folder if output is None else Path(output)
    plots = Plots(home / "losses.png", home / "training.gif")
    plot_losses(folder, plots.losses)
    animate_previews(folder, plots.animation)
    return plots
