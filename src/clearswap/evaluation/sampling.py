"""Sampling clips for `evaluate`: several clips read side by side, and what a face shows in a frame.

What a swap is compared with: a still picture, and the best that could be put there.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points, align, face_matrix, zoomed
from clearswap.core.network import PRESETS, Drawn
from clearswap.core.swap import BlendConfig, Swapper
from clearswap.errors import InputError
from clearswap.evaluation.motion import read_motion
from clearswap.faces.embedding import chip
from clearswap.faces.face_models import Detector, Iris, Mesh
from clearswap.faces.tracker import Face, TrackConfig, Tracker, followed
from clearswap.media.pipeline import ahead
from clearswap.media.video import VideoFrame, probe, read_frames


@dataclass(frozen=True)
class SampledFrame:
    """One frame of all clips. `face` is the reference's, `source_face` that of the original frame."""

    index: int
    source: Frame
    result: Frame
    truth: Frame | None
    source_face: Face
    face: Face

    @property
    def reference(self) -> Frame:
        """The truth, or else the original frame."""
        return self.source if self.truth is None else self.truth


@dataclass(frozen=True)
class FaceMeasures:
    """What a face shows in one frame."""

    landmarks: Points  # (468, 2) in frame pixels
    motion: NDArray[np.float64]  # (8,)
    chip: Frame  # for the embedding
    present: bool


class Reader:
    """The face models that evaluation needs, loaded once."""

    def __init__(self, tracking: TrackConfig) -> None:
        self.tracking = tracking
        self._detector = Detector(size=tracking.detect_size, threshold=tracking.threshold)
        self._mesh, self._iris = Mesh(), Iris()
        self._own = Tracker(tracking, self._detector, self._mesh)

    def tracker(self) -> Tracker:
        """A tracker for one clip, which may run in a thread of its own: a mesh cannot be shared between two."""
        return Tracker(self.tracking, self._detector, Mesh())

    def __call__(self, frame: Frame, face: Face) -> FaceMeasures:
        """Read the face that is where `face` was found in another picture of the same moment."""
        found = self._own.look(frame, face.roi)
        _, depth, _ = self._mesh.with_depth(frame, found.roi)
        mesh = np.column_stack([found.landmarks, depth])
        motion = read_motion(mesh, *self._iris(frame, found.landmarks))
        return FaceMeasures(
            found.landmarks, motion, chip(frame, found.landmarks), found.score >= self.tracking.presence
        )


def chosen_frames(count: int, samples: int) -> set[int]:
    """Which of `count` frames are measured: runs of three successive ones, about `samples` in all, spread evenly."""
    runs = max(1, min(samples, count) // 3)
    starts: list[float] = np.linspace(0, max(0, count - 3), runs).round().tolist()
    return {int(start) + step for start in starts for step in range(3) if int(start) + step < count}


def moments(
    source: Path, result: Path, truth: Path | None, reader: Reader, samples: int
) -> Generator[tuple[int, SampledFrame | None]]:
    """Every frame's index, with its moment where it is measured and the faces were found.

    Raises `InputError` for clips that do not belong together: other sizes, other lengths.
    """
    given = [source, result] if truth is None else [source, result, truth]
    about = {path: probe(path) for path in given}
    wanted = about[source]
    for path, own in about.items():
        if (own.width, own.height) != (wanted.width, wanted.height):
            sizes = f"{path} is {own.width}x{own.height}, {source} {wanted.width}x{wanted.height}"
            raise InputError(f"{sizes}; evaluate needs the same frames.")
        if own.frames != wanted.frames:
            both = f"{path} has {own.frames} frames, {source} {wanted.frames}"
            raise InputError(f"{both}; evaluate needs clips of the same frames.")
    chosen = chosen_frames(wanted.frames, samples)
    tracked = followed(source, reader.tracker())
    results = ahead(read_frames(result))
    truths = ahead(iter([])) if truth is None else followed(truth, reader.tracker())
    with closing(tracked), closing(results), closing(truths):
        yield from _together(tracked, results, truths, given, chosen)


def _together(
    tracked: Iterator[tuple[VideoFrame, list[Face]]],
    results: Iterator[VideoFrame],
    truths: Iterator[tuple[VideoFrame, list[Face]]],
    given: list[Path],
    chosen: set[int],
) -> Iterator[tuple[int, SampledFrame | None]]:
    for index, (first, shown, true) in enumerate(zip_longest(tracked, results, truths)):
        ended = [path for path, got in zip(given, (first, shown, true), strict=False) if got is None]
        if first is None or shown is None or ended:
            raise InputError(f"{ended[0]} has only {index} frames; evaluate needs clips of the same frames.")
        frame, faces = first
        true_frame, true_faces = true or (None, faces)
        if index not in chosen or not faces or not true_faces:
            yield index, None
            continue
        truth = true_frame.picture if true_frame else None
        yield index, SampledFrame(index, frame.picture, shown.picture, truth, faces[0], true_faces[0])


# Drawn finely, and in colours of its own: what is compared is not held back by a network's size.
_FINE = replace(PRESETS["lite"], size=256, only_face=False)


def average_face(squares: list[tuple[Frame, NDArray[np.float64]]]) -> NDArray[np.uint8]:
    """The mean (256, 256, 3) of pictures, each with the matrix to its `whole_face` square of 256 pixels."""
    total = np.zeros((_FINE.size, _FINE.size, 3))
    for picture, matrix in squares:
        part = zoomed(matrix, _FINE.size, _FINE.size, _FINE.coverage, _FINE.drop)
        total += align(picture, part, _FINE.size)
    return np.round(total / len(squares)).astype(np.uint8)


def pasted(frame: Frame, landmarks: Points, face: NDArray[np.uint8]) -> Frame:
    """`frame` with `face` (256, 256, 3) as its face: a swap that follows nothing but where the head is."""
    drawn = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255
    swapper = Swapper(
        lambda _: Drawn(drawn), _FINE, torch.device("cpu"), blend=BlendConfig(colour=0.0, sharpen=0.0, grain=0.0)
    )
    return swapper([frame], [[landmarks]])[0]


def ceiling(frame: Frame, landmarks: Points, truth: Frame, true_landmarks: Points) -> Frame:
    """`frame` with the truth's own face of the same moment: all that a perfect network could do."""
    return pasted(frame, landmarks, average_face([(truth, face_matrix(true_landmarks, _FINE.size))]))
