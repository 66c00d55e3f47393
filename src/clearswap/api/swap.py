"""Swap: extract, train and convert in one go, with everything between in a working folder.

The demo goes this way with two synthetic people. Both heads are rendered from one track of motion and light, so for
each frame of person b's clip there is the very same frame with person a's head: `truth.mp4`, which training never sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from clearswap.api.convert import ConvertResult, convert
from clearswap.api.evaluate import EvaluateResult, evaluate
from clearswap.api.extract import extract
from clearswap.api.plot import animate_previews, plot_losses
from clearswap.api.train import train
from clearswap.core.align import Frame
from clearswap.disclosure import credentials
from clearswap.disclosure.consent import (
    Basis,
    Consent,
    in_model,
    keep_consent,
    model_consent,
    require_consent,
    require_lasting,
)
from clearswap.disclosure.stamp import LabelConfig, require_label
from clearswap.errors import OutputError
from clearswap.faces.faceset import INDEX
from clearswap.faces.selection import SelectConfig
from clearswap.faces.tracker import TrackConfig
from clearswap.media.files import atomic_file, encode_picture, list_inputs, locked, output_errors
from clearswap.media.video import probe, read_frames
from clearswap.media.writer import EncodeConfig, require_container
from clearswap.progress import OnProgress, Progress, silent
from clearswap.training import checkpoint
from clearswap.training.loop import TrainConfig


class Work:
    """The folders of a swap in progress: both face sets, by side too, and the model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faces_a, self.faces_b = folder / "faces_a", folder / "faces_b"
        self.sets = {"a": self.faces_a, "b": self.faces_b}
        self.model = folder / "model"


def work_next_to(output: Path) -> Work:
    """The folders of a swap into `output`, when no other place was given."""
    return Work(output.with_name(f"{output.stem}-work"))


def swap(
    a: Path | str,
    b: Path | str,
    output: Path | str,
    *,
    basis_a: Basis | None = None,
    basis_b: Basis | None = None,
    purpose: str = "",
    work: Path | str | None = None,
    training: TrainConfig = TrainConfig(minutes=10),
    tracking: TrackConfig = TrackConfig(),
    select: SelectConfig = SelectConfig(),
    label: LabelConfig = LabelConfig(),
    on_progress: OnProgress = silent,
    stop: Callable[[], bool] = lambda: False,
    pause: Callable[[], bool] = lambda: False,
) -> ConvertResult:
    """Extract, train and convert in one go: the video B with the face of the person in A.

    Face sets and model stay in a working folder. The same call again goes on where it stopped: finished face sets are
    kept, and the minutes of training count what was trained before.

    Args:
        a: Clip, picture or folder of the person whose face is shown.
        b: The video into which it is put.
        output: The video to write, .mp4 or .mov.
        basis_a: On what basis person a's footage is used: the person "agreed" to it, it is "me", a "synthetic" person,
            "licensed" footage, or a "research" corpus. Kept in the face set; needed when it does not say so yet.
        basis_b: On what basis person b's footage is used, in the same words.
        purpose: What this is for. Needed where a person agreed to one purpose only, and then the same.
        work: The working folder; OUTPUT-work when left out.
        training: How the model is trained.
        tracking: How faces are found and followed.
        select: Which faces are replaced.
        label: What is written into the picture.
        on_progress: Called after each frame or every few iterations.
        stop: Asked after each iteration whether to end the training early; the conversion follows.
        pause: Asked after each iteration whether to wait.

    Raises:
        ClearswapError: What `extract`, `train` and `convert` raise.
    """
    output = Path(output)
    credentials.require_signable(output)
    require_container(output, EncodeConfig())
    require_label(label)
    folders = Work(Path(work)) if work is not None else work_next_to(output)
    with output_errors(folders.folder):
        if folders.folder.is_file():
            raise OutputError(f"{folders.folder} is a file; give another working folder.")
    clips = {"a": Path(a), "b": Path(b)}
    missing = [side for side, faces in folders.sets.items() if not (faces / INDEX).is_file()]
    list_inputs([clips[side] for side in missing])  # a mistyped name is found out before any work
    consent = require_consent(folders.sets, {"a": basis_a, "b": basis_b}, clips)
    require_lasting(consent, {side: f"who {clip} shows" for side, clip in clips.items()}, purpose)
    with locked(folders.folder, inside=True):
        for side, faces in folders.sets.items():
            if side in missing:
                extract([clips[side]], faces, tracking=tracking, on_progress=on_progress)
            else:
                on_progress(Progress("extract", note=f"{faces} is there already and is kept"))
            keep_consent({side: faces}, consent)
        if _needs_training(folders.model, training, consent):
            sides = (folders.faces_a, folders.faces_b)
            train(
                *sides,
                folders.model,
                purpose=purpose,
                training=training,
                on_progress=on_progress,
                stop=stop,
                pause=pause,
            )
        return convert(
            folders.model,
            b,
            output,
            to="a",
            purpose=purpose,
            select=select,
            tracking=tracking,
            label=label,
            resume=True,
            on_progress=on_progress,
        )


