"""Face sets as training wants them: all faces of a person as bytes on the training device, some of them held out.

The held-out error says how well a network draws faces that it was never trained on. It is the one figure that training
reports, logs and is stopped by. Every network is asked the same question at the same size, whatever its own is: its
patch is drawn at 128 px, as a conversion would draw it, and compared there in the face area. A network of 64 px pays
for its blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clearswap.core.align import Frame, Points, align, transform, zoomed
from clearswap.core.augment import framed
from clearswap.core.blend import hull, only_face
from clearswap.core.expression import mirrored
from clearswap.core.losses import weighted_l1
from clearswap.core.network import ModelConfig, Side, SwapNet
from clearswap.core.train_step import FaceData
from clearswap.faces.covered import uncovered
from clearswap.faces.faceset import FaceRecord, read_face, read_index, read_mask, spread

# Rings of the mesh around what people look at: each eye with its brow, and the lips.
_DETAILS = (
    [33, 160, 158, 133, 153, 144, 70, 105, 107],
    [362, 385, 387, 263, 373, 380, 336, 334, 300],
    [61, 39, 0, 269, 291, 405, 17, 181],
)
_CLIP = 10  # a video of fewer faces is no clip of its own: pictures, or a scene cut short
_MOST_HELD_OUT = 64  # faces of a person that are measured; more say nothing new and cost time
HELD_OUT_SIZE = 128  # of the square in which networks are compared
COVERAGE = 0.7  # which part of the `whole_face` square it shows, and how far below its middle, as in `ModelConfig`
DROP = 0.055
_HELD_OUT_BATCH = 32


@dataclass(frozen=True)
class HeldOut:
    """Faces of one person that are kept apart from training."""

    inputs: Tensor  # (H, 3, S, S) in 0..1, what the network sees
    expressions: Tensor  # (H, MEASURES)
    truth: Tensor  # (H, 3, 128, 128) in 0..1, what it should draw
    area: Tensor  # (H, 1, 128, 128), 1 in the face


def load_faces(
    folder: Path, model: ModelConfig, device: torch.device, records: list[FaceRecord] | None = None
) -> tuple[FaceData, HeldOut]:
    """Load the faces of a set, and hold out the share `model.hold_out` of them. Raises `FacesetError`.

    `records`: those of its faces that nothing covers, where they are known already.
    """
    if records is None:
        records = uncovered(folder, read_index(folder, at_least=2))
    apart = held_out(records, model.hold_out)
    learned = [record for i, record in enumerate(records) if i not in apart]
    side = stored_side(model)
    faces = torch.empty(len(learned), 5, side, side, dtype=torch.uint8)
    for place, record in zip(faces, learned, strict=True):  # one picture in memory at a time
        free = read_mask(folder, record, side)
        pixels = _as_bytes(record, read_face(folder, record), model, free)
        place.copy_(torch.from_numpy(pixels).permute(2, 0, 1))
    seen = np.stack([record.expression() for record in learned])
    expressions = torch.from_numpy(np.stack([seen, mirrored(seen)], 1))
    chosen = spread([records[i] for i in sorted(apart)], _MOST_HELD_OUT)
    kept = _hold_out([(record, read_face(folder, record)) for record in chosen], model, device)
    return FaceData(faces.to(device), expressions.to(device)), kept


def held_out(records: list[FaceRecord], share: float) -> set[int]:
    """Which faces are held out: `share` of each clip, from its end, so that no neighbour of theirs is trained on.

    Videos of fewer than ten faces, single pictures above all, count as one clip together. At least one face is held
    out, and never all of a set.
    """
    clips: dict[str, list[int]] = {}
    for source, run in groupby(range(len(records)), key=lambda i: records[i].source):
        clips.setdefault(source, []).extend(run)
    long = [indices for indices in clips.values() if len(indices) >= _CLIP]
    short = [i for indices in clips.values() if len(indices) < _CLIP for i in indices]
    held = {i for indices in [*long, short] for i in indices[len(indices) - round(share * len(indices)) :]}
    return held or {len(records) - 1}


def stored_side(model: ModelConfig) -> int:
    """Side in pixels at which whole faces are kept for a network: a tenth more than it needs, so that drawing from
    them blurs little.
    """
    return round(model.size / model.coverage * 1.1 / 16) * 16


def _as_bytes(
    record: FaceRecord, picture: Frame, model: ModelConfig, free: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """One face of a set, as `face_bytes` has it, as large as the network wants it."""
    side = stored_side(model)
    scale = side / len(picture)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(picture, (side, side), interpolation=interpolation), np.uint8)
    return face_bytes(small, record.aligned_landmarks() * np.float32(scale), model, free)


def face_bytes(
    square: Frame, landmarks: Points, model: ModelConfig, free: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """An aligned face (R, R, 3) with `landmarks` in its pixels, its weights and its mask: (R, R, 5).

    Of what is not `free` (R, R), only that is learned.
    """
    side = len(square)
    shown = only_face(square, landmarks) if model.only_face else square
    weights = pixel_weights(landmarks, side, model)
    area = hull(landmarks, side)
    if free is not None:
        weights = np.where(free > 127, weights, 0).astype(np.uint8)
        area = np.minimum(area, free)
    return np.dstack([shown, weights, area])


def pixel_weights(landmarks: Points, size: int, model: ModelConfig) -> NDArray[np.uint8]:
    """How much each pixel counts (size, size): 1 around the face, `face_weight` in it, times `detail_weight` in
    eyes and mouth, scaled so that the most is 255.
    """
    most = model.face_weight * model.detail_weight
    weight = np.full((size, size), round(255 / most), np.uint8)
    weight[hull(landmarks, size) > 0] = round(255 * model.face_weight / most)
    for ring in _DETAILS:
        centre = landmarks[ring].mean(0)
        wider = centre + (landmarks[ring] - centre) * np.float32(1.15)
        weight[hull(wider, size) > 0] = 255
    return weight


def _hold_out(faces: list[tuple[FaceRecord, Frame]], model: ModelConfig, device: torch.device) -> HeldOut:
    shown: list[NDArray[np.uint8]] = []
    truth: list[Frame] = []
    areas: list[NDArray[np.uint8]] = []
    for record, picture in faces:
        shown.append(_as_bytes(record, picture, model)[..., :3])
        view = zoomed(np.eye(2, 3), len(picture), HELD_OUT_SIZE, COVERAGE, DROP)
        truth.append(align(picture, view, HELD_OUT_SIZE))
        areas.append(hull(transform(record.aligned_landmarks(), view), HELD_OUT_SIZE)[..., None] // 255)
    inputs = framed(_stacked(shown).float() / 255, model)
    expressions = torch.from_numpy(np.stack([record.expression() for record, _ in faces]))
    truths, face = _stacked(truth).float() / 255, _stacked(areas).float()
    return HeldOut(inputs.to(device), expressions.to(device), truths.to(device), face.to(device))


def _stacked(pictures: list[NDArray[np.uint8]]) -> Tensor:
    """Pictures (H, W, C) as one tensor (B, C, H, W)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


