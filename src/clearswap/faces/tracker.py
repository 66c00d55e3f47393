"""Find the faces of a clip and follow them from frame to frame.

The landmarks of one frame say where to look in the next (5 ms a face). The detector (42 ms) runs only on the first
frame, when a face was lost, and every `detect_every` frames to catch newcomers and drop mistakes. These frames are
known beforehand, so in `track` the detector works ahead, while the landmarks of earlier frames are found.

After a cut, all faces are others (`SceneCuts`). A face that a passing hand hides for some frames is interpolated
between where it was before and after (`fill_gaps`).

The faces of a clip, as parallel arrays: the first pass writes them, everything after it reads them.

Landmarks take 3.8 kB a face and frame. They stay in a file of a working folder, of which the second pass reads some
hundred frames at a time, so memory hardly grows with the length of a clip; all else is about 30 bytes a face. A run
that was killed finds both in the folder and need not look for faces again.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points, SmoothConfig, smooth_tracks
from clearswap.faces.face_models import Detections, Detector, Landmarker, Roi, five_points_roi, roi_of
from clearswap.media.files import atomic_file, fresh, output_errors
from clearswap.media.pipeline import ahead
from clearswap.media.shown import VideoFrame

# Presence that is enough once a face is followed, and to find it again where it was lost. A hand over half of a face
# brings the presence down to some hundredths while the landmarks stay within 20 % of the eye distance; on seven people
# and one passing hand this finds 96.0 to 97.3 % of all frames, and 93.3 to 97.3 % with the 0.5 that a new face needs. A
# face that is gone has less still, and the detector has its say within `detect_every` frames.
_HELD, _AGAIN = 0.03, 0.2
_MISSED = 12  # frames for which a lost face is looked for where it was
_FOLLOW = 0.1  # how fast the side of the square follows the face's size: it feeds back on itself


@dataclass(frozen=True)
class TrackConfig:
    """How faces are found and followed.

    Attributes:
        threshold: Smallest detector score (0..1) that counts as a face.
        presence: Smallest score (0..1) of the landmark network for a new face; one that is followed needs less.
        min_size: Smallest face to take, in pixels of its box's longer side.
        detect_every: Frames between two runs of the detector while faces are followed, to catch newcomers.
        detect_size: Long side, in pixels, at which the detector sees a frame.
    """

    threshold: float = 0.5
    presence: float = 0.5
    min_size: int = 32
    detect_every: int = 10
    detect_size: int = 640


@dataclass(frozen=True)
class Face:
    """One face found in a frame."""

    landmarks: Points  # (478, 2) in frame pixels
    score: float  # presence, 0..1
    roi: Roi  # where it was looked at: steadier than the landmarks, and where to look next
    track: int = 0  # the same number in successive frames says: the same face

    @property
    def box(self) -> NDArray[np.float32]:
        """Left, top, right, bottom of the landmarks."""
        return np.concatenate([self.landmarks.min(0), self.landmarks.max(0)])

    @property
    def size(self) -> float:
        """The longer side of the box, in pixels."""
        box = self.box
        return float((box[2:] - box[:2]).max())


class Tracker:
    """Finds the faces of successive frames of one clip. Make a new one for each clip."""

    def __init__(self, config: TrackConfig, detector: Detector, landmarker: Landmarker) -> None:
        self.config, self._detector, self._landmarker = config, detector, landmarker
        self._faces: list[Face] = []
        self._lost: list[tuple[Face, int]] = []  # with the frames since
        self._since_detection = self._tracks = 0
        self._cuts = SceneCuts()

    def fresh(self) -> Tracker:
        """A tracker for another clip, with the same detector and landmarker."""
        return Tracker(self.config, self._detector, self._landmarker)

    def __call__(self, frame: Frame, seen: Detections | None = None) -> list[Face]:
        """The faces of the next frame, largest first; `seen`: what the detector found in it, where it was asked.

        After a cut, all faces are others.
        """
        if self._cuts(frame):
            self._faces, self._lost = [], []
        kept = self._follow(frame)
        self._since_detection += 1
        if seen is not None or not kept or self._lost or self._since_detection >= self.config.detect_every:
            kept = self._detect(frame, kept, self._detector(frame) if seen is None else seen)
            self._since_detection = 0
        self._lost = [(face, age) for face, age in self._lost if not any(same_place(face, one.box) for one in kept)]
        kept.sort(key=lambda face: face.size, reverse=True)
        self._faces = kept
        return list(kept)

    def _follow(self, frame: Frame) -> list[Face]:
        """The faces of the last frame in this one, and those lost a few frames ago that are back where they were."""
        kept: list[Face] = []
        missed = [(face, age + 1) for face, age in self._lost if age < _MISSED]
        for face, age, enough in [(f, 0, _HELD) for f in self._faces] + [(f, a, _AGAIN) for f, a in missed]:
            found = replace(self.look(frame, face.roi), track=face.track)
            if found.score >= enough and found.size >= self.config.min_size:
                kept += [found] if not any(same_place(found, one.box) for one in kept) else []
                missed = [(lost, since) for lost, since in missed if lost is not face]
            elif age == 0:
                missed.append((face, 0))
        self._lost = missed
        return kept

    def look(self, frame: Frame, roi: Roi) -> Face:
        """Look where the face was, and again where it went if it jumped. (The mean of three looks shakes a tenth less,
        and takes three times as long; smoothing over time calms more.)
        """
        centre, side, roll = roi
        landmarks, presence = self._landmarker(frame, roi)
        moved, new_side, new_roll = roi_of(landmarks)
        if np.linalg.norm(moved - centre) > 0.1 * side or abs(new_roll - roll) > 0.2:
            centre, side, roll = moved, new_side, new_roll
            landmarks, presence = self._landmarker(frame, (centre, side, roll))
            moved, new_side, new_roll = roi_of(landmarks)
        centre, roll = ((centre + moved) / 2).astype(np.float32), (roll + new_roll) / 2  # steadier than where it went
        return Face(landmarks, presence, (centre, side + _FOLLOW * (new_side - side), roll))

    def spotted(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, Detections | None]]:
        """Each frame, every `detect_every`-th with what the detector finds in it."""
        for number, frame in enumerate(frames):
            yield frame, None if number % self.config.detect_every else self._detector(frame.picture)

    def _detect(self, frame: Frame, followed: list[Face], detections: Detections) -> list[Face]:
        # A followed face that the detector misses stays while the landmarker is sure: profiles, hands, dark frames.
        kept = [f for f in followed if f.score > 0.9 or any(same_place(f, box) for box in detections.boxes)]
        for index in range(len(detections)):
            if not any(same_place(face, detections.boxes[index]) for face in kept):
                found = self._fresh(frame, detections, index)
                if found is not None and not any(same_place(found, face.box) for face in kept):
                    kept.append(replace(found, track=self._track_of(found)))
        return kept

    def _track_of(self, found: Face) -> int:
        """The number of the lost face that was where this one is found, else a new one."""
        again = next((lost.track for lost, _ in self._lost if same_place(lost, found.box)), None)
        self._tracks += again is None
        return again or self._tracks

    def _fresh(self, frame: Frame, detections: Detections, index: int) -> Face | None:
        landmarks, _ = self._landmarker(frame, five_points_roi(detections.points[index]))
        found = self.look(frame, roi_of(landmarks))  # upright and well framed
        return found if found.score >= self.config.presence and found.size >= self.config.min_size else None


def make_tracker(config: TrackConfig) -> Tracker:
    """A tracker with its detector and landmarker loaded. Raises `FaceModelsMissing`."""
    return Tracker(config, Detector(size=config.detect_size, threshold=config.threshold), Landmarker())


def track(frames: Iterable[VideoFrame], tracker: Tracker) -> Iterator[tuple[VideoFrame, list[Face]]]:
    """Each frame with its faces."""
    with closing(ahead(tracker.spotted(frames))) as spotted:
        for frame, seen in spotted:
            yield frame, tracker(frame.picture, seen)


def same_place(face: Face, box: NDArray[np.float32]) -> bool:
    """Whether a face and a box overlap by more than a quarter of their union."""
    mine = face.box
    low, high = np.maximum(mine[:2], box[:2]), np.minimum(mine[2:], box[2:])
    inter = float(np.prod(np.clip(high - low, 0, None)))
    union = float(np.prod(mine[2:] - mine[:2]) + np.prod(box[2:] - box[:2])) - inter
    return inter > 0.25 * max(union, 1e-6)


# A cut changes the picture by so much (of 255), and by so many times what it changed lately. In six clips of people who
# talk and turn, frames differ from the one before by 4.9 at most; a lamp swung past a face makes 12.6, 3.1 times as
# much as lately.
_LEAST, _TIMES = 10.0, 5.0
_LATELY = 12  # frames


class SceneCuts:
    """Watches the frames of one clip."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._lately: deque[float] = deque(maxlen=_LATELY)

    def __call__(self, picture: Frame) -> bool:
        """Whether the next frame of the clip belongs to another shot than the one before."""
        small = shrunk(picture)
        change = 0.0 if self._last is None else float(np.abs(small - self._last).mean())
        self._last = small
        usual = float(np.median(self._lately)) if self._lately else 0.0
        if change > max(_LEAST, _TIMES * usual):
            self._lately.clear()
            return True
        self._lately.append(change)
        return False


