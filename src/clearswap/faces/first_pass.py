"""The first pass over a clip: find its faces, follow them, and look now and then whose they are, and whether it shows
what Clearswap is not for.

What is found goes into a working folder as it is found, and every ten seconds or so what the tracker knows by then. So
a run that was killed at any moment goes on from there, and finds what it would have found.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from clearswap.checks import Count, decode, stored
from clearswap.core.align import Frame
from clearswap.errors import InputError, OptionError
from clearswap.faces.face_models import Guard
from clearswap.faces.selection import Embedding, Role, SelectConfig, WhichFaces, chip
from clearswap.faces.tracker import (
    LANDMARKS,
    NUMBERS,
    PART,
    Face,
    Faces,
    TrackConfig,
    Tracker,
    TrackerState,
    follow,
    make_tracker,
)
from clearswap.media.files import atomic_file, fresh, output_errors, read_picture
from clearswap.media.shown import VideoFrame
from clearswap.progress import OnProgress, Progress

_LOOK_EVERY = 10  # frames between two looks at who it is
_NEAR = 1.0  # faces whose middles are less than so many of their sizes apart may cross: then each frame is looked at,
_AFTER = 15  # and so many after: the tracker may have taken the one for the other
_STRIDE = 8  # frames after which what `follow` yields does not depend on where it began: it fills gaps of six


class Recogniser:
    """Tells how far faces are from some persons; knows no one where none are given."""

    def __init__(self, persons: Sequence[NDArray[np.float32]]) -> None:
        self.persons = persons
        self._embedding = Embedding() if persons else None

    def __call__(self, frame: Frame, faces: Sequence[Face]) -> list[list[float]]:
        """The distance of each face to each person, of the embeddings; one person's faces lie within about 0.5."""
        if not faces or self._embedding is None:
            return [[] for _ in faces]
        found = self._embedding([chip(frame, face.landmarks) for face in faces])  # (N, 128)
        return np.linalg.norm(found[:, None] - np.stack(self.persons), axis=2).tolist()


@dataclass(frozen=True)
class Finder:
    """Finds the faces of clips and tells whose they are.

    Attributes:
        tracker: Finds and follows faces; each clip gets a fresh one.
        recogniser: Tells the persons to replace from others.
        which: Which faces are replaced.
        guard: Refuses what Clearswap is not for.
    """

    tracker: Tracker
    recogniser: Recogniser
    which: WhichFaces
    guard: Guard


def make_finder(
    roles: Sequence[Role],
    persons: Sequence[NDArray[np.float32] | None],
    select: SelectConfig,
    tracking: TrackConfig,
    on_progress: OnProgress,
) -> Finder:
    """Load what finds faces and tells whose they are.

    `persons`: the embedding (128,) of whom each role replaces; None where its model does not know.
    Raises `FaceModelsMissing`, `InputError` for a picture of the person (`select.like`) that shows no face, and
    `OptionError` where several are to be replaced and it cannot be told who is who.
    """
    if len(roles) > 1 and select.faces != "match":
        raise OptionError(
            f'Several people are replaced by who they are; leave `also` out, or `faces` "{select.faces}".'
        )
    tracker, guard = make_tracker(tracking), Guard()
    if select.faces != "match":
        return Finder(tracker, Recogniser([]), select.faces, guard)
    wanted = list(persons)
    if select.like is not None:
        wanted[0] = person_in(select.like, tracker)
    known = [person for person in wanted if person is not None]
    if len(known) == len(roles):
        return Finder(tracker, Recogniser(known), "match", guard)
    unknown = next(role.model for role, person in zip(roles, wanted, strict=True) if person is None)
    why = f"{unknown} does not know who its persons are"
    if len(roles) > 1:
        raise OptionError(f"{why}, so it cannot take part in replacing several people; train it further first.")
    on_progress(Progress("convert", note=f"{why}, so the largest face of each frame is replaced"))
    return Finder(tracker, Recogniser([]), "largest", guard)


def person_in(picture: Path, tracker: Tracker) -> NDArray[np.float32]:
    """The embedding (128,) of the largest face in a picture. Raises `InputError` where there is none."""
    frame = read_picture(picture)
    faces = tracker.fresh()(frame)
    if not faces:
        raise InputError(f"No face was found in {picture}; give a picture that shows the person from the front.")
    return Embedding()([chip(frame, faces[0].landmarks)])[0]


