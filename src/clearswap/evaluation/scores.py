"""Scores: what each metric of `evaluate` says, and how sampled clips are scored against the reference."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clearswap.evaluation import metrics
from clearswap.evaluation.meaning import Meaning, Meanings, compare
from clearswap.evaluation.metrics import Colours, PerceptualDistance, Placement
from clearswap.evaluation.motion import FACE, POSE, Agreement, Curves, agreement, landmark_error
from clearswap.evaluation.sharpness import Detail, detail, grain_ratio, run_ratios, structure_ratios
from clearswap.progress import OnProgress, Progress, silent

# The columns of the table: the frames as they were; the person's average face as a still picture; this swap; the
# truth's own face of the same moment put in place, which is all that a perfect network could do; the truth.
UNSWAPPED, BASELINE, RESULT, ORACLE, TRUTH = "unswapped", "baseline", "this swap", "oracle", "truth"
_PART = 15  # frames in memory as tensors at once, so that memory does not grow with their number
_MOST = 35  # frames in which the perceptual distance is measured: it takes 0.13 s each
_PAIRS = 4  # of faces, of which the perceptual distance is measured at once


Values = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One row of the table."""

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower", "near 1"]
    meaning: str


METRICS = (
    Metric(
        "score", "score", "of 100", "higher", "one figure of the parts below: how it looks, who it is, what it says"
    ),
    Metric(
        "perceptual", "perceptual distance", "", "lower", "ST-LPIPS of the face area, placed and coloured; 0 is equal"
    ),
    Metric(
        "sharpness", "sharpness", "x", "near 1", "structure in three bands, in multiples of the reference's; no grain"
    ),
    Metric("grain", "grain", "x", "near 1", "detail that the next frame has not, in multiples of the reference's"),
    Metric("lids", "lids", "", "higher", "correlation of how far they are shut"),
    Metric("jaw", "jaw and lips", "", "higher", "correlation of how far they are open"),
    Metric("gaze", "gaze", "", "higher", "correlation, across and down, where eyes are open"),
    Metric("closed", "closed lips stay closed", "", "higher", "share of the frames in which the reference's are shut"),
    Metric(
        "closed_lids", "closed lids stay closed", "", "higher", "share of the frames in which the reference's are shut"
    ),
    Metric("followed", "motion followed", "", "higher", "eyes, mouth, brows, gaze; 1: all of it, 0: a still picture"),
    Metric("identity_truth", "identity: from the truth", "", "lower", "embedding distance; below 0.6: one person"),
    Metric("identity_wanted", "identity: from the person put in", "", "lower", "from that person's mean embedding"),
    Metric(
        "identity_video", "identity: from the person in the video", "", "higher", "from that person's mean embedding"
    ),
    Metric("flicker", "flicker", "x", "near 1", "second difference of three frames, in multiples of the reference's"),
    Metric(
        "edge", "visible edge", "/255", "lower", "how much steeper the swap's border is than the reference, at worst"
    ),
    Metric("border", "border", "", "near 1", "steepness of that border, in multiples of the reference's own"),
    Metric("pose", "pose error", "degrees", "lower", "of yaw, pitch and roll, their constant difference taken out"),
    Metric(
        "expression", "landmark error", "%", "lower", "of the eye distance; each landmark's constant offset taken out"
    ),
    Metric("outside", "outside PSNR", "dB", "higher", "what changed outside the face, less our own label and mark"),
    # A blur raises these, and detail that is a pixel off lowers them: they come last.
    # Where one person's features sit on another's head is a choice, and so is which skin tone a swap has.
    Metric("fitted_psnr", "placed, coloured PSNR", "dB", "higher", "the clip's best placement and colours taken out"),
    Metric("fitted_ssim", "placed, coloured SSIM", "", "higher", "structure, with both taken out"),
    Metric("placed_psnr", "placed PSNR", "dB", "higher", "the clip's best constant shift, turn and zoom taken out"),
    Metric("placed_ssim", "placed SSIM", "", "higher", "structure, with that shift, turn and zoom taken out"),
    Metric("face_psnr", "face PSNR", "dB", "higher", "the face area as it is, occluders left out"),
    Metric("face_ssim", "face SSIM", "", "higher", "structure of the face area as it is"),
    Metric("frame_psnr", "frame PSNR", "dB", "higher", "the frame less our own label and mark; 100 is equal"),
    Metric("frame_ssim", "frame SSIM", "", "higher", "structure of the frame; 1 is equal"),
)


