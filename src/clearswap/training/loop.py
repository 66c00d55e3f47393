"""The training loop: step after step until it is enough.

`run` is the loop, the same in every process. Between two steps the first process's `Supervisor` measures, reports and
saves, with a `Clock` that says when, a `DivergenceGuard` that says whether all is well, and a `TrainingLog`. Everything
that can go wrong in hours leaves the last good model on disk. The step itself is `core/train_step.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from msgspec import Meta
from torch import Tensor, nn

from clearswap.checks import Count, Share, check_fields
from clearswap.core.augment import AugmentConfig
from clearswap.core.modern import ReconstructBoth
from clearswap.core.network import MOST_FACES, Counters, ModelConfig, Preset
from clearswap.core.train_step import FaceData, TrainingState, train_step
from clearswap.errors import ModelError
from clearswap.progress import OnProgress, silent
from clearswap.training import checkpoint
from clearswap.training.dataset import HeldOut, held_out_error
from clearswap.training.device import World
from clearswap.training.log import LogRow, TrainingLog, draw_preview

_DIVERGED = 2.5  # times the least smooth loss; in eight trainings of up to 4,000 steps it rose to 1.05 at most
_SMOOTH = 0.95  # the loss is a running mean over about 20 steps
_SETBACKS = 4  # in a row; more mean that no learning rate helps
_NO_NUMBERS = "losses or weights were no longer numbers"
_STEP, _STEP_BACK, _WAIT, _END = range(4)  # what the first process orders


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        preset: Which network: "lite" (192 px, learns on a CPU in minutes), "hd" (384 px) and "xl" (768 px) for GPUs, or
            "classic" (64 px, the well-known one, for study). A model that is there already keeps its own.
        iterations: Stop when the model has had this many, earlier runs included.
        minutes: Stop when the model has trained this long, earlier runs included.
        batch: Faces of each person in a step. Left out it is the preset's own, that of `lite` few at first and more
            later; "auto" takes less where that does not fit into memory.
        save_every: Iterations between two saves.
        preview_seconds: Seconds between two previews.
        snapshot_minutes: Minutes of training between two snapshots to go back to; the latest four are kept, and
            always the one with the least held-out error.
        back_to: Go back to this snapshot before training: the number of its iterations, or "best". What was the
            model is kept as a snapshot. Leave it out to go on from there later.
        hold_out: Share of each face set, at the end of each clip, that is never trained on but measures how far
            training is; 0.1 when left out. A model that is there already keeps its own.
        base: Begin a new model with the base that comes with Clearswap for `lite`, a network that has seen many people
            who never lived. It draws also what the footage never shows, and is there after seconds. Without it, a model
            begins with nothing, for study.
        until_flat: Stop when that error has flattened: when the last third of the training, and two minutes at
            least, brought less than one per cent.
        finish: Share of the minutes or iterations, at their end, in which what was learned is refined: the learning
            rate falls, and faces are warped less and less. A training without such an end has no last phase.
        precision: What the network's products are rounded to. "bfloat16" is 1.4 to 1.9 times as fast where the
            processor or GPU has it built in, and "auto" takes it there only; faces are drawn in "float32" always.
        seed: Of all that is random.
    """

    preset: Preset | None = None
    iterations: Count | None = None
    minutes: Annotated[float, Meta(ge=0, le=1e7)] | None = None
    batch: Annotated[int, Meta(ge=2, le=MOST_FACES)] | Literal["auto"] | None = None
    save_every: Annotated[int, Meta(ge=1, le=10**9)] = 100
    preview_seconds: Annotated[float, Meta(ge=0, le=1e12)] = 5.0
    snapshot_minutes: Annotated[float, Meta(ge=0, le=1e7)] = 30.0
    back_to: Count | Literal["best"] | None = None
    hold_out: Annotated[float, Meta(gt=0, le=0.5)] | None = None
    base: bool = True
    until_flat: bool = False
    finish: Share = 0.3
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Annotated[int, Meta(ge=0, le=2**53)] = 0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Job:
    """What is trained on what, how, and who is told: all that stays as it is from the first step to the last."""

    folder: Path
    model: ModelConfig
    data: list[FaceData]  # of both persons
    held_out: list[HeldOut]
    config: TrainConfig
    augmentation: AugmentConfig
    bfloat16: bool
    world: World
    on_progress: OnProgress = silent
    stop: Callable[[], bool] = lambda: False
    pause: Callable[[], bool] = lambda: False


