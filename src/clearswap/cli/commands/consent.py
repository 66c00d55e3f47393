"""`clearswap consent`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

import clearswap
from clearswap.disclosure.consent import MEANINGS, Basis
from clearswap.faces.faceset import require_faceset


def consent(faces: Path, *, basis: Basis | None = None, name: str | None = None, note: str | None = None) -> None:
    """Say, or show, who a face set shows and on what basis the footage is used.

    Parameters
    ----------
    faces
        A face set.
    basis
        On what basis the footage is used: the person "agreed" to it, it is "me", a "synthetic" person, "licensed"
        footage, or a "research" corpus.
    name
        Who it is. Kept in the face set and in models; not published unless you ask for it.
    note
        For yourself: where the agreement lies, for example. Kept in the face set only.
    """
    if basis is None and name is None and note is None:
        said = clearswap.read_consent(require_faceset(faces).parent)
    else:
        said = clearswap.set_consent(faces, basis=basis, name=name, note=note)
    console = Console()
    if said is None:
        words = [f"{faces}: nobody has said yet who is shown and on what basis. Say it with one of:"]
        words += [f"    clearswap consent {faces} --basis {key:10}  # {what}" for key, what in MEANINGS.items()]
    else:
        stated = f", stated on {said.date.isoformat()}" if said.date is not None else ""
        words = [f"{faces}: {MEANINGS[said.basis]} ({said.basis}{stated})"]
        words += [f"{key}: {text}" for key, text in (("name", said.name), ("note", said.note)) if text]
    for line in words:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