@dataclass(frozen=True)
class ClipSamples:
    """What one clip shows in the N frames that are measured. All clips of one evaluation are aligned by the reference's
    matrices.
    """

    faces: NDArray[np.uint8]  # (N, S, S, 3), aligned
    motion: Curves  # (N, 8)
    landmarks: NDArray[np.float32]  # (N, 478, 2) in the aligned square
    meanings: Meanings  # (N, 56)
    embeddings: NDArray[np.float32]  # (N, 128)
    whole_frame: Mapping[str, float]  # scores of the whole frame
    unseen: int  # frames in which no face is recognised


@dataclass(frozen=True)
class Reference:
    """What all clips of one evaluation are measured against."""

    clip: ClipSamples  # the truth, or else the original frames
    area: NDArray[np.uint8]  # (N, S, S), 1 where the face is and nothing covers it
    inside: NDArray[np.uint8]  # (N, S, S), 1 in the area that a swap covers
    band: NDArray[np.uint8]  # (N, S, S), 1 where the border of that area is blended
    triples: list[int]  # the middle one of each three successive frames
    wanted: NDArray[np.float32]  # (128,) mean embedding of the person put in
    original: NDArray[np.float32]  # (128,) mean embedding of the person in the video
    has_truth: bool

    def detail_of(self, clip: ClipSamples) -> Detail:
        """The fine detail of a clip's faces, of each run of three."""
        runs = [clip.faces[middle - 1 : middle + 2] for middle in self.triples]
        return detail(runs, [self.area[middle] for middle in self.triples])

    @cached_property
    def detail(self) -> Detail:
        """The reference's own."""
        return self.detail_of(self.clip)


@dataclass(frozen=True)
class Samples:
    """All that was read of the clips of one evaluation: scoring it opens no file."""

    frames: list[int]  # (N,) which were measured
    clips: dict[str, ClipSamples]  # the table's columns, from `UNSWAPPED` to `TRUTH`
    reference: Reference
    without_face: int  # frames in which there was nothing to measure


@dataclass(frozen=True)
class ClipScores:
    """How one clip fares."""

    scores: dict[str, float]  # by the key of its metric
    agreements: list[Agreement]  # one for each of `motion.FEATURES`
    meaning: Meaning
    bands: list[float]  # structure in multiples of the reference's, fine to coarse
    by_frame: NDArray[np.float64]  # (N,), the score's per-frame part, 0..100: which frames are the worst
    colours: Colours
    placement: Placement


def score(samples: Samples, *, on_progress: OnProgress = silent) -> dict[str, ClipScores]:
    """The scores of every clip, by its name."""
    scored: dict[str, ClipScores] = {}
    for name, clip in samples.clips.items():
        on_progress(Progress("score", len(scored), len(samples.clips), "lines"))
        scored[name] = score_clip(clip, samples.reference)
    on_progress(Progress("score", len(scored), len(samples.clips), "lines"))
    return scored


