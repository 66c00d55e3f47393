"""Tracks: who is where in a clip. The first pass over a clip writes them, the second one reads them.

The faces of some hundred frames at a time are a file in a working folder, so that memory does not grow with the length
of a clip, and so that a run that was killed need not look for them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clearswap.core.align import Points
from clearswap.core.smoothing import SmoothConfig, smooth
from clearswap.faces.tracker import Face
from clearswap.media.atomic import atomic_file

PART = 250  # frames in a file
_LIST = "tracks.json"


@dataclass
class Track:
    """One face over some frames.

    Attributes:
        number: Which one; larger numbers were found later.
        first: The frame in which it was found.
        last: The last frame in which it was seen.
        frames: In how many it was seen.
        size: Its greatest size in pixels.
        looks: Frames in which it was compared to the persons looked for, and how far it is from each (the distance
            of the embeddings).
    """

    number: int
    first: int
    last: int
    frames: int = 0
    size: float = 0.0
    looks: list[tuple[int, list[float]]] = field(default_factory=list[tuple[int, list[float]]])


class TrackWriter:
    """Writes the faces of one frame after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._part, self._count = folder, list[list[Face]](), 0
        self.tracks: dict[int, Track] = {}

    def add(self, faces: list[Face], looks: Mapping[int, list[float]]) -> None:
        """The faces of the next frame; `looks`: distances to each person looked for, by track."""
        for face in faces:
            track = self.tracks.setdefault(face.track, Track(face.track, self._count, self._count))
            track.last, track.frames, track.size = self._count, track.frames + 1, max(track.size, face.size)
            if face.track in looks:
                track.looks.append((self._count, [round(far, 4) for far in looks[face.track]]))
        self._part.append(faces)
        self._count += 1
        if len(self._part) == PART:
            self._write()

    def close(self) -> Tracks:
        """Write what is left, and that this is all."""
        if self._part:
            self._write()
        about = {"frames": self._count, "tracks": [vars(track) for track in self.tracks.values()]}
        with atomic_file(self._folder / _LIST) as partial:
            partial.write_text(json.dumps(about))
        return Tracks(self._folder, self._count, list(self.tracks.values()))

    def _write(self) -> None:
        faces = [face for found in self._part for face in found]
        with atomic_file(_part_of(self._folder, (self._count - 1) // PART)) as partial:
            np.savez(
                partial,
                counts=np.array([len(found) for found in self._part]),
                tracks=np.array([face.track for face in faces], np.int64),
                landmarks=np.array([face.landmarks for face in faces], np.float32).reshape(-1, 468, 2),
            )
        self._part = []


@dataclass(frozen=True)
class Tracks:
    """The faces of a clip, as a `TrackWriter` left them."""

    folder: Path
    frames: int
    tracks: list[Track]

    def all(self, start: int, smoothing: SmoothConfig = SmoothConfig(0)) -> Iterator[dict[int, Points]]:
        """The same for each frame from `start` on, some hundred in memory at a time."""
        while start < self.frames:
            stop = min((start // PART + 1) * PART, self.frames)
            yield from self.faces(start, stop, smoothing)
            start = stop

    def faces(self, start: int, stop: int, smoothing: SmoothConfig) -> list[dict[int, Points]]:
        """For each frame from `start` to before `stop`, the steadied landmarks (468, 2) by track."""
        low, high = max(0, start - smoothing.reach), min(self.frames, stop + smoothing.reach)
        rough = self._read(low, high)
        found: list[dict[int, Points]] = [{} for _ in rough]
        for number, run in _runs(rough):
            together = np.stack([rough[at][number] for at in run])
            for at, landmarks in zip(run, smooth(together, smoothing) if smoothing.smooth else together, strict=True):
                found[at][number] = landmarks
        return found[start - low : stop - low]

    def _read(self, start: int, stop: int) -> list[dict[int, Points]]:
        found: list[dict[int, Points]] = []
        first = start // PART
        for part in range(first, -(-stop // PART)):
            with np.load(_part_of(self.folder, part)) as arrays:
                counts, tracks, landmarks = arrays["counts"], arrays["tracks"], arrays["landmarks"]
            ends = np.cumsum(counts)
            for begin, end in zip(ends - counts, ends, strict=True):
                found.append(dict(zip(tracks[begin:end].tolist(), landmarks[begin:end], strict=True)))
        return found[start - first * PART : stop - first * PART]


def read_tracks(folder: Path) -> Tracks | None:
    """What a `TrackWriter` has written into `folder`; None where it did not come to its end."""
    if not (folder / _LIST).is_file():
        return None
    about: dict[str, Any] = json.loads((folder / _LIST).read_text())
    tracks = [Track(**track | {"looks": [(at, far) for at, far in track["looks"]]}) for track in about["tracks"]]
    return Tracks(folder, about["frames"], tracks)


def _part_of(folder: Path, number: int) -> Path:
    return folder / f"faces-{number:06d}.npz"


def _runs(found: list[dict[int, Points]]) -> Iterator[tuple[int, list[int]]]:
    """Each track with the frames of every stretch in which it is seen without a gap."""
    running: dict[int, list[int]] = {}
    for at, faces in enumerate([*found, dict[int, Points]()]):
        for number in [number for number in running if number not in faces]:
            yield number, running.pop(number)
        for number in faces:
            running.setdefault(number, []).append(at)
