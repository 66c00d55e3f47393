"""A face set: a plain folder of aligned face pictures and one index file, `index.jsonl`.

The pictures may be looked at, sorted and deleted by hand in any file manager: the index is keyed by file name, and
entries without a picture are passed over. Other tools may enlarge them or save them as another kind of file: they are
taken as large as they are now, and a name with another suffix is taken for the one in the index. Each line of the index
is one face:

    {"file": "clip_000012.jpg", "source": "clip.mp4", "frame": 12, "time": 0.4, "box": [l, t, r, b],
     "matrix": [[a, b, c], [d, e, f]], "score": 0.99, "sharpness": 41.2, "size": 256, "landmarks": [[x, y], ...],
     "coefficients": [c, ...]}

`coefficients` (52, in 0..1) say what the face does, by the names in `core/expression.py`. `box`, `landmarks` (478) and
`matrix` (frame to aligned, `whole_face`) are in pixels of the upright frame.

`consent.toml` says who the set shows and on what basis the footage is used (`disclosure/consent.py`).

A picture may have a mask, `clip_000012.mask.png`: grey, of the same size, black where something (a hand, a microphone)
covers the face and white elsewhere. Training learns nothing from what is black, and what to leave out in a swap.
`extract` writes the masks of clips that have labels; any tool for segmenting pictures can make more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TextIO

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from clearswap.checks import Amount, Count, Share, decode
from clearswap.core.align import Frame, Points, invert, transform, zoomed
from clearswap.core.expression import Coefficients, Expressions, read_expression
from clearswap.errors import FacesetError, InputError, OutputError
from clearswap.faces.face_models import ExpressionReader, Landmarker, roi_of
from clearswap.media.files import PICTURE_SUFFIXES, atomic_file, picture_size, read_picture

INDEX = "index.jsonl"
_SHAPES, _OLD_SHAPES = ((478, 2), (52,)), ((468, 2), (0,))  # of landmarks and coefficients
_FAR = 10  # times the picture's side: no landmark of the face in it lies further out
_Pixels = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Row = Annotated[list[_Pixels], Meta(min_length=3, max_length=3)]


@dataclass(frozen=True)
class FaceRecord:
    """One face of the set: a line of the index."""

    file: str
    source: str
    frame: int
    time: float
    box: list[float]
    matrix: list[list[float]]
    score: float
    sharpness: float
    size: int
    landmarks: Points  # (478, 2); as lists they would take 59 kB a face
    coefficients: Coefficients  # (52,)

    def aligned_landmarks(self) -> Points:
        """The landmarks (478, 2) in pixels of the picture."""
        return transform(self.landmarks, np.array(self.matrix))

    def expression(self) -> Expressions:
        """The expression (MEASURES,)."""
        return read_expression(self.aligned_landmarks(), self.coefficients)


@dataclass(frozen=True)
class _Line:
    """A line of the index as it is stored."""

    file: Annotated[str, Meta(min_length=1, max_length=1000)]
    source: Annotated[str, Meta(max_length=10_000)]
    frame: Count
    time: Annotated[float, Meta(ge=-1e9, le=1e9)]
    box: Annotated[list[_Pixels], Meta(min_length=4, max_length=4)]
    matrix: Annotated[list[_Row], Meta(min_length=2, max_length=2)]
    score: Share
    sharpness: Amount
    size: Annotated[int, Meta(ge=1, le=100_000)]
    landmarks: list[Annotated[list[_Pixels], Meta(min_length=2, max_length=2)]]
    coefficients: list[_Pixels] = field(default_factory=list[float])


def _parse(line: bytes) -> FaceRecord:
    """A line of an index, which may be anybody's. Raises ValueError."""
    stored = decode(_Line, line)
    points, coefficients = (np.array(each, np.float32) for each in (stored.landmarks, stored.coefficients))
    fields: dict[str, Any] = {**vars(stored), "landmarks": points, "coefficients": coefficients}
    record = FaceRecord(**fields)
    if (points.shape, coefficients.shape) not in (_SHAPES, _OLD_SHAPES):
        raise ValueError("another number of points")
    if abs(np.linalg.det(np.array(record.matrix)[:, :2])) < 1e-9:
        raise ValueError("a matrix that cannot be undone")
    if np.abs(record.aligned_landmarks()).max() > _FAR * record.size:
        raise ValueError("landmarks that lie outside the face")
    return record


