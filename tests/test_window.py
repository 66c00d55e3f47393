"""The preview window: on a real (virtual) screen it shows the picture, shows it anew, and goes when training ends."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from clearswap.cli.controls import has_display, preview_window

DISPLAY = ":97"
Screen = Callable[[], NDArray[np.uint8]]


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """A virtual screen; returns what is on it (H, W, 3) in BGR."""
    if importlib.util.find_spec("tkinter") is None:
        pytest.skip("this Python has no tkinter, so no window is offered")
    if not shutil.which("Xvfb"):
        pytest.fail("Xvfb, a virtual screen, is missing; install it with: apt-get install xvfb")
    command = ["Xvfb", DISPLAY, "-screen", "0", "640x480x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("DISPLAY", DISPLAY)

    def shot() -> NDArray[np.uint8]:
        data = (tmp_path / "Xvfb_screen0").read_bytes()  # an XWD file: a header, a colour map, four bytes a pixel
        header = np.frombuffer(data[:100], ">u4")
        start = int(header[0] + 12 * header[19])
        return np.frombuffer(data[start : start + 640 * 480 * 4], np.uint8).reshape(480, 640, 4)[..., :3]

    wait_for(lambda: Path(f"/tmp/.X11-unix/X{DISPLAY[1:]}").exists() and (tmp_path / "Xvfb_screen0").exists())
    yield shot
    server.terminate()
    server.wait()


def wait_for(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def painted(path: Path, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    picture = np.full((64, 96, 3), colour, np.uint8)
    cv2.imwrite(str(path), picture)
    return picture


def has(shot: Screen, colour: tuple[int, int, int]) -> bool:
    near = np.abs(shot().astype(int) - colour).max(-1) < 12  # a JPEG's colours are not exact
    return bool(near.sum() >= 60 * 90)


def test_the_window_shows_the_picture_when_it_comes_and_when_it_changes_and_then_goes(
    screen: Screen, tmp_path: Path
) -> None:
    red, green = (20, 20, 220), (20, 220, 20)
    with preview_window(tmp_path / "preview.jpg") as pressed:
        time.sleep(1)  # there is no picture yet
        painted(tmp_path / "preview.jpg", red)
        wait_for(lambda: has(screen, red))
        painted(tmp_path / "preview.jpg", green)
        wait_for(lambda: has(screen, green))
        assert pressed() == ""
    wait_for(lambda: not has(screen, green))


def test_a_window_that_cannot_be_opened_does_not_disturb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":12345")
    with preview_window(tmp_path / "preview.jpg") as pressed:
        time.sleep(1.5)
        assert pressed() == ""


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a display")
def test_without_a_display_there_is_no_window() -> None:
    assert not has_display({})
    assert not has_display({"DISPLAY": ""})


def test_without_tkinter_there_is_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tkinter" else find_spec(name))
    assert not has_display({"DISPLAY": DISPLAY})
