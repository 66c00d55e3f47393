"""`clearswap subjects`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

import clearswap
from clearswap.machinery.subjects import MEANINGS, Footing


def subjects(faces: Path, *, footing: Footing | None = None, name: str | None = None, note: str | None = None) -> None:
    """Say, or show, who a face set shows and on what footing the footage is used.

    Parameters
    ----------
    faces
        A face set.
    footing
        On what footing the footage is used: the person "agreed" to it, it is "me", a "synthetic" person, "licensed"
        footage, or a "research" corpus.
    name
        Who it is. Kept in the face set and in models; not published unless you ask for it.
    note
        For yourself: where the agreement lies, for example. Kept in the face set only.
    """
    said = clearswap.subjects(faces, footing=footing, name=name, note=note)
    console = Console()
    if said is None:
        words = [f"{faces}: nobody has said yet who is shown and on what footing. Say it with one of:"]
        words += [f"    clearswap subjects {faces} --footing {key:10}  # {what}" for key, what in MEANINGS.items()]
    else:
        stated = f", stated on {said.date.isoformat()}" if said.date is not None else ""
        words = [f"{faces}: {MEANINGS[said.footing]} ({said.footing}{stated})"]
        words += [f"{key}: {text}" for key, text in (("name", said.name), ("note", said.note)) if text]
    for line in words:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
