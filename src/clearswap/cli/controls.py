"""What steers a running training: keys at the terminal, and a window that shows the preview.

Q and Ctrl-C ask it to save and end, P to pause and to go on. The window is a process of its own, because it wants to be
looked after many times a second, and a step of training may take longer. Keys pressed in it count, too; closing it
closes the window only.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_LOOK = 200  # milliseconds between two looks at the picture's file


class Keys:
    """What was asked for since the start. `pressed` returns the keys pressed since it was last called."""

    def __init__(self, pressed: Callable[[], str]) -> None:
        self._pressed = pressed
        self._asked_to_stop = False
        self._paused = False

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
def keys_pressed(elsewhere: Callable[[], str] = str) -> Generator[Keys]:
    """Listen for keys and Ctrl-C as long as the block lasts; `elsewhere` returns keys pressed in another place."""
    with _terminal_keys() as pressed:
        keys = Keys(lambda: pressed() + elsewhere())
        before = signal.signal(signal.SIGINT, keys.on_interrupt)
        try:
            yield keys
        finally:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _terminal_keys() -> Generator[Callable[[], str]]:
    """Yield a function that returns the keys pressed since it was last called, without waiting."""
    if not sys.stdin or not sys.stdin.isatty():
        yield str
    elif sys.platform == "win32":
        import msvcrt

        yield lambda: "".join(msvcrt.getwch() for _ in range(16) if msvcrt.kbhit())
    else:
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


def has_display(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a window could be opened here."""
    if importlib.util.find_spec("tkinter") is None:  # some Linux distributions pack it apart
        return False
    return sys.platform in ("win32", "darwin") or bool(environment.get("DISPLAY"))


@contextmanager
def preview_window(picture: Path) -> Generator[Callable[[], str]]:
    """Show `picture`, as it changes, as long as the block lasts. Yields a function that returns the keys pressed in the
    window since it was last called. Where no window can be opened, there are no keys.
    """
    command = [sys.executable, "-m", "clearswap.cli.controls", str(picture)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin
    assert process.stdout
    keys: list[str] = []
    output = process.stdout
    reader = threading.Thread(target=lambda: keys.extend(iter(lambda: output.read(1).decode("ascii", "ignore"), "")))
    reader.start()
    try:
        yield lambda: "".join(keys.pop(0) for _ in range(len(keys)))
    finally:
        process.stdin.close()  # which the window takes as its end
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
        reader.join()
        output.close()


def _show(path: Path) -> None:
    """Show the picture in a window until that is closed or standard input ends."""
    import tkinter

    import cv2

    root = tkinter.Tk()
    root.title(f"Clearswap: {path.parent.resolve().name} (P pauses, Q saves and stops)")
    label = tkinter.Label(root, text="waiting for the first preview", padx=40, pady=40)
    label.pack()
    root.bind("<Key>", lambda event: print(event.char, end="", flush=True))
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    shown: list[object] = [None, None]  # when the file was written; and the picture, which tkinter only borrows

    def look() -> None:
        if ended.is_set():
            root.destroy()
            return
        written = path.stat().st_mtime_ns if path.exists() else None
        picture = cv2.imread(str(path)) if written not in (None, shown[0]) else None
        if picture is not None:
            image = tkinter.PhotoImage(data=cv2.imencode(".ppm", picture)[1].tobytes())  # which every tkinter reads
            shown[:] = [written, image]
            label.configure(image=image, padx=0, pady=0)
        root.after(_LOOK, look)

    look()
    root.mainloop()


if __name__ == "__main__":
    _show(Path(sys.argv[1]))
