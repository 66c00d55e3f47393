"""Evaluate: how good is a swap? Against the right answer where it is known, else against the original frames.

outcome = clearswap.evaluate("swapped.mp4", "source.mp4", "evaluation", truth="truth.mp4", target="faces_a")
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from clearswap.core.align import Frame, Matrix, Points, align, face_matrix, transform
from clearswap.core.mask import hull
from clearswap.errors import InputError, OptionError
from clearswap.evaluation import metrics
from clearswap.evaluation.motion import FEATURES
from clearswap.evaluation.report import ReportPage, write_report
from clearswap.evaluation.sampling import (
    FaceMeasures,
    Reader,
    SampledFrame,
    average_face,
    ceiling,
    chosen_frames,
    moments,
    pasted,
)
from clearswap.evaluation.scores import FIGURES, Figure, Ground, Outcome, Sampled, as_tensor, score
from clearswap.faces.embedding import Embedding, chip
from clearswap.faces.faceset import read_face, read_index
from clearswap.faces.tracker import TrackConfig
from clearswap.media.atomic import atomic_file
from clearswap.media.files import Occluders
from clearswap.media.video import probe
from clearswap.progress import OnProgress, Progress, silent

# The lines of the table: the frames as they were; the target's average face as a still picture; this swap; the
# target's own face of the same moment put in the source's place, all that a perfect network could do; the truth.
UNSWAPPED, STILL, RESULT, CEILING, TRUTH = "unswapped", "still", "this swap", "ceiling", "truth"
_SIDE, _COVERAGE, _DROP = 256, 0.8, 0.05  # of the aligned faces that are measured
_BAND = 0.11  # the border of a swap is blended within so much of the square's side from the landmarks' hull


@dataclass(frozen=True)
class EvaluateConfig:
    """How a swap is measured.

    Attributes:
        samples: Frames to measure, in runs of three spread evenly over the clip.
        worst: Frames to show in the report, the worst first.
    """

    samples: int = 200
    worst: int = 8

    def __post_init__(self) -> None:
        if self.samples < 3:
            raise OptionError(f"{self.samples} samples are too few to measure motion; give 3 or more.")
        if self.worst < 1:
            raise OptionError(f"A report with {self.worst} of the worst frames shows nothing; give 1 or more.")


@dataclass(frozen=True)
class EvaluateResult:
    """The outcome: the table's lines by name, this swap's among them, and where the report lies."""

    lines: dict[str, Outcome]
    figures: list[Figure]  # the table's figures, in order
    frames: list[int]  # which were measured
    without_face: int  # frames in which there was nothing to measure
    notes: list[str]
    json: Path
    report: Path

    def __getitem__(self, figure: str) -> float:
        """One figure of this swap, such as "fitted_psnr"."""
        return self.lines[RESULT].scores[figure]


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
    people do. Beside the swap stand lines whose meaning is known: the frames unswapped, the identity's average face as
    a still, and, with a truth, the identity's own frame in the video's place, which is all that a perfect network
    could reach.

    Args:
        result: The swapped video.
        video: The video before the swap.
        output: Folder for evaluation.json and report.html.
        truth: The right answer, frame by frame, where there is one.
        identity: Face set of the person whose face was put in; needed without a truth.
        labels: Where something covers the face (.npz); CLIP.labels.npz beside the truth or the video when left out.
        config: How the swap is measured.
        tracking: How faces are found and followed.
        on_progress: Called after each frame.

    Raises:
        InputError: A video cannot be read, or too few of its frames show a face.
        FacesetError: The face set is missing or damaged.
        OutputError: `output` cannot be written.
        FaceModelsMissing: The face models are not installed.
    """
    paths = [Path(video), Path(result)] + ([Path(truth)] if truth is not None else [])
    if truth is None and identity is None:
        raise InputError(
            "Whose face should it be? Give the person's face set with --identity, or the truth with --truth."
        )
    bench = _Bench(Path(identity) if identity is not None else None, truth is not None, tracking)
    covered = Occluders([paths[-1], paths[0]] if truth is not None else [paths[0]], Path(labels) if labels else None)
    total = probe(paths[0]).frames
    for index, moment in moments(
        paths[0], paths[1], paths[2] if truth is not None else None, bench.reader, config.samples
    ):
        on_progress(Progress("evaluate", index + 1, total, "frames"))
        if moment is not None:
            bench.add(moment, covered(index, *moment.source.shape[:2]))
    skipped = len(chosen_frames(total, config.samples)) - len(bench.frames)
    if len(bench.frames) < 3:
        raise InputError(
            f"Faces were found in only {len(bench.frames)} of the frames of {paths[0]}; too few to measure."
        )
    lines, ground = bench.outcomes(on_progress)
    figures = [f for f in FIGURES if (ground.has_truth or not f.needs_truth) and f.key in lines[RESULT].scores]
    home = Path(output)
    outcome = EvaluateResult(
        lines, figures, bench.frames, skipped, bench.notes(skipped), home / "evaluation.json", home / "report.html"
    )
    _write(outcome, bench, ground, paths, config)
    return outcome