def score_clip(clip: ClipSamples, reference: Reference) -> ClipScores:
    """All scores of one clip."""
    agreements = agreement(clip.motion, reference.clip.motion)
    shapes = landmark_error(clip.landmarks, reference.clip.landmarks)
    poses = (clip.motion - reference.clip.motion)[:, POSE]
    meaning = compare(clip.meanings, reference.clip.meanings)
    placement, colours = _fit(clip, reference) if reference.has_truth else (Placement(), Colours())
    pixels = _pixels(clip, reference, placement, colours)
    own_detail = reference.detail_of(clip)
    bands = structure_ratios(own_detail, reference.detail)
    identity = _distances(clip.embeddings, reference.wanted)
    scores = dict(clip.whole_frame) | {name: float(values.mean()) for name, values in pixels.items()} | meaning.scores
    scores["border"] /= max(scores.pop("reference_border"), 1e-9)
    if bands:
        scores |= {"sharpness": float(np.mean(bands)), "grain": grain_ratio(own_detail, reference.detail)}
    if reference.has_truth:
        scores["identity_truth"] = float(_distances(clip.embeddings, reference.clip.embeddings).mean())
        distances = _perceptual(clip, reference, placement, colours)
        scores["perceptual"] = float(distances.mean())
        looks = look_of_distance(distances)
    else:
        looks = look_of_sharpness(_by_frame(run_ratios(own_detail, reference.detail), reference))
    scores |= {
        "followed": float(np.mean([one.followed for one in agreements[FACE]])),
        "pose": float(np.abs(poses - poses.mean(0)).mean()),
        "expression": float(shapes.mean()),
        "identity_wanted": float(identity.mean()),
        "identity_video": float(_distances(clip.embeddings, reference.original).mean()),
        "flicker": _flicker(clip, reference) / max(_flicker(reference.clip, reference), 1e-9),
    }
    scores["score"] = total(scores)
    steeper = pixels["border"] / pixels["reference_border"].clip(min=1e-9)
    by_frame = total_by_frame(looks, identity, meaning.error, steeper)
    return ClipScores(scores, agreements, meaning, bands, by_frame, colours, placement)


