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

from clearswap.core.align import Frame, Matrix, Points, align, face_matrix, transform, zoomed
from clearswap.core.blend import Seam, match_sharpness, paste
from clearswap.core.colour import Method, palette, recolour
from clearswap.core.mask import MaskConfig, decided, face_mask, only_face
from clearswap.core.network import ModelConfig, Side, SwapNet


@dataclass(frozen=True)
class BlendConfig:
    """How the new face is fitted into the frame.

    Attributes:
        colour: How much of the frame's own colour and light the new face takes on (0..1).
        colour_method: How that is told: "reinhard", "mkl", "histogram" or "none"; see `core/colour.py`.
        colour_frames: Over how many frames before and after colours are averaged, so that a face whose mouth opens
            does not change its tint. The mask is averaged with its neighbours; at 0, neither is.
        seam: How the face passes over into the frame: "feather" (a soft edge), "pyramid" (coarse structure over a
            wide edge, fine structure over a sharp one) or "clone" (the frame's colours at the edge spread inwards).
        sharpen: How many times sharper than drawn a face may be made (1 or more), where the frame is sharper; where it
            is blurred, the face is blurred as much. 0 does neither.
        grain: How much of the frame's grain the face gets (0..1).
    """

    colour: float = 1.0
    colour_method: Method = "reinhard"
    colour_frames: int = 1
    seam: Seam = "feather"
    sharpen: float = 1.0
    grain: float = 1.0

    @property
    def method(self) -> Method:
        """The colour method, "none" where it would change nothing."""
        return self.colour_method if self.colour else "none"


@dataclass(frozen=True)
class NewFace:
    """A face that is drawn and not yet fitted into its frame."""

    patch: Tensor  # (3, S, S) in 0..1
    mask: NDArray[np.float32]  # (S, S)
    aligned: NDArray[np.float32]  # (S, S, 3) in 0..1: what was there
    own: Tensor  # (K,): the patch's colours, see `colour.palette`
    goal: Tensor  # (K,): those of the face that was there
    matrix: Matrix  # from the frame to the square


def drawer(net: SwapNet, to: Side) -> Callable[[Tensor], Tensor]:
    """What draws faces of the one person as the other, `to`."""
    seen: Side = "b" if to == "a" else "a"
    return partial(net, seen=seen, drawn=to)


@dataclass(frozen=True)
class Swapper:
    """Puts faces into frames: cuts out the aligned squares, has them drawn anew, fits them back in.

    `draw` gets aligned faces (B, 3, S, S) in 0..1 and returns patches of the same shape, or with a fourth channel,
    0 where something is before the face: a trained network's `drawer`, or anything that is to be compared with it.
    """

    draw: Callable[[Tensor], Tensor]
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
        size = self.model.size
        part = (self.model.coverage, self.model.drop)
        matrices = [zoomed(face_matrix(points, size), size, size, *part) for *_, points in faces]
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
        mask = torch.from_numpy(masks).to(self.device)[:, None]  # (B, 1, S, S)
        if drawn.shape[1] > 3 and self.mask.learned:
            mask = mask * decided(drawn[:, 3:])
        patch, method = drawn[:, :3], self.blend.method
        own, goal = palette(patch, mask, method), palette(aligned, mask, method)
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
            own, goal = face.own[None], face.goal[None]
            coloured = recolour(face.patch[None], own, goal, blend.method, blend.colour)[0]
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
        own, goal = (torch.stack([getattr(one, name) for one in same]).mean(0) for name in ("own", "goal"))
        beside = [found[track].mask for found in window[max(0, at - 1) : at + 2] if track in found]  # with its own
        mask = np.mean([face.mask, *beside], 0, dtype=np.float32)
        faces.append(replace(face, own=own, goal=goal, mask=mask))
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
