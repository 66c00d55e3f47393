"""The swap itself, from frame to frame: align, decode as the other person, match colour, mask, blend.

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

from clearswap.core.align import Frame, Matrix, Points, align, face_matrix, transform
from clearswap.core.blend import BlendConfig, match_sharpness, paste
from clearswap.core.colour import colour_stats, transfer_colour
from clearswap.core.mask import MaskConfig, decided, face_mask, only_face
from clearswap.core.network import Drawn, ModelConfig, Side, SwapNet


@dataclass(frozen=True)
class NewFace:
    """A face that is drawn and not yet fitted into its frame."""

    patch: Tensor  # (3, S, S) in 0..1
    mask: NDArray[np.float32]  # (S, S)
    aligned: NDArray[np.float32]  # (S, S, 3) in 0..1: what was there
    patch_stats: Tensor  # (K,): the patch's colours, see `colour.colour_stats`
    face_stats: Tensor  # (K,): those of the face that was there
    matrix: Matrix  # from the frame to the square


def drawer(net: SwapNet, to: Side) -> Callable[[Tensor], Drawn]:
    """What draws faces of the one person as the other, `to`."""
    seen: Side = "b" if to == "a" else "a"
    return partial(net, seen=seen, drawn=to)


@dataclass(frozen=True)
class Swapper:
    """Puts faces into frames: cuts out the aligned squares, has them drawn anew, fits them back in.

    `draw` gets aligned faces (B, 3, S, S) in 0..1 and draws them as somebody else: a trained network's `drawer`, or
    anything that is to be compared with it.
    """

    draw: Callable[[Tensor], Drawn]
    model: ModelConfig
    device: torch.device
    mask: MaskConfig = MaskConfig()
    blend: BlendConfig = BlendConfig()

    def __call__(self, frames: Sequence[Frame], landmarks: Sequence[Sequence[Points]]) -> list[Frame]:
        """Replace the faces of a few frames, each by itself.

        `landmarks[i]` holds one (468, 2) array for each face of `frames[i]`; none leaves the frame as it is.
        """
        drawn = self.draw_all(frames, [dict(enumerate(found)) for found in landmarks])
        return [self.fit(frame, list(faces.values()), 0) for frame, faces in zip(frames, drawn, strict=True)]

    def draw_all(self, frames: Sequence[Frame], landmarks: Sequence[Mapping[int, Points]]) -> list[dict[int, NewFace]]:
        """Draw the new faces of a few frames; `landmarks[i]`: (468, 2) of each face of `frames[i]`, by its track.

        All faces go through the network as one batch.
        """
        faces = [(index, track, points) for index, found in enumerate(landmarks) for track, points in found.items()]
        drawn: list[dict[int, NewFace]] = [{} for _ in frames]
        if not faces:
            return drawn
        model, size = self.model, self.model.size
        matrices = [face_matrix(points, size, model.coverage, model.drop) for *_, points in faces]
        squares = [align(frames[index], matrix, size) for (index, *_), matrix in zip(faces, matrices, strict=True)]
        moved = [transform(points, matrix) for (*_, points), matrix in zip(faces, matrices, strict=True)]
        seen = squares
        if self.model.only_face:
            seen = [only_face(square, points) for square, points in zip(squares, moved, strict=True)]
        masks = np.stack([face_mask(points, size, self.mask) for points in moved])  # (B, S, S)
        for (index, track, _), face in zip(faces, self._draw(seen, masks, matrices), strict=True):
            drawn[index][track] = face
        return drawn

    @torch.inference_mode()
    def _draw(self, squares: list[Frame], masks: NDArray[np.float32], matrices: list[Matrix]) -> list[NewFace]:
        """The new faces for aligned ones (S, S, 3), their masks (B, S, S), and where they belong."""
        aligned = torch.from_numpy(np.stack(squares)).to(self.device).permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
        drawn = self.draw(aligned)
        patch, method = drawn.patch, self.blend.method
        mask = torch.from_numpy(masks).to(self.device)[:, None]  # (B, 1, S, S)
        if drawn.mask is not None and self.mask.learned:
            mask = mask * decided(drawn.mask)
        own, goal = colour_stats(patch, mask, method), colour_stats(aligned, mask, method)
        there = (np.asarray(square, np.float32) / np.float32(255) for square in squares)
        return [
            NewFace(*(p, m[0].cpu().numpy(), t, o, g), matrix)
            for p, m, t, o, g, matrix in zip(patch, mask, there, own, goal, matrices, strict=True)
        ]

    @torch.inference_mode()
    def fit(self, frame: Frame, faces: Sequence[NewFace], seed: int) -> Frame:
        """Fit drawn faces into their frame; `seed` decides on the grain."""
        blend = self.blend
        for face in faces:
            stats = face.patch_stats[None], face.face_stats[None]
            coloured = transfer_colour(face.patch[None], *stats, blend.method, blend.colour)[0]
            patch = coloured.permute(1, 2, 0).cpu().numpy()
            if blend.sharpen:
                patch = match_sharpness(patch, face.aligned, face.mask, blend.sharpen)
            frame = paste(frame, patch, face.mask, face.matrix, blend.seam, blend.grain, seed)
        return frame


def steadied(window: Sequence[Mapping[int, NewFace]], at: int) -> list[NewFace]:
    """The faces of frame `at` of a few successive ones, calmed by those that show the same track: colours are the mean
    of all, masks that of three frames, the middle one twice.

    The hull is calm already; what the masks' mean calms is the learned part. With a hand before a face, flicker went
    from 0.67 to 0.62 of the truth's, and the PSNR up by 0.04 dB.
    """
    faces: list[NewFace] = []
    for track, face in window[at].items():
        same = [found[track] for found in window if track in found]
        own = torch.stack([one.patch_stats for one in same]).mean(0)
        goal = torch.stack([one.face_stats for one in same]).mean(0)
        beside = [found[track].mask for found in window[max(0, at - 1) : at + 2] if track in found]  # with its own
        mask = np.mean([face.mask, *beside], 0, dtype=np.float32)
        faces.append(replace(face, patch_stats=own, face_stats=goal, mask=mask))
    return faces


Look: TypeAlias = Literal["natural", "crisp", "soft", "raw"]
Config = TypeVar("Config", MaskConfig, BlendConfig)

# natural: the defaults, nearest to the truth by PSNR. crisp: eyes and mouths stand out, at 0.4 dB (docs/converting.md).
# soft: no edge anywhere, for skins that differ. raw: what the network drew, for study.
LOOKS: dict[Look, tuple[MaskConfig, BlendConfig]] = {
    "natural": (MaskConfig(), BlendConfig()),
    "crisp": (MaskConfig(), BlendConfig(sharpen=1.6)),
    "soft": (MaskConfig(feather=0.16), BlendConfig(seam="pyramid")),
    "raw": (MaskConfig(), BlendConfig(colour_method="none", sharpen=0.0, grain=0.0)),
}


def with_look(look: Look, mask: MaskConfig, blend: BlendConfig) -> tuple[MaskConfig, BlendConfig]:
    """A look, with those settings of `mask` and `blend` that are not the usual ones in place of its own."""
    own_mask, own_blend = LOOKS[look]
    return _changed(own_mask, mask, MaskConfig()), _changed(own_blend, blend, BlendConfig())


def _changed(look: Config, given: Config, usual: Config) -> Config:
    chosen = {f.name: getattr(given, f.name) for f in fields(given) if getattr(given, f.name) != getattr(usual, f.name)}
    return replace(look, **chosen)
