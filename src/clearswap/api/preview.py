"""Preview: the hardest frames of a video in a grid of settings, to choose by looking before a long conversion.

On top stand the people in it, those who will be replaced in green.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.api.convert import load_cast, open_models
from clearswap.core.align import Frame, Points, SmoothConfig
from clearswap.core.blend import MaskConfig
from clearswap.core.network import Side
from clearswap.core.swap import BlendConfig, Swapper
from clearswap.disclosure import credentials
from clearswap.disclosure.mark import lay, pattern
from clearswap.disclosure.signer import load_signer
from clearswap.errors import InputError, OutputError
from clearswap.faces.first_pass import FacesWriter, find_faces
from clearswap.faces.pose import rough_pose
from clearswap.faces.selection import Role, SelectConfig, choose, person_distances
from clearswap.faces.tracker import Faces, TrackConfig
from clearswap.media.files import encode_picture, is_picture
from clearswap.media.shown import VideoFrame
from clearswap.media.video import TimeRange, probe, read_frames
from clearswap.progress import OnProgress, silent

_TILE = 224  # pixels
_SAMPLES = 60  # frames among which the hardest are looked for
_PEOPLE = 8  # tracks that are shown, those seen longest
_REPLACED, _KEPT = (40, 180, 60), (130, 130, 130)
# What each column changes of the settings that were given.
_COLUMNS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "as set": ({}, {}),
    "without detail": ({"detail": 0.0}, {}),
    "colour: mkl": ({"colour_method": "mkl"}, {}),
    "no colour": ({"colour_method": "none"}, {}),
    "pyramid": ({"seam": "pyramid"}, {}),
    "not sharpened": ({"sharpen": 0.0}, {}),
    "soft edge": ({}, {"feather": 0.16}),
    "whole hull": ({}, {"learned": False, "shrink": 0.0}),
}


def preview(
    model: Path | str,
    video: Path | str,
    output: Path | str,
    *,
    to: Side,
    purpose: str = "",
    select: SelectConfig = SelectConfig(),
    mask: MaskConfig = MaskConfig(),
    blend: BlendConfig = BlendConfig(),
    tracking: TrackConfig = TrackConfig(),
    smoothing: SmoothConfig = SmoothConfig(),
    time_range: TimeRange = TimeRange(),
    on_progress: OnProgress = silent,
) -> list[str]:
    """Draw into the picture `output` what a conversion of `video` would look like, with these settings and with others:
    where the face is most turned, smallest or darkest, where the mouth is open, and in an ordinary frame.

    Returns what the rows show. The picture is signed as all that shows generated faces. Raises what `convert` raises.
    """
    video, output = Path(video), Path(output)
    if is_picture(video) or not is_picture(output):
        raise OutputError(f"A preview shows a video in a picture; {video} cannot become {output}.")
    credentials.require_signable(output)
    roles = [Role(Path(model), to)]
    opened = open_models(roles, purpose)
    cast = load_cast(roles, opened, select, mask, blend, tracking, on_progress)
    with TemporaryDirectory() as folder:
        writer = FacesWriter(Path(folder), len(cast.finder.recogniser.persons))
        frames, total = read_frames(video, time_range=time_range), time_range.frames(probe(video))
        for _ in find_faces(frames, cast.finder, writer, name=video.name, total=total, on_progress=on_progress):
            pass
        faces = writer.close()
        replaced = choose(faces, cast.finder.which) >= 0
        if not replaced.any():
            raise InputError(f"Nobody in {video} would be replaced; `faces` and `like` say who is.")
        people, hardest = _look(read_frames(video, time_range=time_range), faces, replaced, smoothing)
    lines = [np.hstack(people)] if people else []
    lines += [_row(name, frame, points, cast.swappers[0]) for name, (_, frame, points) in hardest.items()]
    width = max(line.shape[1] for line in lines)
    sheet = np.vstack([np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0))) for line in lines])
    statement = credentials.statement_of(opened)
    sheet = lay(sheet, pattern(statement.mark, sheet.shape[0], sheet.shape[1]))
    credentials.write_picture(output, encode_picture(sheet, output.suffix), video, load_signer(), statement)
    return list(hardest)


_Hardest = dict[str, tuple[float, Frame, Points]]  # by what is hard: how hard, the frame and the face in it


def _look(
    frames: Iterator[VideoFrame], faces: Faces, replaced: NDArray[np.bool_], smoothing: SmoothConfig
) -> tuple[list[Frame], _Hardest]:
    """A tile of each of the people who are seen longest, and the hardest of some frames in which one is replaced."""
    distances = person_distances(faces).min(1, initial=np.inf)
    tracks, counts = np.unique(faces.track, return_counts=True)
    of_track = [np.flatnonzero(faces.track == track) for track in tracks[np.argsort(-counts, kind="stable")[:_PEOPLE]]]
    shown = {int(rows[len(rows) // 2]) for rows in of_track}
    first = np.flatnonzero(replaced)[np.unique(faces.frame[replaced], return_index=True)[1]]  # of each frame
    middle = int(first[len(first) // 2])
    spread = np.linspace(0, len(first) - 1, min(_SAMPLES, len(first))).round().astype(int)
    samples = {middle, *first[spread].tolist()}
    people: list[Frame] = []
    hardest: _Hardest = {}
    for frame, (rows, landmarks) in zip(frames, faces.by_frame(0, smoothing), strict=False):
        for row, points in zip(rows, landmarks, strict=True):
            if row in shown:
                away = f": {distances[row]:.2f} away" if np.isfinite(distances[row]) else ""
                colour = _REPLACED if replaced[row] else _KEPT
                people.append(_tile(frame.picture, points, f"track {faces.track[row]}{away}", colour))
            for name, score in _scores(frame.picture, points, row == middle) if row in samples else []:
                if name not in hardest or score > hardest[name][0]:
                    hardest[name] = (score, frame.picture, points)
    return people, hardest


def _scores(frame: Frame, landmarks: Points, is_middle: bool) -> list[tuple[str, float]]:
    """How well a frame serves as an example of each thing."""
    low, high = landmarks.min(0), landmarks.max(0)
    (left, top), (right, bottom) = np.maximum(low, 0).astype(int).tolist(), np.maximum(high, 1).astype(int).tolist()
    box = frame[top:bottom, left:right]
    return [
        ("ordinary", float(is_middle)),
        ("most turned", abs(rough_pose(landmarks)[0])),
        ("smallest", -float((high - low).max())),
        ("darkest", -float(box.mean()) if box.size else -255.0),
        ("mouth open", float(np.linalg.norm(landmarks[13] - landmarks[14]) / np.linalg.norm(high - low))),
    ]


def _row(name: str, frame: Frame, landmarks: Points, swapper: Swapper) -> Frame:
    """The face as it is, and swapped with each column's settings."""
    tiles = [_tile(frame, landmarks, name, _KEPT)]
    for words, (blend, mask) in _COLUMNS.items():
        other = replace(swapper, blend=replace(swapper.blend, **blend), mask=replace(swapper.mask, **mask))
        tiles.append(_tile(other(frame, [landmarks]), landmarks, words, _REPLACED))
    return np.hstack(tiles)


def _tile(frame: Frame, landmarks: Points, words: str, colour: tuple[int, int, int]) -> Frame:
    """The face in a square with a caption."""
    low, high = landmarks.min(0), landmarks.max(0)
    scale = _TILE / (1.6 * float((high - low).max()))
    shift = _TILE / 2 - scale * (low + high) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = np.asarray(cv2.warpAffine(frame, matrix, (_TILE, _TILE), flags=how), np.uint8)
    cv2.rectangle(tile, (0, 0), (_TILE - 1, 19), colour, -1)
    cv2.putText(tile, words, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return tile
