"""Demo: the whole way on two synthetic people who never existed, and how near the result is to the right answer.

Both heads are rendered from one track of motion and light, so for each frame of person b's clip there is the
very same frame with person a's head: `truth.mp4`, which training never sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from clearswap.api.convert import ConvertResult
from clearswap.api.evaluate import EvaluateResult, evaluate
from clearswap.api.plot import animate_previews, plot_losses
from clearswap.api.swap import Work, swap
from clearswap.core.align import Frame
from clearswap.media.atomic import atomic_file
from clearswap.media.files import encode_picture
from clearswap.media.video import probe, read_frames
from clearswap.progress import OnProgress, silent
from clearswap.training.loop import TrainConfig

_COLUMNS = 6  # of the contact sheet


@dataclass(frozen=True)
class Demo:
    """The demo's outcome: how good the swap is and where everything lies."""

    evaluation: EvaluateResult
    converted: ConvertResult
    video: Path
    sheet: Path
    losses: Path
    animation: Path
    seconds: float


def demo(
    folder: Path | str = "demo",
    *,
    training: TrainConfig = TrainConfig(minutes=7),
    on_progress: OnProgress = silent,
    stop: Callable[[], bool] = lambda: False,
    pause: Callable[[], bool] = lambda: False,
) -> Demo:
    """Run the demo into `folder`; a second call goes on where the first was stopped."""
    begun, home = time.monotonic(), Path(folder)
    clips = Path(str(resources.files("clearswap") / "demo_clips"))
    source, truth = clips / "person_b.mp4", clips / "truth.mp4"
    video, work = home / "person_b_with_face_of_a.mp4", Work(home / "work")
    converted = swap(
        *(clips / "person_a.mp4", source, video),
        basis_a="synthetic",
        basis_b="synthetic",
        work=work.folder,
        training=training,
        on_progress=on_progress,
        stop=stop,
        pause=pause,
    )
    evaluation = evaluate(
        video, source, home / "evaluation", truth=truth, identity=work.faces_a, on_progress=on_progress
    )
    outcome = Demo(
        evaluation=evaluation,
        converted=converted,
        video=video,
        sheet=home / "contact_sheet.png",
        losses=home / "losses.png",
        animation=home / "training.gif",
        seconds=time.monotonic() - begun,
    )
    with atomic_file(outcome.sheet) as partial:
        partial.write_bytes(encode_picture(_contact_sheet({"frame": source, "swap": video, "truth": truth}), ".png"))
    plot_losses(work.model, outcome.losses)
    animate_previews(work.model, outcome.animation)
    return outcome


def _contact_sheet(clips: dict[str, Path]) -> Frame:
    """A row of frames for each clip, at moments spread over it."""
    rows: list[Frame] = []
    for name, clip in clips.items():
        moments = np.linspace(0, probe(clip).frames - 1, _COLUMNS).astype(int)
        chosen = [frame.picture for frame in read_frames(clip) if frame.index in moments]
        rows.append(_captioned(np.concatenate(chosen, 1), name))
    return np.concatenate(rows)


def _captioned(row: Frame, text: str) -> Frame:
    for thickness, colour in ((4, (0, 0, 0)), (1, (255, 255, 255))):
        cv2.putText(row, text, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.9, colour, thickness, cv2.LINE_AA)
    return row
