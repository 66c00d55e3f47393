"""The method on one page: short, of few parts, and it runs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import clearswap
from makers import head_of_clip, pictures_of

PAGE = Path(__file__).parents[1] / "examples" / "deepfake.py"
OURS = {f"clearswap.disclosure.{name}" for name in ("credentials", "signer", "stamp")}  # what marks and signs
OURS |= {"clearswap.faces.face_models", "clearswap.faces.tracker"}  # what finds faces


def test_it_is_one_page_of_the_method_alone() -> None:
    text = PAGE.read_text()
    assert len(text.splitlines()) <= 250
    imported = {
        alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    outside = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    others = {name for name in outside if not name.startswith("clearswap")}
    assert {name.split(".")[0] for name in others} == {"av", "cv2", "numpy", "torch"}
    assert outside - others - {"clearswap"} <= OURS


@pytest.mark.slow
def test_it_runs_and_its_output_says_what_it_is(tmp_path: Path, demo_clips: Path) -> None:
    environment = os.environ | {"DISPLAY": ""}  # no window
    for name in ("person_a.mp4", "person_b.mp4"):
        head_of_clip(demo_clips / name, tmp_path / name, 30)
    page = tmp_path / "page.py"  # as people change it for clips of their own
    page.write_text(
        PAGE.read_text().replace('CLIPS = Path(clearswap.__file__).parent / "demo_clips"', "CLIPS = Path()")
    )
    command = [sys.executable, str(page), "0.001"]  # minutes: one step
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "iteration 1: loss a" in done.stdout
    output = tmp_path / "deepfake" / "swapped.mp4"
    checked = clearswap.check([output])[0]
    assert checked.code == 0
    assert checked.marked
    assert checked.credentials.generated
    before, after = pictures_of(tmp_path / "person_b.mp4"), pictures_of(output)
    assert len(after) == len(before) >= 30
    changed = np.abs(after[20].astype(int) - before[20]).mean(2)
    assert changed[150:250, 150:250].mean() > 10  # the face is in the middle
    assert changed[:60, :60].mean() < 4  # a corner without the label: the mark and the encoder alone
    preview = cv2.imread(str(tmp_path / "deepfake" / "preview.jpg"))
    assert preview is not None
    assert preview.shape == (6 * 128, 6 * 128, 3)
    with av.open(str(output)) as container:
        assert container.streams.video[0].average_rate == 25
