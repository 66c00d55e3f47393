"""The first pass over a clip: find its faces, follow them, and look now and then whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame
from clearswap.errors import InputError, OptionError
from clearswap.faces.embedding import Embedding, chip
from clearswap.faces.face_models import Detector, Mesh
from clearswap.faces.selection import Role, SelectConfig, WhichFaces
from clearswap.faces.tracker import Face, TrackConfig, Tracker, followed
from clearswap.faces.tracks import Tracks, TrackWriter
from clearswap.media.files import read_picture
from clearswap.media.video import TimeRange, VideoInfo
from clearswap.progress import OnProgress, Progress

_LOOK = 10  # frames between two looks at who it is
_NEAR = 1.0  # faces whose middles are less than so many of their sizes apart may cross: then each frame is looked at,
_AFTER = 15  # and so many after: the tracker may have taken the one for the other


class Recogniser:
    """Tells how far faces are from some persons."""

    def __init__(self, persons: Sequence[NDArray[np.float32]]) -> None:
        self._persons, self._embedding = np.stack(persons), Embedding()

    def __call__(self, frame: Frame, faces: list[Face]) -> list[list[float]]:
        """Each face's distance to each person, of the embeddings; one person's faces lie within about 0.5."""
        if not faces:
            return []
        found = self._embedding([chip(frame, face.landmarks) for face in faces])  # (N, 128)
        return np.linalg.norm(found[:, None] - self._persons, axis=2).tolist()


@dataclass(frozen=True)
class Finder:
    """Finds the faces of clips and pictures, and says which of them are replaced.

    Attributes:
        tracking: How faces are found and followed.
        detector: Loaded once for all.
        mesh: Likewise.
        likeness: Tells the persons to replace from others; None where nobody is looked for.
        faces: Which faces are replaced.
    """

    tracking: TrackConfig
    detector: Detector
    mesh: Mesh
    likeness: Recogniser | None
    faces: WhichFaces

    def tracker(self) -> Tracker:
        """A tracker for one clip or picture."""
        return Tracker(self.tracking, self.detector, self.mesh)


def make_finder(
    roles: Sequence[Role],
    known: Sequence[NDArray[np.float32] | None],
    select: SelectConfig,
    tracking: TrackConfig,
    on_progress: OnProgress,
) -> Finder:
    """Load what finds faces, and learn whose are to be replaced by each of the `roles`: the embeddings (128,) of
    those `known`, None where a model does not know.

    Raises `FaceModelsMissing`, `InputError` for a picture of the person (`select.like`) that shows no face, and
    `OptionError` where several are to be replaced and it cannot be told who is who.
    """
    nobody = Finder(
        tracking, Detector(size=tracking.detect_size, threshold=tracking.threshold), Mesh(), None, select.faces
    )
    if len(roles) > 1 and select.faces != "match":
        raise OptionError(f"Several people are replaced by who they are; leave out --faces {select.faces} or --also.")
    if select.faces != "match":
        return nobody
    persons = list(known)
    if select.like is not None:
        persons[0] = person_in(select.like, nobody.tracker())
    strange = [role.model for role, person in zip(roles, persons, strict=True) if person is None]
    if not strange:
        return replace(nobody, likeness=Recogniser([person for person in persons if person is not None]))
    unknown = f"{strange[0]} does not know who its persons are"
    if len(roles) > 1:
        raise OptionError(f"{unknown}, so it cannot take part in replacing several people; train it further first.")
    on_progress(Progress("convert", note=f"{unknown}, so the largest face of each frame is replaced"))
    return replace(nobody, faces="largest")


def person_in(picture: Path, tracker: Tracker) -> NDArray[np.float32]:
    """The embedding (128,) of the largest face in a picture. Raises `InputError` where there is none."""
    frame = read_picture(picture)
    faces = tracker(frame)
    if not faces:
        raise InputError(f"No face was found in {picture}; give a picture that shows the person from the front.")
    return Embedding()([chip(frame, faces[0].landmarks)])[0]


def first_pass(info: VideoInfo, time_range: TimeRange, finder: Finder, folder: Path, on_progress: OnProgress) -> Tracks:
    """Write the faces of a part of a clip into `folder`. Raises `InputError` where it cannot be decoded."""
    writer, frames = TrackWriter(folder), time_range.frames(info)
    looked: dict[int, int] = {}  # when each track was looked at last
    crowded: dict[int, int] = {}  # and when it was near another
    # closed also where Ctrl-C comes: a thread that still works while the interpreter goes aborts the process
    with closing(followed(info.path, finder.tracker(), time_range)) as found:
        for done, (frame, faces) in enumerate(found, 1):
            crowded |= {face.track: done for face in faces if _crowded(face, faces)}
            gaps = {n: 1 if done - crowded.get(n, -_AFTER) < _AFTER else _LOOK for n in (face.track for face in faces)}
            due = [face for face in faces if done - looked.get(face.track, -_LOOK) >= gaps[face.track]]
            distances = finder.likeness(frame.picture, due) if finder.likeness else []
            looks = dict(zip((face.track for face in due), distances, strict=False))
            looked |= dict.fromkeys(looks, done)
            writer.add(faces, looks)
            on_progress(Progress(f"look through {info.path.name}", done, frames, values={"tracks": len(writer.tracks)}))
    return writer.close()


def _crowded(face: Face, faces: list[Face]) -> bool:
    """Whether another face is so near that the tracker might take the one for the other."""
    middle, size = face.landmarks.mean(0), face.size
    others = (other for other in faces if other is not face)
    return any(
        float(np.linalg.norm(other.landmarks.mean(0) - middle)) < _NEAR * (size + other.size) / 2 for other in others
    )
