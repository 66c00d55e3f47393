"""The swap itself, from frame to frame: align, draw as the other person, match colour, mask, blend.

Looks: what a new face's edge, colour and sharpness are for common tastes, by name. Single settings change a look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clearswap.core.align import Frame, Matrix, Points, align, face_matrix, transform, zoomed
from clearswap.core.blend import (
    BlendConfig,
    MaskConfig,
    colour_stats,
    decided,
    face_mask,
    match_sharpness,
    only_face,
    paste,
    transfer_colour,
)
from clearswap.core.detail import SIDE, Detailer, FaceDetail, Layer, Shares, enlarged, find_layer, lay_over, resized
from clearswap.core.expression import Expressions, no_expression
from clearswap.core.network import Drawn, ModelConfig, Side, SwapNet

DETAIL_REACH = 2  # frames before and after over which the landmarks of drawn faces are averaged


@dataclass(frozen=True)
class NewFace:
    """A face that is drawn and not yet fitted into its frame."""

    patch: Tensor  # (3, S, S) in 0..1
    mask: NDArray[np.float32]  # (S, S) in 0..1
    aligned: NDArray[np.float32]  # (S, S, 3) in 0..1: the face that it replaces, as the network saw it (`only_face`)
    patch_stats: Tensor  # (K,): the colours of the patch, see `core/blend.py`
    face_stats: Tensor  # (K,): the colours of the face that it replaces
    matrix: Matrix  # from the frame to the square
    detail: FaceDetail | None = None  # the person's own pictures of which it gets its fine part


def drawer(net: SwapNet, to: Side) -> Callable[[Tensor, Tensor], Drawn]:
    """A function that draws faces with their expressions, of one person as the other, `to`."""
    seen: Side = "b" if to == "a" else "a"
    return partial(net, seen=seen, drawn=to)


@dataclass(frozen=True)
class Swapper:
    """Puts new faces into frames: `draw` cuts out aligned squares and has them drawn anew, `fit` lays them back.

    `network` is a function from aligned faces (B, 3, S, S) in 0..1 and their expressions (B, MEASURES) to these faces
    `Drawn` as somebody else: a trained network's `drawer`, or anything to be compared with it. `read` gives the
    expression (MEASURES,) of a face with landmarks (478, 2). `detailer`: where there are pictures of the person.
    """

    network: Callable[[Tensor, Tensor], Drawn]
    model: ModelConfig
    device: torch.device
    mask: MaskConfig = MaskConfig()
    blend: BlendConfig = BlendConfig()
    read: Callable[[Points], Expressions] = no_expression
    detailer: Detailer | None = None

    def __call__(self, frame: Frame, landmarks: Sequence[Points]) -> Frame:
        """Replace the faces of one frame, whose landmarks (478, 2) are given, by itself."""
        return self.fit(frame, self.draw([frame] * len(landmarks), landmarks), seed=0)

    @torch.inference_mode()
    def draw(
        self,
        frames: Sequence[Frame],
        landmarks: Sequence[Points],
        expressions: Expressions | None = None,
        shares: Sequence[Shares] | None = None,
    ) -> list[NewFace]:
        """Draw new faces as one batch: the face with `landmarks[i]` (478, 2) of `frames[i]` for each i.

        `expressions`: (B, MEASURES), where they have been read already. `shares`: which of the person's own faces give
        the detail of each; without it, those that are nearest.
        """
        if not len(landmarks):
            return []
        model = self.model
        matrices = [face_matrix(points, model.size, model.coverage, model.drop) for points in landmarks]
        squares = [align(frame, matrix, model.size) for frame, matrix in zip(frames, matrices, strict=True)]
        moved = [transform(points, matrix) for points, matrix in zip(landmarks, matrices, strict=True)]
        if model.only_face:
            squares = [only_face(square, points) for square, points in zip(squares, moved, strict=True)]
        aligned = np.stack(squares).astype(np.float32) / np.float32(255)  # (B, S, S, 3)
        seen = torch.from_numpy(aligned).to(self.device).permute(0, 3, 1, 2)  # (B, 3, S, S)
        if expressions is None:
            expressions = np.stack([self.read(points) for points in landmarks])
        drawn = self.network(seen, torch.from_numpy(expressions).to(self.device))
        masks = np.stack([face_mask(points, model.size, self.mask) for points in moved])
        mask = torch.from_numpy(masks).to(self.device)[:, None]  # (B, 1, S, S)
        if drawn.mask is not None and self.mask.learned:
            mask = mask * decided(drawn.mask)
        patch_stats = colour_stats(drawn.patch, mask, self.blend.method)  # (B, K)
        face_stats = colour_stats(seen, mask, self.blend.method)
        masks = mask[:, 0].cpu().numpy()
        faces = [
            NewFace(drawn.patch[i], masks[i], aligned[i], patch_stats[i], face_stats[i], matrix)
            for i, matrix in enumerate(matrices)
        ]
        if self.detailer is None or not self.blend.detail:
            return faces
        if shares is None:
            shares = [self.detailer.follow(one[None])[0] for one in expressions]
        return [
            replace(face, detail=self.detailer.of_drawing(_as_picture(face.patch), points, own))
            for face, points, own in zip(faces, moved, shares, strict=True)
        ]

    @torch.inference_mode()
    def fit(self, frame: Frame, faces: Sequence[NewFace], *, seed: int) -> Frame:
        """Fit drawn faces into their frame, one after the other; `seed` decides on the grain."""
        blend = self.blend
        original = frame
        for face in faces:
            face = with_layer(face)
            own, goal = face.patch_stats[None], face.face_stats[None]
            coloured = transfer_colour(face.patch[None], own, goal, blend.method, blend.colour)  # 9 ms at `SIDE` pixels
            face = replace(face, patch=coloured[0])
            if face.detail is not None and face.detail.layer is not None:
                face = _with_detail(face, face.detail.layer, original, blend.detail)
            patch = _as_picture(face.patch)
            if blend.sharpen:
                patch = match_sharpness(patch, face.aligned, face.mask, blend.sharpen)
            frame = paste(frame, patch, face.mask, face.matrix, blend.seam, blend.grain, seed)
        return frame


def with_layer(face: NewFace) -> NewFace:
    """A drawn face for which the person's own pixels are found, where it is to have detail."""
    if face.detail is None or face.detail.layer is not None:
        return face
    layer = find_layer(enlarged(_as_picture(face.patch)), enlarged(face.mask), face.detail)
    return replace(face, detail=replace(face.detail, layer=layer))