def find_faces(
    frames: Iterable[VideoFrame],
    finder: Finder,
    writer: FacesWriter,
    *,
    name: str,
    total: int,
    on_progress: OnProgress,
) -> Generator[VideoFrame]:
    """Find the faces of a clip and hand them to `writer`; yields each frame when that is done.

    Where the writer holds what an earlier run has found, the pass goes on from there: the frames before that are
    yielded only. `name` and `total` (frames) are what `on_progress` says of the clip. Raises `ContentError` for footage
    that Clearswap is not for.
    """
    kept, coming, states = writer.kept, finder.guard(frames, name), dict[int, TrackerState]()
    yield from islice(coming, kept.start)
    looked, crowded = dict(kept.looked), dict(kept.crowded)  # by track, the frame in which each was the case last
    tracker = finder.tracker.fresh() if kept.tracker is None else finder.tracker.restored(kept.tracker)
    # closed also where Ctrl-C comes: a thread that still works while the interpreter goes aborts the process
    with closing(follow(coming, tracker, kept.start, states.__setitem__)) as found:
        for number, (frame, faces) in enumerate(found, kept.start):
            if number < kept.frames:  # written already: the tracker only gets into its stride
                yield frame
                continue
            if (state := states.pop(number - _STRIDE, None)) is not None and number > _STRIDE:
                writer.keep(Kept(number - _STRIDE, number, 0, False, state, looked, crowded))
            crowded |= {face.track: number for face in faces if _crowded(face, faces)}
            due = [face for face in faces if number >= _next_look(face.track, number, looked, crowded)]
            tracks = [face.track for face in due]
            looks = dict(zip(tracks, finder.recogniser(frame.picture, due), strict=True))
            looked |= dict.fromkeys(tracks, number)
            writer.add(faces, looks)
            values = {"tracks": len(writer.tracks)}
            on_progress(Progress(f"look through {name}", number + 1, total, values=values))
            yield frame


def _next_look(track: int, number: int, looked: dict[int, int], crowded: dict[int, int]) -> int:
    """The frame from which on a track is to be looked at again, in frame `number`."""
    if track not in looked:
        return number
    uncertain = track in crowded and number - crowded[track] < _AFTER
    return looked[track] + (1 if uncertain else _LOOK_EVERY)


def _crowded(face: Face, faces: Sequence[Face]) -> bool:
    """Whether another face is so near that the tracker might take the one for the other."""
    middle = face.landmarks.mean(0)
    return any(
        float(np.linalg.norm(other.landmarks.mean(0) - middle)) < _NEAR * (face.size + other.size) / 2
        for other in faces
        if other is not face
    )


# What is found, in a working folder

_ARRAYS, _KEPT = "faces.bin", "first_pass.json"
_SOME = 5000  # faces that are looked at in one go


@dataclass(frozen=True)
class Kept:
    """How far a first pass has come, as it is stored.

    Attributes:
        start: From which frame on the tracker goes on.
        frames: How many frames are looked through.
        faces: How many faces were found in them.
        done: Whether these are all.
        tracker: What the tracker knows before frame `start`.
        looked: By track, the frame in which it was looked at last.
        crowded: By track, the frame in which it was near another one last.
    """

    start: Count = 0
    frames: Count = 0
    faces: Count = 0
    done: bool = False
    tracker: TrackerState | None = None
    looked: dict[int, Count] = field(default_factory=dict[int, int])
    crowded: dict[int, Count] = field(default_factory=dict[int, int])