@torch.inference_mode()
def held_out_error(net: SwapNet, model: ModelConfig, held: HeldOut, side: Side) -> float:
    """Mean absolute difference, 0..1, of a person's held-out faces and what `net` makes of them, in the face area."""
    was_training = net.training
    net.eval()
    grid = _view(model).to(held.inputs.device)
    total = torch.zeros((), device=held.inputs.device)
    for start in range(0, len(held.inputs), _HELD_OUT_BATCH):
        chosen = slice(start, start + _HELD_OUT_BATCH)
        patch = net(held.inputs[chosen], held.expressions[chosen], side, side).patch
        drawn = F.grid_sample(
            patch, grid.expand(len(patch), -1, -1, -1), mode="bicubic", padding_mode="border", align_corners=False
        )
        total += weighted_l1(drawn.clamp(0, 1), held.truth[chosen], held.area[chosen]) * len(patch)
    net.train(was_training)
    return float(total) / len(held.inputs)


def _view(model: ModelConfig) -> Tensor:
    """Where in the model's own square (-1..1) each pixel of the common one lies: (1, 128, 128, 2)."""
    zoom, down = COVERAGE / model.coverage, 2 * (DROP - model.drop) / model.coverage
    theta = torch.tensor([[[zoom, 0, 0], [0, zoom, down]]])
    return F.affine_grid(theta, [1, 1, HELD_OUT_SIZE, HELD_OUT_SIZE], align_corners=False)


def minutes_without_gain(seconds: list[float], errors: list[float], *, least_gain: float = 0.01) -> float | None:
    """How many minutes of training have brought nothing, or None while it still gains (or is too young to tell).

    `errors` are held-out errors at `seconds` of training. Nothing means: over the last third of the training, and
    two minutes at least, the error fell by less than `least_gain` of itself. A third, because gains come ever
    slower: what two minutes bring in the first ten takes an hour in the fifth. Medians of five keep single lucky
    measurements out; when the error rises again (too few faces, learned by heart), that is no gain either.
    """
    if len(seconds) < 10:
        return None
    window = max(120.0, seconds[-1] / 3)
    smooth = [float(np.median(errors[max(0, i - 4) : i + 1])) for i in range(len(errors))]
    before = [e for t, e in zip(seconds, smooth, strict=True) if t < seconds[-1] - window]
    since = [e for t, e in zip(seconds, smooth, strict=True) if t >= seconds[-1] - window]
    if len(before) < 5 or len(since) < 5 or min(since) < (1 - least_gain) * min(before):
        return None
    return window / 60
