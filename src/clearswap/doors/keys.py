"""Stopping well: the Q key and Ctrl-C ask a running training to save and end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_request() -> Generator[Callable[[], bool]]:
    """Yield a function that says whether Q was pressed or Ctrl-C arrived. A second Ctrl-C ends at once."""
    asked = False

    def on_interrupt(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        with _pressed_keys() as pressed:

            def stop() -> bool:
                nonlocal asked
                asked = asked or "q" in pressed().lower()
                return asked

            yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _pressed_keys() -> Generator[Callable[[], str]]:
    """Yield a function that returns the keys pressed since it was last called, without waiting."""
    if not sys.stdin or not sys.stdin.isatty():
        yield lambda: ""
    elif sys.platform == "win32":
        import msvcrt

        yield lambda: "".join(msvcrt.getwch() for _ in range(16) if msvcrt.kbhit())
    else:
        import os
        import select
        import termios
        import tty

        file = sys.stdin.fileno()
        settings = termios.tcgetattr(file)
        try:
            tty.setcbreak(file)  # keys arrive at once and are not echoed; Ctrl-C still works
            yield lambda: os.read(file, 16).decode(errors="ignore") if select.select([file], [], [], 0)[0] else ""
        finally:
            termios.tcsetattr(file, termios.TCSADRAIN, settings)
