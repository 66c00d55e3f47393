"""The report of an evaluation: its figures as JSON, and one HTML file with table, curves and worst frames."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray

from clearswap.evaluation.motion import FEATURES
from clearswap.evaluation.scores import RESULT, TRUTH, UNSWAPPED, ClipScores, Metric, Samples
from clearswap.figures import Figure
from clearswap.media.files import atomic_file, encode_picture


@dataclass(frozen=True)
class ReportPage:
    """What the report tells."""

    clips: Mapping[str, str]  # the files' names; where they lie is nobody's business
    samples: Samples
    lines: Mapping[str, ClipScores]  # of each clip in `samples`
    metrics: list[Metric]
    notes: list[str]

    @property
    def has_truth(self) -> bool:
        """Whether the right answer is known."""
        return self.samples.reference.has_truth

    @property
    def own(self) -> ClipScores:
        """The scores of this swap."""
        return self.lines[RESULT]


def write_json(path: Path, page: ReportPage) -> None:
    """Write all figures of an evaluation. Raises `OutputError`."""
    lines = {
        name: {
            "scores": line.scores,
            "bands": line.bands,
            "meaning": {name: vars(one) for name, one in line.meaning.numbers.items()},
            "motion": {f: vars(agreement) for f, agreement in zip(FEATURES, line.agreements, strict=True)},
            "placement": vars(line.placement),
            "colours": vars(line.colours),
        }
        for name, line in page.lines.items()
    }
    data = {
        "clips": page.clips,
        "frames": page.samples.frames,
        "lines": lines,
        "notes": page.notes,
        "by_frame": page.own.by_frame.round(4).tolist(),
        "motion": {name: clip.motion.round(3).tolist() for name, clip in page.samples.clips.items()},
    }
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(data, indent=1, default=list))


def write_report(path: Path, page: ReportPage, *, worst: int) -> None:
    """Write the HTML file, complete in itself, with so many of the worst frames. Raises `OutputError`."""
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("clearswap.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    )
    positions = worst_frames(page, worst)
    shown = [name for name in (UNSWAPPED, RESULT, TRUTH) if name in page.lines]
    text = template.render(
        page=page,
        own=RESULT,
        motion=list(zip(FEATURES, page.own.agreements, strict=True)),
        meaning=page.own.meaning.numbers,
        plots=[
            ("Each frame of this swap; the marked ones are shown below.", _plot_frames(page, positions)),
            ("What the face does over time.", _plot_motion(page)),
        ],
        worst=[(_caption(page, shown, position), _faces(page, shown, position)) for position in positions],
    )
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # a name may be no text


def worst_frames(page: ReportPage, count: int) -> list[int]:
    """Where the worst frames lie among those measured, the worst first, no two within ten frames of each other."""
    frames = page.samples.frames
    chosen: list[int] = []
    positions: list[int] = np.argsort(page.own.by_frame).tolist()
    for position in positions:
        if len(chosen) < count and all(abs(frames[position] - frames[other]) >= 10 for other in chosen):
            chosen.append(position)
    return chosen


def _caption(page: ReportPage, shown: list[str], position: int) -> str:
    score = f"{page.own.by_frame[position]:.0f} of 100"
    return f"Frame {page.samples.frames[position]} ({score}): {', '.join(shown)}"


def _faces(page: ReportPage, shown: list[str], position: int) -> str:
    """The aligned faces of one frame side by side, as a JPEG in base64."""
    faces: list[NDArray[np.uint8]] = [page.samples.clips[name].faces[position] for name in shown]
    return base64.b64encode(encode_picture(np.concatenate(faces, 1), ".jpg", quality=88)).decode()


def _plot_frames(page: ReportPage, positions: list[int]) -> str:
    figure = Figure((10, 3), layout="constrained")
    axes = figure.subplots()
    frames = page.samples.frames
    for name, line in page.lines.items():
        if np.ptp(line.by_frame) > 0:
            axes.plot(frames, line.by_frame, label=name, linewidth=2 if name == RESULT else 0.8)
    marked = [page.own.by_frame[p] for p in positions]
    axes.plot([frames[p] for p in positions], marked, "rv", markersize=5)
    axes.set(xlabel="frame", ylabel="score of the frame")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    return _png(figure)


def _plot_motion(page: ReportPage) -> str:
    figure = Figure((10, 8), layout="constrained")
    grid = figure.subplots(4, 2, sharex=True)
    for index, (name, axes) in enumerate(zip(FEATURES, grid.T.flat, strict=True)):
        for line in (TRUTH if page.has_truth else UNSWAPPED, RESULT):
            axes.plot(page.samples.frames, page.samples.clips[line].motion[:, index], label=line, linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.grid(visible=True, alpha=0.3)
    grid[0, 0].legend(fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("frame")
    return _png(figure)


def _png(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    return base64.b64encode(data.getvalue()).decode()
