"""What is printed: characters that can be seen, on streams that may be full, closed, or left by their reader."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from io import TextIOWrapper

from rich.console import Console
from rich.text import Text

# Control characters, those that turn the direction of writing, separators of lines, and what no encoding can write.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: object) -> str:
    r"""A text, by whomever it is, as one line that steers no terminal: control characters become escapes like \x1b."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


class Terminal(Console):
    """Standard output or standard error. Where that cannot be written any more, the work goes on without it.

    Attributes:
        trouble: Why not all could be printed; None where it could.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr)
        self.trouble: OSError | None = None

    def say(self, text: object) -> None:
        """Print a text as one line."""
        self.print(Text(visible(text)), soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Take a reader that went away for trouble like any other; rich would end the program here."""
        raise BrokenPipeError

    def _check_buffer(self) -> None:  # where all that rich prints is written at last
        try:
            super()._check_buffer()
        except OSError as error:
            self.trouble = error.__context__ if isinstance(error.__context__, OSError) else error
            with suppress(OSError):  # what is left over goes nowhere, also when Python ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def open_streams() -> None:
    """Make the standard streams safe to write to.

    One that is closed leads nowhere: else the next file that is opened gets its number, and with it what libraries
    print. One that cannot write a character writes its number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
