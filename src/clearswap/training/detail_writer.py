"""Take a person's own faces for real detail from a face set (`detail_store.py` says what they are, and reads them)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from clearswap.checks import decode
from clearswap.core.align import Frame, align, transform, zoomed
from clearswap.core.detail import SIDE
from clearswap.core.network import ModelConfig, Side
from clearswap.faces.faceset import INDEX, FaceRecord, mask_of, read_face
from clearswap.media.files import atomic_file, encode_picture
from clearswap.training.checkpoint import said_of_itself, write_errors
from clearswap.training.detail_store import FORMAT, MOST, StoreAbout, store_path

_QUALITY = 92  # of the pictures
_SHARP = 0.75  # of a set's faces, the sharpest, are taken


def keep_store(folder: Path, side: Side, faces: Path, records: list[FaceRecord], model: ModelConfig) -> bool:
    """Take the faces for a model's person from the face set `faces`; returns whether there was anything to do.

    `records`: those of its faces that nothing covers. Raises `FacesetError` and `OutputError`.
    """
    pictures_now = repr([(record.file, record.size) for record in records]).encode()
    digest = hashlib.sha256((faces / INDEX).read_bytes() + pictures_now).hexdigest()
    about = StoreAbout(FORMAT, model.coverage, model.drop, digest)
    path = store_path(folder, side)
    if _metadata(path) == about:
        return False
    records = varied(_unspoiled(records, faces), MOST)
    view = [in_square(read_face(faces, record), record, model) for record in records]
    pictures = [encode_picture(picture, ".jpg", quality=_QUALITY) for picture, _ in view]
    tensors = {
        "pictures": np.frombuffer(b"".join(pictures), np.uint8),
        "ends": np.cumsum([len(picture) for picture in pictures], dtype=np.int64),
        "landmarks": np.stack([landmarks for _, landmarks in view]).astype(np.float32),
        "expressions": np.stack([record.expression() for record in records]).astype(np.float32),
    }
    with atomic_file(path) as partial, write_errors():
        save_file(tensors, partial, {"clearswap": json.dumps(asdict(about))})
    return True


def _metadata(path: Path) -> StoreAbout | None:
    """What a file says of itself; None where there is none, or none that can be read."""
    try:
        reader: Any = safe_open(path, "np")
        with reader as file:
            return decode(StoreAbout, said_of_itself(file))
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
