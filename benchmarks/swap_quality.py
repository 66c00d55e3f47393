"""How good are the swaps of each preset, on synthetic pairs whose right answer is known?

    make people                                   # renders the pairs' clips, once
    python benchmarks/swap_quality.py [--only PAIR ...] [--lines LINE ...] [--measure-only]

Goes on where it was stopped: face sets and models stay in ~/.cache/clearswap-quality, and figures in the result, where
those of other pairs and lines are kept. Budgets are counted in steps, so that the same command gives the same models on
a busy machine; the minutes are those of 2 idle cores in float32.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import clearswap
import common
from clearswap import EvaluateConfig, TrainConfig
from clearswap.training.log import read_history
from clips import CACHE, DEMO, PEOPLE
from common import Cell, Options, Plot, Result, Table

STEPS_A_MINUTE = {"lite": 366, "classic": 5.36}  # 195 and 11.4 faces/s: float32, 2 idle cores of 2026-11-24's machine
HOME = CACHE / "clearswap-quality"
FIGURES = {
    "fitted_psnr": "PSNR dB",
    "fitted_ssim": "SSIM",
    "followed": "motion followed",
    "identity_target": "identity: from target",
    "edge": "visible edge",
    "flicker": "flicker",
    "sharpness": "sharpness",
}


@dataclass(frozen=True)
class Pair:
    """Whom to learn, where to put the face, and the right answer."""

    name: str
    target: Path
    source: Path
    truth: Path

    @property
    def home(self) -> Path:
        """Where face sets and models of this pair are kept."""
        return HOME / self.name

    @property
    def ready(self) -> bool:
        """Whether the clips have been rendered."""
        return all(path.is_file() for path in (self.target, self.source, self.truth))


@dataclass(frozen=True)
class Line:
    """A training of so many minutes, perhaps going on from a shorter one."""

    preset: Literal["lite", "classic"]
    minutes: float
    start: str = ""

    @property
    def steps(self) -> int:
        """The budget."""
        return round(self.minutes * STEPS_A_MINUTE[self.preset])


LINES = {"classic-20": Line("classic", 20), "lite-5": Line("lite", 5), "lite-20": Line("lite", 20, start="lite-5")}
# Measured once, with the network of commit b0696f3 (4.0 M parameters, no mask): kept to compare with.
EARLIER = ("lite-5, first network", "lite-20, first network")
PAIRS = [
    Pair("demo", DEMO / "person_a.mp4", DEMO / "person_b.mp4", DEMO / "truth.mp4"),
    *(
        Pair(name, *(PEOPLE / f"{name}_{role}.mp4" for role in ("target", "source", "truth")))
        for name in ("light_dark", "man_woman", "glasses", "occluder")
    ),
]


def train(pair: Pair, name: str, line: Line) -> None:
    """Bring the model to its budget; nothing is done when it has it."""
    if trained(pair, name) >= line.steps:
        return
    sets = [(pair.target, pair.home / "faces_a"), (pair.source, pair.home / "faces_b")]
    for clip, faces in sets:
        if not (faces / "index.jsonl").is_file():
            print(pair.name, clearswap.extract([clip], faces), flush=True)
    model = pair.home / name
    if line.start and not model.exists():
        shutil.copytree(pair.home / line.start, model)
    config = TrainConfig(preset=line.preset, iterations=line.steps, save_every=200, preview_seconds=60)
    a, b = (faces for _, faces in sets)
    done = clearswap.train(a, b, model, basis_a="synthetic", basis_b="synthetic", training=config)
    print(pair.name, name, done, flush=True)


def measure(pair: Pair, name: str, samples: int) -> dict[str, Any]:
    """Convert and evaluate, unless that was done since the model was trained; the evaluation as it was written."""
    model, home = pair.home / name / "model.safetensors", pair.home / f"{name}-evaluation"
    written = home / "evaluation.json"
    if not written.is_file() or written.stat().st_mtime < model.stat().st_mtime:
        video = pair.home / f"{name}.mp4"
        clearswap.convert(pair.home / name, pair.source, video, to="a")
        clearswap.evaluate(
            *(video, pair.source, home),
            truth=pair.truth,
            identity=pair.home / "faces_a",
            config=EvaluateConfig(samples=samples),
        )
    return json.loads(written.read_text())


def rows_of(pair: Pair, measured: dict[str, dict[str, Any]]) -> list[list[Cell]]:
    """The table of one pair: lines to compare with, then the models."""
    some = next(iter(measured.values()))["lines"]
    known = {name: some[name] for name in ("unswapped", "still", "ceiling") if name in some}
    own = {name: evaluation["lines"]["this swap"] for name, evaluation in measured.items()}
    rows: list[list[Cell]] = []
    for name, line in (known | own).items():
        held = read_history(pair.home / name) if name in own else []
        steps: Cell = trained(pair, name) if held else ""
        errors = [moment.held for moment in held if moment.held is not None]
        follows = [line["motion"][f]["correlation"] for f in ("eye opening", "mouth opening")]
        figures: list[Cell] = [line["scores"][key] for key in FIGURES]
        rows.append([f"{pair.name}: {name}", steps, *figures, *follows, errors[-1] if errors else ""])
    return rows


def main() -> None:
    """Train and measure what is asked for, and make the table of all that has been measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[pair.name for pair in PAIRS], metavar="PAIR")
    parser.add_argument("--lines", nargs="+", default=list(LINES), metavar="LINE", help=", ".join(LINES))
    parser.add_argument("--measure-only", action="store_true", help="train nothing, measure the models that there are")
    common.add_common(parser)
    given = parser.parse_args()
    out = common.output_folder(parser, given)
    rows: dict[str, list[Cell]] = {str(row[0]): list(row) for row in earlier_rows(out)}
    for pair in PAIRS:
        measured: dict[str, dict[str, Any]] = {}
        for name, line in LINES.items():
            if pair.name in given.only and name in given.lines and pair.ready and not given.measure_only:
                train(pair, name, line)
            if trained(pair, name) >= line.steps:
                measured[name] = measure(pair, name, 30 if given.quick else 90)
        rows |= {str(row[0]): row for row in (rows_of(pair, measured) if measured else [])}
    save(rows, Options(given.quick, out, []))


