"""The report of an evaluation: one HTML file that needs nothing else, with its figures, curves and worst frames."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("agg")  # draws to files; needs no screen

import matplotlib.pyplot as plt

from clearswap.evaluation.motion import FEATURES
from clearswap.evaluation.scores import Figure, Outcome
from clearswap.media.atomic import atomic_file
from clearswap.media.files import encode_picture


@dataclass(frozen=True)
class ReportPage:
    """What the report tells."""

    clips: Mapping[str, str]
    figures: list[Figure]
    lines: Mapping[str, Outcome]
    frames: list[int]
    notes: list[str]
    motion: Mapping[str, NDArray[np.float64]]  # (N, 8) for each line
    own: str  # which line is the swap


def write_report(
    path: Path, page: ReportPage, worst: Mapping[str, NDArray[np.uint8]], positions: list[int], has_truth: bool
) -> None:
    """Write the report; `worst` holds aligned faces (W, S, S, 3) of the worst frames for each clip that is shown, and
    `positions` where these are among the measured frames.
    """
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("clearswap.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    )
    own = page.lines[page.own]
    text = template.render(
        page=page,
        has_truth=has_truth,
        motion=list(zip(FEATURES, own.follows, strict=True)),
        plots=[
            ("Each frame of this swap; the marked ones are shown below.", _by_frame(page, positions, has_truth)),
            ("What the face does over time.", _motion(page, has_truth)),
        ],
        worst=[
            (_caption(page, worst, position, has_truth), _row([faces[i] for faces in worst.values()]))
            for i, position in enumerate(positions)
        ],
    )
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _caption(page: ReportPage, worst: Mapping[str, Any], position: int, has_truth: bool) -> str:
    value = page.lines[page.own].by_frame[position]
    figure = f"{value:.1f} dB" if has_truth else f"landmark error {-value:.1f} %"
    return f"Frame {page.frames[position]} ({figure}): {', '.join(worst)}"


def _row(faces: list[NDArray[np.uint8]]) -> str:
    return base64.b64encode(encode_picture(np.concatenate(faces, 1), ".jpg", quality=88)).decode()


def _by_frame(page: ReportPage, positions: list[int], has_truth: bool) -> str:
    figure, axes = plt.subplots(figsize=(10, 3), layout="constrained")
    sign = 1 if has_truth else -1
    for name, line in page.lines.items():
        if np.ptp(line.by_frame) > 0:
            axes.plot(page.frames, sign * line.by_frame, label=name, linewidth=2 if name == page.own else 0.8)
    own = page.lines[page.own].by_frame
    axes.plot([page.frames[p] for p in positions], [sign * own[p] for p in positions], "rv", markersize=5)
    axes.set(xlabel="frame", ylabel="PSNR, placed, in the truth's colours (dB)" if has_truth else "landmark error (%)")
    axes.yaxis.label.set_fontsize(8)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    return _png(figure)


def _motion(page: ReportPage, has_truth: bool) -> str:
    reference = "truth" if has_truth else "unswapped"
    figure, grid = plt.subplots(4, 2, figsize=(10, 8), layout="constrained", sharex=True)
    for index, (name, axes) in enumerate(zip(FEATURES, grid.T.flat, strict=True)):
        for line in (reference, page.own):
            axes.plot(page.frames, page.motion[line][:, index], label=line, linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.grid(visible=True, alpha=0.3)
    grid[0, 0].legend(fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("frame")
    return _png(figure)


def _png(figure: Any) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    plt.close(figure)
    return base64.b64encode(data.getvalue()).decode()
