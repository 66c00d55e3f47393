"""Extract: find, follow, align and cut out the faces of clips and pictures into a face set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from msgspec import Meta

from clearswap.checks import check_fields, paths_of
from clearswap.core.align import Frame, align, face_matrix
from clearswap.errors import InputError
from clearswap.faces.face_models import ExpressionReader, Guard
from clearswap.faces.faceset import INDEX, FaceRecord, Occluders, mask_of, write_index
from clearswap.faces.tracker import Face, TrackConfig, make_tracker, track
from clearswap.media.files import (
    about_source,
    atomic_folder,
    encode_picture,
    free_name,
    is_picture,
    left_out,
    list_inputs,
    read_source,
)
from clearswap.media.pipeline import ahead, map_ahead
from clearswap.media.shown import VideoFrame
from clearswap.progress import OnProgress, Progress, silent


@dataclass(frozen=True)
class ExtractConfig:
    """What is cut out.

    Attributes:
        size: Side of the pictures in pixels; 384 suits most footage, 768 close-ups of 1080p and above.
        every: Take every n-th frame only.
        faces: "largest" takes the largest face of a frame, "all" every face.
    """

    size: Annotated[int, Meta(ge=16, le=4096)] = 384
    every: Annotated[int, Meta(ge=1, le=10**9)] = 1
    faces: Literal["largest", "all"] = "largest"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class ExtractResult:
    """What was found."""

    faces: int
    frames: int
    frames_without_face: int

    def __str__(self) -> str:
        return f"{self.faces} faces from {self.frames} frames; {self.frames_without_face} frames had no face."


def extract(
    inputs: Sequence[Path | str] | Path | str,
    output: Path | str,
    *,
    config: ExtractConfig = ExtractConfig(),
    tracking: TrackConfig = TrackConfig(),
    on_progress: OnProgress = silent,
) -> ExtractResult:
    """Find, follow, align and cut out the faces of one person into a face set.

    A face set is a folder of pictures. Look through it afterwards and delete what does not belong: other people,
    blurred faces, hands over the face. A few hundred varied faces are enough to begin with.

    Where labels lie next to a clip (CLIP.labels.npz), each face that something covers gets a mask.

    Args:
        inputs: Videos, pictures, or folders of either.
        output: The face set to make: a folder that does not exist yet. It appears when it is complete.
        config: What is cut out.
        tracking: How faces are found and followed.
        on_progress: Called after each frame.

    Raises:
        InputError: An input cannot be read or shows what Clearswap is not for, or none of them shows a face.
        OptionError: An input is no path.
        OutputError: `output` exists, or cannot be written.
        FaceModelsMissing: The face models are not installed.
    """

    def tell(note: str) -> None:
        on_progress(Progress("extract", note=note))

    given = paths_of(inputs)
    sources = list_inputs(given)
    about = [about_source(source) for source in sources]
    for note in (left_out(given), *(note for info in about for note in info.notes)):
        if note:
            tell(note)
    tracker, reader, guard = make_tracker(tracking), ExpressionReader(), Guard()
    faces = frames = empty = 0
    with atomic_folder(Path(output)) as folder, (folder / INDEX).open("w", encoding="utf-8") as index:
        for info, (stem, name) in zip(about, _names(sources), strict=True):
            source, total = info.path, -(-info.frames // config.every)
            covered = Occluders([] if is_picture(source) else [source], None)
            cut = partial(_cut_out, folder=folder, stem=stem, name=name, config=config, covered=covered, reader=reader)
            decoded = ahead(guard(read_source(source, every=config.every, on_note=tell), str(source)))
            with (
                closing(ahead(track(decoded, tracker.fresh()))) as found,
                closing(map_ahead(cut, found)) as made,
            ):
                for done, records in enumerate(made, 1):
                    write_index(index, records)
                    frames += 1
                    faces += len(records)
                    empty += not records
                    on_progress(Progress(f"extract {source.name}", done, total, values={"faces": faces}))
        if not faces:
            more = f" and {len(sources) - 3} more" * (len(sources) > 3)
            names = ", ".join(str(source) for source in sources[:3]) + more
            raise InputError(f"No face was found in {names} ({frames} frames); try other footage.")
    return ExtractResult(faces, frames, empty)


def _names(sources: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """How the pictures of each source begin, and what the index calls it: no two alike, and short enough to add to."""
    stems, names = set[str](), set[str]()
    for source in sources:
        stem, name = (os.fsencode(part).decode("utf-8", "replace") for part in (source.stem, source.name))
        yield free_name(stem.encode()[:200].decode("utf-8", "ignore"), "", stems), free_name(name, "", names)


def _cut_out(
    found: tuple[VideoFrame, list[Face]],
    *,
    folder: Path,
    stem: str,
    name: str,
    config: ExtractConfig,
    covered: Occluders,
    reader: ExpressionReader,
) -> list[FaceRecord]:
    """Align and save the faces of one frame, with masks of what is known to cover them."""
    frame, faces = found
    size = config.size
    if config.faces == "largest":
        faces = faces[:1]
    occluder = covered(frame.index, *frame.picture.shape[:2]) if faces else None
    records: list[FaceRecord] = []
    for rank, face in enumerate(faces):
        matrix = face_matrix(face.landmarks, size)
        aligned = align(frame.picture, matrix, size)
        file = f"{stem}_{frame.index:06d}{f'_{rank + 1}' if rank else ''}.jpg"
        (folder / file).write_bytes(encode_picture(aligned, ".jpg"))
        if occluder is not None and occluder.any():
            free = cv2.warpAffine(255 - 255 * occluder, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=255)
            mask = np.asarray(np.dstack([free] * 3), np.uint8)
            (folder / mask_of(file)).write_bytes(encode_picture(mask, ".png"))
        records.append(
            FaceRecord(
                file=file,
                source=name,
                frame=frame.index,
                time=round(frame.time, 6),
                box=np.round(face.box, 2).tolist(),
                matrix=np.round(matrix, 8).tolist(),
                score=round(face.score, 4),
                sharpness=round(sharpness(aligned), 2),
                size=size,
                landmarks=face.landmarks,
                coefficients=reader.coefficients(face.landmarks),
            )
        )
    return records


def sharpness(aligned: Frame) -> float:
    """Spread of the Laplacian over the middle of an aligned face: small when it is out of focus or was enlarged."""
    quarter = len(aligned) // 4
    grey = cv2.cvtColor(aligned[quarter:-quarter, quarter:-quarter], cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std())