def earlier_rows(out: Path) -> Sequence[Sequence[Cell]]:
    """What was measured before, perhaps on a machine whose models are gone."""
    path = out / "swap_quality.json"
    return common.load(path).tables[0].rows if path.is_file() else []


def trained(pair: Pair, name: str) -> int:
    """How many steps a model has had."""
    return max((moment.iteration for moment in read_history(pair.home / name)), default=0)


def save(found: dict[str, list[Cell]], wanted: Options) -> None:
    """Hand the table to the report, pair by pair."""
    names = [f"{pair.name}: {name}" for pair in PAIRS for name in ("unswapped", "still", "ceiling", *LINES, *EARLIER)]
    rows = [found[name] for name in names if name in found]
    missing = [name for name in names if name not in found]
    columns = ["pair: line", "steps", *FIGURES.values(), "eyes: correlation", "mouth: correlation", "held-out error"]
    bars = [(str(row[0]), float(row[2])) for row in rows]
    plot = Plot("PSNR in the face, placed, in the truth's colours", "bars", "", "dB", {"PSNR": bars})
    common.save(
        Result(
            "swap_quality",
            "How good are the swaps of each preset?",
            "`clearswap evaluate` against the truth, 90 frames a clip; PSNR and SSIM after the clip's best placement "
            "and colours; budgets in steps that take the named minutes on 2 idle cores "
            f"in float32 ({STEPS_A_MINUTE['lite']} steps a minute for lite, {STEPS_A_MINUTE['classic']} for classic) "
            "on the slower of the machines seen here; where there is bfloat16, the same steps take about 0.6 of that.",
            [Table("Against the truth", columns, rows)],
            [plot],
            [f"Not measured: {', '.join(missing)}."] if missing else [],
        ),
        wanted,
    )


if __name__ == "__main__":
    main()