def _fit(clip: ClipSamples, reference: Reference) -> tuple[Placement, Colours]:
    """The clip's constant placement and colours. Ten numbers: some fifteen frames at half the size are plenty."""
    some = slice(None, None, max(1, len(clip.faces) // 15))
    result, truth = (F.avg_pool2d(as_tensor(one.faces[some]), 2) for one in (clip, reference.clip))
    area = _as_mask(reference.area[some])[..., ::2, ::2]
    first = metrics.best_colours(result, truth, area)  # where it belongs shows better in like colours
    placement = metrics.best_placement(first.apply(result), truth, area)
    return placement, metrics.best_colours(placement.apply(result), truth, area)


def _pixels(
    clip: ClipSamples, reference: Reference, placement: Placement, colours: Colours
) -> dict[str, NDArray[np.float64]]:
    """What is measured in pixels, by frame: edge and border (N,), the latter of the reference, too, and with a truth
    PSNR (N,) and SSIM (of every third frame) of the faces as they are, placed, and placed and coloured.
    """
    found: defaultdict[str, list[Tensor]] = defaultdict(list)
    for start in range(0, len(clip.faces), _PART):
        part = slice(start, start + _PART)
        result, goal = as_tensor(clip.faces[part]), as_tensor(reference.clip.faces[part])
        area, inside, band = (_as_mask(m[part]) for m in (reference.area, reference.inside, reference.band))
        borders = metrics.borders(result, goal, inside, band)
        found["edge"].append(255 * borders.excess)
        found["border"].append(borders.result)
        found["reference_border"].append(borders.truth)
        if reference.has_truth:
            placed = placement.apply(result)
            for name, faces in (("face", result), ("placed", placed), ("fitted", colours.apply(placed))):
                found[f"{name}_psnr"].append(metrics.psnr(faces, goal, area))
                # takes ten times as long as the PSNR, and neighbours are alike
                found[f"{name}_ssim"].append(metrics.ssim(faces[::3], goal[::3], area[::3]))
    return {name: torch.cat(values).double().numpy() for name, values in found.items()}


def _perceptual(clip: ClipSamples, reference: Reference, placement: Placement, colours: Colours) -> NDArray[np.float64]:
    """The perceptual distance of each frame (N,), measured in 35 of them at most; the others have their neighbours'."""
    count = len(clip.faces)
    if clip is reference.clip:
        return np.zeros(count)
    distance = PerceptualDistance()
    places = reference.triples or list(range(count))
    places = places[:: max(1, math.ceil(len(places) / _MOST))]
    found: list[float] = []
    for start in range(0, len(places), _PAIRS):
        some = places[start : start + _PAIRS]
        result = colours.apply(placement.apply(as_tensor(clip.faces[some])))
        found += distance.in_area(
            result, as_tensor(reference.clip.faces[some]), _as_mask(reference.area[some])
        ).tolist()
    return np.interp(np.arange(count), places, found)


def _by_frame(values: NDArray[np.float64], reference: Reference) -> NDArray[np.float64]:
    """What was measured in each run of three (T,), for every frame (N,); 1 where there is no run."""
    count = len(reference.clip.faces)
    return np.interp(np.arange(count), reference.triples, values) if reference.triples else np.ones(count)


def _flicker(clip: ClipSamples, reference: Reference) -> float:
    """The mean over all runs of three successive frames; 0 where there are none."""
    found: list[float] = []
    for middle in reference.triples:
        before, now, after = as_tensor(clip.faces[middle - 1 : middle + 2])[:, None]
        found.append(float(metrics.flicker(before, now, after, _as_mask(reference.area[middle : middle + 1]))))
    return float(np.mean(found)) if found else 0.0


def as_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """Pictures (N, H, W, 3) of bytes as (N, 3, H, W) in 0..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def _as_mask(masks: NDArray[np.uint8]) -> Tensor:
    """Masks (N, H, W), 0 or 1, as (N, 1, H, W)."""
    return torch.from_numpy(masks)[:, None].float()


def _distances(embeddings: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far each embedding (N,) is from another or its own other."""
    return np.linalg.norm(embeddings - other, axis=-1).astype(np.float64)


# --- the score: one figure that orders results ---------------------------------------------------------

# It is the product of five parts, each 0 to 1, to the power of its weight, so that nothing makes up for a part that is
# missing: a still picture of the right person says little, and the unswapped video is the wrong person. How it looks:
# the perceptual distance; without a truth, sharpness. Who it is: the distance of the embedding from the person put in.
# What it says: the mean of lids, jaw, gaze, closed lips, closed lids and motion followed, of those told. How calm it
# is: flicker. How well it is joined: border.
_LOOK, _IDENTITY, _MEANING, _FLICKER, _BORDER = 0.3, 0.25, 0.3, 0.075, 0.075
_SAYS = ("lids", "jaw", "gaze", "closed", "closed_lids", "followed")
_FAR = 0.4  # perceptual distance by which the look falls to 1/e; the demo's still picture has 0.5, its oracle 0.07
_BETWEEN, _STEEP = 0.5, 0.04  # embedding distance at which it may or may not be the person, and how soon it is sure
_LOST = 3.0  # difference of the face's numbers, in multiples of their spread, at which a frame says nothing of the kind


def look_of_distance(distance: Values) -> Values:
    """How well a face looks, 1 to 0, by its perceptual distance from the truth."""
    return np.exp(-distance / _FAR)


def look_of_sharpness(sharpness: Values) -> Values:
    """How well a face looks, 1 to 0, by its sharpness: too soft or too sharp."""
    return (1 - np.abs(1 - sharpness)).clip(0, 1)


def total(scores: Mapping[str, float]) -> float:
    """The score, 0 to 100, of a clip's other scores."""
    if "perceptual" in scores:
        look = look_of_distance(np.array(scores["perceptual"]))
    else:
        look = look_of_sharpness(np.array(scores.get("sharpness", 1.0)))
    told = [min(1.0, max(0.0, scores[key])) for key in _SAYS if key in scores]
    calm = min(scores["flicker"], 1 / max(scores["flicker"], 1e-9))
    parts = (
        (float(look), _LOOK),
        (float(_right_person(np.array(scores["identity_wanted"]))), _IDENTITY),
        (float(np.mean(told)), _MEANING),
        (max(0.0, calm), _FLICKER),
        (1 / max(1.0, scores["border"]), _BORDER),
    )
    return 100 * float(np.prod([part**weight for part, weight in parts]))


def total_by_frame(looks: Values, identity: Values, meaning_error: Values, border: Values) -> Values:
    """The score of each frame (N,), of what can be said of a single one: not flicker, and meaning by its error.

    `looks` are 0..1, `identity` distances, `border` multiples of the reference's own.
    """
    says = (1 - meaning_error / _LOST).clip(0, 1)
    rest = 1 / (_LOOK + _IDENTITY + _MEANING + _BORDER)
    product = looks**_LOOK * _right_person(identity) ** _IDENTITY * says**_MEANING * (1 / border.clip(min=1)) ** _BORDER
    return 100 * product**rest


def _right_person(distance: Values) -> Values:
    """Near 1 for embeddings as near as a person's own pictures (0.35), near 0 for another person's (0.6)."""
    return 1 / (1 + np.exp((distance - _BETWEEN) / _STEEP))
