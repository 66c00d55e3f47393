"""Train: teach one encoder and two decoders the faces of two persons.

    done = clearswap.train("faces_a", "faces_b", "model", basis_a="agreed", basis_b="agreed")

Each step draws a batch of each person, warps it at random, and asks the network for the unwarped faces back
(`core/train_step.py`). When to measure, save and stop is in `training/loop.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clearswap.api.review import review
from clearswap.core.augment import AugmentConfig
from clearswap.core.network import PRESETS, ModelConfig
from clearswap.core.train_step import TrainingState, learn_shown, start_training, train_step
from clearswap.disclosure.consent import Basis, in_model, keep_consent, require_consent, require_lasting
from clearswap.errors import FaceModelsMissing, ModelError, OptionError
from clearswap.faces.covered import uncovered
from clearswap.faces.faceset import FaceRecord, read_index, require_faceset, unknown_pictures
from clearswap.faces.selection import SAME
from clearswap.media.files import clear_partials, locked
from clearswap.progress import OnProgress, Progress, silent
from clearswap.training import checkpoint, detail_writer, device, loop
from clearswap.training.dataset import load_faces
from clearswap.training.device import MemoryGuard, World
from clearswap.training.log import PREVIEWS
from clearswap.training.loop import Job, TrainConfig


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
    purpose: str = "",
    init_from: Path | str | None = None,
    training: TrainConfig = TrainConfig(),
    augmentation: AugmentConfig = AugmentConfig(),
    on_progress: OnProgress = silent,
    stop: Callable[[], bool] = lambda: False,
    pause: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Teach a model the faces of two persons. Called again, it goes on where it stopped.

    Saves often and at the end. Watch preview.jpg in the model's folder: for each
    person the original, its reconstruction, and the swap, of faces that are never trained on. A tenth of each face set
    is held out like this and says how good the model is; a note says when that has flattened. Curves are in
    history.csv, and drawn by `plot`.

    When the losses stop being numbers or rise steeply, the last saved model is taken up again. Under torchrun, each
    process trains on its share of every batch, and the first one saves and reports.

    Args:
        faces_a: Face set of person a.
        faces_b: Face set of person b.
        model: Folder of the model; one that exists already is trained further.
        basis_a: On what basis person a's footage is used: the person "agreed" to it, it is "me", a "synthetic" person,
            "licensed" footage, or a "research" corpus. Kept in the face set; needed when it does not say so yet.
        basis_b: On what basis person b's footage is used, in the same words.
        purpose: What this is for. Needed where a person agreed to one purpose only, and then the same.
        init_from: Another model of the same preset that a new one begins with: its encoder, and the decoder of each
            person that both know.
        training: How the model is trained.
        augmentation: How much faces are changed at random.
        on_progress: Called every few iterations.
        stop: Asked after each iteration whether to end early.
        pause: Asked after each iteration whether to wait.

    Raises:
        ConsentError: A person's consent has ended, was withdrawn, or is for another purpose.
        FacesetError: A face set is missing, too small or damaged.
        ModelError: The model is of another preset, or its training diverges again and again.
        OptionError: Nobody has said who is shown, or a batch does not fit into memory or cannot be shared.
        OutputError: The model's folder cannot be written.
    """
    device.keep_freed_memory()
    sets = {"a": Path(faces_a), "b": Path(faces_b)}
    origin = Path(init_from) if init_from is not None else None
    with device.join_world() as world, locked(Path(model), inside=True) if world.leads else nullcontext():
        if world.leads:
            for place in ("", checkpoint.SNAPSHOTS, PREVIEWS):
                clear_partials(Path(model) / place)
        config = _choose_config(Path(model), origin, training, world)
        consent = _settle_consent(sets, {"a": basis_a, "b": basis_b}, purpose, world)
        on_progress = on_progress if world.leads else silent
        free = {side: _usable(faces, on_progress) for side, faces in sets.items()}
        loaded = (load_faces(faces, config, world.device, free[side]) for side, faces in sets.items())
        data, held_out = zip(*loaded, strict=True)
        wanted = training.precision
        bfloat16 = device.computes_bfloat16(world.device) if wanted == "auto" else wanted == "bfloat16"
        on_progress(Progress("train", note=device.describe_device(world.device, bfloat16=bfloat16)))
        job = Job(
            Path(model),
            config,
            list(data),
            list(held_out),
            training,
            augmentation,
            bfloat16,
            world,
            on_progress=on_progress,
            stop=stop,
            pause=pause,
        )
        if training.batch == "auto":
            batch = find_batch_size(job, min(config.batch, PRESETS[config.preset].batch))
            on_progress(Progress("train", note=f"batches of {batch} faces of each person fit into memory"))
            job = replace(job, model=replace(config, batch=batch))
        state: TrainingState | None = None
        with MemoryGuard():
            state = _begin(job, sets, free, origin, consent)
            held_a, held_b, flat_minutes = loop.run(job, state)
            done = state.counters
            return TrainResult(done.iteration, done.seconds, done.images, held_a, held_b, flat_minutes)
        state = None  # memory ran out: free some for the search
        raise _too_large(job)


# --- prepare ---------------------------------------------------------------------------------------------