class FacesWriter:
    """Writes the faces of one frame after the other into a folder.

    Attributes:
        kept: What an earlier run has left there, as far as it can be gone on from.
        tracks: The numbers of the tracks so far.
    """

    def __init__(self, folder: Path, persons: int) -> None:
        """Go on in `folder`, or begin there; `persons`: how many are looked for."""
        self._folder, self._kind = folder, _kind(persons)
        self.kept = _read_kept(folder, self._kind)
        self._frames, self._count = self.kept.frames, self.kept.faces
        for path, size in _files(folder, self._kind).items():
            if path.is_symlink() or not path.is_file():
                fresh(path)
            os.truncate(path, size * self._count)
        self.tracks = set[int](np.fromfile(folder / _ARRAYS, self._kind)["track"].tolist())

    def add(self, faces: Sequence[Face], looks: Mapping[int, Sequence[float]]) -> None:
        """Write the faces of the next frame; `looks`: by track, the distances to the persons looked for."""
        rows = np.zeros(len(faces), self._kind)
        for row, face in zip(rows, faces, strict=True):
            row["frame"], row["track"], row["box"] = self._frames, face.track, face.box
            row["looks"] = looks.get(face.track, np.nan)
        self.tracks |= {face.track for face in faces}
        landmarks = np.stack([face.landmarks for face in faces]).astype(np.float32) if faces else rows
        for path, data in zip(_files(self._folder, self._kind), (landmarks, rows), strict=True):
            with output_errors(path), path.open("ab") as file:
                file.write(data.tobytes())
        self._frames += 1
        self._count += len(faces)

    def keep(self, kept: Kept) -> None:
        """Say that a run may go on from here."""
        with atomic_file(self._folder / _KEPT) as partial:
            partial.write_bytes(msgspec.json.encode(replace(kept, faces=self._count)))

    def close(self) -> Faces:
        """Say that these were all. Without it, `read_faces` finds none."""
        kept = Kept(self._frames, self._frames, self._count, done=True)
        self.keep(kept)
        return _read(self._folder, self._kind, kept)


def read_faces(folder: Path, persons: int) -> Faces | None:
    """The faces that a `FacesWriter` has written into `folder`; None where it was not closed, or what it wrote is
    damaged.
    """
    kept = _read_kept(folder, _kind(persons))
    return _read(folder, _kind(persons), kept) if kept.done else None


def far_enough(folder: Path) -> bool:
    """Whether a first pass in `folder`, finished or not, has come so far that it is worth going on from: 250 frames."""
    try:
        return decode(Kept, stored(folder / _KEPT)).frames >= PART
    except (OSError, ValueError):
        return False


def _kind(persons: int) -> np.dtype[np.void]:
    """What is stored of a face, but for its landmarks."""
    return np.dtype([("frame", "<i8"), ("track", "<i8"), ("box", "<f4", 4), ("looks", "<f4", persons)])


def _files(folder: Path, kind: np.dtype[np.void]) -> dict[Path, int]:
    """The two files with what was found, and how many bytes they hold of each face."""
    return {folder / LANDMARKS: 4 * NUMBERS, folder / _ARRAYS: kind.itemsize}


def _read(folder: Path, kind: np.dtype[np.void], kept: Kept) -> Faces:
    rows = np.fromfile(folder / _ARRAYS, kind, kept.faces)
    names = ("frame", "track", "box", "looks")
    return Faces(folder, kept.frames, *(np.ascontiguousarray(rows[name]) for name in names))


def _read_kept(folder: Path, kind: np.dtype[np.void]) -> Kept:
    """How far an earlier run came in `folder`: nowhere, where anything that it left is not as it was written."""
    try:
        kept = decode(Kept, stored(folder / _KEPT))
        for path, size in _files(folder, kind).items():  # of which may be more, but not less
            if not path.is_file() or path.stat().st_size < size * kept.faces:
                return Kept()
        rows = np.fromfile(folder / _ARRAYS, kind, kept.faces)
        in_order = bool((np.diff(rows["frame"], prepend=0, append=max(kept.frames - 1, 0)) >= 0).all())
        whole = kept.start <= kept.frames and (kept.done or kept.tracker is not None)
        if not (whole and in_order and _are_places(rows["box"])):
            return Kept()
        for first in range(0, kept.faces, _SOME):
            count, offset = NUMBERS * min(_SOME, kept.faces - first), 4 * NUMBERS * first
            points = np.fromfile(folder / LANDMARKS, np.float32, count, offset=offset)
            if len(points) < count or not _are_places(points):
                return Kept()
    except (OSError, ValueError):
        return Kept()
    return kept


def _are_places(numbers: NDArray[np.float32]) -> bool:
    """Whether numbers can be places in a frame; NaN cannot."""
    return bool((np.abs(numbers) < 1e6).all())
