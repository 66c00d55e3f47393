"""How long until a preset is as good as `classic` after a fixed budget?

    python benchmarks/time_to_quality.py [CLIP_A CLIP_B] [--minutes 20]

Both networks are trained in one process, in turns of some seconds each, so that whatever slows the machine down slows
both. What counts is the error on faces that neither was trained on, drawn and compared at one size.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import clips
import common
from common import Options, Plot, Result, Table

from clearswap.core.augment import AugmentConfig
from clearswap.core.held_out import held_out_error
from clearswap.machinery.checkpoint import TrainingState
from clearswap.machinery.device import computes_bfloat16, used_device
from clearswap.machinery.face_data import FaceData, load_faces
from clearswap.machinery.train_step import start_training, train_step

TURN = 10.0  # seconds of one network before the other has its turn
BFLOAT16 = computes_bfloat16(used_device())  # as `clearswap train` decides


@dataclass
class Runner:
    """A network in training, with its curve."""

    state: TrainingState
    data: list[FaceData]
    seconds: float = 0.0
    curve: list[tuple[float, float]] = field(default_factory=list)  # seconds of training, held-out error

    def turn(self, least: float) -> None:
        """Train for a while, then measure; measuring does not count."""
        begun = time.perf_counter()
        while time.perf_counter() - begun < least:
            train_step(self.state, self.data, AugmentConfig(), bfloat16=BFLOAT16)
        self.seconds += time.perf_counter() - begun
        sides = zip(self.data, ("a", "b"), strict=True)
        errors = [held_out_error(self.state.average, self.state.config, p.held, side) for p, side in sides]
        self.curve.append((self.seconds, sum(errors) / 2))

    def reached(self, error: float) -> float | None:
        """Seconds until the error was as small."""
        return next((seconds for seconds, own in self.curve if own <= error), None)


def race(sets: list[Path], budget: float) -> dict[str, Runner]:
    """Train the presets in turns until each has had its budget in seconds."""
    runners: dict[str, Runner] = {}
    for name, config in clips.presets().items():
        data = [load_faces(folder, config, used_device()) for folder in sets]
        runners[name] = Runner(start_training(config, 0, used_device()), data)
    while min(runner.seconds for runner in runners.values()) < budget:
        for runner in runners.values():
            if runner.seconds < budget:
                runner.turn(min(TURN, 1 + runner.seconds / 5))  # finely at first, when most happens
    return runners


def main() -> None:
    """Race on the demo's people or the given clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0, help="the budget of each network")
    common.add_common(parser)
    given = parser.parse_args()
    minutes = 0.5 if given.quick else given.minutes
    wanted = Options(given.quick, common.output_folder(parser, given), given.clips)
    with common.scratch() as folder:
        runners = race(clips.face_sets(folder, wanted.clips), 60 * minutes)
    goal = runners["classic"].curve[-1]
    rows = [
        [
            name,
            runner.curve[-1][1],
            min(error for _, error in runner.curve),
            runner.reached(goal[1]) or "not reached",
            goal[0] / seconds if (seconds := runner.reached(goal[1])) else "",
        ]
        for name, runner in runners.items()
    ]
    columns = ["preset", "error at the end", "least error", f"seconds to {goal[1]:.4f}", "times as fast"]
    common.save(
        Result(
            "time_to_quality",
            f"How long until a preset is as good as classic after {minutes:g} minutes?",
            "Trained in turns in one process; held-out error: mean absolute difference in the face, at 128 px, of "
            "faces that were never trained on.",
            [Table(f"{minutes:g} minutes each", columns, rows)],
            [Plot("Held-out error", "lines", "seconds", "error", {n: r.curve for n, r in runners.items()}, log=True)],
        ),
        wanted,
    )


if __name__ == "__main__":
    main()
