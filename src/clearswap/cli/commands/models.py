"""`clearswap models install`."""

from __future__ import annotations

from rich.console import Console

from clearswap.faces import weights


def install() -> None:
    """Install the face models' weights into this Python environment."""
    console = Console()
    for path in weights.install():
        console.print(f"ready: {path}", markup=False, highlight=False, soft_wrap=True)
