"""How a verb tells its caller where it is: one callback, one small record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


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
