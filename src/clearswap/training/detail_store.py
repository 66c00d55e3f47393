"""A person's own faces on disk, for the fine detail of a conversion: `detail_a.safetensors` and `detail_b.safetensors`.

They lie in the model's folder, so that they go where the model goes: whoever has it has up to 300 pictures of either
person (about 20 kB each, 7 MB a file). Training makes them from the face sets when it begins or goes on, and again
when a face set has changed. A model without them draws as ever, without real detail.

A file holds pictures as JPEG, one after the other ("pictures", and where each "ends"), their "landmarks" and
"expressions" (`core/detail.py`). It is read through one gate, `read_store`, which believes nothing that it says.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from clearswap.core.align import Frame, align, transform, zoomed
from clearswap.core.detail import SIDE, DetailStore
from clearswap.core.expression import MEASURES
from clearswap.core.network import ModelConfig, Side
from clearswap.errors import ModelError
from clearswap.faces.covered import covered
from clearswap.faces.faceset import INDEX, FaceRecord, mask_of, read_face, read_index
from clearswap.media.files import atomic_file, encode_picture
from clearswap.training.checkpoint import write_errors

FORMAT = 1
MOST = 300  # faces of a person
_QUALITY = 92  # of the pictures
_SHARP = 0.75  # of a set's faces, the sharpest, are taken
_LARGEST = 64 * 1024**2  # bytes of a file
_FAR = 4 * SIDE  # pixels: no landmark of a face in the square lies further out
_TENSORS = {"pictures", "ends", "landmarks", "expressions"}


def store_path(folder: Path, side: Side) -> Path:
    """Where the faces of a model's person lie."""
    return folder / f"detail_{side}.safetensors"


def keep_store(folder: Path, side: Side, faces: Path, model: ModelConfig) -> bool:
    """Take the faces for a model's person from the face set `faces`; returns whether there was anything to do.

    Raises `FacesetError` and `OutputError`.
    """
    index = faces / INDEX
    about = {
        "format": FORMAT,
        "coverage": model.coverage,
        "drop": model.drop,
        "set": hashlib.sha256(index.read_bytes()).hexdigest(),
    }
    path = store_path(folder, side)
    if _metadata(path) == about:
        return False
    records = varied(_unspoiled(read_index(faces), faces), MOST)
    view = [in_square(read_face(faces, record), record, model) for record in records]
    free = ~covered([picture for picture, _ in view], np.stack([landmarks for _, landmarks in view]))
    records = [record for record, is_free in zip(records, free, strict=True) if is_free]
    view = [each for each, is_free in zip(view, free, strict=True) if is_free]
    pictures = [encode_picture(picture, ".jpg", quality=_QUALITY) for picture, _ in view]
    tensors = {
        "pictures": np.frombuffer(b"".join(pictures), np.uint8),
        "ends": np.cumsum([len(picture) for picture in pictures], dtype=np.int64),
        "landmarks": np.stack([landmarks for _, landmarks in view]).astype(np.float32),
        "expressions": np.stack([record.expression() for record in records]).astype(np.float32),
    }
    with atomic_file(path) as partial, write_errors():
        save_file(tensors, partial, {"clearswap": json.dumps(about)})
    return True


def _metadata(path: Path) -> dict[str, Any] | None:
    """What a file says of itself; None where there is none, or none that can be read."""
    try:
        reader: Any = safe_open(path, "np")
        with reader as file:
            metadata: dict[str, str] = file.metadata() or {}
        return json.loads(metadata["clearswap"])
    except (SafetensorError, OSError, ValueError, KeyError):
        return None


def _unspoiled(records: list[FaceRecord], folder: Path) -> list[FaceRecord]:
    """The sharper faces that nothing covers; all of a set in which there are few of these."""
    free = [record for record in records if not (folder / mask_of(record.file)).is_file()]
    enough = free if len(free) >= min(len(records), 8) else records
    limit = np.quantile([record.sharpness for record in enough], 1 - _SHARP)
    return [record for record in enough if record.sharpness >= limit]


def varied(records: list[FaceRecord], most: int) -> list[FaceRecord]:
    """At most `most` of the faces, in order: half of them evenly spread over the set, half as different as can be."""
    if len(records) <= most:
        return records
    expressions = np.stack([record.expression() for record in records])
    places = np.linspace(0, len(records) - 1, most // 2).round().astype(int).tolist()
    chosen = set[int](places)
    away = np.full(len(records), np.inf)
    for place in places:
        away = np.minimum(away, np.linalg.norm(expressions - expressions[place], axis=1))
    while len(chosen) < most:
        place = int(away.argmax())
        chosen.add(place)
        away = np.minimum(away, np.linalg.norm(expressions - expressions[place], axis=1))
        away[list(chosen)] = -1
    return [records[place] for place in sorted(chosen)]


def in_square(picture: Frame, record: FaceRecord, model: ModelConfig) -> tuple[Frame, NDArray[np.float32]]:
    """A face as the model frames it (256, 256, 3), and its landmarks (478, 2) there."""
    view = zoomed(np.eye(2, 3), len(picture), SIDE, model.coverage, model.drop)
    return align(picture, view, SIDE), transform(record.aligned_landmarks(), view)


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
        metadata: dict[str, str] = file.metadata() or {}
        about: dict[str, Any] = json.loads(metadata["clearswap"])
        _require(about["format"] == FORMAT, "another format")
        _require((about["coverage"], about["drop"]) == (model.coverage, model.drop), "another framing")
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
