"""Evaluate: how good is a swap? Against the right answer where it is known, else against the original frames.

outcome = clearswap.evaluate("swapped.mp4", "video.mp4", "evaluation", truth="truth.mp4", identity="faces_a")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from clearswap.checks import check_fields
from clearswap.errors import InputError
from clearswap.evaluation.report import ReportPage, write_json, write_report
from clearswap.evaluation.sampling import sample
from clearswap.evaluation.scores import BASELINE, METRICS, RESULT, ClipScores, Metric, Samples, score
from clearswap.faces.tracker import TrackConfig
from clearswap.media.files import locked
from clearswap.progress import OnProgress, silent


@dataclass(frozen=True)
class EvaluateConfig:
    """How a swap is measured.

    Attributes:
        samples: Frames to measure, in runs of three spread evenly over the clip.
        worst: Frames to show in the report, the worst first.
    """

    samples: Annotated[int, Meta(ge=3, le=10**6)] = 200
    worst: Annotated[int, Meta(ge=1, le=1000)] = 8

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class EvaluateResult:
    """The scores of every clip of the table by name, this swap's among them, and where the report lies."""

    lines: dict[str, ClipScores]
    metrics: list[Metric]  # the table's rows, in order
    frames: list[int]  # which were measured
    without_face: int  # frames in which there was nothing to measure
    notes: list[str]
    json: Path
    report: Path

    def __getitem__(self, key: str) -> float:
        """One score of this swap, such as "fitted_psnr"."""
        return self.lines[RESULT].scores[key]


def evaluate(
    result: Path | str,
    video: Path | str,
    output: Path | str = "evaluation",
    *,
    truth: Path | str | None = None,
    identity: Path | str | None = None,
    labels: Path | str | None = None,
    config: EvaluateConfig = EvaluateConfig(),
    tracking: TrackConfig = TrackConfig(),
    on_progress: OnProgress = silent,
) -> EvaluateResult:
    """Measure how good a swap is: a table, evaluation.json, and a report with plots and the worst frames.

    The truth is a clip of the identity person doing in every frame what the person in the video does, as the synthetic
    people do. Next to the swap stand lines whose meaning is known: the frames unswapped, the identity's average face as
    a still (baseline), and, with a truth, the identity's own frame in the video's place (oracle), which is all that a
    perfect network could reach.

    Args:
        result: The swapped video.
        video: The video before the swap.
        output: Folder for evaluation.json and report.html.
        truth: The right answer, frame by frame, where there is one.
        identity: Face set of the person whose face was put in; needed without a truth.
        labels: Where something covers the face (.npz); CLIP.labels.npz next to the truth or the video when left out.
        config: How the swap is measured.
        tracking: How faces are found and followed.
        on_progress: Called after each frame.

    Raises:
        InputError: A video cannot be read, or too few of its frames show a face.
        FacesetError: The face set is missing or damaged.
        OutputError: `output` cannot be written.
        FaceModelsMissing: The face models are not installed.
    """
    if truth is None and identity is None:
        raise InputError(
            "Whose face should it be? Give that person's face set as `identity`, or the right answer as `truth`."
        )
    clips = {"video": Path(video), "result": Path(result)} | ({} if truth is None else {"truth": Path(truth)})
    home = Path(output)
    with locked(home, inside=True):
        samples = sample(
            clips["result"],
            clips["video"],
            truth=clips.get("truth"),
            identity=None if identity is None else Path(identity),
            labels=None if labels is None else Path(labels),
            samples=config.samples,
            tracking=tracking,
            on_progress=on_progress,
        )
        lines = score(samples, on_progress=on_progress)
        metrics = [m for m in METRICS if m.key in lines[RESULT].scores]
        notes = _notes(samples)
        names = {name: path.name for name, path in clips.items()}
        page = ReportPage(names, samples, lines, metrics, notes)
        write_json(home / "evaluation.json", page)
        write_report(home / "report.html", page, worst=config.worst)
    return EvaluateResult(
        lines, metrics, samples.frames, samples.without_face, notes, home / "evaluation.json", home / "report.html"
    )


def _notes(samples: Samples) -> list[str]:
    """What should be known of the table."""
    notes = [f"{len(samples.frames)} frames measured."]
    if samples.reference.has_truth:
        notes.append(
            "Baseline: the person's average face, a still picture. Oracle: the truth's own face, put in place."
        )
    if samples.without_face > 0:
        notes.append(f"{samples.without_face} frames were to be measured but show no face and count nowhere.")
    if unseen := samples.clips[RESULT].unseen:
        notes.append(f"In {unseen} frames of this swap no face is recognised any more.")
    if BASELINE not in samples.clips:
        notes.append("Without a face set, the person put in is the truth's, and there is no baseline.")
    return notes