@dataclass
class _Clip:
    """What has been read of one clip so far."""

    faces: list[Frame] = field(default_factory=list[Frame])
    readings: list[FaceMeasures] = field(default_factory=list[FaceMeasures])
    landmarks: list[Points] = field(default_factory=list[Points])
    frame: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def sampled(self, embedding: Embedding) -> Sampled:
        means = {key: float(np.mean([f[key] for f in self.frame])) for key in (self.frame[0] if self.frame else {})}
        return Sampled(
            np.stack(self.faces),
            np.stack([reading.motion for reading in self.readings]),
            np.stack(self.landmarks),
            embedding([reading.chip for reading in self.readings]),
            means,
            sum(not reading.present for reading in self.readings),
        )


class _Bench:
    """Reads the clips moment by moment and scores them at the end."""

    def __init__(self, target: Path | None, has_truth: bool, tracking: TrackConfig) -> None:
        self.has_truth = has_truth
        self.reader, self.embedding = Reader(tracking), Embedding()
        self.frames: list[int] = []
        self.clips: dict[str, _Clip] = {}
        self.masks: list[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]] = []
        self.still: NDArray[np.uint8] | None = None
        self.target: NDArray[np.float32] | None = None
        if target is not None:
            records = read_index(target, at_least=1)
            faces = [(record, read_face(target, record)) for record in records[:: max(1, len(records) // 100)]]
            self.still = average_face([(picture, np.eye(2, 3) * (256 / len(picture))) for _, picture in faces])
            chips = [chip(picture, record.aligned_landmarks()) for record, picture in faces]
            self.target = self.embedding(chips).mean(0)

    def add(self, moment: SampledFrame, covered: NDArray[np.uint8] | None) -> None:
        """Measure one frame of every clip."""
        matrix = face_matrix(moment.face.landmarks, _SIDE, _COVERAGE, _DROP)
        self.frames.append(moment.index)
        area, inside, band = _areas(moment, matrix, covered)
        self.masks.append((area, inside, band))
        around = hull(moment.source_face.landmarks, *moment.source.shape[:2]) if not self.has_truth else None
        for name, picture in self._pictures(moment).items():
            clip = self.clips.setdefault(name, _Clip())
            reading = self.reader(picture, moment.face)
            clip.faces.append(align(picture, matrix, _SIDE))
            clip.readings.append(reading)
            clip.landmarks.append(transform(reading.landmarks, matrix))
            if len(self.frames) % 3 == 2:  # whole frames take their time: one of each three is enough
                clip.frame.append(_whole_frame(picture, moment, around))

    def _pictures(self, moment: SampledFrame) -> dict[str, Frame]:
        """The same moment as every line of the table has it."""
        landmarks = moment.source_face.landmarks
        pictures = {UNSWAPPED: moment.source}
        if self.still is not None:
            pictures[STILL] = pasted(moment.source, landmarks, self.still)
        pictures[RESULT] = moment.result
        if moment.truth is not None:
            pictures[CEILING] = ceiling(moment.source, landmarks, moment.truth, moment.face.landmarks)
            pictures[TRUTH] = moment.truth
        return pictures

    def outcomes(self, on_progress: OnProgress) -> tuple[dict[str, Outcome], Ground]:
        """Every line's figures, and what they were measured against."""
        sampled = {name: clip.sampled(self.embedding) for name, clip in self.clips.items()}
        self.unseen = {name: clip.unseen for name, clip in sampled.items()}
        reference = sampled[TRUTH if self.has_truth else UNSWAPPED]
        area, inside, band = (np.stack(masks) for masks in zip(*self.masks, strict=True))
        at = {frame: position for position, frame in enumerate(self.frames)}
        triples = [p for f, p in at.items() if at.get(f - 1) == p - 1 and at.get(f + 1) == p + 1]
        target = reference.embeddings.mean(0) if self.target is None else self.target
        source = sampled[UNSWAPPED].embeddings.mean(0)
        ground = Ground(reference, area, inside, band, triples, target, source, self.has_truth)
        lines: dict[str, Outcome] = {}
        for done, (name, clip) in enumerate(sampled.items()):
            on_progress(Progress("score", done, len(sampled), "lines"))
            lines[name] = score(clip, ground)
        on_progress(Progress("score", len(sampled), len(sampled), "lines"))
        return lines, ground

    def notes(self, skipped: int) -> list[str]:
        """What should be known of the table."""
        notes = [f"{len(self.frames)} frames measured."]
        if self.has_truth:
            notes.append("Still: the target's average face; ceiling: the target's own frame in the source's place.")
        if skipped > 0:
            notes.append(f"{skipped} frames were to be measured but show no face and count nowhere.")
        if self.unseen[RESULT]:
            notes.append(f"In {self.unseen[RESULT]} frames of this swap no face is recognised any more.")
        if self.target is None:
            notes.append(
                "No target face set was given: the identity of the target is the truth's, and no still is shown."
            )
        return notes


def _areas(
    moment: SampledFrame, matrix: Matrix, covered: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Three masks (256, 256), 0 or 1, in the aligned square: where the face is measured, what a swap covers, and
    where its border is blended.

    Measured is what every candidate replaces: inside the reference's landmarks, and inside the original face's drawn
    in by a sixth, where no mask is soft; and nothing that something covers.
    """
    own, original = (transform(f.landmarks, matrix) for f in (moment.face, moment.source_face))
    inside = hull(original, _SIDE) // 255
    area = np.minimum(
        hull(own, _SIDE), hull(original.mean(0) + (original - original.mean(0)) * np.float32(5 / 6), _SIDE)
    )
    area = area // 255
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    band = ((depth > 0) & (depth < _BAND * _SIDE)).astype(np.uint8)
    if covered is not None:
        hidden = cv2.warpAffine(covered, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR)
        free = (cv2.dilate(hidden, np.ones((5, 5), np.uint8)) == 0).astype(np.uint8)
        area, band = area * free, band * free
    return area, inside, band


def _whole_frame(picture: Frame, moment: SampledFrame, face: NDArray[np.uint8] | None) -> dict[str, float]:
    """The figures of whole frames: with a truth how near it is, without one what changed outside the face."""
    result, goal = as_tensor(picture[None]), as_tensor(moment.reference[None])
    if face is None:
        area = (result[:, :1] >= 0).float()
        return {
            "frame_psnr": float(metrics.psnr(result, goal, area)),
            "frame_ssim": float(metrics.ssim(result, goal, area)),
        }
    grown = cv2.dilate(face, np.ones((9, 9), np.uint8))
    outside = torch.from_numpy(grown == 0)[None, None].float()
    return {"outside": float(metrics.psnr(result, goal, outside))}


def _write(outcome: EvaluateResult, bench: _Bench, ground: Ground, paths: list[Path], config: EvaluateConfig) -> None:
    named: dict[str, str] = dict(zip(("source", "result", "truth"), map(str, paths), strict=False))
    lines = {
        name: {
            "scores": line.scores,
            "motion": {f: vars(follow) for f, follow in zip(FEATURES, line.follows, strict=True)},
            "placement": vars(line.placement),
            "colours": vars(line.colours),
        }
        for name, line in outcome.lines.items()
    }
    curves = {name: np.stack([reading.motion for reading in clip.readings]) for name, clip in bench.clips.items()}
    data = {
        "clips": named,
        "frames": outcome.frames,
        "lines": lines,
        "notes": outcome.notes,
        "by_frame": outcome.lines[RESULT].by_frame.round(4).tolist(),
        "motion": {name: curve.round(3).tolist() for name, curve in curves.items()},
    }
    with atomic_file(outcome.json) as partial:
        partial.write_text(json.dumps(data, indent=1, default=list))
    worst = _worst(outcome, config.worst)
    shown = {n: np.stack([bench.clips[n].faces[i] for i in worst]) for n in (UNSWAPPED, RESULT, TRUTH) if n in lines}
    page = ReportPage(named, outcome.figures, outcome.lines, outcome.frames, outcome.notes, curves, RESULT)
    write_report(outcome.report, page, shown, worst, ground.has_truth)


def _worst(outcome: EvaluateResult, count: int) -> list[int]:
    """Where the worst frames lie among those measured, the worst first, no two within ten frames of each other."""
    chosen: list[int] = []
    positions: list[int] = np.argsort(outcome.lines[RESULT].by_frame).tolist()
    for position in positions:
        if len(chosen) < count and all(abs(outcome.frames[position] - outcome.frames[c]) >= 10 for c in chosen):
            chosen.append(position)
    return chosen
