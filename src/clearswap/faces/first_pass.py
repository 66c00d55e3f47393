"""The first pass over a clip: find its faces, follow them, and look now and then whose they are."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame
from clearswap.errors import InputError, OptionError
from clearswap.faces.selection import Embedding, Role, SelectConfig, WhichFaces, chip
from clearswap.faces.tracker import Face, FacesWriter, TrackConfig, Tracker, follow, make_tracker
from clearswap.media.files import read_picture
from clearswap.media.shown import VideoFrame
from clearswap.progress import OnProgress, Progress

_LOOK_EVERY = 10  # frames between two looks at who it is
_NEAR = 1.0  # faces whose middles are less than so many of their sizes apart may cross: then each frame is looked at,
_AFTER = 15  # and so many after: the tracker may have taken the one for the other


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
    """

    tracker: Tracker
    recogniser: Recogniser
    which: WhichFaces


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
    tracker = make_tracker(tracking)
    if select.faces != "match":
        return Finder(tracker, Recogniser([]), select.faces)
    wanted = list(persons)
    if select.like is not None:
        wanted[0] = person_in(select.like, tracker)
    known = [person for person in wanted if person is not None]
    if len(known) == len(roles):
        return Finder(tracker, Recogniser(known), "match")
    unknown = next(role.model for role, person in zip(roles, wanted, strict=True) if person is None)
    why = f"{unknown} does not know who its persons are"
    if len(roles) > 1:
        raise OptionError(f"{why}, so it cannot take part in replacing several people; train it further first.")
    on_progress(Progress("convert", note=f"{why}, so the largest face of each frame is replaced"))
    return Finder(tracker, Recogniser([]), "largest")


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

    `name` and `total` (frames) are what `on_progress` says of the clip.
    """
    looked: dict[int, int] = {}  # by track, the frame in which it was looked at last
    crowded: dict[int, int] = {}  # by track, the frame in which it was near another one last
    # closed also where Ctrl-C comes: a thread that still works while the interpreter goes aborts the process
    with closing(follow(frames, finder.tracker.fresh())) as found:
        for number, (frame, faces) in enumerate(found):
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
