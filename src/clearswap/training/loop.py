"""The training loop's clocks: when to measure, on_progress, save, keep a snapshot, step back, pause and stop.

What a step is stands in `api/train.py`; this file only calls it, again and again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from clearswap.core.network import Side
from clearswap.core.train_step import TrainingState
from clearswap.errors import ModelError, OptionError
from clearswap.progress import OnProgress, Progress
from clearswap.training import checkpoint
from clearswap.training.dataset import HeldOut, held_out_error, minutes_without_gain
from clearswap.training.log import Board, History, LogRow, draw_preview, forget_previews, write_preview

_DIVERGED = 2.5  # times the least smoothed loss; in eight trainings of up to 4,000 steps it rose to 1.05 at most
_SMOOTH = 0.95  # the loss is a running mean over about 20 steps
_SETBACKS = 4  # in a row; more mean that no learning rate helps


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        preset: Which network: "lite" (96 px, learns on a CPU in minutes), "hd" (256 px) and "xl" (512 px) for GPUs, or
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
        until_flat: Stop when that error has flattened: when the last third of the training, and two minutes at
            least, brought less than one per cent.
        precision: What the network's products are rounded to. "bfloat16" is 1.4 to 1.9 times as fast where the
            processor or GPU has it built in, and "auto" takes it there only; faces are drawn in "float32" always.
        seed: Of all that is random.
    """

    preset: Literal["lite", "hd", "xl", "classic"] | None = None
    iterations: int | None = None
    minutes: float | None = None
    batch: int | Literal["auto"] | None = None
    save_every: int = 100
    preview_seconds: float = 5.0
    snapshot_minutes: float = 30.0
    back_to: int | Literal["best"] | None = None
    hold_out: float | None = None
    until_flat: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.batch, int) and self.batch < 2:
            raise OptionError(f"A batch of {self.batch} is too small to learn from; give 2 or more.")
        if self.save_every < 1:
            raise OptionError(f"Saving every {self.save_every} iterations is not possible; give 1 or more.")
        if self.hold_out is not None and not 0 < self.hold_out <= 0.5:
            raise OptionError(
                f"Holding out {self.hold_out} of the faces is not possible; give more than 0, at most 0.5."
            )
        if min(self.minutes or 0, self.iterations or 0) < 0:
            raise OptionError("A training cannot last less than nothing; give positive minutes or iterations.")