def _with_detail(face: NewFace, layer: Layer, frame: Frame, share: float) -> NewFace:
    """A drawn face of its `frame` with as much of the person's own detail as `share` says, `SIDE` pixels wide or more.

    A larger drawing keeps its size: what the detail changes at `SIDE` pixels is added to it.
    """
    drawn = _as_picture(face.patch)
    small = enlarged(drawn)
    patch, mask, aligned, matrix = lay_over(small, layer, share), face.mask, face.aligned, face.matrix
    if len(drawn) > SIDE:
        patch = np.asarray((drawn + resized(patch - small, len(drawn))).clip(0, 1), np.float32)
    else:
        matrix = zoomed(face.matrix, len(face.mask), SIDE)
        mask, aligned = enlarged(mask), align(frame, matrix, SIDE).astype(np.float32) / np.float32(255)
    colours = torch.from_numpy(patch).permute(2, 0, 1).to(face.patch.device)
    return replace(face, patch=colours, mask=mask, aligned=aligned, matrix=matrix)


def _as_picture(patch: Tensor) -> NDArray[np.float32]:
    """A patch (3, S, S) as (S, S, 3)."""
    return np.ascontiguousarray(patch.permute(1, 2, 0).float().cpu().numpy())


def smooth_faces(window: Sequence[Mapping[int, NewFace]], at: int, reach: int = 1) -> dict[int, NewFace]:
    """The new faces of the frame `at` of a few successive ones, smoothed over time.

    `window`: the new faces of each frame, by track. Colours become the mean over those frames up to `reach` before and
    after that show the track, the mask the mean of three frames, the middle one counted twice (of one at a reach of 0).
    The hull is smooth already; what the mean calms is the learned part: with a hand before a face, flicker went from
    0.67 to 0.62 of the truth's, and the PSNR up by 0.04 dB. The landmarks of drawings are a mean over `DETAIL_REACH`.
    """
    faces: dict[int, NewFace] = {}
    for track, face in window[at].items():
        same = [found[track] for found in window[max(0, at - reach) : at + reach + 1] if track in found]
        next_to = min(reach, 1)
        nearby = [found[track].mask for found in window[max(0, at - next_to) : at + next_to + 1] if track in found]
        faces[track] = replace(
            face,
            patch_stats=torch.stack([one.patch_stats for one in same]).mean(0),
            face_stats=torch.stack([one.face_stats for one in same]).mean(0),
            mask=np.mean([face.mask, *nearby], 0, dtype=np.float32),
            detail=face.detail and replace(face.detail, landmarks=_steadied(window, at, track)),
        )
    return faces


