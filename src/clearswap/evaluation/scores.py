"""The figures of `evaluate`: what each says, and how one clip's sampled faces are scored against the right ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clearswap.evaluation import metrics
from clearswap.evaluation.metrics import Colours, Placement
from clearswap.evaluation.motion import FACE, POSE, Curves, Follow, follow, landmark_error

Scores = dict[str, float]


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower", "near 1"]
    needs_truth: bool
    meaning: str


FIGURES = (
    Figure("frame_psnr", "frame PSNR", "dB", "higher", True, "every pixel of the frame; 100 is equal"),
    Figure("frame_ssim", "frame SSIM", "", "higher", True, "structure of the frame; 1 is equal"),
    Figure("face_psnr", "face PSNR", "dB", "higher", True, "the face area as it is, occluders left out"),
    Figure("face_ssim", "face SSIM", "", "higher", True, "structure of the face area as it is"),
    Figure(
        *("placed_psnr", "placed PSNR", "dB", "higher", True),
        "after the clip's best constant similarity: where one person's features sit on another's head is a choice",
    ),
    Figure("placed_ssim", "placed SSIM", "", "higher", True, "the same for structure"),
    Figure(
        *("fitted_psnr", "placed, coloured PSNR", "dB", "higher", True),
        "with the clip's one gain and offset for each colour besides: which skin tone a swap has is a choice, too",
    ),
    Figure("fitted_ssim", "placed, coloured SSIM", "", "higher", True, "the same for structure"),
    Figure(
        *("edge", "visible edge", "/255", "lower", False),
        "how much steeper the frame steps across the swapped area's border than the reference, where it is steepest",
    ),
    Figure(
        *("border", "border", "", "near 1", False),
        "how steep the frame is across that border, where it is steepest, in multiples of the reference's own",
    ),
    Figure(
        *("followed", "motion followed", "", "higher", False),
        "eyes, mouth, brows and gaze go the same way equally far: 1; a still picture: about 0",
    ),
    Figure(
        "pose", "pose error", "degrees", "lower", False, "of yaw, pitch and roll, their constant difference taken out"
    ),
    Figure(
        *("expression", "landmark error", "%", "lower", False),
        "of 468 landmarks in the eye distance, each one's constant difference (who it is) taken out",
    ),
    Figure(
        *("identity_truth", "identity: from the truth", "", "lower", True),
        "distance of face embeddings, frame by frame; two pictures of one person lie less than 0.6 apart",
    ),
    Figure(
        *("identity_target", "identity: from the target", "", "lower", False),
        "distance from the mean embedding of the person whose face it should be",
    ),
    Figure(
        *("identity_source", "identity: from the source", "", "higher", False),
        "distance from the mean embedding of the person in the original frames",
    ),
    Figure(
        *("flicker", "flicker", "x", "near 1", False),
        "second difference over three frames of stabilised faces, in multiples of the reference's own",
    ),
    Figure(
        *("sharpness", "sharpness", "x", "near 1", False),
        "fine detail in the face in multiples of the reference's; above 1 may be noise",
    ),
    Figure("outside", "outside PSNR", "dB", "higher", False, "what changed outside the face, where nothing should"),
)


@dataclass(frozen=True)
class Sampled:
    """What one clip shows in the frames that are measured: N aligned faces of S pixels.

    All clips of one evaluation are aligned by the same matrices, those of the reference.
    """

    faces: NDArray[np.uint8]  # (N, S, S, 3)
    motion: Curves  # (N, 8)
    landmarks: NDArray[np.float32]  # (N, 468, 2) in the aligned square
    embeddings: NDArray[np.float32]  # (N, 128)
    frame: dict[str, float]  # the figures of the whole frame
    unseen: int  # frames in which no face is recognised


@dataclass(frozen=True)
class Ground:
    """What all clips of one evaluation are measured against."""

    reference: Sampled  # the truth, or else the original frames
    area: NDArray[np.uint8]  # (N, S, S), 1 where the face is and nothing covers it
    inside: NDArray[np.uint8]  # (N, S, S), 1 in the area that a swap covers
    band: NDArray[np.uint8]  # (N, S, S), 1 where the border of that area is blended
    triples: list[int]  # the middle one of each three successive frames
    target: NDArray[np.float32]  # (128,) mean embeddings
    source: NDArray[np.float32]
    has_truth: bool

    @cached_property
    def flicker(self) -> float:
        """The reference's own: measured once, all lines are multiples of it."""
        return _flicker(self.reference, self)

    @cached_property
    def sharpness(self) -> float:
        """The reference's own."""
        return _sharpness(self.reference, self)


@dataclass(frozen=True)
class Outcome:
    """How one clip fares."""

    scores: Scores
    follows: list[Follow]  # one for each of `motion.FEATURES`
    by_frame: NDArray[np.float64]  # (N,), higher is better: which frames are the worst
    colours: Colours
    placement: Placement


