"""The swap itself, from frame to frame: align, decode as the other person, match colour, mask, blend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clearswap.core.align import Frame, Matrix, Points, align, face_matrix, transform, zoomed
from clearswap.core.blend import paste
from clearswap.core.colour import match_colour
from clearswap.core.mask import MaskConfig, decided, face_mask, only_face
from clearswap.core.model import ModelConfig, Side, SwapNet


@dataclass(frozen=True)
class BlendConfig:
    """How the new face is fitted into the frame.

    Attributes:
        colour: How much of the frame's own colour and light the new face takes on (0..1).
    """

    colour: float = 1.0


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
        """Replace the faces of a few frames.

        `landmarks[i]` holds one (468, 2) array for each face of `frames[i]`; none leaves the frame as it is.
        All faces go through the network as one batch.
        """
        faces = [(index, points) for index, found in enumerate(landmarks) for points in found]
        if not faces:
            return list(frames)
        size = self.model.size
        part = (self.model.coverage, self.model.drop)
        matrices = [zoomed(face_matrix(points, size), size, size, *part) for _, points in faces]
        squares = [align(frames[index], matrix, size) for (index, _), matrix in zip(faces, matrices, strict=True)]
        moved = [transform(points, matrix) for (_, points), matrix in zip(faces, matrices, strict=True)]
        if self.model.only_face:
            squares = [only_face(square, points) for square, points in zip(squares, moved, strict=True)]
        masks = np.stack([face_mask(points, size, self.mask) for points in moved])  # (B, S, S)
        patches, masks = self._patches(np.stack(squares), masks)
        return _paste_all(frames, [index for index, _ in faces], patches, masks, matrices)

    @torch.inference_mode()
    def _patches(
        self, squares: NDArray[np.uint8], masks: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The new faces (B, S, S, 3) in 0..1 for aligned ones (B, S, S, 3), and their masks (B, S, S)."""
        aligned = torch.from_numpy(squares).to(self.device).permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
        drawn = self.draw(aligned)
        mask = torch.from_numpy(masks).to(self.device)[:, None]  # (B, 1, S, S)
        if drawn.shape[1] > 3 and self.mask.learned:
            mask = mask * decided(drawn[:, 3:])
        patch = match_colour(drawn[:, :3], aligned, mask, self.blend.colour)
        return patch.permute(0, 2, 3, 1).cpu().numpy(), mask[:, 0].cpu().numpy()


def _paste_all(
    frames: Sequence[Frame],
    owners: Sequence[int],
    patches: NDArray[np.float32],
    masks: NDArray[np.float32],
    matrices: Sequence[Matrix],
) -> list[Frame]:
    result = list(frames)
    for index, patch, mask, matrix in zip(owners, patches, masks, matrices, strict=True):
        result[index] = paste(result[index], patch, mask, matrix)
    return result
