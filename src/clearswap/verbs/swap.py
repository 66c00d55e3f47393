"""Swap: extract, train and convert in one go, with everything between in a working folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clearswap.errors import OutputError
from clearswap.machinery import checkpoint, credentials
from clearswap.machinery.encoder import EncodeConfig, require_container
from clearswap.machinery.faceset import INDEX
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


def swap(
    a: Path | str,
    b: Path | str,
    output: Path | str,
    *,
    work: Path | str | None = None,
    training: TrainConfig = TrainConfig(minutes=10),
    tracking: TrackConfig = TrackConfig(),
    who: WhoConfig = WhoConfig(),
    report: Report = silent,
    stop: Callable[[], bool] = lambda: False,
    pause: Callable[[], bool] = lambda: False,
) -> Converted:
    """Put the face of the person in `a` into the video `b`: extract both, train, convert.

    `work` (default: `OUTPUT-work` beside the output) keeps face sets and model. Called again, it goes on where it
    stopped: finished face sets are kept, and `training.minutes` counts what was trained before. `stop` ends the
    training early; the conversion follows. Raises what the three verbs raise.
    """
    target = Path(output)
    credentials.require_signable(target)
    require_container(target, EncodeConfig())
    folders = Work(Path(work) if work is not None else target.with_name(f"{target.stem}-work"))
    with output_errors(folders.folder):
        if folders.folder.is_file():
            raise OutputError(f"{folders.folder} is a file; give another working folder.")
    for clip, faces in ((a, folders.faces_a), (b, folders.faces_b)):
        if not (faces / INDEX).is_file():
            extract([clip], faces, tracking=tracking, report=report)
        else:
            report(Progress("extract", note=f"{faces} is there already and is kept"))
    if _needs_training(folders.model, training):
        train(folders.faces_a, folders.faces_b, folders.model, config=training, report=report, stop=stop, pause=pause)
    return convert(folders.model, b, target, to="a", who=who, tracking=tracking, resume=True, report=report)


def _needs_training(model: Path, training: TrainConfig) -> bool:
    if not checkpoint.exists(model) or training.back_to is not None:
        return True
    _, counters = checkpoint.read_about(model)
    late = training.minutes is not None and counters.seconds >= 60 * training.minutes
    return not late and not (training.iterations is not None and counters.iteration >= training.iterations)