def shrunk(picture: Frame) -> NDArray[np.float32]:
    """A picture in 16x16 pixels: what is left when nothing in it can be recognised."""
    step = max(1, min(picture.shape[:2]) // 128)  # every so many pixels are enough: 0.1 ms a 720p frame, not 1.5
    thinned = np.ascontiguousarray(picture[::step, ::step])
    return np.asarray(cv2.resize(thinned, (16, 16), interpolation=cv2.INTER_AREA), np.float32)


# Frames: a quarter of a second. On seven people and one passing hand this finds 98.7 to 100 % of the frames, and the
# tracker alone 94.7 to 97.3 %, the darkest of them least often.
_LONGEST = 6
_CUT = 25.0  # of 255: frames whose halves differ by more show something else

_Found = tuple[VideoFrame, list[Face]]


def follow(frames: Iterable[VideoFrame], tracker: Tracker) -> Generator[_Found]:
    """Each frame of a clip with its faces, gaps filled; decoding and tracking run ahead in threads of their own."""
    return ahead(fill_gaps(track(ahead(frames), tracker)))


def fill_gaps(tracked: Iterable[_Found]) -> Iterator[_Found]:
    """Each frame with its faces, and with those that are lost here but seen in the same place shortly before and after.

    Their landmarks are interpolated between the two, and their score is 0. Frames come out up to seven frames late.
    Nothing is filled where the picture is another one meanwhile (a cut, a flash).
    """
    held: deque[_Found] = deque()
    for found in tracked:
        held.append(found)
        _fill_gaps_before_last(held)
        if len(held) > _LONGEST + 1:
            yield held.popleft()
    yield from held


def _fill_gaps_before_last(held: deque[_Found]) -> None:
    """Fill the gap before the last of the held frames, for each of its faces that was not in the one before."""
    last = len(held) - 1
    for face in held[last][1]:
        missing = last - 1
        while missing >= 0 and not _there(face, held[missing][1]):
            missing -= 1
        before = _there(face, held[missing][1]) if 0 <= missing < last - 1 else None
        gap = range(missing + 1, last)
        if before is None or not all(_alike(held[i][0].picture, held[missing][0].picture) for i in gap):
            continue
        for i in gap:
            held[i][1].append(_between(before, face, (i - missing) / (last - missing)))
            held[i][1].sort(key=lambda one: one.size, reverse=True)


def _there(face: Face, faces: list[Face]) -> Face | None:
    return next((one for one in faces if same_place(one, face.box)), None)


def _between(before: Face, after: Face, share: float) -> Face:
    landmarks = (1 - share) * before.landmarks + share * after.landmarks
    (from_, side, roll), (to, last_side, last_roll) = before.roi, after.roi
    turn = (last_roll - roll + np.pi) % (2 * np.pi) - np.pi
    centre = ((1 - share) * from_ + share * to).astype(np.float32)
    roi = (centre, side + share * (last_side - side), roll + share * turn)
    return Face(landmarks.astype(np.float32), 0.0, roi, before.track)


def _alike(one: Frame, other: Frame) -> bool:
    """Whether two frames show the same scene: most places are nearly as bright. A hand covers less than half of it."""
    return float(np.median(np.abs(shrunk(one) - shrunk(other)))) < _CUT


_PART = 250  # frames whose landmarks are in memory at a time
_ARRAYS, _LANDMARKS = "faces.npz", "landmarks.f32"
_NUMBERS = 478 * 2  # of one face's landmarks


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
        """The landmarks (M, 478, 2) of all faces in the frames from `start` to before `stop`, smoothed over time."""
        reach = smoothing.reach
        low, first, last, high = np.searchsorted(self.frame, [start - reach, start, stop, stop + reach]).tolist()
        path, count = self.folder / _LANDMARKS, (high - low) * _NUMBERS
        rough = np.fromfile(path, np.float32, count, offset=4 * low * _NUMBERS).reshape(-1, 478, 2)
        smoothed = smooth_tracks(rough, self.frame[low:high], self.track[low:high], smoothing)
        return smoothed[first - low : last - low]

    def by_frame(
        self, start: int = 0, smoothing: SmoothConfig = SmoothConfig(0)
    ) -> Iterator[tuple[range, NDArray[np.float32]]]:
        """For each frame from `start` on: which of the N faces are in it, and their landmarks (n, 478, 2), smoothed."""
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
        fresh(folder / _LANDMARKS)

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