class TrainLoop:
    """Trains until it is enough. Everything that can go wrong in hours leaves the last good model on disk."""

    def __init__(
        self, folder: Path, state: TrainingState, held: list[HeldOut], config: TrainConfig, on_progress: OnProgress
    ) -> None:
        self.folder, self.state, self.sets, self.config, self.on_progress = folder, state, held, config, on_progress
        self.history = History(folder, state.counters.iteration)
        self.board = Board(folder, state.counters.iteration)
        self.recent: list[Tensor] = []  # losses since they were last read, still on the device
        self.losses = self.held = (float("nan"), float("nan"))
        self.smooth_loss, self.least_loss = math.nan, math.inf
        self.least_held = checkpoint.best_error(folder)
        forget_previews(folder, state.counters.iteration)
        self.flat: float | None = None  # minutes without gain
        self.begun, self.earlier = time.monotonic(), state.counters.seconds
        self.run_images, self.run_seconds = state.counters.images, self.earlier
        self.next_report = self.next_preview = 0.0
        self.next_measure = self.earlier + 1
        between = 60 * config.snapshot_minutes
        self.next_snapshot = between * (self.earlier // between + 1) if between else 0.0
        self.setbacks = 0

    def run(self, step: Callable[[], Tensor], stop: Callable[[], bool], pause: Callable[[], bool]) -> None:
        """Call `step`, which trains the state by one iteration and returns its two losses, until it is enough or
        `stop` says so. While `pause` says so, wait.
        """
        try:
            while True:
                if self._enough() or stop():
                    if self._healthy(weights=True):
                        break
                    self._step_back()
                elif pause():
                    self._pause(pause, stop)
                else:
                    self.recent.append(step())
                    self._after_step()
            self._tell(measure=True)
            self._save()
        finally:
            self._to_board(Board.close)

    def _after_step(self) -> None:
        counters = self.state.counters
        counters.seconds = self._now()
        saves, tells = counters.iteration % self.config.save_every == 0, counters.seconds >= self.next_report
        if (saves or tells) and not self._healthy(weights=saves):
            self._step_back()
            return
        if tells:
            self._tell(measure=counters.seconds >= self.next_measure)
        if saves:
            self._save()
        elif counters.seconds >= self.next_preview:
            self._preview()

    def _now(self) -> float:
        return self.earlier + time.monotonic() - self.begun

    def _enough(self) -> bool:
        counters, config = self.state.counters, self.config
        late = config.minutes is not None and counters.seconds >= 60 * config.minutes
        done = config.iterations is not None and counters.iteration >= config.iterations
        return late or done or (config.until_flat and self.flat is not None)

    def _pause(self, pause: Callable[[], bool], stop: Callable[[], bool]) -> None:
        """Save, and wait; the clock stands still meanwhile."""
        if not self._healthy(weights=True):
            self._step_back()
            return
        self._save()
        seconds = self._now()
        self.on_progress(Progress("train", note=f"paused after {self.state.counters.iteration} iterations, all saved"))
        while pause() and not stop():
            time.sleep(0.05)
        self.begun, self.earlier = time.monotonic(), seconds
        if not stop():
            self.on_progress(Progress("train", note="going on"))

    def _healthy(self, *, weights: bool) -> bool:
        """Read the latest losses, which makes the processor wait for the device; whether they are as they should be.

        A loss is older than the step that it led to: what is to be saved is asked for its `weights`, too.
        """
        if self.recent:
            first, second = (float(loss) for loss in torch.stack(self.recent).mean(0).cpu())
            older = _SMOOTH ** len(self.recent)
            self.losses, self.recent = (first, second), []
            total = first + second
            smooth = total if math.isnan(self.smooth_loss) else older * self.smooth_loss + (1 - older) * total
            if not math.isfinite(smooth) or smooth > _DIVERGED * self.least_loss:
                return False
            self.smooth_loss, self.least_loss = smooth, min(self.least_loss, smooth)
        values = self.state.net.state_dict().values() if weights else ()
        return all(bool(value.isfinite().all()) for value in values)

    def _step_back(self) -> None:
        """Go back to the last saved model, which was healthy, with half the learning rate and other random numbers.

        Raises `ModelError` when that has been tried often enough.
        """
        state, lost = self.state, self.state.counters.iteration
        self.setbacks += 1
        if self.setbacks > _SETBACKS:
            raise ModelError(
                f"The training of {self.folder} diverged {self.setbacks} times in a row; it is left as it was after "
                f"{checkpoint.read_about(self.folder)[1].iteration} iterations. Look through the face sets for damaged "
                "pictures, or go back further with --back-to."
            )
        numbers = math.isfinite(sum(self.losses)) and self._healthy(weights=True)
        what = "the losses rose steeply" if numbers else "losses or weights were no longer numbers"
        checkpoint.resume(self.folder, state)
        state.config = replace(state.config, learning_rate=state.config.learning_rate / 2)
        for group in state.optimizer.param_groups:
            group["lr"] = state.config.learning_rate
        state.generator.manual_seed(self.config.seed + lost + self.setbacks)
        self.history.forget_after(state.counters.iteration)
        self.begun, self.earlier = time.monotonic(), state.counters.seconds
        self.run_images, self.run_seconds = state.counters.images, self.earlier
        self.recent, self.smooth_loss, self.held = [], math.nan, (math.nan, math.nan)
        self.next_report = self.next_preview = 0.0
        self.next_measure = self.earlier + 1
        forget_previews(self.folder, state.counters.iteration)
        self.board.close()
        self.board = Board(self.folder, state.counters.iteration)
        note = f"{what} after {lost} iterations; went back to {state.counters.iteration} with half the learning rate"
        self.on_progress(Progress("train", note=note))

    def _tell(self, *, measure: bool) -> None:
        """OnProgress twice a second, and note it in the history."""
        counters = self.state.counters
        if measure:
            self._measure()
        if counters.images > self.run_images:
            speed = (counters.images - self.run_images) / max(counters.seconds - self.run_seconds, 1e-6)
            held = self.held if measure else (None, None)
            moment = LogRow(counters.iteration, counters.seconds, speed, *self.losses, *held)
            self.history.add(moment)
            self._to_board(lambda board: board.add(moment))
            self._report(speed)
        if measure:
            self._notice_flat()
        self.next_report = counters.seconds + 0.5

    def _measure(self) -> None:
        """The held-out errors of the averaged network, at most every five seconds and for at most 2 % of the time."""
        begun, state = self._now(), self.state
        sides: tuple[Side, Side] = ("a", "b")
        first, second = (
            held_out_error(state.average, state.config, held, side) for held, side in zip(self.sets, sides, strict=True)
        )
        self.held, state.counters.held = (first, second), (first + second) / 2
        self.next_measure = self._now() + max(5.0, 50 * (self._now() - begun))

    def _report(self, speed: float) -> None:
        counters = self.state.counters
        measured = not math.isnan(self.held[0])
        held = {"held-out a": self.held[0], "held-out b": self.held[1]} if measured else {}
        values = {"iteration": float(counters.iteration), **held, "images/s": speed}
        done, total, unit = float(counters.iteration), float(self.config.iterations or 0), "iterations"
        if self.config.minutes is not None and not self.config.iterations:
            done, total, unit = counters.seconds, 60 * self.config.minutes, "seconds"
        self.on_progress(Progress("train", done, total or None, unit, values))

    def _notice_flat(self) -> None:
        before, self.flat = self.flat, minutes_without_gain(*self.history.held_out())
        if self.flat is not None and before is None:
            note = f"no gain over the last {self.flat:.0f} minutes (held-out error {sum(self.held) / 2:.4f}); "
            note += "more footage or a larger preset would help more than more time"
            self.on_progress(Progress("train", note=note))

    def _save(self) -> None:
        counters = self.state.counters
        if sum(self.held) / 2 < self.least_held:
            self._measure()  # that was some steps ago; what is kept as best should be
        checkpoint.save(self.folder, self.state)
        self.history.write()
        self.setbacks = 0
        if sum(self.held) / 2 < self.least_held:
            self.least_held = sum(self.held) / 2
            checkpoint.keep_snapshot(self.folder, checkpoint.BEST)
        if counters.seconds >= self.next_snapshot:
            checkpoint.keep_snapshot(self.folder, counters.iteration)
            self.next_snapshot = counters.seconds + 60 * self.config.snapshot_minutes
        self._preview()

    def _preview(self) -> None:
        counters = self.state.counters
        picture = draw_preview(self.state.average, *self.sets)
        kept = counters.iteration if self.history.keeps(counters.iteration) else None
        write_preview(self.folder, picture, kept)
        if kept is not None:
            self._to_board(lambda board: board.show(picture, counters.iteration))
        self.next_preview = counters.seconds + self.config.preview_seconds

    def _to_board(self, write: Callable[[Board], None]) -> None:
        """Write to TensorBoard, and say so once when that cannot be done."""
        write(self.board)
        if self.board.trouble:
            self.on_progress(Progress("train", note=self.board.trouble))
            self.board.trouble = ""
