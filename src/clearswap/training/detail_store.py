"""A person's own faces on disk, for the fine detail of a conversion: `detail_a.safetensors` and `detail_b.safetensors`.

They lie in the model's folder, so that they go where the model goes: whoever has it has up to 300 pictures of either
person (about 20 kB each, 7 MB a file). Training makes them from the face sets when it begins or goes on, and again
when a face set has changed. A model without them draws as ever, without real detail.

A file holds pictures as JPEG, one after the other ("pictures", and where each "ends"), their "landmarks" and
"expressions" (`core/detail.py`). It is read through one gate, `read_store`, which believes nothing that it says.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open

from clearswap.checks import decode
from clearswap.core.align import Frame
from clearswap.core.detail import SIDE, DetailStore
from clearswap.core.expression import MEASURES
from clearswap.core.network import ModelConfig, Side
from clearswap.errors import ModelError
from clearswap.training.checkpoint import said_of_itself

FORMAT = 1
MOST = 300  # faces of a person
_LARGEST = 64 * 1024**2  # bytes of a file
_FAR = 4 * SIDE  # pixels: no landmark of a face in the square lies further out
_TENSORS = {"pictures", "ends", "landmarks", "expressions"}


@dataclass(frozen=True)
class StoreAbout:
    """What a file of faces says of itself: its format, how the faces are framed, and a digest of the set's index."""

    format: int
    coverage: float
    drop: float
    set: str


def store_path(folder: Path, side: Side) -> Path:
    """Where the faces of a model's person lie."""
    return folder / f"detail_{side}.safetensors"


def read_store(folder: Path, side: Side, model: ModelConfig) -> DetailStore | None:
    """The faces of a model's person; None where the model has none.

    Raises `ModelError` for a file that is damaged, or was made for a model of another framing.
    """
    path = store_path(folder, side)
    if not path.is_file():
        return None
    try:
        return _read(path, model)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, Image.DecompressionBombError) as error:
        raise ModelError(
            f"{path} is damaged or belongs to another model ({error}); "
            "delete it to convert without real detail, or train the model further to make it anew."
        ) from error


def _read(path: Path, model: ModelConfig) -> DetailStore:
    """Read a file of faces. Raises ValueError, saying why, for whatever should not be so."""
    _require(path.stat().st_size <= _LARGEST, "it is too large")
    reader: Any = safe_open(path, "np")
    with reader as file:
        about = decode(StoreAbout, said_of_itself(file))
        _require(about.format == FORMAT, "another format")
        _require((about.coverage, about.drop) == (model.coverage, model.drop), "another framing")
        _require(set(file.keys()) == _TENSORS, "other tensors")
        tensors: dict[str, NDArray[Any]] = {name: np.asarray(file.get_tensor(name)) for name in sorted(_TENSORS)}
    pictures, ends = tensors["pictures"], tensors["ends"]
    landmarks, expressions = tensors["landmarks"], tensors["expressions"]
    count = len(ends)
    _require(pictures.dtype == np.uint8 and pictures.ndim == 1, "pictures of another kind")
    _require(ends.dtype == np.int64 and ends.ndim == 1 and 1 <= count <= MOST, "another number of faces")
    bounds = [0, *ends.tolist()]
    _require(bounds[-1] == len(pictures) and all(np.diff(bounds) > 0), "pictures of other sizes")
    _require(landmarks.dtype == np.float32 and landmarks.shape == (count, 478, 2), "other landmarks")
    _require(bool(np.isfinite(landmarks).all() and np.abs(landmarks).max() <= _FAR), "landmarks out of range")
    _require(expressions.dtype == np.float32 and expressions.shape == (count, MEASURES), "other expressions")
    _require(bool(np.isfinite(expressions).all() and np.abs(expressions).max() <= 1000), "expressions out of range")
    data = pictures.tobytes()
    faces = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for face, start, stop in zip(faces, bounds, bounds[1:], strict=False):
        face[...] = _decode(data[start:stop])
    return DetailStore(faces, landmarks, expressions)


def _decode(data: bytes) -> Frame:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:  # says its size before it is decoded
        _require(picture.size == (SIDE, SIDE) and picture.mode == "RGB", "a picture of another size")
        return np.asarray(picture, np.uint8)


def _require(held: bool, why: str) -> None:
    if not held:
        raise ValueError(why)