def _choose_config(folder: Path, origin: Path | None, training: TrainConfig, world: World) -> ModelConfig:
    """The saved model's own config, else the preset's, else that of the model to begin with.

    Raises `ModelError` when they contradict, and `OptionError`.
    """
    if checkpoint.exists(folder):
        config, _ = checkpoint.read_about(folder)
        if training.preset not in (None, config.preset):
            raise ModelError(
                f"{folder} holds a {config.preset} model, not {training.preset}; "
                "leave the preset out or choose another folder."
            )
        if training.hold_out not in (None, config.hold_out):
            raise ModelError(
                f"{folder} was trained with {config.hold_out:g} of the faces held out, not {training.hold_out:g}; "
                "leave the share to hold out away or choose another folder."
            )
        if config.base and not training.base:
            raise ModelError(f"{folder} began with a base; go on with it, or choose another folder.")
    else:
        if training.back_to is not None:
            raise ModelError(f"{folder} holds no model, so there is no snapshot to go back to; train one first.")
        known = checkpoint.read_about(origin)[0] if origin is not None else PRESETS["lite"]
        config = PRESETS[training.preset or known.preset]
        if origin is not None:
            checkpoint.require_alike(origin, config)
            based = known.base
        else:
            based = training.base and checkpoint.base_of(config.preset) is not None
        if based:
            config = config.with_base()
    if isinstance(training.batch, int):
        config = config.with_batch(training.batch)
    elif training.batch == "auto" and world.size > 1:
        raise OptionError("Several processes cannot look for a batch that fits; give the batch as a number.")
    world.share(config.batch)  # one that cannot be shared is found out now
    return replace(world.shareable(config), hold_out=training.hold_out or config.hold_out)


def _settle_consent(
    sets: dict[str, Path], basis: dict[str, Basis | None], purpose: str, world: World
) -> dict[str, dict[str, str]]:
    """On what basis both persons' footage is used, by side, before any work; what was given is kept in the sets."""
    for faces in sets.values():
        require_faceset(faces)
    consent = require_consent(sets, basis, sets)
    require_lasting(consent, {side: f"who {faces} shows" for side, faces in sets.items()}, purpose)
    if world.leads:
        keep_consent(sets, consent)
    return {side: in_model(record) for side, record in consent.items()}


def _usable(faces: Path, on_progress: OnProgress) -> list[FaceRecord]:
    """The faces of a set that nothing covers. Says which pictures are none of them. Raises `FacesetError`."""
    records = read_index(faces, at_least=2)
    if note := unknown_pictures(faces, records):
        on_progress(Progress("train", note=note))
    return uncovered(faces, records)


def find_batch_size(job: Job, most: int) -> int:
    """The largest of `most`, its half, its quarter... that fits into memory. Raises `OptionError` when none does."""
    batch = most
    while batch >= 2:
        with MemoryGuard():
            _try_batch(job, batch)
            return batch
        device.give_back_freed_memory()
        batch //= 2
    raise OptionError("Not even two faces of each person fit into memory; end other programs to free some.")


def _try_batch(job: Job, batch: int) -> None:
    state = start_training(job.model.with_batch(batch), 0, job.world.device)
    for _ in range(2):  # the optimiser takes its memory at the end of the first
        train_step(state, job.data, job.augmentation, bfloat16=job.bfloat16)


def _too_large(job: Job) -> OptionError:
    if job.world.size > 1:
        return OptionError(f"Batches of {job.model.batch} faces do not fit into memory; give a smaller batch.")
    fits = find_batch_size(job, job.model.batch // 2)
    return OptionError(
        f"Batches of {job.model.batch} faces of each person do not fit into memory, {fits} do: "
        f'give {fits} as the batch, or "auto".'
    )


# --- begin -----------------------------------------------------------------------------------------------


def _begin(
    job: Job,
    sets: dict[str, Path],
    free: dict[str, list[FaceRecord]],
    origin: Path | None,
    consent: dict[str, dict[str, str]],
) -> TrainingState:
    """The state that training starts from, the same in all processes: the saved model's, or a new one's."""
    state = start_training(job.model, job.config.seed, job.world.device)
    state.consent = consent
    job.world.wait()  # until all have read which model is there
    if job.world.leads:
        known = checkpoint.exists(job.folder)
        note = _go_on(job, state, origin) if known else _begin_new(job, state, sets, origin)
        if note:
            job.on_progress(Progress("train", note=note))
        for side, faces in sets.items():
            detail_writer.keep_store(job.folder, "a" if side == "a" else "b", faces, free[side], job.model)
    job.world.wait()  # until it is saved
    if not job.world.leads:
        checkpoint.resume(job.folder, state)
    learn_shown(state, job.data)
    return state


def _go_on(job: Job, state: TrainingState, origin: Path | None) -> str:
    """Take up the saved model, or an earlier snapshot of it; returns what to say of it."""
    begin = f"{job.folder} has begun already; {origin} is not needed; " if origin is not None else ""
    if job.config.back_to is not None:
        left = checkpoint.go_back(job.folder, job.config.back_to)
        begin += f"what it was after {left} iterations is kept as a snapshot; "
    checkpoint.resume(job.folder, state)
    return f"{begin}going on with {job.folder} after {state.counters.iteration} iterations"


def _begin_new(job: Job, state: TrainingState, sets: dict[str, Path], origin: Path | None) -> str:
    """Look through the face sets before hours are spent on them, and save a new model, with what `origin` knows."""
    looked, note = None, ""
    try:
        looked = review(sets["a"], sets["b"], on_progress=job.on_progress)
        for remark in looked.notes:
            job.on_progress(Progress("review", note=remark))
        state.persons = {side: torch.from_numpy(person) for side, person in looked.persons.items()}
    except FaceModelsMissing as error:
        job.on_progress(Progress("train", note=f"the face sets were not looked through: {error}"))
    if state.config.base:
        checkpoint.begin_with_base(state)
        note = "beginning with a base that has seen many people who never lived"
    if origin is not None:
        kept = checkpoint.init_from(origin, state, SAME)
        note = f"beginning with what {origin} knows of faces" + (f" and of person {' and '.join(kept)}" if kept else "")
    checkpoint.save(job.folder, state)  # a place that cannot be written is found out now
    if looked is not None:
        looked.draw(job.folder / "poses.png")
    return note
