"""What is shown of a stored video frame.

A phone stores frames that lie on their side or are mirrored, a camcorder pixels that are not square and two half
pictures in one; an editor's file has transparency, and a recording may change its size on the way. Everything that
looks for faces wants what a player shows: whole upright pictures with square pixels, of one size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from clearswap.core.align import Frame
from clearswap.errors import InputError

OnNote: TypeAlias = Callable[[str], None]  # is told what a person should know of a file, a sentence at a time

LARGEST = 8192 * 8192  # pixels of a frame: a larger one takes more memory than most machines have
_ODDEST = 8  # how many times as wide as high a pixel may be, or the other way; what says more is taken for square
_SAME = 0.01  # sides that differ by less are one: pixels that are nearly square, as of a size that was rounded


@dataclass(frozen=True)
class VideoFrame:
    """A frame with its place in the clip."""

    picture: Frame  # (H, W, 3) RGB, upright, with square pixels
    index: int
    pts: int  # in units of the video's time base, from the clip's zero
    duration: int  # likewise; 0 where the file does not say
    time: float  # seconds from the clip's zero
    stored: Frame | None = None  # the picture with the pixels of the file, where those are not square


def pixel_aspect(film: VideoStream) -> Fraction:
    """How many times as wide as high a pixel of a film is."""
    return film.sample_aspect_ratio or film.codec_context.sample_aspect_ratio or Fraction(1)


def square_size(stored: tuple[int, int], aspect: Fraction) -> tuple[int, int]:
    """The size (width, height) of a frame of `stored` size with square pixels; none of its own get lost."""
    width, height = stored
    wide, high = (_side(width, aspect), height) if aspect > 1 else (width, _side(height, 1 / aspect))
    odd = not 1 / _ODDEST <= aspect <= _ODDEST or wide * high > LARGEST
    return stored if odd or max(wide / width, high / height) < 1 + _SAME else (wide, high)


def _side(stored: int, factor: Fraction) -> int:
    """A side made larger; an even one stays even, as some encoders ask for."""
    return round(stored * factor) if stored % 2 else 2 * round(stored * factor / 2)


class Display:
    """Makes what is shown of a film's frames: upright RGB pictures with square pixels, all of the size of the first."""

    def __init__(self, path: Path, film: VideoStream, on_note: OnNote) -> None:
        self._path, self._film, self._on_note = path, film, on_note
        self._to_rgb = VideoReformatter()  # one for the clip: PyAV's own `to_ndarray` makes one for each frame
        self._size: tuple[int, int] | None = None  # of the first frame, upright, in the pixels of the file
        self._square = (0, 0)  # its size with square pixels
        self._said = set[str]()

    def __call__(self, frame: av.VideoFrame) -> tuple[Frame, Frame | None]:
        """The picture that is shown, and the one that is stored, where its pixels are not square."""
        across, flip_x, flip_y = turn(frame)
        picture = self._rgb(frame)
        picture = picture.transpose(1, 0, 2) if across else picture
        picture = np.ascontiguousarray(picture[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
        size = (picture.shape[1], picture.shape[0])
        if self._size is None:
            aspect = pixel_aspect(self._film)
            self._size, self._square = size, square_size(size, 1 / aspect if across else aspect)
        elif size != self._size:
            of = f"{self._path.name} change from {self._size[0]}x{self._size[1]} to {size[0]}x{size[1]}"
            self._say("size", f"the frames of {of}; all get the size of the first")
            picture = resized(picture, self._size)
        return (picture, None) if self._square == self._size else (resized(picture, self._square), picture)

    def _rgb(self, frame: av.VideoFrame) -> Frame:
        """The picture (H, W, 3) as it is stored; what has transparency is laid on black."""
        alpha = any(component.is_alpha for component in frame.format.components)
        try:
            picture = self._to_rgb.reformat(frame, format="rgba" if alpha else "rgb24").to_ndarray()
        except (FFmpegError, ValueError) as error:
            raise InputError(f"{self._path} has frames that cannot be read ({error}); convert it first.") from error
        if alpha and picture[..., 3].min() < 255:
            self._say("transparent", f"{self._path.name} has transparency, which is not kept: it is laid on black")
            picture = cv2.multiply(picture[..., :3], np.repeat(picture[..., 3:], 3, 2), scale=1 / 255)
        return np.asarray(picture[..., :3], np.uint8)

    def _say(self, what: str, note: str) -> None:
        """Tell something of the clip once."""
        if what not in self._said:
            self._on_note(note)
        self._said.add(what)


def resized(picture: Frame, size: tuple[int, int]) -> Frame:
    """A picture in another size (width, height)."""
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def as_stored(frame: VideoFrame) -> Frame:
    """A changed frame in the pixels of its file. Only the change is brought back to them, so the rest stays sharp."""
    if frame.stored is None:
        return frame.picture
    height, width = frame.stored.shape[:2]
    shown = resized(frame.stored, (frame.picture.shape[1], frame.picture.shape[0]))
    change = cv2.resize(frame.picture.astype(np.int16) - shown, (width, height), interpolation=cv2.INTER_AREA)
    return (frame.stored + change).clip(0, 255).astype(np.uint8)


def turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How a stored picture becomes the one that is shown: rows and columns exchanged, then mirrored left to right,
    then upside down.

    From the display matrix (ISO 14496-12): a pixel at (x, y) is shown at (a x + c y, b x + d y).
    """
    side_data: Any = frame.side_data  # PyAV's stubs take it for a mapping of texts
    matrix = next((np.frombuffer(data, np.int32) for data in side_data if data.type == SideData.DISPLAYMATRIX), None)
    a, b, c, d = (1, 0, 0, 1) if matrix is None else (int(matrix[place]) for place in (0, 1, 3, 4))
    across = abs(b) + abs(c) > abs(a) + abs(d)
    return (True, c < 0, b < 0) if across else (False, a < 0, d < 0)


def progressive(frames: Iterable[av.VideoFrame], path: Path, on_note: OnNote) -> Iterator[av.VideoFrame]:
    """Make whole pictures of interlaced ones, each from a frame and its neighbours (FFmpeg's bwdif); others pass."""
    graph: Graph | None = None
    kind: tuple[object, ...] = ()
    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        if graph is None:
            on_note(f"{path.name} is interlaced; each of its frames becomes one whole picture")
        if graph is None or kind != (frame.width, frame.height, frame.format.name):
            yield from _flushed(graph)
            kind, graph = (frame.width, frame.height, frame.format.name), _deinterlacer(frame)
        graph.push(frame)
        yield from _pulled(graph)
    yield from _flushed(graph)


def _deinterlacer(frame: av.VideoFrame) -> Graph:
    """FFmpeg's filter for frames like this one."""
    graph = Graph()
    base = frame.time_base or Fraction(1, 90000)
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    """What a filter has ready."""
    with suppress(BlockingIOError, EOFError):
        while True:
            frame = graph.pull()
            assert isinstance(frame, av.VideoFrame)
            yield frame


def _flushed(graph: Graph | None) -> Iterator[av.VideoFrame]:
    """What a filter still holds."""
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


# Shots

# A cut changes the picture by so much (of 255), and by so many times what it changed lately. In six clips of people who
# talk and turn, frames differ from the one before by 4.9 at most; a lamp swung past a face makes 12.6, 3.1 times as
# much as lately.
_LEAST, _TIMES = 10.0, 5.0
LATELY = 12  # frames


class SceneCuts:
    """Watches the frames of one clip."""

    def __init__(self, last: Sequence[float] = (), lately: Sequence[float] = ()) -> None:
        """Begin anew, or with the frame before (16 x 16 x 3) and what frames changed lately."""
        self._last = np.array(last, np.float32).reshape(16, 16, 3) if len(last) else None
        self._lately: deque[float] = deque(lately, maxlen=LATELY)

    def state(self) -> tuple[list[float], list[float]]:
        """What another would have to begin with, to go on from here."""
        return ([] if self._last is None else self._last.ravel().tolist()), list(self._lately)

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
