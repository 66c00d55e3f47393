"""The preview in a window, where there is a display: a process of its own that shows a picture file as it changes.

A process, because a window wants to be looked after many times a second, and a step of training may take longer. Keys
pressed in it are handed to the training; closing it closes the window only.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2

_LOOK = 200  # milliseconds between two looks at the file


def has_display(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a window could be opened here."""
    if importlib.util.find_spec("tkinter") is None:  # some Linux distributions pack it apart
        return False
    return sys.platform in ("win32", "darwin") or bool(environment.get("DISPLAY"))


@contextmanager
def preview_window(picture: Path) -> Generator[Callable[[], str]]:
    """Show `picture` as long as the block lasts; yields what returns the keys pressed in the window since last asked.

    Where no window can be opened, there is none, and no keys.
    """
    command = [sys.executable, "-m", "clearswap.cli.window", str(picture)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin
    assert process.stdout
    keys: list[str] = []
    output = process.stdout
    reader = threading.Thread(target=lambda: keys.extend(iter(lambda: output.read(1).decode("ascii", "ignore"), "")))
    reader.start()

    def pressed() -> str:
        return "".join(keys.pop(0) for _ in range(len(keys)))

    try:
        yield pressed
    finally:
        process.stdin.close()  # which the window takes as its end
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
        reader.join()
        output.close()


def show(path: Path) -> None:
    """Show the picture until the window is closed or standard input ends."""
    import tkinter

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
        if written is not None and written != shown[0] and (data := _as_ppm(path)) is not None:
            image = tkinter.PhotoImage(data=data)
            shown[:] = [written, image]
            label.configure(image=image, padx=0, pady=0)
        root.after(_LOOK, look)

    look()
    root.mainloop()


def _as_ppm(path: Path) -> bytes | None:
    """The picture in the one format that every tkinter reads."""
    picture = cv2.imread(str(path))
    return None if picture is None else cv2.imencode(".ppm", picture)[1].tobytes()


if __name__ == "__main__":
    show(Path(sys.argv[1]))
