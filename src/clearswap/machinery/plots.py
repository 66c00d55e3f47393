"""Pictures about a training: its loss over time, its previews as an animation, and where its persons look."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")  # draws to files; needs no screen

import matplotlib.pyplot as plt
from PIL import Image

from clearswap.core.coverage import Poses
from clearswap.machinery.history import read_history
from clearswap.machinery.preview import HISTORY
from clearswap.machinery.whole import whole_file


def plot_losses(model: Path, output: Path) -> None:
    """Draw both sides' losses and held-out errors over the minutes trained, as a PNG."""
    moments = read_history(model)
    held = [moment for moment in moments if moment.held is not None]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for person, colour in (("a", "tab:blue"), ("b", "tab:orange")):
        style = {"label": f"person {person}", "color": colour, "linewidth": 1}
        left.plot([m.seconds / 60 for m in held], [getattr(m, f"held_{person}") for m in held], **style)
        right.plot([m.seconds / 60 for m in moments], [getattr(m, f"loss_{person}") for m in moments], **style)
    left.set(title="Faces never trained on", ylabel="mean absolute difference in the face")
    right.set(title="Training", ylabel="loss")
    for axes in (left, right):
        axes.set(xlabel="minutes", yscale="log")
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


def plot_poses(poses: dict[str, Poses], output: Path) -> None:
    """Draw which way the faces of each person look (by name: (N, 2), yaw and pitch in degrees), as a PNG."""
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    for (name, points), colour, mark in zip(poses.items(), ("tab:blue", "tab:orange"), ("o", "^"), strict=False):
        axes.scatter(points[:, 0], points[:, 1], s=14, alpha=0.5, color=colour, marker=mark, label=name, linewidths=0)
    axes.set(title="Which way the faces look", xlabel="yaw, degrees (+ the picture's right)", ylabel="pitch (+ up)")
    axes.set_aspect("equal", "datalim")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    with whole_file(output) as partial:
        figure.savefig(partial, format="png", dpi=100)
    plt.close(figure)