def _needs_training(model: Path, training: TrainConfig, consent: dict[str, Consent]) -> bool:
    """Whether there is no model, or less training in it than was asked for, or another consent record."""
    if not checkpoint.exists(model) or training.back_to is not None:
        return True
    known, said = ({side: in_model(one) for side, one in each.items()} for each in (model_consent(model), consent))
    if known != said:
        return True  # the model is to say what its face sets say now
    _, counters = checkpoint.read_about(model)
    late = training.minutes is not None and counters.seconds >= 60 * training.minutes
    return not late and not (training.iterations is not None and counters.iteration >= training.iterations)


_COLUMNS = 6  # of the contact sheet


@dataclass(frozen=True)
class DemoResult:
    """The demo's outcome: how good the swap is and where everything lies."""

    evaluation: EvaluateResult
    converted: ConvertResult
    video: Path
    sheet: Path
    losses: Path
    animation: Path
    seconds: float

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """How much was swapped, and where each file lies."""
        files = {"video": self.video, "contact sheet": self.sheet, "losses": self.losses, "training": self.animation}
        lines = [f"{name:14} {path}" for name, path in files.items()]
        return [str(self.converted), *lines, f"{self.seconds:.0f} seconds in all"]


def demo(
    output: Path | str = "demo",
    *,
    training: TrainConfig = TrainConfig(minutes=2),
    on_progress: OnProgress = silent,
    stop: Callable[[], bool] = lambda: False,
    pause: Callable[[], bool] = lambda: False,
) -> DemoResult:
    """Go the whole way on two synthetic people who never existed, and measure the result.

    Takes about 4 minutes on 2 CPU cores, 2 of them training. Because both people were rendered from one track of
    motion, the right answer is known for every frame, and the swap is compared with it. A second call goes on where the
    first was stopped.

    Args:
        output: Folder for everything that is made.
        training: How the model is trained.
        on_progress: Called after each frame or every few iterations.
        stop: Asked after each iteration whether to end the training early; the rest follows.
        pause: Asked after each iteration whether to wait.
    """
    begun = time.monotonic()
    home = Path(output)
    clips = Path(str(resources.files("clearswap") / "demo_clips"))
    given, truth = clips / "person_b.mp4", clips / "truth.mp4"
    swapped = home / "person_b_with_face_of_a.mp4"
    work = Work(home / "work")
    converted = swap(
        clips / "person_a.mp4",
        given,
        swapped,
        basis_a="synthetic",
        basis_b="synthetic",
        work=work.folder,
        training=training,
        on_progress=on_progress,
        stop=stop,
        pause=pause,
    )
    evaluation = evaluate(
        swapped, given, home / "evaluation", truth=truth, identity=work.faces_a, on_progress=on_progress
    )
    result = DemoResult(
        evaluation,
        converted,
        video=swapped,
        sheet=home / "contact_sheet.png",
        losses=home / "losses.png",
        animation=home / "training.gif",
        seconds=time.monotonic() - begun,
    )
    with atomic_file(result.sheet) as partial:
        partial.write_bytes(encode_picture(_contact_sheet({"frame": given, "swap": swapped, "truth": truth}), ".png"))
    plot_losses(work.model, result.losses)
    animate_previews(work.model, result.animation)
    return result


def _contact_sheet(clips: dict[str, Path]) -> Frame:
    """A row of frames for each clip, at moments spread over it, with its name."""
    rows: list[Frame] = []
    for name, clip in clips.items():
        moments = np.linspace(0, probe(clip).frames - 1, _COLUMNS).astype(int)
        row = np.concatenate([frame.picture for frame in read_frames(clip) if frame.index in moments], 1)
        for thickness, colour in ((4, (0, 0, 0)), (1, (255, 255, 255))):
            cv2.putText(row, name, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.9, colour, thickness, cv2.LINE_AA)
        rows.append(row)
    return np.concatenate(rows)
