"""Sampling: the clips of an evaluation are read once, side by side, and what they show becomes arrays.

Read in the same pass are two clips that are made here to compare a swap with: a still picture in its place, and the
best that could be there.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice, zip_longest
from pathlib import Path
from typing import TypeAlias, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clearswap.core.align import Frame, Matrix, Points, align, face_matrix, transform, zoomed
from clearswap.core.blend import hull
from clearswap.core.network import PRESETS, Drawn
from clearswap.core.swap import BlendConfig, Swapper
from clearswap.disclosure.mark import lay, pattern
from clearswap.disclosure.stamp import Corner, LabelConfig, make_label, mark_in, place
from clearswap.errors import InputError
from clearswap.evaluation import metrics
from clearswap.evaluation.meaning import MeaningReader
from clearswap.evaluation.motion import read_motion
from clearswap.evaluation.scores import (
    BASELINE,
    ORACLE,
    RESULT,
    TRUTH,
    UNSWAPPED,
    ClipSamples,
    Reference,
    Samples,
    as_tensor,
)
from clearswap.faces.face_models import PERCEPTUAL, Detector, Landmarker, find_weights
from clearswap.faces.faceset import Occluders, read_face, read_index
from clearswap.faces.selection import Embedding, chip
from clearswap.faces.tracker import Face, TrackConfig, Tracker, follow
from clearswap.media.pipeline import ahead
from clearswap.media.shown import VideoFrame
from clearswap.media.video import probe, read_frames
from clearswap.progress import OnProgress, Progress, silent

Pattern: TypeAlias = NDArray[np.uint8]  # of a mark; see `disclosure/mark.py`

_SIDE, _COVERAGE, _DROP = 256, 0.8, 0.05  # of the aligned faces that are measured
_LABEL_ROOM = 8  # pixels around a label over which its encoding spills
_BAND = 0.11  # the border of a swap is blended within so much of the square's side from the landmarks' hull


@dataclass(frozen=True)
class SampledFrame:
    """One frame of all clips."""

    index: int
    video: Frame
    result: Frame
    truth: Frame | None
    video_face: Face  # in the original frame
    face: Face  # in the reference

    @property
    def reference(self) -> Frame:
        """The truth, or else the original frame."""
        return self.video if self.truth is None else self.truth

    @cached_property
    def matrix(self) -> Matrix:
        """From the frame to the aligned square that is measured."""
        return face_matrix(self.face.landmarks, _SIDE, _COVERAGE, _DROP)


def sample(
    result: Path,
    video: Path,
    *,
    truth: Path | None = None,
    identity: Path | None = None,
    labels: Path | None = None,
    samples: int = 200,
    tracking: TrackConfig = TrackConfig(),
    on_progress: OnProgress = silent,
) -> Samples:
    """Read about `samples` frames of all clips; arguments as for `clearswap.evaluate`.

    Raises `InputError`, `FacesetError`, `FaceModelsMissing`.
    """
    sampler = Sampler(tracking, identity=identity, has_truth=truth is not None)
    covered = Occluders([video] if truth is None else [truth, video], labels)
    total = probe(video).frames
    sampler.mark = mark_of_result(video, result)
    chosen = chosen_frames(total, samples)
    for index, frame in sampled_frames(video, result, truth, sampler.reader, chosen):
        on_progress(Progress("evaluate", index + 1, total, "frames"))
        if frame is not None:
            sampler.add(frame, covered(index, *frame.video.shape[:2]))
    if len(sampler.frames) < 3:
        raise InputError(
            f"Faces were found in only {len(sampler.frames)} of the frames of {video}; too few to measure."
        )
    return sampler.samples(without_face=len(chosen) - len(sampler.frames))


def chosen_frames(count: int, samples: int) -> set[int]:
    """Which of `count` frames are measured: runs of three successive ones, about `samples` in all, spread evenly."""
    runs = max(1, min(samples, count) // 3)
    starts: list[float] = np.linspace(0, max(0, count - 3), runs).round().tolist()
    return {int(start) + step for start in starts for step in range(3) if int(start) + step < count}


def sampled_frames(
    video: Path, result: Path, truth: Path | None, reader: FaceReader, chosen: set[int]
) -> Generator[tuple[int, SampledFrame | None]]:
    """Every frame's index, and the frame of all clips where it is `chosen` and faces were found.

    Raises `InputError` for clips that do not belong together: other sizes, other lengths.
    """
    given = [video, result] if truth is None else [video, result, truth]
    about = {path: probe(path) for path in given}
    wanted = about[video]
    for path, own in about.items():
        if (own.width, own.height) != (wanted.width, wanted.height):
            sizes = f"{path} is {own.width}x{own.height}, {video} {wanted.width}x{wanted.height}"
            raise InputError(f"{sizes}; evaluate needs the same frames.")
        if own.frames != wanted.frames:
            both = f"{path} has {own.frames} frames, {video} {wanted.frames}"
            raise InputError(f"{both}; evaluate needs clips of the same frames.")
    videos = follow(read_frames(video), reader.tracker())
    results = ahead(read_frames(result))
    truths = ahead(iter([])) if truth is None else follow(read_frames(truth), reader.tracker())
    with closing(videos), closing(results), closing(truths):
        for index, (first, second, third) in enumerate(zip_longest(videos, results, truths)):
            ended = [path for path, one in zip(given, (first, second, third), strict=False) if one is None]
            if first is None or second is None or ended:
                raise InputError(f"{ended[0]} has only {index} frames; evaluate needs clips of the same frames.")
            yield index, _sampled_frame(first, second, third) if index in chosen else None


def _sampled_frame(
    video: tuple[VideoFrame, list[Face]], result: VideoFrame, truth: tuple[VideoFrame, list[Face]] | None
) -> SampledFrame | None:
    """The largest face of one frame of all clips; None where there is none."""
    frame, faces = video
    true_frame, true_faces = truth or (None, faces)
    if not faces or not true_faces:
        return None
    picture = None if true_frame is None else true_frame.picture
    return SampledFrame(frame.index, frame.picture, result.picture, picture, faces[0], true_faces[0])


@dataclass(frozen=True)
class FaceMeasures:
    """What a face shows in one frame."""

    landmarks: Points  # (478, 2) in frame pixels
    motion: NDArray[np.float64]  # (8,)
    meanings: NDArray[np.float64]  # (56,)
    chip: Frame  # for the embedding
    present: bool


class FaceReader:
    """The face models that evaluation needs, loaded once."""

    def __init__(self, tracking: TrackConfig) -> None:
        self.tracking = tracking
        self.embedding = Embedding()
        self._detector = Detector(size=tracking.detect_size, threshold=tracking.threshold)
        self._landmarker = Landmarker()
        self._meanings = MeaningReader()
        self._own = Tracker(tracking, self._detector, self._landmarker)

    def tracker(self) -> Tracker:
        """A tracker for one clip, which may run in a thread of its own: a landmarker cannot be shared between two."""
        return Tracker(self.tracking, self._detector, Landmarker())

    def __call__(self, picture: Frame, face: Face) -> FaceMeasures:
        """Read the face that is where `face` was found in another picture of the same moment."""
        found = self._own.look(picture, face.roi)
        _, depth, _ = self._landmarker.with_depth(picture, found.roi)
        motion = read_motion(np.column_stack([found.landmarks, depth]))
        present = found.score >= self.tracking.presence
        meanings = self._meanings(found.landmarks)
        return FaceMeasures(found.landmarks, motion, meanings, chip(picture, found.landmarks), present)


@dataclass
class ClipReader:
    """Reads one clip, picture by picture."""

    reader: FaceReader
    faces: list[Frame] = field(default_factory=list[Frame])
    measures: list[FaceMeasures] = field(default_factory=list[FaceMeasures])
    landmarks: list[Points] = field(default_factory=list[Points])
    mark: Pattern | None = None  # Clearswap's own, which this clip carries and the original does not
    whole_frames: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def add(self, picture: Frame, frame: SampledFrame) -> None:
        """Read `picture`, which is what this clip has in place of `frame`."""
        measures = self.reader(picture, frame.face)
        self.faces.append(align(picture, frame.matrix, _SIDE))
        self.measures.append(measures)
        self.landmarks.append(transform(measures.landmarks, frame.matrix))
        if len(self.faces) % 3 == 2:  # whole frames take their time: one of each three is enough
            self.whole_frames.append(whole_frame(picture, frame, self.mark))

    def samples(self) -> ClipSamples:
        """All that was read."""
        keys = self.whole_frames[0] if self.whole_frames else {}
        return ClipSamples(
            np.stack(self.faces),
            np.stack([measures.motion for measures in self.measures]),
            np.stack(self.landmarks),
            np.stack([measures.meanings for measures in self.measures]),
            self.reader.embedding([measures.chip for measures in self.measures]),
            {key: float(np.mean([scores[key] for scores in self.whole_frames])) for key in keys},
            sum(not measures.present for measures in self.measures),
        )


class Sampler:
    """Reads frame by frame what every clip of the table shows."""

    def __init__(self, tracking: TrackConfig, *, identity: Path | None, has_truth: bool) -> None:
        self.has_truth = has_truth
        if has_truth:
            find_weights(PERCEPTUAL)  # will be needed: better missing now than after minutes
        self.reader = FaceReader(tracking)
        self.mark: Pattern | None = None  # of this swap
        self.frames: list[int] = []
        self._clips: dict[str, ClipReader] = {}
        self._masks: list[list[NDArray[np.uint8]]] = []
        self._still: NDArray[np.uint8] | None = None
        self._wanted: NDArray[np.float32] | None = None
        if identity is not None:
            records = read_index(identity, at_least=1)
            faces = [(record, read_face(identity, record)) for record in records[:: max(1, len(records) // 100)]]
            self._still = average_face([(picture, np.eye(2, 3) * (256 / len(picture))) for _, picture in faces])
            chips = [chip(picture, record.aligned_landmarks()) for record, picture in faces]
            self._wanted = self.reader.embedding(chips).mean(0)

    def add(self, frame: SampledFrame, covered: NDArray[np.uint8] | None) -> None:
        """Read one frame of every clip; `covered` (H, W): 1 where something is in front of the face."""
        self.frames.append(frame.index)
        self._masks.append(_masks(frame, covered))
        for name, picture in self._pictures(frame).items():
            mark = self.mark if name == RESULT else None
            self._clips.setdefault(name, ClipReader(self.reader, mark=mark)).add(picture, frame)

    def _pictures(self, frame: SampledFrame) -> dict[str, Frame]:
        """One moment as every clip has it."""
        landmarks = frame.video_face.landmarks
        pictures = {UNSWAPPED: frame.video}
        if self._still is not None:
            pictures[BASELINE] = pasted(frame.video, landmarks, self._still)
        pictures[RESULT] = frame.result
        if frame.truth is not None:
            pictures[ORACLE] = oracle(frame.video, landmarks, frame.truth, frame.face.landmarks)
            pictures[TRUTH] = frame.truth
        return pictures

    def samples(self, *, without_face: int) -> Samples:
        """All that was read, and what it is to be measured against."""
        clips = {name: clip.samples() for name, clip in self._clips.items()}
        clip = clips[TRUTH if self.has_truth else UNSWAPPED]
        area, inside, band = (np.stack(masks) for masks in zip(*self._masks, strict=True))
        at = {frame: position for position, frame in enumerate(self.frames)}
        triples = [p for f, p in at.items() if at.get(f - 1) == p - 1 and at.get(f + 1) == p + 1]
        wanted = clip.embeddings.mean(0) if self._wanted is None else self._wanted
        original = clips[UNSWAPPED].embeddings.mean(0)
        reference = Reference(clip, area, inside, band, triples, wanted, original, self.has_truth)
        return Samples(self.frames, clips, reference, without_face)


def _masks(frame: SampledFrame, covered: NDArray[np.uint8] | None) -> list[NDArray[np.uint8]]:
    """Three masks (256, 256), 0 or 1, in the aligned square: where the face is measured, what a swap covers, and
    where its border is blended.

    Measured is what every candidate replaces: inside the reference's landmarks, and inside the original face's drawn
    in by a sixth, where no mask is soft; and nothing that something covers.
    """
    own, original = (transform(face.landmarks, frame.matrix) for face in (frame.face, frame.video_face))
    inside = hull(original, _SIDE) // 255
    drawn_in = original.mean(0) + (original - original.mean(0)) * np.float32(5 / 6)
    area = np.minimum(hull(own, _SIDE), hull(drawn_in, _SIDE)) // 255
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    band = ((depth > 0) & (depth < _BAND * _SIDE)).astype(np.uint8)
    if covered is not None:
        hidden = cv2.warpAffine(covered, frame.matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR)
        free = (cv2.dilate(hidden, np.ones((5, 5), np.uint8)) == 0).astype(np.uint8)
        area, band = area * free, band * free
    return [area, inside, band]


def mark_of_result(video: Path, result: Path) -> Pattern | None:
    """The mark that Clearswap has laid into `result`; None where it is not marked, or the video was already."""
    bits, earlier = (mark_in(f.picture for f in islice(read_frames(path), 0, 96, 4)) for path in (result, video))
    about = probe(result)
    return None if bits is None or earlier is not None else pattern(bits, about.height, about.width)


def whole_frame(picture: Frame, frame: SampledFrame, mark: Pattern | None) -> dict[str, float]:
    """Scores of a whole frame: with a truth how near it is, without one what changed outside the face.

    What we add on purpose is no damage. The reference gets the `mark` that the picture has; corners, where a label may
    be, do not count.
    """
    reference = frame.reference if mark is None else lay(frame.reference, mark)
    result, goal = as_tensor(picture[None]), as_tensor(reference[None])
    counts = unlabelled(*picture.shape[:2])
    if frame.truth is not None:
        everywhere = torch.from_numpy(counts)[None, None].float()
        return {
            "frame_psnr": float(metrics.psnr(result, goal, everywhere)),
            "frame_ssim": float(metrics.ssim(result, goal, everywhere)),
        }
    face = hull(frame.video_face.landmarks, *picture.shape[:2])
    outside = (cv2.dilate(face, np.ones((9, 9), np.uint8)) == 0) & (counts > 0)
    return {"outside": float(metrics.psnr(result, goal, torch.from_numpy(outside)[None, None].float()))}


@lru_cache(maxsize=4)
def unlabelled(height: int, width: int) -> NDArray[np.uint8]:
    """Where no label can be (H, W), 1 or 0: all but the boxes in the four corners that the usual label takes."""
    counts = np.ones((height, width), np.uint8)
    label = make_label(height, width, LabelConfig())
    size = (0, 0) if label is None else label.size
    corners: tuple[Corner, ...] = get_args(Corner)
    for corner in corners:
        left, top, right, bottom = place(height, width, size, corner)
        low, first = max(0, top - _LABEL_ROOM), max(0, left - _LABEL_ROOM)
        counts[low : bottom + _LABEL_ROOM, first : right + _LABEL_ROOM] = 0
    return counts


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
    drawn = Drawn(as_tensor(face[None]))
    blend = BlendConfig(colour=0.0, sharpen=0.0, grain=0.0)

    def draw(aligned: Tensor, expression: Tensor) -> Drawn:
        del aligned, expression
        return drawn

    return Swapper(draw, _FINE, torch.device("cpu"), blend=blend)(frame, [landmarks])


def oracle(frame: Frame, landmarks: Points, truth: Frame, true_landmarks: Points) -> Frame:
    """`frame` with the truth's own face of the same moment: all that a perfect network could do."""
    return pasted(frame, landmarks, average_face([(truth, face_matrix(true_landmarks, _FINE.size))]))