def write_index(file: TextIO, records: Iterable[FaceRecord]) -> None:
    """Append `records` to an index."""
    for record in records:
        points = np.round(record.landmarks.astype(np.float64), 2).tolist()
        coefficients = np.round(record.coefficients.astype(np.float64), 4).tolist()
        line = vars(record) | {"landmarks": points, "coefficients": coefficients}
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def require_faceset(folder: Path) -> Path:
    """The index file of the face set in `folder`. Raises `FacesetError` where there is none."""
    if not folder.is_dir():
        raise FacesetError(f"{folder} is not a face set; make one with: clearswap extract CLIP -o {folder}")
    index = folder / INDEX
    if not index.is_file():
        raise FacesetError(f"{folder} has no {INDEX}; make the face set anew with: clearswap extract CLIP -o {folder}")
    return index


def read_index(folder: Path, *, at_least: int = 0) -> list[FaceRecord]:
    """The entries whose pictures are still there, in the order of the index, each as large as its picture is now.

    A set made before 0.3, with the 468 landmarks of then, is looked at anew, and its index rewritten.

    Raises `FacesetError`, also when there are fewer than `at_least`, and `FaceModelsMissing`.
    """
    index = require_faceset(folder)
    records: list[FaceRecord] = []
    outdated = False
    with index.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                records.append(_parse(line))
            except ValueError as error:
                raise FacesetError(f"{index} is damaged in line {number} ({error}); make the face set anew.") from error
            outdated |= not len(records[-1].coefficients)
    records = [_as_large(folder, record) for record in _present(folder, records)]
    if len(records) < at_least:
        strange = unknown_pictures(folder, records)
        raise FacesetError(
            f"{folder} holds {len(records)} face{'s' * (len(records) != 1)}; training needs {at_least} or more."
            + f" {strange}" * bool(strange)
        )
    return _look_anew(folder, records) if outdated else records


