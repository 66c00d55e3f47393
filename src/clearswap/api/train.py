"""Train: teach one encoder and two decoders the faces of two persons.

    done = clearswap.train("faces_a", "faces_b", "model", basis_a="agreed", basis_b="agreed")

Each step draws a batch of each person, bends it at random, and asks the network for the unbent faces back:
`core/train_step.py`. When to measure, save and stop is in `training/loop.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from clearswap.api.review import ReviewResult, review
from clearswap.core.augment import AugmentConfig
from clearswap.core.network import PRESETS, ModelConfig, ReconstructBoth
from clearswap.core.train_step import FaceData, TrainingState, start_training, train_step
from clearswap.disclosure.consent import Basis, Consent, keep_consent, public, require_consent
from clearswap.errors import FaceModelsMissing, ModelError, OptionError
from clearswap.faces.faceset import require_faceset
from clearswap.faces.selection import SAME
from clearswap.progress import OnProgress, Progress, silent
from clearswap.training import checkpoint
from clearswap.training.dataset import load_faces
from clearswap.training.device import (
    Team,
    computes_bfloat16,
    describe_device,
    join,
    keep_freed_memory,
    unless_out_of_memory,
)
from clearswap.training.loop import TrainConfig, TrainLoop


@dataclass(frozen=True)
class TrainResult:
    """How far the model has come, all runs together: its errors on faces that it was never trained on, and for how
    many minutes they have no longer fallen (None: they still fall).
    """

    iterations: int
    seconds: float
    images: int
    held_a: float
    held_b: float
    flat_minutes: float | None

    def __str__(self) -> str:
        return (
            f"{self.iterations} iterations, {self.images} faces in {self.seconds / 60:.1f} minutes; "
            f"held-out error a {self.held_a:.4f}, b {self.held_b:.4f}."
        )


def train(
    faces_a: Path | str,
    faces_b: Path | str,
    model: Path | str,
    *,
    basis_a: Basis | None = None,
    basis_b: Basis | None = None,
    warm_start: Path | str | None = None,
    training: TrainConfig = TrainConfig(),
    augmentation: AugmentConfig = AugmentConfig(),
    on_progress: OnProgress = silent,
    stop: Callable[[], bool] = lambda: False,
    pause: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Teach a model the faces of two persons. The same call again goes on where it stopped.

    Saves often and at the end. Watch preview.jpg in the model's folder: for each
    person the original, its reconstruction, and the swap, of faces that are never trained on. A tenth of each face set
    is held out like this and says how good the model is; a note says when that has flattened. Curves are in
    history.csv, for TensorBoard, and drawn by `plot`.

    When the losses stop being numbers or rise steeply, the last saved model is taken up again. Under torchrun, each
    process trains on its share of every batch, and the first one saves and reports.

    Args:
        faces_a: Face set of person a.
        faces_b: Face set of person b.
        model: Folder of the model; one that exists already is trained further.
        basis_a: On what basis person a's footage is used: the person "agreed" to it, it is "me", a "synthetic" person,
            "licensed" footage, or a "research" corpus. Kept in the face set; needed when it does not say so yet.
        basis_b: On what basis person b's footage is used, in the same words.
        warm_start: Another model of the same preset that a new one begins with: its encoder, and the decoder of each
            person that both know.
        training: How the model is trained.
        augmentation: How much faces are changed at random.
        on_progress: Called every few iterations.
        stop: Asked after each iteration whether to end early.
        pause: Asked after each iteration whether to wait.

    Raises:
        FacesetError: A face set is missing, too small or damaged.
        ModelError: The model is of another preset, or its training diverges again and again.
        OptionError: Nobody has said who is shown, or a batch does not fit into memory or cannot be shared.
        OutputError: The model's folder cannot be written.
    """
    keep_freed_memory()
    folder, (team, device) = Path(model), join()
    on_progress = on_progress if team.leads else silent
    beginning = Path(warm_start) if warm_start is not None else None
    chosen = _choose_config(folder, training, beginning, team)
    if beginning is not None and checkpoint.exists(folder):
        on_progress(Progress("train", note=f"{folder} has begun already; {beginning} is not needed"))
    sets = {"a": Path(faces_a), "b": Path(faces_b)}
    subjects = _subjects(sets, {"a": basis_a, "b": basis_b}, team)
    data, held = zip(*(load_faces(faces, chosen, device) for faces in sets.values()), strict=True)
    bfloat16 = computes_bfloat16(device) if training.precision == "auto" else training.precision == "bfloat16"
    on_progress(Progress("train", note=describe_device(device, bfloat16=bfloat16)))
    job = _Job(chosen, device, list(data), augmentation, bfloat16, team)
    if training.batch == "auto":
        if team.size > 1:
            raise OptionError("Several processes cannot look for a batch that fits; give a number with --batch.")
        usual = min(chosen.batch, PRESETS[chosen.preset].batch)
        job = replace(job, model=replace(chosen, batch=job.fitting_batch(usual)))
        on_progress(Progress("train", note=f"batches of {job.model.batch} faces of each person fit into memory"))

    def run() -> TrainResult:
        state = start_training(job.model, training.seed, device)
        state.consent = {side: public(subject, name=True) for side, subject in subjects.items()}
        step = job.step_of(state)
        if not team.leads:
            return team.follow(state, step)
        if checkpoint.exists(folder):
            _go_on(folder, state, training, on_progress)
        else:
            _begin(folder, state, (sets["a"], sets["b"]), beginning, on_progress)
        loop = TrainLoop(folder, state, list(held), training, on_progress)
        loop.run(team.lead(state, step), stop, pause)
        done = state.counters
        return TrainResult(done.iteration, done.seconds, done.images, *loop.held, loop.flat)

    trained = unless_out_of_memory(lambda: team.together(run))
    if trained is None:
        if team.size > 1:
            raise OptionError(f"Batches of {job.model.batch} faces do not fit into memory; give a smaller --batch.")
        fits = job.fitting_batch(job.model.batch // 2)
        raise OptionError(
            f"Batches of {job.model.batch} faces of each person do not fit into memory, {fits} do: "
            f"give --batch {fits}, or --batch auto."
        )
    return trained


@dataclass(frozen=True)
class _Job:
    """What is trained on what, and how."""

    model: ModelConfig
    device: torch.device
    data: list[FaceData]
    augmentation: AugmentConfig
    bfloat16: bool
    team: Team

    def step_of(self, state: TrainingState) -> Callable[[], Tensor]:
        """What trains `state` by one iteration."""
        lesson, share = self.team.parallel(ReconstructBoth(state.net)), self.team.share
        share(state.config.batch)  # one that cannot be shared is found out now
        return partial(
            train_step, state, self.data, self.augmentation, bfloat16=self.bfloat16, lesson=lesson, share=share
        )

    def fitting_batch(self, most: int) -> int:
        """The largest of `most`, its half, its quarter... that fits into memory. Raises `OptionError`."""

        def two_steps(batch: int) -> Tensor:  # the optimiser takes its memory at the end of the first
            step = self.step_of(start_training(self.model.with_batch(batch), 0, self.device))
            return step() + step()

        return _fitting_batch(most, two_steps)


def _choose_config(folder: Path, config: TrainConfig, beginning: Path | None, team: Team) -> ModelConfig:
    """The saved model's own config, else the preset's, else that of the model to begin with. Raises `ModelError` when
    they contradict.
    """
    known = checkpoint.read_about(beginning)[0].preset if beginning is not None else "lite"
    chosen = PRESETS[config.preset or known]
    if checkpoint.exists(folder):
        chosen, _ = checkpoint.read_about(folder)
        if config.preset not in (None, chosen.preset):
            raise ModelError(
                f"{folder} holds a {chosen.preset} model, not {config.preset}; "
                "leave --preset out or choose another folder."
            )
        if config.hold_out not in (None, chosen.hold_out):
            raise ModelError(
                f"{folder} was trained with {chosen.hold_out:g} of the faces held out, not {config.hold_out:g}; "
                "leave --hold-out out or choose another folder."
            )
    elif config.back_to is not None:
        raise ModelError(f"{folder} holds no model, so there is no snapshot to go back to; leave --back-to out.")
    elif beginning is not None:
        checkpoint.require_alike(beginning, chosen)
    if isinstance(config.batch, int):
        chosen = chosen.with_batch(config.batch)
    return replace(team.shareable(chosen), hold_out=config.hold_out or chosen.hold_out)


def _subjects(sets: dict[str, Path], given: dict[str, Basis | None], team: Team) -> dict[str, Consent]:
    """Who is shown in both face sets, before any work; what was given is kept there."""
    for faces in sets.values():
        require_faceset(faces)
    subjects = require_consent(sets, given, sets)
    if team.leads:
        keep_consent(sets, subjects)
    return subjects


def _look_through(faces_a: Path, faces_b: Path, on_progress: OnProgress) -> ReviewResult | None:
    """Say what is to be known of the face sets before hours are spent on them."""
    try:
        looked = review(faces_a, faces_b, on_progress=on_progress)
    except FaceModelsMissing as error:
        on_progress(Progress("train", note=f"the face sets were not looked through: {error}"))
        return None
    for note in looked.notes:
        on_progress(Progress("review", note=note))
    return looked


def _go_on(folder: Path, state: TrainingState, config: TrainConfig, on_progress: OnProgress) -> None:
    """Take up the saved model, or an earlier snapshot of it."""
    if config.back_to is not None:
        left = checkpoint.go_back(folder, config.back_to)
        on_progress(
            Progress("train", note=f"going back; what {folder} was after {left} iterations is kept as a snapshot")
        )
    checkpoint.resume(folder, state)
    on_progress(Progress("train", note=f"going on with {folder} after {state.counters.iteration} iterations"))


def _begin(
    folder: Path, state: TrainingState, sets: tuple[Path, Path], beginning: Path | None, on_progress: OnProgress
) -> None:
    """Look through the face sets, and save a new model, with what another one knows of faces."""
    looked = _look_through(*sets, on_progress)
    if looked is not None:
        state.persons = {side: torch.from_numpy(person) for side, person in looked.persons.items()}
    if beginning is not None:
        kept = checkpoint.warm_start(beginning, state, SAME)
        whose = f" and of person {' and '.join(kept)}" if kept else ""
        on_progress(Progress("train", note=f"beginning with what {beginning} knows of faces{whose}"))
    checkpoint.save(folder, state)  # a place that cannot be written is found out now
    if looked is not None:
        looked.draw(folder / "poses.png")


def _fitting_batch(most: int, step: Callable[[int], Tensor]) -> int:
    """The largest of `most`, its half, its quarter... with which `step` fits into memory. Raises `OptionError`."""
    batch = most
    while batch >= 2:
        if unless_out_of_memory(partial(step, batch)) is not None:
            return batch
        batch //= 2
    raise OptionError("Not even two faces of each person fit into memory; end other programs to free some.")
