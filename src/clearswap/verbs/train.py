"""Train: teach one encoder and two decoders the faces of two persons.

    report = clearswap.train("faces_a", "faces_b", "model", config=TrainConfig(minutes=5))

Each step draws a batch of each person, bends it at random, and asks the network for the unbent faces back.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clearswap.core.augment import AugmentConfig, augment
from clearswap.core.held_out import held_out_error, minutes_without_gain
from clearswap.core.losses import dissimilarity, weighted_l1
from clearswap.core.model import PRESETS, ModelConfig, Side, build
from clearswap.errors import ModelError, OptionError
from clearswap.machinery import checkpoint
from clearswap.machinery.checkpoint import Counters, TrainingState
from clearswap.machinery.device import computes_bfloat16, describe_device, to_device, used_device
from clearswap.machinery.face_data import FaceData, load_faces
from clearswap.machinery.history import History, Moment
from clearswap.machinery.preview import draw_preview, write_preview
from clearswap.progress import Progress, Report, silent


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        preset: Which network: "lite" (96 px, learns on a CPU in minutes) or "classic" (64 px, the well-known
            one, for study). A model that is there already keeps its own.
        iterations: Stop when the model has had this many, earlier runs included.
        minutes: Stop when the model has trained this long, earlier runs included.
        batch: Faces of each person in a step; the preset's own when left out.
        save_every: Iterations between two saves.
        preview_seconds: Seconds between two previews.
        hold_out: Share of each face set, at the end of each clip, that is never trained on but measures how far
            training is; 0.1 when left out. A model that is there already keeps its own.
        until_flat: Stop when that error has flattened: when the last third of the training, and two minutes at
            least, brought less than one per cent.
        precision: What the network's products are rounded to. "bfloat16" halves the time of a step where the
            processor or GPU has it built in, and "auto" takes it there only; faces are drawn in "float32" always.
        seed: Of all that is random.
    """

    preset: Literal["lite", "classic"] | None = None
    iterations: int | None = None
    minutes: float | None = None
    batch: int | None = None
    save_every: int = 100
    preview_seconds: float = 5.0
    hold_out: float | None = None
    until_flat: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 2:
            raise OptionError(f"A batch of {self.batch} is too small to learn from; give 2 or more.")
        if self.save_every < 1:
            raise OptionError(f"Saving every {self.save_every} iterations is not possible; give 1 or more.")
        if self.hold_out is not None and not 0 < self.hold_out <= 0.5:
            raise OptionError(
                f"Holding out {self.hold_out} of the faces is not possible; give more than 0, at most 0.5."
            )
        if min(self.minutes or 0, self.iterations or 0) < 0:
            raise OptionError("A training cannot last less than nothing; give positive minutes or iterations.")


