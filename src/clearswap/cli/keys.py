"""Keys for a running training: Q and Ctrl-C ask it to save and end, P to pause and to go on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


class Keys:
    """What was asked for since the start."""

    def __init__(self, pressed: Callable[[], str]) -> None:
        self._pressed = pressed
        self._asked_to_stop = self._paused = False

    def stop(self) -> bool:
        """Whether Q was pressed or Ctrl-C arrived."""
        self._read()
        return self._asked_to_stop

    def paused(self) -> bool:
        """Whether P was pressed, and not pressed again."""
        self._read()
        return self._paused

    def on_interrupt(self, _: int, __: FrameType | None) -> None:
        """Take Ctrl-C for Q; a second one ends at once."""
        if self._asked_to_stop:
            raise KeyboardInterrupt
        self._asked_to_stop = True

    def _read(self) -> None:
        keys = self._pressed().lower()
        self._asked_to_stop = self._asked_to_stop or "q" in keys
        self._paused ^= keys.count("p") % 2 == 1


@contextmanager
def keys_pressed(elsewhere: Callable[[], str] = lambda: "") -> Generator[Keys]:
    """Listen for keys and Ctrl-C as long as the block lasts; `elsewhere` returns keys pressed in another place."""
    with _pressed_keys() as pressed:
        keys = Keys(lambda: pressed() + elsewhere())
        before = signal.signal(signal.SIGINT, keys.on_interrupt)
        try:
            yield keys
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
