"""The preview window: on a real (virtual) screen it shows the picture, shows it anew, and goes when training ends."""

from __future__ import annotations

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

from clearswap.cli.window import has_display, preview_window

DISPLAY = ":97"
Screen = Callable[[], NDArray[np.uint8]]


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """A virtual screen; returns what is on it (H, W, 3) in BGR."""
    if not shutil.which("Xvfb"):
        pytest.skip("needs Xvfb, a virtual screen (Debian: apt install xvfb)")
    command = ["Xvfb", DISPLAY, "-screen", "0", "640x480x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("DISPLAY", DISPLAY)

    def shot() -> NDArray[np.uint8]:
        data = (tmp_path / "Xvfb_screen0").read_bytes()  # an XWD file: a header, a colour map, four bytes a pixel
        header = np.frombuffer(data[:100], ">u4")
        start = int(header[0] + 12 * header[19])
        return np.frombuffer(data[start : start + 640 * 480 * 4], np.uint8).reshape(480, 640, 4)[..., :3]

    wait_for(lambda: (tmp_path / "Xvfb_screen0").exists())
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
