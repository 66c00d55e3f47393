"""`clearswap review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.cli.progress_bar import progress_bar


def review(faces_a: Path, faces_b: Path, *, output: Annotated[Path | None, Parameter(alias="-o")] = None) -> None:
    """Look through two face sets: what is missing, blurred, alike, or somebody else's.

    Parameters
    ----------
    faces_a
        Face set of person a.
    faces_b
        Face set of person b.
    output
        Picture of which way both look, a PNG.
    """
    console = Console()
    with progress_bar(console) as on_progress:
        looked = clearswap.review(faces_a, faces_b, output, on_progress=on_progress)
    for facts in (looked.a, looked.b):
        words = f"{facts.folder}: {facts.faces} faces, {facts.unlike} unlike poses and mouths"
        console.print(words, markup=False, highlight=False, soft_wrap=True)
    for note in looked.notes or ["Nothing to mend was found."]:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
