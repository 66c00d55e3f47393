"""`clearswap models install`."""

from __future__ import annotations

from rich.console import Console

from clearswap.faces import face_models


def install() -> None:
    """Install the face models' weights into this Python environment."""
    console = Console()
    for path in face_models.install_weights():
        console.print(f"ready: {path}", markup=False, highlight=False, soft_wrap=True)
