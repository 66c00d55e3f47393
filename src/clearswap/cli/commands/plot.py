"""`clearswap plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap


def plot(model: Path, *, output: Annotated[Path | None, Parameter(alias="-o")] = None) -> None:
    """Draw the curves of a training and its previews as an animation.

    Parameters
    ----------
    model
        Folder of the model.
    output
        Folder for the two pictures; the model's own when left out.
    """
    plots = clearswap.plot(model, output)
    console = Console()
    for path in (plots.losses, plots.animation):
        console.print(path, markup=False, highlight=False, soft_wrap=True)