def score(clip: Sampled, ground: Ground) -> Outcome:
    """All figures of one clip."""
    reference = ground.reference
    follows = follow(clip.motion, reference.motion)
    shapes = landmark_error(clip.landmarks, reference.landmarks)
    placement, colours = Placement(), Colours()
    scores = dict(clip.frame)
    by_frame = -shapes
    if ground.has_truth:
        placement, colours = _fit(clip, ground)
        pixels = {
            "face": _pixels(clip, ground, lambda x: x),
            "placed": _pixels(clip, ground, placement.apply),
            "fitted": _pixels(clip, ground, lambda x: colours.apply(placement.apply(x))),
        }
        scores |= {f"{name}_{key}": float(v.mean()) for name, two in pixels.items() for key, v in two.items()}
        by_frame = pixels["fitted"]["psnr"]
        scores["identity_truth"] = _distance(clip.embeddings, reference.embeddings)
    poses = (clip.motion - reference.motion)[:, POSE]
    scores |= {
        "followed": float(np.mean([f.followed for f in follows[FACE]])),
        "pose": float(np.abs(poses - poses.mean(0)).mean()),
        "expression": float(shapes.mean()),
        "identity_target": _distance(clip.embeddings, ground.target),
        "identity_source": _distance(clip.embeddings, ground.source),
        "edge": _edge(clip, ground),
        "border": _border(clip, ground) / max(_border(reference, ground), 1e-9),
        "flicker": _flicker(clip, ground) / max(ground.flicker, 1e-9),
        "sharpness": _sharpness(clip, ground) / max(ground.sharpness, 1e-9),
    }
    return Outcome(scores, follows, by_frame, colours, placement)


def _fit(clip: Sampled, ground: Ground) -> tuple[Placement, Colours]:
    """The clip's constant placement and colours. Ten numbers: some fifteen frames at half the size are plenty."""
    some = slice(None, None, max(1, len(clip.faces) // 15))
    halved = [F.avg_pool2d(as_tensor(c.faces[some]), 2) for c in (clip, ground.reference)]
    result, truth, area = *halved, _area(ground.area[some])[..., ::2, ::2]
    first = metrics.best_colours(result, truth, area)  # where it belongs shows better in like colours
    placement = metrics.best_placement(first.apply(result), truth, area)
    return placement, metrics.best_colours(placement.apply(result), truth, area)


def _pixels(clip: Sampled, ground: Ground, change: Callable[[Tensor], Tensor]) -> dict[str, NDArray[np.float64]]:
    """PSNR of every frame, and SSIM of one in three: it takes ten times as long, and neighbours are alike."""
    found: dict[str, list[Tensor]] = {"psnr": [], "ssim": []}
    for part in _parts(len(clip.faces)):
        result, truth = change(as_tensor(clip.faces[part])), as_tensor(ground.reference.faces[part])
        area = _area(ground.area[part])
        found["psnr"].append(metrics.psnr(result, truth, area))
        found["ssim"].append(metrics.ssim(result[::3], truth[::3], area[::3]))
    return {name: torch.cat(values).double().numpy() for name, values in found.items()}


def _edge(clip: Sampled, ground: Ground) -> float:
    found = [
        metrics.edge_excess(
            *(as_tensor(c.faces[part]) for c in (clip, ground.reference)),
            *(_area(mask[part]) for mask in (ground.inside, ground.band)),
        )
        for part in _parts(len(clip.faces))
    ]
    return 255 * float(torch.cat(found).mean())


def _border(clip: Sampled, ground: Ground) -> float:
    found = [
        metrics.border(as_tensor(clip.faces[part]), *(_area(mask[part]) for mask in (ground.inside, ground.band)))
        for part in _parts(len(clip.faces))
    ]
    return float(torch.cat(found).mean())


def _sharpness(clip: Sampled, ground: Ground) -> float:
    found = [metrics.sharpness(as_tensor(clip.faces[p]), _area(ground.area[p])) for p in _parts(len(clip.faces))]
    return float(torch.cat(found).mean())


def _flicker(clip: Sampled, ground: Ground) -> float:
    found: list[float] = []
    for middle in ground.triples:
        three = as_tensor(clip.faces[middle - 1 : middle + 2])
        found.append(float(metrics.flicker(three[:1], three[1:2], three[2:], _area(ground.area[middle : middle + 1]))))
    return float(np.mean(found)) if found else 0.0


def _parts(count: int) -> list[slice]:
    """Slices of a few frames: memory does not grow with their number."""
    return [slice(start, start + 15) for start in range(0, count, 15)]


def as_tensor(faces: NDArray[np.uint8]) -> Tensor:
    """Pictures (N, H, W, 3) as (N, 3, H, W) in 0..1."""
    return torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255


def _area(masks: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(masks)[:, None].float()


def _distance(embeddings: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(embeddings - other, axis=-1).mean())
