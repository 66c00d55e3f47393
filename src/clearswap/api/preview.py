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

from clearswap.api.convert import known_persons
from clearswap.core.align import Frame, Points
from clearswap.core.mask import MaskConfig
from clearswap.core.network import Side
from clearswap.core.smoothing import SmoothConfig
from clearswap.core.swap import BlendConfig, Swapper, drawer
from clearswap.disclosure import credentials
from clearswap.disclosure.credentials import load_or_make
from clearswap.disclosure.stamp import LabelConfig, make_stamp
from clearswap.errors import InputError, OutputError
from clearswap.faces.first_pass import first_pass, make_finder
from clearswap.faces.pose import rough_pose
from clearswap.faces.selection import Choice, Role, SelectConfig
from clearswap.faces.tracker import TrackConfig
from clearswap.faces.tracks import Tracks
from clearswap.media.files import encode_picture, is_picture
from clearswap.media.video import TimeRange, probe, read_frames
from clearswap.progress import OnProgress, silent
from clearswap.training import checkpoint
from clearswap.training.device import used_device

_TILE = 224  # pixels
_SAMPLES = 60  # frames among which the hardest are looked for
_PEOPLE = 8  # tracks that are shown, those seen longest
_REPLACED, _KEPT = (40, 180, 60), (130, 130, 130)
# What each column changes of the settings that were given.
_COLUMNS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "as set": ({}, {}),
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
    select: SelectConfig = SelectConfig(),
    mask: MaskConfig = MaskConfig(),
    blend: BlendConfig = BlendConfig(),
    tracking: TrackConfig = TrackConfig(),
    smoothing: SmoothConfig = SmoothConfig(),
    time_range: TimeRange = TimeRange(),
    on_progress: OnProgress = silent,
) -> list[str]:
    """Draw into the picture `output` what a conversion of the video `video` would look like, with these settings and
    with others: where the face is most turned, smallest or darkest, where the mouth is open, and in an ordinary frame.

    Returns what the rows show. The picture is signed as all that shows generated faces. Raises what `convert` raises.
    """
    source, output = Path(video), Path(output)
    if is_picture(source) or not is_picture(output):
        raise OutputError(f"A preview shows a video in a picture; {source} cannot become {output}.")
    credentials.require_signable(output)
    config, net = checkpoint.load_network(Path(model), used_device())
    swapper = Swapper(drawer(net, to), config, used_device(), mask, blend)
    role = Role(Path(model), to)
    finder = make_finder([role], known_persons([role]), select, tracking, on_progress)
    with TemporaryDirectory() as folder:
        tracks = first_pass(probe(source), time_range, finder, Path(folder), on_progress)
        choice = Choice(tracks, finder.faces)
        found = list(tracks.all(0, smoothing))
    placed = [{number: faces[number] for number in choice(i, faces)} for i, faces in enumerate(found)]
    if not any(placed):
        raise InputError(f"Nobody in {source} would be replaced; see --faces and --like.")
    shown = _Shown(tracks, choice, placed)
    for i, frame in enumerate(read_frames(source, time_range=time_range)):
        shown.look(i, frame.picture, found[i])
    lines, rows = [np.hstack(shown.people)] if shown.people else [], shown.hardest
    lines += [_row(name, *rows[name], swapper) for name in rows]
    width = max(line.shape[1] for line in lines)
    whole = np.vstack([np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0))) for line in lines])
    said = credentials.statement_of([Path(model)])
    stamp = make_stamp(whole.shape[:2], said.mark, marked=False, label=LabelConfig(label=False), faces=[])
    picture = encode_picture(stamp(whole, whole), output.suffix)
    credentials.write_picture(output, picture, source, load_or_make(), said)
    return list(rows)


class _Shown:
    """Picks what to show out of the frames of a clip, seen once.

    Attributes:
        people: A tile of each of those who are seen longest.
        hardest: The frames to show with the faces to replace, by what is hard about them.
    """

    def __init__(self, tracks: Tracks, choice: Choice, placed: list[dict[int, Points]]) -> None:
        self._choice, self._placed = choice, placed
        self._longest = sorted(tracks.tracks, key=lambda track: track.frames, reverse=True)[:_PEOPLE]
        there = [i for i, faces in enumerate(placed) if faces]
        spread: list[float] = np.linspace(0, len(there) - 1, min(_SAMPLES, len(there))).tolist()
        self._middle = there[len(there) // 2]
        self._chosen = {self._middle, *(there[round(at)] for at in spread)}
        self._best: dict[str, float] = {}
        self.people: list[Frame] = []
        self.hardest: dict[str, tuple[Frame, dict[int, Points]]] = {}

    def look(self, i: int, picture: Frame, found: dict[int, Points]) -> None:
        """The next frame, `i`, with all faces in it."""
        for number in (track.number for track in self._longest if i == (track.first + track.last) // 2):
            if number in found:
                far, mine = self._choice.distance(number, i), number in self._placed[i]
                words = f"track {number}" + (f": {far:.2f} away" if far < float("inf") else "")
                self.people.append(_tile(picture, found[number], words, _REPLACED if mine else _KEPT))
        if i in self._chosen:
            landmarks = next(iter(self._placed[i].values()))
            for name, score in _scores(picture, landmarks, i == self._middle):
                if score > self._best.get(name, float("-inf")):
                    self._best[name], self.hardest[name] = score, (picture, self._placed[i])


def _scores(frame: Frame, landmarks: Points, middle: bool) -> Iterator[tuple[str, float]]:
    """How well a frame serves as an example of each thing."""
    low, high = landmarks.min(0), landmarks.max(0)
    (left, top), (right, bottom) = np.maximum(low, 0).astype(int).tolist(), np.maximum(high, 1).astype(int).tolist()
    box = frame[top:bottom, left:right]
    yield "ordinary", float(middle)
    yield "most turned", abs(rough_pose(landmarks)[0])
    yield "smallest", -float((high - low).max())
    yield "darkest", -float(box.mean()) if box.size else -255.0
    yield "mouth open", float(np.linalg.norm(landmarks[13] - landmarks[14]) / np.linalg.norm(high - low))


def _row(name: str, frame: Frame, faces: dict[int, Points], swapper: Swapper) -> Frame:
    landmarks = next(iter(faces.values()))
    tiles = [_tile(frame, landmarks, name, _KEPT)]
    for words, (blend, mask) in _COLUMNS.items():
        other = replace(swapper, blend=replace(swapper.blend, **blend), mask=replace(swapper.mask, **mask))
        tiles.append(_tile(other([frame], [list(faces.values())])[0], landmarks, words, _REPLACED))
    return np.hstack(tiles)


def _tile(frame: Frame, landmarks: Points, words: str, colour: tuple[int, int, int]) -> Frame:
    """The face in a square with a caption."""
    middle, reach = (landmarks.min(0) + landmarks.max(0)) / 2, float((landmarks.max(0) - landmarks.min(0)).max()) * 0.8
    scale = _TILE / (2 * reach)
    matrix = np.array([[scale, 0, _TILE / 2 - scale * middle[0]], [0, scale, _TILE / 2 - scale * middle[1]]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = np.asarray(cv2.warpAffine(frame, matrix, (_TILE, _TILE), flags=how), np.uint8)
    cv2.rectangle(tile, (0, 0), (_TILE - 1, 19), colour, -1)
    cv2.putText(tile, words, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return tile
