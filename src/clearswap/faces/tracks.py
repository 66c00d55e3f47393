"""The faces of a clip, as parallel arrays: the first pass writes them, everything after it reads them.

Landmarks take 3.7 kB a face and frame. They stay in a file of a working folder, of which the second pass reads some
hundred frames at a time, so memory hardly grows with the length of a clip; all else is about 30 bytes a face. A run
that was killed finds both in the folder and need not look for faces again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clearswap.core.smoothing import SmoothConfig, smooth_tracks
from clearswap.faces.tracker import Face
from clearswap.media.atomic import atomic_file, output_errors

_PART = 250  # frames whose landmarks are in memory at a time
_ARRAYS, _LANDMARKS = "faces.npz", "landmarks.f32"
_NUMBERS = 468 * 2  # of one face's landmarks


@dataclass(frozen=True, eq=False)
class Faces:
    """The N faces of a clip, frame after frame, the largest of a frame first.

    Attributes:
        folder: Where their landmarks lie.
        frames: How many frames were looked through.
        frame: (N,), the frame that each face is in, counted from the first one looked through.
        track: (N,), the number of its track: the same number in successive frames says that it is the same face.
        box: (N, 4), left, top, right and bottom of its landmarks in pixels.
        looks: (N, P), how far it is from each of P persons (the distance of embeddings); NaN where nobody looked.
    """

    folder: Path
    frames: int
    frame: NDArray[np.int64]
    track: NDArray[np.int64]
    box: NDArray[np.float32]
    looks: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def size(self) -> NDArray[np.float32]:
        """(N,), the longer side of each box in pixels."""
        return (self.box[:, 2:] - self.box[:, :2]).max(1)

    def landmarks(self, start: int, stop: int, smoothing: SmoothConfig = SmoothConfig(0)) -> NDArray[np.float32]:
        """The landmarks (M, 468, 2) of all faces in the frames from `start` to before `stop`, smoothed over time."""
        reach = smoothing.reach
        low, first, last, high = np.searchsorted(self.frame, [start - reach, start, stop, stop + reach]).tolist()
        path, count = self.folder / _LANDMARKS, (high - low) * _NUMBERS
        rough = np.fromfile(path, np.float32, count, offset=4 * low * _NUMBERS).reshape(-1, 468, 2)
        smoothed = smooth_tracks(rough, self.frame[low:high], self.track[low:high], smoothing)
        return smoothed[first - low : last - low]

    def by_frame(
        self, start: int = 0, smoothing: SmoothConfig = SmoothConfig(0)
    ) -> Iterator[tuple[range, NDArray[np.float32]]]:
        """For each frame from `start` on: which of the N faces are in it, and their landmarks (n, 468, 2), smoothed."""
        for first in range(start, self.frames, _PART):
            stop = min(first + _PART, self.frames)
            landmarks = self.landmarks(first, stop, smoothing)
            bounds = np.searchsorted(self.frame, np.arange(first, stop + 1)).tolist()
            for low, high in pairwise(bounds):
                yield range(low, high), landmarks[low - bounds[0] : high - bounds[0]]


class FacesWriter:
    """Writes the faces of one frame after the other into a folder.

    Attributes:
        tracks: The numbers of the tracks so far.
    """

    def __init__(self, folder: Path, persons: int) -> None:
        """Begin anew in `folder`; `persons`: how many are looked for."""
        self._folder, self._persons = folder, persons
        self._frames = 0
        self.tracks: set[int] = set()
        self._frame, self._track = array("q"), array("q")
        self._box, self._looks = array("f"), array("f")
        (folder / _LANDMARKS).write_bytes(b"")

    def add(self, faces: Sequence[Face], looks: Mapping[int, Sequence[float]]) -> None:
        """Write the faces of the next frame; `looks`: by track, the distances to the persons looked for."""
        nobody = [float("nan")] * self._persons
        for face in faces:
            self._frame.append(self._frames)
            self._track.append(face.track)
            self._box.extend(face.box)
            self._looks.extend(looks.get(face.track, nobody))
        self.tracks |= {face.track for face in faces}
        self._frames += 1
        path = self._folder / _LANDMARKS
        with output_errors(path), path.open("ab") as file:
            for face in faces:
                file.write(face.landmarks.astype(np.float32).tobytes())

    def close(self) -> Faces:
        """Say that these were all. Without it, `read_faces` finds none."""
        faces = Faces(
            self._folder,
            self._frames,
            frame=np.array(self._frame, np.int64),
            track=np.array(self._track, np.int64),
            box=np.array(self._box, np.float32).reshape(-1, 4),
            looks=np.array(self._looks, np.float32).reshape(len(self._frame), self._persons),
        )
        with atomic_file(self._folder / _ARRAYS) as partial:
            np.savez(
                partial, frames=faces.frames, frame=faces.frame, track=faces.track, box=faces.box, looks=faces.looks
            )
        return faces


def read_faces(folder: Path) -> Faces | None:
    """The faces that a `FacesWriter` has written into `folder`; None where it was not closed."""
    if not (folder / _ARRAYS).is_file():
        return None
    with np.load(folder / _ARRAYS) as file:
        return Faces(folder, int(file["frames"]), file["frame"], file["track"], file["box"], file["looks"])
