"""How good are the swaps of each preset, on synthetic pairs whose right answer is known?

    make people                                   # renders the pairs' clips, once
    python benchmarks/swap_quality.py [--only PAIR ...] [--lines LINE ...] [--measure-only]

Goes on where it was stopped: face sets and models stay in ~/.cache/clearswap-quality, and figures in the result, where
those of other pairs and lines are kept. Budgets are counted in steps, so that the same command gives the same models on
a busy machine; the minutes are those of 2 idle cores in float32. `--quick` trains one model of the demo's pair for a
few seconds, keeps nothing of it, and knows nothing of the other pairs and lines.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
METRICS = {
    "fitted_psnr": "PSNR dB",
    "fitted_ssim": "SSIM",
    "score": "score",
    "perceptual": "perceptual distance",
    "sharpness": "sharpness of structure",  # the column "sharpness" of before 0.3 was the Laplacian's
    "lids": "lids",
    "jaw": "jaw and lips",
    "gaze": "gaze",
    "closed": "closed lips stay closed",
    "followed": "motion followed",
    "identity_wanted": "identity: from the person put in",
    "edge": "visible edge",
    "flicker": "flicker",
}
COLUMNS = ["pair: line", "steps", *METRICS.values(), "eyes: correlation", "mouth: correlation", "held-out error"]


@dataclass(frozen=True)
class Pair:
    """Whom to learn, where to put the face, and the right answer."""

    name: str
    identity: Path  # the clip of the person to put in
    video: Path
    truth: Path
    homes: Path = HOME

    @property
    def home(self) -> Path:
        """Where face sets and models of this pair are kept."""
        return self.homes / self.name

    @property
    def ready(self) -> bool:
        """Whether the clips have been rendered."""
        return all(path.is_file() for path in (self.identity, self.video, self.truth))


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
QUICK = {"lite, a few seconds": Line("lite", 0.08)}
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
    sets = [(pair.identity, pair.home / "faces_a"), (pair.video, pair.home / "faces_b")]
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
    model = pair.home / name / "model.safetensors"
    home = pair.home / f"{name}-evaluation-3"  # earlier evaluations had other lines and metrics
    written = home / "evaluation.json"
    if not written.is_file() or written.stat().st_mtime < model.stat().st_mtime:
        swapped = pair.home / f"{name}.mp4"
        clearswap.convert(pair.home / name, pair.video, swapped, to="a")
        config = EvaluateConfig(samples=samples)
        identity = pair.home / "faces_a"
        clearswap.evaluate(swapped, pair.video, home, truth=pair.truth, identity=identity, config=config)
    return json.loads(written.read_text())


def rows_of(pair: Pair, measured: dict[str, dict[str, Any]]) -> list[list[Cell]]:
    """The table of one pair: lines to compare with, then the models."""
    some = next(iter(measured.values()))["lines"]
    known = {name: some[name] for name in ("unswapped", "baseline", "oracle") if name in some}
    own = {name: evaluation["lines"]["this swap"] for name, evaluation in measured.items()}
    rows: list[list[Cell]] = []
    for name, line in (known | own).items():
        held = read_history(pair.home / name) if name in own else []
        steps: Cell = trained(pair, name) if held else ""
        errors = [moment.held for moment in held if moment.held is not None]
        follows = [line["motion"][f]["correlation"] for f in ("eye opening", "mouth opening")]
        figures: list[Cell] = [line["scores"].get(key, "") for key in METRICS]  # some tell nothing of some clips
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
    wanted = Options(given.quick, common.output_folder(parser, given), [])
    if given.quick:
        with common.scratch() as folder:
            pair = replace(PAIRS[0], homes=folder)
            save(rows_by_name(pair, measure_lines(pair, QUICK, list(QUICK), 10)), wanted)
        return
    rows: dict[str, list[Cell]] = {str(row[0]): list(row) for row in earlier_rows(wanted.out)}
    for pair in PAIRS:
        if pair.name in given.only and not pair.ready:
            print(f"{pair.name} is left out: its clips are not in {PEOPLE}; `make people` renders them.")
        chosen = given.lines if pair.name in given.only and pair.ready and not given.measure_only else []
        rows |= rows_by_name(pair, measure_lines(pair, LINES, chosen, 90))
    save(rows, wanted)


def measure_lines(pair: Pair, lines: Mapping[str, Line], chosen: list[str], samples: int) -> dict[str, dict[str, Any]]:
    """Train the `chosen` lines of a pair, and measure all of `lines` whose models have had their budget."""
    measured: dict[str, dict[str, Any]] = {}
    for name, line in lines.items():
        if name in chosen:
            train(pair, name, line)
        if trained(pair, name) >= line.steps:
            measured[name] = measure(pair, name, samples)
    return measured


def rows_by_name(pair: Pair, measured: dict[str, dict[str, Any]]) -> dict[str, list[Cell]]:
    """The table of one pair by the names of its rows; empty where nothing was measured."""
    return {str(row[0]): row for row in (rows_of(pair, measured) if measured else [])}


def earlier_rows(out: Path) -> Sequence[Sequence[Cell]]:
    """What was measured before, perhaps on a machine whose models are gone."""
    path = out / "swap_quality.json"
    if not path.is_file():
        return []
    table = common.load(path).tables[0]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return [[row.get(column, "") for column in COLUMNS] for row in rows]  # empty where it was not measured then


def trained(pair: Pair, name: str) -> int:
    """How many steps a model has had."""
    return max((moment.iteration for moment in read_history(pair.home / name)), default=0)


def save(found: dict[str, list[Cell]], wanted: Options) -> None:
    """Hand the table to the report, pair by pair."""
    lines = ("unswapped", "baseline", "oracle", *LINES, *EARLIER)
    names = [*found] if wanted.quick else [f"{pair.name}: {line}" for pair in PAIRS for line in lines]
    rows = [found[name] for name in names if name in found]
    missing = [name for name in names if name not in found]
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
            [Table("Against the truth", COLUMNS, rows)],
            [plot],
            [f"Not measured: {', '.join(missing)}."] if missing else [],
        ),
        wanted,
    )


if __name__ == "__main__":
    main()
