"""Swap: extract, train and convert in one go, with everything between in a working folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from clearswap.core.label import LabelConfig
from clearswap.errors import OutputError
from clearswap.machinery import checkpoint, credentials
from clearswap.machinery.encoder import EncodeConfig, require_container
from clearswap.machinery.faceset import INDEX
from clearswap.machinery.label import require_label
from clearswap.machinery.sources import list_sources
from clearswap.machinery.subjects import Footing, Subject, keep_subjects, require_subjects
from clearswap.machinery.tracker import TrackConfig
from clearswap.machinery.train_loop import TrainConfig
from clearswap.machinery.who import WhoConfig
from clearswap.machinery.whole import output_errors
from clearswap.progress import Progress, Report, silent
from clearswap.verbs.convert import Converted, convert
from clearswap.verbs.extract import extract
from clearswap.verbs.train import train


@dataclass(frozen=True)
class Work:
    """The folders of a swap in progress."""

    folder: Path

    @property
    def sets(self) -> dict[str, Path]:
        """Both face sets by side."""
        return {"a": self.faces_a, "b": self.faces_b}

    @property
    def faces_a(self) -> Path:
        """The face set of the person whose face is shown."""
        return self.folder / "faces_a"

    @property
    def faces_b(self) -> Path:
        """The face set of the person in the video."""
        return self.folder / "faces_b"

    @property
    def model(self) -> Path:
        """The model."""
        return self.folder / "model"


def work_beside(output: Path) -> Work:
    """The folders of a swap into `output`, when no other place was given."""
    return Work(output.with_name(f"{output.stem}-work"))


def swap(
    a: Path | str,
    b: Path | str,
    output: Path | str,
    *,
    subject_a: Footing | None = None,
    subject_b: Footing | None = None,
    work: Path | str | None = None,
    training: TrainConfig = TrainConfig(minutes=10),
    tracking: TrackConfig = TrackConfig(),
    who: WhoConfig = WhoConfig(),
    label: LabelConfig = LabelConfig(),
    report: Report = silent,
    stop: Callable[[], bool] = lambda: False,
    pause: Callable[[], bool] = lambda: False,
) -> Converted:
    """Put the face of the person in `a` into the video `b`: extract both, train, convert.

    `work` (default: `OUTPUT-work` beside the output) keeps face sets and model. Called again, it goes on where it
    stopped: finished face sets are kept, and `training.minutes` counts what was trained before. On what footing the
    footage of each person is used, `subject_a` and `subject_b` say, or face sets that are there. `stop` ends the
    training early; the conversion follows. Raises what the three verbs raise.
    """
    target = Path(output)
    credentials.require_signable(target)
    require_container(target, EncodeConfig())
    require_label(label)
    folders = Work(Path(work)) if work is not None else work_beside(target)
    with output_errors(folders.folder):
        if folders.folder.is_file():
            raise OutputError(f"{folders.folder} is a file; give another working folder.")
    clips = {"a": Path(a), "b": Path(b)}
    missing = [side for side, faces in folders.sets.items() if not (faces / INDEX).is_file()]
    list_sources([clips[side] for side in missing])  # a mistyped name is found out before any work
    subjects = require_subjects(folders.sets, {"a": subject_a, "b": subject_b}, clips)
    for side, faces in folders.sets.items():
        if side in missing:
            extract([clips[side]], faces, tracking=tracking, report=report)
        else:
            report(Progress("extract", note=f"{faces} is there already and is kept"))
        keep_subjects({side: faces}, subjects)
    if _needs_training(folders.model, training, subjects):
        train(folders.faces_a, folders.faces_b, folders.model, config=training, report=report, stop=stop, pause=pause)
    return convert(
        *(folders.model, b, target),
        to="a",
        who=who,
        tracking=tracking,
        label=label,
        resume=True,
        report=report,
    )


def _needs_training(model: Path, training: TrainConfig, subjects: dict[str, Subject]) -> bool:
    if not checkpoint.exists(model) or training.back_to is not None:
        return True
    if checkpoint.read_subjects(model) != {side: replace(subject, note="") for side, subject in subjects.items()}:
        return True  # the model is to say what its face sets say now
    _, counters = checkpoint.read_about(model)
    late = training.minutes is not None and counters.seconds >= 60 * training.minutes
    return not late and not (training.iterations is not None and counters.iteration >= training.iterations)