class Clock:
    """Seconds of training, earlier runs included and pauses left out; and when what is due next."""

    def __init__(self, counters: Counters, snapshot_minutes: float) -> None:
        self._start = replace(counters)
        self._earlier = counters.seconds
        self._begun = time.monotonic()
        self.paused = False
        self.next_report = 0.0
        self.next_preview = 0.0
        self.next_measurement = counters.seconds + 1
        between = 60 * snapshot_minutes
        self.next_snapshot = between * (counters.seconds // between + 1) if between else 0.0

    def now(self) -> float:
        """Seconds of training."""
        return self._earlier if self.paused else self._earlier + time.monotonic() - self._begun

    def pause(self) -> None:
        """Stand still."""
        self._earlier = self.now()
        self.paused = True

    def go_on(self) -> None:
        """Run again."""
        self._begun = time.monotonic()
        self.paused = False

    def speed(self, counters: Counters) -> float:
        """Images a second since the clock began."""
        return (counters.images - self._start.images) / max(counters.seconds - self._start.seconds, 1e-6)


class DivergenceGuard:
    """Tells when a training diverges: losses or weights that are no numbers, or losses that rise steeply.

    Losses stay on the device until they are asked for, because reading them makes the processor wait.
    """

    def __init__(self, least_loss: float = math.inf, setbacks: int = 0) -> None:
        """`least_loss` is the least smooth loss so far; `setbacks` how often in a row the training went back."""
        self.least_loss, self.setbacks = least_loss, setbacks
        self.smooth_loss = math.nan
        self.losses = (math.nan, math.nan)  # of both persons, the mean of the steps since they were last read
        self._unread: list[Tensor] = []

    def add(self, losses: Tensor) -> None:
        """Take the two losses (2,) of a step."""
        self._unread.append(losses)

    def trouble(self, *nets: nn.Module) -> str | None:
        """Read the latest losses, and say what is wrong, or None. A loss is older than the step that it led to: before
        a save, the weights of `nets` are looked at, too.
        """
        if self._unread:
            first, second = (float(loss) for loss in torch.stack(self._unread).mean(0).cpu())
            older = _SMOOTH ** len(self._unread)
            self.losses, self._unread = (first, second), []
            total = first + second
            smooth = total if math.isnan(self.smooth_loss) else older * self.smooth_loss + (1 - older) * total
            if not math.isfinite(smooth):
                return _NO_NUMBERS
            if smooth > _DIVERGED * self.least_loss:
                return "the losses rose steeply"
            self.smooth_loss, self.least_loss = smooth, min(self.least_loss, smooth)
        values = (value for net in nets for value in net.state_dict().values())
        return None if all(bool(value.isfinite().all()) for value in values) else _NO_NUMBERS


class Supervisor:
    """What the first process does between two steps: it measures, reports, saves, and decides what all do next."""

    def __init__(self, job: Job, state: TrainingState) -> None:
        self.job, self.state = job, state
        self.begin(DivergenceGuard())

    def begin(self, guard: DivergenceGuard) -> None:
        """Begin where the state stands; after a setback with a new clock, guard and log."""
        job, counters, config = self.job, self.state.counters, self.job.config
        self.guard = guard
        self.clock = Clock(counters, config.snapshot_minutes)
        self.log = TrainingLog(
            job.folder, counters.iteration, job.on_progress, iterations=config.iterations, minutes=config.minutes
        )
        self.held = (math.nan, math.nan)  # held-out errors of both persons, as last measured
        self.least_held = checkpoint.best_error(job.folder)
        self._last_seen = counters.iteration

    def decide(self) -> int:
        """Do what is due after a step, and say what comes next. Raises `ModelError` after too many setbacks."""
        counters, config, clock = self.state.counters, self.job.config, self.clock
        stepped = counters.iteration != self._last_seen
        self._last_seen = counters.iteration
        if stepped:
            counters.seconds = clock.now()
        ends = self._is_enough() or self.job.stop()
        pauses = not ends and self.job.pause()
        begins_pause = pauses and not clock.paused
        saves = ends or begins_pause or (stepped and counters.iteration % config.save_every == 0)
        reports = ends or (stepped and counters.seconds >= clock.next_report)
        kept = (self.state.net, self.state.average) if saves else ()
        trouble = self.guard.trouble(*kept) if saves or reports else None
        if trouble is not None:
            self._explain_setback(trouble)
            return _STEP_BACK
        if reports:
            self._report(measure=ends or counters.seconds >= clock.next_measurement)
        if saves:
            self._save()
        elif stepped and counters.seconds >= clock.next_preview:
            self._preview()
        if begins_pause:
            clock.pause()
            self.log.note(f"paused after {counters.iteration} iterations, all saved")
        elif clock.paused and not pauses:
            clock.go_on()
            if not ends:
                self.log.note("going on")
        if ends:
            return _END
        return _WAIT if pauses else _STEP

    def _is_enough(self) -> bool:
        counters, config = self.state.counters, self.job.config
        late = config.minutes is not None and counters.seconds >= 60 * config.minutes
        done = config.iterations is not None and counters.iteration >= config.iterations
        return late or done or (config.until_flat and self.log.flat_minutes is not None)

    def finish(self) -> float:
        """How far the last phase of the training is, 0..1."""
        counters, config = self.state.counters, self.job.config
        done = [counters.seconds / (60 * config.minutes)] if config.minutes else []
        done += [counters.iteration / config.iterations] if config.iterations else []
        begin = 1 - config.finish
        return min(1.0, max(0.0, (max(done, default=0.0) - begin) / config.finish)) if config.finish else 0.0

    def _explain_setback(self, trouble: str) -> None:
        folder, setbacks = self.job.folder, self.guard.setbacks + 1
        saved = checkpoint.read_about(folder)[1].iteration
        if setbacks > _SETBACKS:
            raise ModelError(
                f"The training of {folder} diverged {setbacks} times in a row; it is left as it was after {saved} "
                "iterations. Look through the face sets for damaged pictures, or go back to an earlier snapshot."
            )
        lost = self.state.counters.iteration
        self.log.note(f"{trouble} after {lost} iterations; went back to {saved} with half the learning rate")

    def _report(self, *, measure: bool) -> None:
        """Report twice a second, and note it in the history."""
        counters = self.state.counters
        if measure:
            self._measure()
        if speed := self.clock.speed(counters):  # else nothing was trained yet
            held = self.held if measure else (None, None)
            self.log.report(LogRow(counters.iteration, counters.seconds, speed, *self.guard.losses, *held))
        self.clock.next_report = counters.seconds + 0.5

    def _measure(self) -> None:
        """Measure the averaged network's held-out errors: at most every five seconds, for at most 2 % of the time."""
        begun, state = self.clock.now(), self.state
        held_a, held_b = self.job.held_out
        error_a = held_out_error(state.average, state.config, held_a, "a")
        error_b = held_out_error(state.average, state.config, held_b, "b")
        self.held = (error_a, error_b)
        state.counters.held = (error_a + error_b) / 2
        now = self.clock.now()
        self.clock.next_measurement = now + max(5.0, 50 * (now - begun))

    def _save(self) -> None:
        folder, counters = self.job.folder, self.state.counters
        if sum(self.held) / 2 < self.least_held:
            self._measure()  # that was some steps ago; what is kept as best should be
        checkpoint.save(folder, self.state)
        self.log.write()
        self.guard.setbacks = 0
        if sum(self.held) / 2 < self.least_held:
            self.least_held = sum(self.held) / 2
            checkpoint.keep_snapshot(folder, checkpoint.BEST)
        if counters.seconds >= self.clock.next_snapshot:
            checkpoint.keep_snapshot(folder, counters.iteration)
            self.clock.next_snapshot = counters.seconds + 60 * self.job.config.snapshot_minutes
        self._preview()

    def _preview(self) -> None:
        counters = self.state.counters
        self.log.show(draw_preview(self.state.average, *self.job.held_out), counters.iteration)
        self.clock.next_preview = counters.seconds + self.job.config.preview_seconds


def run(job: Job, state: TrainingState) -> tuple[float, float, float | None]:
    """Train `state` until it is enough or `job.stop` says so, and save it; while `job.pause` says so, wait.

    Returns both persons' held-out errors, and for how many minutes they have no longer fallen (None: they still fall).
    Raises `ModelError` when training diverges again and again, and `OutputError`.
    """
    world = job.world
    net = world.parallel(ReconstructBoth(state.net))
    run_step = world.step_runner(state.generator)
    supervisor = Supervisor(job, state) if world.leads else None
    while True:
        decided = (supervisor.decide(), supervisor.guard.setbacks, supervisor.finish()) if supervisor else (_STEP, 0, 0)
        order, setbacks, finish = world.from_first(*decided)
        if order == _STEP:
            losses = train_step(
                state,
                job.data,
                job.augmentation,
                finish=finish,
                bfloat16=job.bfloat16,
                net=net,
                share=world.share,
                run=run_step,
            )
            losses = world.mean(losses)
            if supervisor:
                supervisor.guard.add(losses)
        elif order == _STEP_BACK:
            _step_back(job, state, int(setbacks) + 1)
            run_step = world.step_runner(state.generator)  # the optimiser's numbers lie elsewhere now
            if supervisor:
                supervisor.begin(DivergenceGuard(supervisor.guard.least_loss, int(setbacks) + 1))
        elif order == _WAIT:
            time.sleep(0.05)
        else:
            break
    held = supervisor.held if supervisor else (math.nan, math.nan)
    flat = supervisor.log.flat_minutes if supervisor else None
    held_a, held_b, flat_minutes, seconds = world.from_first(*held, flat or math.nan, state.counters.seconds)
    state.counters.seconds = seconds
    return held_a, held_b, None if math.isnan(flat_minutes) else flat_minutes


def _step_back(job: Job, state: TrainingState, setbacks: int) -> None:
    """Take up the last saved model, which was healthy, with half the learning rate and other random numbers."""
    lost = state.counters.iteration
    checkpoint.resume(job.folder, state)
    state.config = replace(state.config, learning_rate=state.config.learning_rate / 2)
    state.generator.manual_seed(job.config.seed + lost + setbacks)
