"""`clearswap extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.api.extract import ExtractConfig
from clearswap.cli.progress_bar import progress_bar
from clearswap.faces.tracker import TrackConfig


def extract(
    *inputs: Path,
    output: Annotated[Path, Parameter(alias="-o")],
    config: Annotated[ExtractConfig, Parameter(name="*")] = ExtractConfig(),
    tracking: Annotated[TrackConfig, Parameter(name="*")] = TrackConfig(),
) -> None:
    """Find, follow, align and cut out the faces of one person into a face set.

    Parameters
    ----------
    inputs
        Videos, pictures, or folders of either.
    output
        The face set to make; a folder that is not there yet.
    """
    console = Console()
    with progress_bar(console) as on_progress:
        done = clearswap.extract(inputs, output, config=config, tracking=tracking, on_progress=on_progress)
    console.print(f"{output}: {done}", markup=False, highlight=False, soft_wrap=True)
