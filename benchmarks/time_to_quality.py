"""How long until a preset is as good as `classic` after a fixed budget?

    python benchmarks/time_to_quality.py [CLIP_A CLIP_B] [--minutes 60] [--others 20] [--goal ERROR] [--name PAIR]

The networks are trained in one process, in turns, so that whatever slows the machine down slows all. What counts is the
error on faces that none was trained on, drawn and compared at one size. Each step counts as the median of all with as
many faces, so that a pause of the machine counts for none. Presets whose batches grow run besides with all alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import clips
import common
from clearswap.core.augment import AugmentConfig
from clearswap.core.train_step import FaceData, TrainingState, start_training, train_step
from clearswap.training.dataset import HeldOut, held_out_error, load_faces
from clearswap.training.device import computes_bfloat16, used_device
from common import Cell, Options, Plot, Result, Table

LONGEST = 60.0  # seconds of one network before the others have their turn
BFLOAT16 = computes_bfloat16(used_device())  # as `clearswap train` decides


@dataclass
class Runner:
    """A network in training, with its curve."""

    budget: float  # seconds
    state: TrainingState
    data: list[FaceData]
    held: list[HeldOut]
    took: list[tuple[int, float]] = field(default_factory=list)  # each step's faces of a person, and seconds
    errors: list[tuple[int, float]] = field(default_factory=list)  # after so many steps: held-out error

    @property
    def seconds(self) -> float:
        """Training so far."""
        return self.elapsed[-1]

    @property
    def steps(self) -> dict[int, float]:
        """What a step takes with so many faces."""
        sizes = dict.fromkeys(batch for batch, _ in self.took)
        return {size: statistics.median(took for batch, took in self.took if batch == size) for size in sizes}

    @property
    def elapsed(self) -> list[float]:
        """Seconds of training before each step, and after the last."""
        steps = self.steps
        return list(accumulate((steps[batch] for batch, _ in self.took), initial=0.0))

    @property
    def curve(self) -> list[tuple[float, float]]:
        """Seconds of training, held-out error."""
        elapsed = self.elapsed
        return [(elapsed[count], error) for count, error in self.errors]

    def turn(self) -> None:
        """Train for a while, finely at first, when most happens; then measure, which does not count."""
        least = self.seconds + min(LONGEST, 1 + self.seconds / 10)
        while self.seconds < least:
            batch, begun = self.state.config.batch_at(self.state.counters.iteration), time.perf_counter()
            train_step(self.state, self.data, AugmentConfig(), bfloat16=BFLOAT16)
            self.took.append((batch, time.perf_counter() - begun))
        sides = zip(self.held, ("a", "b"), strict=True)
        errors = [held_out_error(self.state.average, self.state.config, held, side) for held, side in sides]
        self.errors.append((len(self.took), sum(errors) / 2))

    def reached(self, error: float) -> float | None:
        """Seconds until the error was as small."""
        return next((seconds for seconds, own in self.curve if own <= error), None)


def start(sets: list[Path], budgets: dict[str, float]) -> dict[str, Runner]:
    """The presets, untrained, each with its budget in seconds."""
    runners: dict[str, Runner] = {}
    configs = clips.presets()
    grown = {name: config for name, config in configs.items() if config.first_batch}
    configs |= {f"{name}, batches alike": config.with_batch(config.batch) for name, config in grown.items()}
    for name, config in configs.items():
        loaded = [load_faces(folder, config, used_device()) for folder in sets]
        data, held = [one for one, _ in loaded], [one for _, one in loaded]
        runners[name] = Runner(
            budgets.get(name, budgets["others"]), start_training(config, 0, used_device()), data, held
        )
    return runners


def race(runners: dict[str, Runner]) -> None:
    """Train in turns until each has used up its budget; who has used least of it is next."""
    while True:
        name, runner = min(runners.items(), key=lambda one: one[1].seconds / one[1].budget)
        if runner.seconds >= runner.budget:
            return
        runner.turn()
        steps, (seconds, error) = len(runner.took), runner.curve[-1]
        print(f"{name}: {steps} steps in {seconds:.1f} s, error {error:.4f}", flush=True)


def main() -> None:
    """Race on the demo's people or the given clips. Ctrl-C ends it early and reports what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0, help="the budget of `classic`")
    parser.add_argument("--others", type=float, default=20.0, metavar="MINUTES", help="that of every other preset")
    parser.add_argument("--goal", type=float, metavar="ERROR", help="instead of what `classic` comes to")
    parser.add_argument("--name", default="", help="what the pair is called in the report, when it is not the demo's")
    common.add_common(parser)
    given = parser.parse_args()
    minutes = (0.03, 0.03) if given.quick else (given.minutes, given.others)
    budgets = dict(zip(("classic", "others"), (60 * each for each in minutes), strict=True))
    wanted = Options(given.quick, common.output_folder(parser, given), given.clips)
    with common.scratch() as folder:
        runners = start(clips.face_sets(folder, wanted.clips, every=10 if given.quick else 1), budgets)
        with suppress(KeyboardInterrupt):
            race(runners)
    common.save(report(runners, given.name, given.goal), wanted)


def report(runners: dict[str, Runner], name: str, wanted: float | None) -> Result:
    """The table and the curves."""
    runners = {name: runner for name, runner in runners.items() if runner.errors}
    classic = runners["classic"].curve[-1]
    goal = classic[1] if wanted is None else wanted
    slowest = max((runner.reached(goal) or 0.0 for runner in runners.values()), default=0.0)
    rows: list[list[Cell]] = []
    for preset, runner in runners.items():
        reached = runner.reached(goal)
        (seconds, last), least = runner.curve[-1], min(error for _, error in runner.curve)
        times = slowest / reached if reached else ""
        steps = ", ".join(f"{batch}: {common.figure(took)}" for batch, took in runner.steps.items())
        rows.append([preset, steps, seconds / 60, last, least, reached or "not reached", times])
    columns = [
        "preset",
        "s a step of so many faces",
        "minutes",
        "error then",
        "least",
        f"seconds to {goal:.4f}",
        "times as fast",
    ]
    return Result(
        f"time_to_quality_{name}" if name else "time_to_quality",
        f"How long until a preset is as good as classic after {classic[0] / 60:.0f} minutes ({name or 'demo'})?"
        if wanted is None
        else f"How long until a preset has an error of {wanted:g} ({name or 'demo'})?",
        "TrainResult in turns in one process; held-out error: mean absolute difference in the face, at 128 px, of "
        "faces that were never trained on; a step counts as the median of all with as many faces.",
        [Table("the race", columns, rows)],
        [Plot("Held-out error", "lines", "seconds", "error", {n: r.curve for n, r in runners.items()}, log=True)],
    )


if __name__ == "__main__":
    main()
