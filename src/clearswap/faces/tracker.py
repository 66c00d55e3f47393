"""Find the faces of a clip and follow them from frame to frame.

The landmarks of one frame say where to look in the next (5 ms a face). The detector (42 ms) runs only on the first
frame, when a face was lost, and every `detect_every` frames to catch newcomers and drop mistakes. These frames are
known beforehand, so in `track` the detector works ahead, while the landmarks of earlier frames are found.

After a cut, all faces are others (`SceneCuts`). A face that a passing hand hides for some frames is interpolated
between where it was before and after (`fill_gaps`).

The faces of a clip are parallel arrays (`Faces`): the first pass writes them (`first_pass.py`), everything after it
reads them. Landmarks take 3.8 kB a face and frame. They stay in a file of a working folder, of which the second pass
reads some hundred frames at a time, so memory hardly grows with a clip's length; all else is about 30 bytes a face.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from clearswap.checks import Count, Share, check_fields
from clearswap.core.align import Frame, Points, SmoothConfig, smooth_tracks
from clearswap.faces.face_models import Detections, Detector, Landmarker, Roi, five_points_roi, roi_of
from clearswap.media.pipeline import ahead
from clearswap.media.shown import LATELY, SceneCuts, VideoFrame, shrunk

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

    threshold: Share = 0.5
    presence: Share = 0.5
    min_size: Annotated[int, Meta(ge=1, le=100_000)] = 32
    detect_every: Annotated[int, Meta(ge=1, le=10**9)] = 10
    detect_size: Annotated[int, Meta(ge=64, le=4096)] = 640

    def __post_init__(self) -> None:
        check_fields(self)


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


_Number = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Point = Annotated[list[_Number], Meta(min_length=2, max_length=2)]
_Side = Annotated[float, Meta(gt=0, le=1e6)]


@dataclass(frozen=True)
class StoredFace:
    """A face that a tracker follows, or has lost for so many frames, as it is stored."""

    landmarks: Annotated[list[_Point], Meta(min_length=478, max_length=478)]
    score: Share
    roi: tuple[_Point, _Side, _Number]
    track: Count
    lost: Annotated[int, Meta(ge=-1, le=_MISSED)]  # -1: it is followed

    def face(self) -> Face:
        """The face."""
        centre, side, roll = self.roi
        roi = (np.array(centre, np.float32), side, roll)
        return Face(np.array(self.landmarks, np.float32), self.score, roi, self.track)


@dataclass(frozen=True)
class TrackerState:
    """All that a tracker knows between two frames, so that another goes on as if it had never stopped."""

    faces: list[StoredFace]
    since_detection: Count
    tracks: Count
    last: Annotated[list[_Number], Meta(max_length=3 * 16 * 16)]  # the frame before, for `SceneCuts`; of the first none
    lately: Annotated[list[_Number], Meta(max_length=LATELY)]

    def __post_init__(self) -> None:
        if len(self.last) not in (0, 3 * 16 * 16):
            raise ValueError("no frame of 16x16 pixels")


def _stored(face: Face, lost: int = -1) -> StoredFace:
    centre, side, roll = face.roi
    return StoredFace(face.landmarks.tolist(), float(face.score), (centre.tolist(), side, roll), face.track, lost)


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

    def state(self) -> TrackerState:
        """What it knows before the next frame."""
        faces = [_stored(face) for face in self._faces] + [_stored(face, age) for face, age in self._lost]
        return TrackerState(faces, self._since_detection, self._tracks, *self._cuts.state())

    def restored(self, state: TrackerState) -> Tracker:
        """A tracker that goes on where another was, with the same detector and landmarker."""
        tracker = self.fresh()
        tracker._faces = [one.face() for one in state.faces if one.lost < 0]
        tracker._lost = [(one.face(), one.lost) for one in state.faces if one.lost >= 0]
        tracker._since_detection, tracker._tracks = state.since_detection, state.tracks
        tracker._cuts = SceneCuts(state.last, state.lately)
        return tracker

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

    def spotted(self, frames: Iterable[VideoFrame], start: int = 0) -> Iterator[tuple[VideoFrame, Detections | None]]:
        """Each frame, every `detect_every`-th with what the detector finds in it. The first is number `start`."""
        for number, frame in enumerate(frames, start):
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


def track(
    frames: Iterable[VideoFrame],
    tracker: Tracker,
    start: int = 0,
    on_state: Callable[[int, TrackerState], None] | None = None,
) -> Iterator[tuple[VideoFrame, list[Face]]]:
    """Each frame with its faces.

    `start`: the number of the first frame. `on_state` gets what the tracker knows before each `PART`-th frame.
    """
    with closing(ahead(tracker.spotted(frames, start))) as spotted:
        for number, (frame, seen) in enumerate(spotted, start):
            if on_state is not None and number % PART == 0:
                on_state(number, tracker.state())
            yield frame, tracker(frame.picture, seen)


def same_place(face: Face, box: NDArray[np.float32]) -> bool:
    """Whether a face and a box overlap by more than a quarter of their union."""
    mine = face.box
    low, high = np.maximum(mine[:2], box[:2]), np.minimum(mine[2:], box[2:])
    inter = float(np.prod(np.clip(high - low, 0, None)))
    union = float(np.prod(mine[2:] - mine[:2]) + np.prod(box[2:] - box[:2])) - inter
    return inter > 0.25 * max(union, 1e-6)


# Frames: a quarter of a second. On seven people and one passing hand this finds 98.7 to 100 % of the frames, and the
# tracker alone 94.7 to 97.3 %, the darkest of them least often.
_LONGEST = 6
_CUT = 25.0  # of 255: frames whose halves differ by more show something else

_Found = tuple[VideoFrame, list[Face]]


def follow(
    frames: Iterable[VideoFrame],
    tracker: Tracker,
    start: int = 0,
    on_state: Callable[[int, TrackerState], None] | None = None,
) -> Generator[_Found]:
    """Each frame of a clip with its faces, gaps filled; decoding and tracking run ahead in threads of their own.

    `start` and `on_state`: see `track`.
    """
    return ahead(fill_gaps(track(ahead(frames), tracker, start, on_state)))


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


PART = 250  # frames whose landmarks are in memory at a time
LANDMARKS = "landmarks.f32"  # in a working folder
NUMBERS = 478 * 2  # of one face's landmarks


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
        path, count = self.folder / LANDMARKS, (high - low) * NUMBERS
        rough = np.fromfile(path, np.float32, count, offset=4 * low * NUMBERS).reshape(-1, 478, 2)
        smoothed = smooth_tracks(rough, self.frame[low:high], self.track[low:high], smoothing)
        return smoothed[first - low : last - low]

    def by_frame(
        self, start: int = 0, smoothing: SmoothConfig = SmoothConfig(0)
    ) -> Iterator[tuple[range, NDArray[np.float32]]]:
        """For each frame from `start` on: which of the N faces are in it, and their landmarks (n, 478, 2), smoothed."""
        for first in range(start, self.frames, PART):
            stop = min(first + PART, self.frames)
            landmarks = self.landmarks(first, stop, smoothing)
            bounds = np.searchsorted(self.frame, np.arange(first, stop + 1)).tolist()
            for low, high in pairwise(bounds):
                yield range(low, high), landmarks[low - bounds[0] : high - bounds[0]]
