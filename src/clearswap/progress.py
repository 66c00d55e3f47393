"""Between a verb and its caller: files as they are given to it, and where it is, as one callback and a small record."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clearswap.errors import OptionError


@dataclass(frozen=True)
class Progress:
    """One report from a running verb.

    `stage` names what is being done ("extract alice.mp4"), `done` counts finished units out of `total`
    (None where it is not known), `values` holds figures to show next to the bar (losses, images/s),
    and `note`, when set, is a line worth keeping on the screen.
    """

    stage: str
    done: float = 0
    total: float | None = None
    unit: str = "frames"
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    note: str = ""


OnProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """The default on_progress: says nothing."""


def paths_of(given: Sequence[Path | str] | Path | str) -> list[Path]:
    """One file or several, as a list. Raises `OptionError` for what is neither a path nor a list of paths."""
    try:
        return [Path(one) for one in ([given] if isinstance(given, str | os.PathLike) else given)]
    except TypeError as error:
        raise OptionError(f"{str(given)[:80]} names no file; give a path, or a list of paths.") from error