def _pictures(folder: Path) -> list[str]:
    """The names of the pictures in a folder; masks are none."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    return [name for name in names if not name.endswith(".mask.png")]


def _present(folder: Path, records: list[FaceRecord]) -> Iterator[FaceRecord]:
    """The entries that have a picture: of their name, or else the only one of that name with another suffix."""
    pictures, known = _pictures(folder), {record.file for record in records}
    alike: dict[str, list[str]] = {}
    for name in pictures:
        if name not in known:
            alike.setdefault(Path(name).stem, []).append(name)
    there = set(pictures)
    for record in records:
        others = alike.get(Path(record.file).stem, [])
        if record.file in there:
            yield record
        elif len(others) == 1:
            yield replace(record, file=others[0])


def _as_large(folder: Path, record: FaceRecord) -> FaceRecord:
    """An entry whose size and matrix are those of its picture, which may have been enlarged. Raises `FacesetError`."""
    path = folder / record.file
    try:
        width, height = picture_size(path)
    except InputError as error:
        raise FacesetError(f"{error} Delete it from the face set.") from error
    if width != height:
        raise FacesetError(
            f"{path} is {width}x{height}, but a picture of a face set is square; restore it, or delete it from the set."
        )
    if width == record.size:
        return record
    return replace(record, size=width, matrix=zoomed(np.array(record.matrix), record.size, width).tolist())


def unknown_pictures(folder: Path, records: list[FaceRecord]) -> str:
    """What to tell people of the pictures that belong to none of the entries `records`; empty where there are none."""
    known = {record.file for record in records}
    names = [name for name in _pictures(folder) if name not in known]
    if not names:
        return ""
    more = f" and {len(names) - 3} more" * (len(names) > 3)
    return (
        f"The index of {folder} does not know {', '.join(names[:3])}{more}: not used; give pictures the names that "
        "they had, or make a face set of them with `extract`."
    )


def _look_anew(folder: Path, records: list[FaceRecord]) -> list[FaceRecord]:
    """Find the landmarks of all faces in their pictures (5 ms a face), and rewrite the index where it can be."""
    landmarker, reader = Landmarker(), ExpressionReader()
    found: list[FaceRecord] = []
    for record in records:
        picture, roi = read_face(folder, record), roi_of(record.aligned_landmarks())
        landmarks = transform(landmarker(picture, roi)[0], invert(np.array(record.matrix)))
        coefficients = reader.coefficients(landmarks)
        found.append(replace(record, landmarks=landmarks, coefficients=coefficients))
    with suppress(OutputError), atomic_file(folder / INDEX) as partial, partial.open("w", encoding="utf-8") as file:
        write_index(file, found)
    return found


def spread(records: list[FaceRecord], most: int) -> list[FaceRecord]:
    """At most `most` of the faces, evenly spread."""
    places: list[float] = np.linspace(0, len(records) - 1, min(most, len(records))).round().tolist()
    return [records[int(place)] for place in places]


def read_face(folder: Path, record: FaceRecord) -> Frame:
    """The picture (S, S, 3) of one face. Raises `FacesetError`."""
    return _read_picture(folder / record.file)


def mask_of(file: str) -> str:
    """The name of the mask that belongs to a picture."""
    return f"{Path(file).stem}.mask.png"


def read_mask(folder: Path, record: FaceRecord, side: int) -> NDArray[np.uint8] | None:
    """The mask of a face (side, side): 255 is free, 0 covered; None without one. Raises `FacesetError`."""
    path = folder / mask_of(record.file)
    if not path.is_file():
        return None
    return np.asarray(cv2.resize(_read_picture(path)[..., 0], (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _read_picture(path: Path) -> Frame:
    try:
        return read_picture(path)
    except InputError as error:
        raise FacesetError(f"{error} Delete it from the face set.") from error


class Occluders:
    """Says where something covers the face, frame by frame, from the file `CLIP.labels.npz` of `CLIP.mp4`.

    Its `mask_shape` holds the number of frames, height and width, and its `occluder` one bit for each pixel of each
    frame, packed by `numpy.packbits`. The clips of synthetic people (people/README.md) have such files, with more in
    them. Without labels nothing is covered.
    """

    def __init__(self, clips: list[Path], labels: Path | None) -> None:
        """Read `labels`, or else the file of the first of `clips` that has one. Raises `InputError`."""
        self._bits: NDArray[np.uint8] | None = None
        if labels is not None and not labels.is_file():
            raise InputError(f"{labels} does not exist; leave `labels` out or give those of {clips[0]}.")
        usual = (clip.with_suffix(".labels.npz") for clip in clips)
        path = labels or next((path for path in usual if path.is_file()), None)
        if path is None:
            return
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                if "occluder" in file:
                    self._bits = np.asarray(file["occluder"], np.uint8)
                    self._shape = tuple(int(n) for n in file["mask_shape"])
                    if len(self._shape) != 3 or min(self._shape) < 1 or 8 * self._bits.size < math.prod(self._shape):
                        raise ValueError("fewer pixels than it says")
        except Exception as error:  # numpy, zipfile and zlib have errors of all kinds for what is damaged
            raise InputError(
                f"{path} holds no labels that Clearswap can read; leave it out or make it anew."
            ) from error

    def __call__(self, index: int, height: int, width: int) -> NDArray[np.uint8] | None:
        """The mask (height, width) of frame `index`, 1 where the face is covered; None without labels.

        Raises `InputError` where the labels belong to another clip.
        """
        if self._bits is None:
            return None
        if self._shape[1:] != (height, width) or index >= self._shape[0]:
            raise InputError(
                f"The labels are for {self._shape[0]} frames of {self._shape[2]}x{self._shape[1]}; "
                f"the clip's frame {index} is {width}x{height}."
            )
        first, count = index * height * width, height * width
        bits = np.unpackbits(self._bits[first // 8 : -(-(first + count) // 8)])
        return bits[first % 8 : first % 8 + count].reshape(height, width)