@dataclass(frozen=True)
class Trained:
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
    config: TrainConfig = TrainConfig(),
    augmentation: AugmentConfig = AugmentConfig(),
    report: Report = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train the model in folder `model` on two face sets, or go on where it stopped.

    Saves every `config.save_every` iterations and at the end; `stop` is asked after each iteration whether to end
    early. A tenth of each face set is held out (`core/held_out.py`) and says how good the model is; a note says when
    that has flattened. Raises `FacesetError`, `ModelError` (another preset) and `OutputError`.
    """
    folder, device = Path(model), used_device()
    model_config = _choose_config(folder, config)
    data = [load_faces(Path(faces), model_config, device) for faces in (faces_a, faces_b)]
    bfloat16 = computes_bfloat16(device) if config.precision == "auto" else config.precision == "bfloat16"
    report(Progress("train", note=describe_device(device, bfloat16=bfloat16)))
    state = start_training(model_config, config.seed, device)
    if checkpoint.exists(folder):
        checkpoint.resume(folder, state)
        report(Progress("train", note=f"going on with {folder} after {state.counters.iteration} iterations"))
    else:
        checkpoint.save(folder, state)  # a place that cannot be written is found out now
    return _Loop(folder, state, data, config, augmentation, report, bfloat16=bfloat16).run(stop)


def train_step(
    state: TrainingState, data: list[Tensor], augmentation: AugmentConfig, *, bfloat16: bool = False
) -> Tensor:
    """One step on a batch of each person; returns the two L1 losses (2,) without waiting for the device.

    With `bfloat16` the network's convolutions and products round to 16 bits; weights, losses and optimiser keep 32.
    """
    model, generator = state.config, state.generator
    losses: list[Tensor] = []
    extra = torch.zeros((), device=data[0].device)
    for faces, side in zip(data, ("a", "b"), strict=True):
        chosen = torch.randint(len(faces), (model.batch,), generator=generator, device=faces.device)
        inputs, targets = augment(faces[chosen].float().mul_(1 / 255), model, augmentation, generator)
        with torch.autocast(faces.device.type, torch.bfloat16, enabled=bfloat16):
            output = state.net(inputs.contiguous(memory_format=torch.channels_last), side, side)
        output = output.float()  # losses add up many small numbers
        target, weight = targets[:, :3], targets[:, 3:]
        losses.append(weighted_l1(output, target, weight))
        if model.structure_weight:
            extra = extra + model.structure_weight * dissimilarity(output, target, weight)
    both = torch.stack(losses)
    state.optimizer.zero_grad()
    (both.sum() + extra).backward()
    state.optimizer.step()
    _average(state)
    state.counters.iteration += 1
    state.counters.images += 2 * model.batch
    return both.detach()


@torch.no_grad()
def _average(state: TrainingState) -> None:
    """Let the averaged network follow the trained one: it forgets the jitter of single steps."""
    decay = min(0.998, (1 + state.counters.iteration) / (10 + state.counters.iteration))
    averages, latest = list[Tensor](state.average.parameters()), list[Tensor](state.net.parameters())
    get_ema_multi_avg_fn(decay)(averages, latest, state.counters.iteration)  # all at once, not one by one
    for kept, new in zip(state.average.buffers(), state.net.buffers(), strict=True):
        kept.copy_(new)


def _choose_config(folder: Path, config: TrainConfig) -> ModelConfig:
    """The saved model's own config, else the preset's. Raises `ModelError` when they contradict."""
    chosen = PRESETS[config.preset or "lite"]
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
    return replace(chosen, batch=config.batch or chosen.batch, hold_out=config.hold_out or chosen.hold_out)


def start_training(model: ModelConfig, seed: int, device: torch.device) -> TrainingState:
    """A new network with its optimiser, before the first step."""
    torch.manual_seed(seed)
    net = to_device(build(model), device)
    average = copy.deepcopy(net).requires_grad_(False)
    if model.network == "classic":
        optimizer = torch.optim.Adam(net.parameters(), model.learning_rate, betas=(0.5, 0.999), fused=True)
    else:
        optimizer = torch.optim.AdamW(net.parameters(), model.learning_rate, betas=(0.9, 0.99), fused=True)
    generator = torch.Generator(device).manual_seed(seed)
    return TrainingState(model, net, average, optimizer, generator, Counters())


class _Loop:
    """The training loop with its clocks: when to measure, save, preview, report and stop."""

    def __init__(
        self,
        folder: Path,
        state: TrainingState,
        data: list[FaceData],
        config: TrainConfig,
        augmentation: AugmentConfig,
        report: Report,
        *,
        bfloat16: bool,
    ) -> None:
        self.folder, self.state, self.data, self.config = folder, state, data, config
        self.augmentation, self.report, self.bfloat16 = augmentation, report, bfloat16
        self.faces = [person.faces for person in data]
        self.history = History(folder, state.counters.iteration)
        self.recent: list[Tensor] = []  # losses since the last report, still on the device
        self.losses = self.held = (float("nan"), float("nan"))
        self.flat: float | None = None  # minutes without gain
        self.begun, self.earlier = time.monotonic(), state.counters.seconds
        self.run_images = state.counters.images
        self.next_report = self.next_preview = 0.0
        self.next_measure = self.earlier + 1

    def run(self, stop: Callable[[], bool]) -> Trained:
        """Train until it is enough or `stop` says so."""
        counters = self.state.counters
        while not self._enough() and not stop():
            self.recent.append(train_step(self.state, self.faces, self.augmentation, bfloat16=self.bfloat16))
            counters.seconds = self._now()
            if counters.seconds >= self.next_report:
                self._tell(measure=counters.seconds >= self.next_measure)
            if counters.iteration % self.config.save_every == 0:
                self._save()
            elif counters.seconds >= self.next_preview:
                self._preview()
        self._tell(measure=True)
        self._save()
        return Trained(counters.iteration, counters.seconds, counters.images, *self.held, self.flat)

    def _now(self) -> float:
        return self.earlier + time.monotonic() - self.begun

    def _enough(self) -> bool:
        counters, config = self.state.counters, self.config
        late = config.minutes is not None and counters.seconds >= 60 * config.minutes
        done = config.iterations is not None and counters.iteration >= config.iterations
        return late or done or (config.until_flat and self.flat is not None)

    def _tell(self, *, measure: bool) -> None:
        """Report twice a second: reading a loss makes the processor wait for the device."""
        counters = self.state.counters
        if measure:
            self._measure()
        if self.recent:
            first, second = (float(loss) for loss in torch.stack(self.recent).mean(0).cpu())
            self.losses, self.recent = (first, second), []
        if counters.images > self.run_images:
            speed = (counters.images - self.run_images) / max(counters.seconds - self.earlier, 1e-6)
            held = self.held if measure else (None, None)
            self.history.add(Moment(counters.iteration, counters.seconds, speed, *self.losses, *held))
            self._report(speed)
        if measure:
            self._notice_flat()
        self.next_report = counters.seconds + 0.5

    def _measure(self) -> None:
        """The held-out errors of the averaged network, at most every five seconds and for at most 2 % of the time."""
        begun, state = self._now(), self.state
        sides: tuple[Side, Side] = ("a", "b")
        first, second = (
            held_out_error(state.average, state.config, person.held, side)
            for person, side in zip(self.data, sides, strict=True)
        )
        self.held = (first, second)
        self.next_measure = self._now() + max(5.0, 50 * (self._now() - begun))

    def _report(self, speed: float) -> None:
        counters = self.state.counters
        measured = not math.isnan(self.held[0])
        held = {"held-out a": self.held[0], "held-out b": self.held[1]} if measured else {}
        values = {"iteration": float(counters.iteration), **held, "images/s": speed}
        done, total, unit = float(counters.iteration), float(self.config.iterations or 0), "iterations"
        if self.config.minutes is not None and not self.config.iterations:
            done, total, unit = counters.seconds, 60 * self.config.minutes, "seconds"
        self.report(Progress("train", done, total or None, unit, values))

    def _notice_flat(self) -> None:
        before, self.flat = self.flat, minutes_without_gain(*self.history.held_out())
        if self.flat is not None and before is None:
            note = f"no gain over the last {self.flat:.0f} minutes (held-out error {sum(self.held) / 2:.4f}); "
            note += "more footage or a larger preset would help more than more time"
            self.report(Progress("train", note=note))

    def _save(self) -> None:
        checkpoint.save(self.folder, self.state)
        self.history.write()
        self._preview()

    def _preview(self) -> None:
        counters = self.state.counters
        picture = draw_preview(self.state.average, *(person.held for person in self.data))
        kept = counters.iteration if self.history.keeps(counters.iteration) else None
        write_preview(self.folder, picture, kept)
        self.next_preview = counters.seconds + self.config.preview_seconds
