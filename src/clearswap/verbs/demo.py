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

from clearswap.core.align import Frame
from clearswap.machinery.pictures import encode_picture
from clearswap.machinery.plots import animate_previews, plot_losses
from clearswap.machinery.train_loop import TrainConfig
from clearswap.machinery.video import probe, read_frames
from clearswap.machinery.whole import whole_file
from clearswap.progress import Report, silent
from clearswap.verbs.convert import Converted
from clearswap.verbs.evaluate import Evaluation, evaluate
from clearswap.verbs.swap import Work, swap

_COLUMNS = 6  # of the contact sheet


@dataclass(frozen=True)
class Demo:
    """The demo's outcome: how good the swap is and where everything lies."""

    evaluation: Evaluation
    converted: Converted
    video: Path
    sheet: Path
    losses: Path
    animation: Path
    seconds: float


def demo(
    folder: Path | str = "demo",
    *,
    training: TrainConfig = TrainConfig(minutes=7),
    report: Report = silent,
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
        subject_a="synthetic",
        subject_b="synthetic",
        work=work.folder,
        training=training,
        report=report,
        stop=stop,
        pause=pause,
    )
    evaluation = evaluate(video, source, home / "evaluation", truth=truth, target=work.faces_a, report=report)
    outcome = Demo(
        evaluation=evaluation,
        converted=converted,
        video=video,
        sheet=home / "contact_sheet.png",
        losses=home / "losses.png",
        animation=home / "training.gif",
        seconds=time.monotonic() - begun,
    )
    with whole_file(outcome.sheet) as partial:
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
