"""The question on what basis somebody's footage is used, asked at a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.prompt import Prompt

from clearswap.disclosure.consent import MEANINGS, Basis, read_consent


def ask_basis(console: Console, shown: Path, faces: Path) -> Basis | None:
    """On what basis the footage `shown` is used. None where it is known already, because its face set `faces` says
    so, where there is nothing to be asked about, and where nobody can be asked: the verb refuses then what it must.

    One of many processes does not ask either: the others could not wait for the answer.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    if not shown.exists() or read_consent(faces) is not None:
        return None
    console.print(f"Who does {shown} show, and on what basis do you use this footage?", markup=False, highlight=False)
    numbers: dict[str, Basis] = {str(number): basis for number, basis in enumerate(MEANINGS, 1)}
    for number, basis in numbers.items():
        console.print(f"  {number}  {MEANINGS[basis]}", markup=False, highlight=False)
    console.print("None of these? Then this footage is not for a face swap: Ctrl-C ends it.", highlight=False)
    try:
        answer = Prompt.ask("Number", console=console, choices=list(numbers))
    except EOFError:
        return None
    console.print(f"It is kept in {faces / 'consent.toml'}, where you can add a name or a note.", highlight=False)
    return numbers[answer]
