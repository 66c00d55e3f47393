"""The preview: a picture of what the model can do by now, and a history of such pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from clearswap.core.align import Frame
from clearswap.core.held_out import HeldOut
from clearswap.core.model import Side, SwapNet
from clearswap.machinery.pictures import encode_picture
from clearswap.machinery.whole import whole_file

PREVIEW = "preview.jpg"
HISTORY = "history"
_FACES = 4  # of each person


@torch.inference_mode()
def draw_preview(net: SwapNet, held_a: HeldOut, held_b: HeldOut) -> Frame:
    """Two blocks side by side, person a and person b; in each, rows of: original, reconstruction, swap.

    The faces shown are spread evenly over those that the network was never trained on.
    """
    net.eval()
    blocks = [_block(net, held_a.inputs, "a", "b"), _block(net, held_b.inputs, "b", "a")]
    net.train()
    picture = torch.cat(blocks, 2)  # (3, H, W)
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _block(net: SwapNet, faces: Tensor, own: Side, other: Side) -> Tensor:
    chosen = torch.linspace(0, len(faces) - 1, _FACES).round().long()
    original = faces[chosen.to(faces.device)]
    again, swapped = net(original, own, own), net(original, own, other)
    columns = torch.cat([original, again[:, :3], swapped[:, :3]], 3)  # (F, 3, S, 3 S)
    return torch.cat(list(columns), 1)  # (3, F S, 3 S)


def forget_previews(folder: Path, iteration: int) -> None:
    """Drop kept previews of later iterations: the model went back to an earlier state."""
    for path in (folder / HISTORY).glob("*.jpg"):
        if path.stem.isdigit() and int(path.stem) > iteration:
            path.unlink()


def write_preview(folder: Path, picture: Frame, iteration: int | None) -> None:
    """Replace the preview of the model in `folder`; with an `iteration`, keep a copy in its history."""
    height = 128 * _FACES
    width = round(picture.shape[1] * height / picture.shape[0])
    shown = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    data = encode_picture(shown, ".jpg", quality=90)
    names = [PREVIEW] if iteration is None else [PREVIEW, f"{HISTORY}/{iteration:08d}.jpg"]
    for name in names:
        with whole_file(folder / name) as partial:
            partial.write_bytes(data)
