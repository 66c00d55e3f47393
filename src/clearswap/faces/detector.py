"""The detector: where in a frame there are faces. CenterFace (Xu et al. 2019), run by onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points
from clearswap.faces import weights

_STRIDE = 4  # one cell of the network's output is 4 pixels wide


@dataclass(frozen=True)
class Detections:
    """The faces of one frame, as parallel arrays, best first."""

    boxes: NDArray[np.float32]  # (N, 4): left, top, right, bottom in frame pixels
    points: NDArray[np.float32]  # (N, 5, 2): eye, eye, nose tip, mouth corner, mouth corner
    scores: NDArray[np.float32]  # (N,) in 0..1

    def __len__(self) -> int:
        return len(self.scores)


class Detector:
    """CenterFace. Finds faces of every roll from about 32 px at the default `size`.

    Args:
        size: The frame's long side is shrunk to this many pixels first (never enlarged). 640 costs 42 ms on
            2 cores, 1280 four times as much.
        threshold: Smallest score that counts.
    """

    def __init__(self, *, size: int = 640, threshold: float = 0.5) -> None:
        self.size, self.threshold = size, threshold
        runtime: Any = onnxruntime  # has no types of its own
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # the graph's static shapes below would warn at every start
        # Threads that wait in a loop take the cores from other stages: a clip is looked through at 43 frames/s, not 34.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        usable = runtime.get_available_providers()
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in usable]
        self._session = runtime.InferenceSession(_any_size_graph(), options, providers=providers)

    def __call__(self, frame: Frame) -> Detections:
        """The faces of `frame`, best first, overlaps above 0.3 removed."""
        height, width = frame.shape[:2]
        shrink = min(1.0, self.size / max(height, width))
        extent = tuple(max(32, round(side * shrink / 32) * 32) for side in (width, height))
        blob = cv2.dnn.blobFromImage(frame, 1.0, extent)
        heat, scale, offset, points = (
            out[0] for out in self._session.run(["537", "538", "539", "540"], {"input.1": blob})
        )
        y, x = np.nonzero(heat[0] > self.threshold)
        sides = np.exp(scale[:, y, x]) * _STRIDE  # (2, N): height, width
        corner = (np.stack([y, x]) + offset[:, y, x] + 0.5) * _STRIDE - sides / 2  # (2, N): top, left
        five = points[:, y, x].reshape(5, 2, -1) * sides + corner  # (5, 2, N), y before x
        to_frame = np.array([width / extent[0], height / extent[1]], np.float32)
        start = corner[::-1].T * to_frame
        extents = sides[::-1].T * to_frame
        scores = heat[0][y, x]
        rectangles = np.concatenate([start, extents], 1)
        kept = cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), self.threshold, 0.3)
        keep = np.asarray(kept, np.intp).reshape(-1)
        boxes = np.concatenate([start, start + extents], 1)[keep]
        return Detections(
            boxes.astype(np.float32),
            (five[:, ::-1].transpose(2, 0, 1) * to_frame)[keep].astype(np.float32),
            scores[keep],
        )


def _any_size_graph() -> bytes:
    """The network's graph with its fixed 10x3x32x32 input opened to any batch and size."""
    model = onnx.load(str(weights.find(weights.CENTERFACE)))
    for value, names in [(value, "B_HW") for value in model.graph.input] + [
        (value, "B_hw") for value in model.graph.output
    ]:
        if value.name in {"input.1", "537", "538", "539", "540"}:
            for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
                if name != "_":
                    dimension.dim_param = name
    return model.SerializeToString()


def five_points_roi(points: Points) -> tuple[Points, float, float]:
    """Centre (2,), side and roll (radians) of the square around a face, from its five points (5, 2)."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across = points[1] - points[0] + points[4] - points[3]
    span = max(1.05 * np.linalg.norm(points[1] - points[0]), np.linalg.norm(mouth - eyes))
    return (eyes + mouth) / 2, 3 * float(span), float(np.arctan2(across[1], across[0]))
