"""What steers a running verb: signals, keys at the terminal, and a window that shows a training's preview.

Q and Ctrl-C ask a training to save and end, P to pause and to go on. SIGTERM and SIGHUP do what Ctrl-C does. The window
is a process of its own, because it wants to be looked after many times a second, and a step of training may take
longer. Keys pressed in it count, too; closing it closes the window only.
"""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from clearswap.progress import OnProgress, Progress

_LOOK = 200  # milliseconds between two looks at the picture's file
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_TOGETHER = 1.0  # seconds in which a hang-up after another signal says nothing new


@contextmanager
def on_signals(act: Callable[[int], None]) -> Generator[None]:
    """Call `act` with the number of each signal that asks to end, as long as the block lasts.

    One that is ignored (by `nohup`) stays so. In a thread nothing changes: only the main thread may take signals.
    """
    latest = -math.inf

    def take(number: int, _: FrameType | None) -> None:
        nonlocal latest
        before, latest = latest, time.monotonic()
        # the system and the shell each send one when a terminal closes, and systemd one right after SIGTERM
        if signal.Signals(number).name != "SIGHUP" or latest - before > _TOGETHER:
            act(number)

    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _SIGNALS if in_main}
    before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    try:
        for number in before:
            signal.signal(number, take)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_once(number: int) -> None:
    """End whatever runs, as Ctrl-C does, for the signal of this number."""
    raise KeyboardInterrupt(number)


class Keys:
    """What was asked for since the start. `pressed` returns the keys pressed since it was last called; `can_save`: the
    verb is a training, and not one that begins with other work.
    """

    def __init__(self, pressed: Callable[[], str], *, can_save: bool) -> None:
        self._pressed, self._can_save = pressed, can_save
        self._asked_to_stop = False
        self._paused = False

    def stop(self) -> bool:
        """Whether Q was pressed or a signal arrived."""
        self._read()
        return self._asked_to_stop

    def paused(self) -> bool:
        """Whether P was pressed, and not pressed again."""
        self._read()
        return self._paused

    def follow(self, on_progress: OnProgress) -> OnProgress:
        """An `on_progress` that looks at what is being done, too: only a training has something to save."""

        def followed(progress: Progress) -> None:
            self._can_save = progress.stage in ("train", "review")
            on_progress(progress)

        return followed

    def on_signal(self, number: int) -> None:
        """Take the first one for Q in a training; another one, or one elsewhere, ends at once."""
        if self._asked_to_stop or not self._can_save:
            end_at_once(number)
        self._asked_to_stop = True

    def _read(self) -> None:
        keys = self._pressed().lower()
        self._asked_to_stop = self._asked_to_stop or "q" in keys
        self._paused ^= keys.count("p") % 2 == 1


@contextmanager
def keys_pressed(elsewhere: Callable[[], str] = str, *, can_save: bool = True) -> Generator[Keys]:
    """Listen for keys and signals as long as the block lasts; `elsewhere` returns keys pressed in another place.

    `can_save`: see `Keys`.
    """
    with _terminal_keys() as pressed:
        keys = Keys(lambda: pressed() + elsewhere(), can_save=can_save)
        with on_signals(keys.on_signal):
            yield keys


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

        def read() -> str:
            with suppress(OSError):  # the terminal was closed
                return os.read(file, 16).decode(errors="ignore") if select.select([file], [], [], 0)[0] else ""
            return ""

        try:
            tty.setcbreak(file)  # keys arrive at once and are not echoed; Ctrl-C still works
            yield read
        finally:
            with suppress(termios.error):
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
