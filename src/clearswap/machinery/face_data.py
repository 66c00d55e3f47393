"""Face sets as training wants them: all faces of a person as bytes on the training device."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clearswap.core.align import Points
from clearswap.core.mask import hull, only_face
from clearswap.core.model import ModelConfig
from clearswap.machinery.faceset import read_faces

# Rings of the mesh around what people look at: each eye with its brow, and the lips.
_DETAILS = (
    [33, 160, 158, 133, 153, 144, 70, 105, 107],
    [362, 385, 387, 263, 373, 380, 336, 334, 300],
    [61, 39, 0, 269, 291, 405, 17, 181],
)


def load_faces(folder: Path, model: ModelConfig, device: torch.device) -> Tensor:
    """The faces of a set as bytes (N, 4, R, R): RGB, and how much each pixel counts in the loss (255 = most).

    R is a quarter more than the network needs, so that drawing from them blurs little. Raises `FacesetError`.
    """
    side = round(model.size / model.coverage * 1.25 / 16) * 16
    faces: list[NDArray[np.uint8]] = []
    for record, picture in read_faces(folder):
        scale = side / len(picture)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        small = np.asarray(cv2.resize(picture, (side, side), interpolation=how), np.uint8)
        landmarks = record.aligned_landmarks() * np.float32(scale)
        shown = only_face(small, landmarks) if model.only_face else small
        faces.append(np.dstack([shown, pixel_weights(landmarks, side, model)]))
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous().to(device)


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
