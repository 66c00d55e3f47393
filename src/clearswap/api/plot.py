"""Plot: the curves of a training and its previews as an animation, from any model, during training or after.

plots = clearswap.plot("model")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clearswap.errors import ModelError
from clearswap.figures import Figure
from clearswap.media.files import atomic_file, read_picture
from clearswap.training.log import PREVIEWS, read_history


@dataclass(frozen=True)
class PlotResult:
    """Where the pictures lie."""

    losses: Path
    animation: Path

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """The names of both."""
        return [str(self.losses), str(self.animation)]


def plot(model: Path | str, output: Path | str | None = None) -> PlotResult:
    """Draw the curves of a training (losses.png) and its previews as an animation (training.gif).

    Works while the model trains, or any time after.

    Args:
        model: Folder of the model.
        output: Folder for the two pictures; the model's own when left out.

    Raises:
        InputError: A preview is damaged.
        ModelError: The model has no history of a training.
        OutputError: `output` cannot be written.
    """
    folder = Path(model)
    if not read_history(folder) or not any((folder / PREVIEWS).glob("*.jpg")):
        raise ModelError(f"{folder} has no history of a training; give the folder of a trained model.")
    home = folder if output is None else Path(output)
    plots = PlotResult(home / "losses.png", home / "training.gif")
    plot_losses(folder, plots.losses)
    animate_previews(folder, plots.animation)
    return plots


def plot_losses(model: Path, output: Path) -> None:
    """Draw both sides' losses and held-out errors over the minutes trained, as a PNG."""
    moments = read_history(model)
    held = [moment for moment in moments if moment.held is not None]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
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
    with atomic_file(output) as partial:
        figure.savefig(partial, format="png", dpi=120)


def animate_previews(model: Path, output: Path, *, seconds: float = 8.0) -> None:
    """Join the kept previews into a GIF that plays once through in about `seconds`, the last one longer."""
    pictures = [Image.fromarray(read_picture(path)) for path in sorted((model / PREVIEWS).glob("*.jpg"))]
    if not pictures:
        return
    each = max(40, round(1000 * seconds / len(pictures)))
    times = [each] * (len(pictures) - 1) + [2500]
    with atomic_file(output) as partial:
        pictures[0].save(partial, format="GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0)