def steady_layers(window: Sequence[Mapping[int, NewFace]], at: int) -> dict[int, NewFace]:
    """The new faces of the frame `at` of a few successive ones (see `smooth_faces`): the own pixels that they have of
    `with_layer` come and go over some frames, and not from one to the next.
    """
    faces: dict[int, NewFace] = {}
    for track, face in window[at].items():
        faces[track] = face
        if face.detail is not None and face.detail.layer is not None:
            near = [(weight, detail.layer) for weight, detail in _around(window, at, track) if detail.layer is not None]
            gate = sum(weight * layer.gate for weight, layer in near) / sum(weight for weight, _ in near)
            layer = replace(face.detail.layer, gate=np.asarray(gate, np.float32))
            faces[track] = replace(face, detail=replace(face.detail, layer=layer))
    return faces


def _steadied(window: Sequence[Mapping[int, NewFace]], at: int, track: int) -> Points:
    """The landmarks (478, 2) of a drawn face, as a mean over the frames around that show the track."""
    near = _around(window, at, track)
    total = sum(weight * detail.landmarks for weight, detail in near)
    return np.asarray(total / sum(weight for weight, _ in near), np.float32)


def _around(window: Sequence[Mapping[int, NewFace]], at: int, track: int) -> list[tuple[float, FaceDetail]]:
    """The detail of a track in the frames around `at`, and how much each counts."""
    near: list[tuple[float, FaceDetail]] = []
    for place in range(max(0, at - DETAIL_REACH), min(len(window), at + DETAIL_REACH + 1)):
        detail = window[place][track].detail if track in window[place] else None
        if detail is not None:
            near.append((float(np.exp(-((place - at) ** 2) / 2)), detail))
    return near


Look: TypeAlias = Literal["natural", "drawn", "crisp", "soft", "raw"]
Config = TypeVar("Config", MaskConfig, BlendConfig)

# natural: the defaults, with the person's own detail where the model's folder holds pictures. drawn: without that
# detail. crisp: eyes and mouths stand out, at 0.4 dB (docs/converting.md). soft: no edge anywhere, for skins that
# differ. raw: what the network drew, for study.
LOOKS: dict[Look, tuple[MaskConfig, BlendConfig]] = {
    "natural": (MaskConfig(), BlendConfig()),
    "drawn": (MaskConfig(), BlendConfig(detail=0.0)),
    "crisp": (MaskConfig(), BlendConfig(sharpen=1.6)),
    "soft": (MaskConfig(feather=0.16), BlendConfig(seam="pyramid")),
    "raw": (MaskConfig(), BlendConfig(colour_method="none", sharpen=0.0, grain=0.0, detail=0.0)),
}


def with_look(look: Look, mask: MaskConfig, blend: BlendConfig) -> tuple[MaskConfig, BlendConfig]:
    """A look, with those settings of `mask` and `blend` that are not the usual ones in place of its own."""
    own_mask, own_blend = LOOKS[look]
    return _changed(own_mask, mask, MaskConfig()), _changed(own_blend, blend, BlendConfig())


def _changed(look: Config, given: Config, usual: Config) -> Config:
    chosen = {f.name: getattr(given, f.name) for f in fields(given) if getattr(given, f.name) != getattr(usual, f.name)}
    return replace(look, **chosen)
