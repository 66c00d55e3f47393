"""Reading video: frames as a player shows them, as RGB pictures with their times. PyAV does the decoding.

A file may begin with a cover picture, at any time of day, and end before it says. Here is found what its film is,
when that begins, and how far it goes; `shown.py` makes what a player shows of its frames.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream
from msgspec import Meta

from clearswap.checks import check_fields
from clearswap.errors import InputError, OptionError
from clearswap.media.shown import (
    LARGEST,
    Display,
    OnNote,
    VideoFrame,
    pixel_aspect,
    progressive,
    square_size,
    turn,
)

# kinds of files that hold a film themselves, or a picture (whatever its name); FFmpeg knows others that are lists of
# files (concat, hls, dash, imf, sdp)
_FORMATS = (
    "bmp_pipe,gif_pipe,jpeg_pipe,png_pipe,tiff_pipe,webp_pipe,"
    "apng,asf,av1,avi,dhav,dirac,dv,flv,gif,gxf,h261,h263,h264,hevc,ivf,live_flv,m4v,matroska,mjpeg,mov,mpeg,mpegts,"
    "mpegvideo,mxf,nut,obu,ogg,rm,swf,vc1,vvc,wtv,yuv4mpegpipe"
)
# FFmpeg shall open no other address, and leave times as they are that begin again: `Steady` makes them go on
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, "correct_ts_overflow": "0"}
_UNSEEN = Disposition.attached_pic | Disposition.timed_thumbnails  # tracks that are no film
_RATES = Fraction(1, 1000), Fraction(1000)  # frames a second; a file that says others does not know


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself, checked against what it holds.

    Attributes:
        path: The file.
        track: Which of its tracks is the film.
        width: In pixels, as shown: upright, and with square pixels.
        height: Likewise.
        stored: Width and height of the upright frame in the pixels of the file.
        pixel_aspect: How many times as wide as high such a pixel is shown.
        rate: Mean frames a second.
        time_base: The unit of the video's times, in seconds.
        zero: When the clip begins, in that unit: its first picture or its first sound.
        frames: How many there are; fewer may decode.
        joins: How many seconds later each part of a recording that was joined of several is shown than it says.
        notes: What is to be said of the file, a sentence each.
        pix_fmt: FFmpeg's name of the kind of pixels.
        colorspace: FFmpeg's AVCOL_* numbers, as the next three.
    """

    path: Path
    track: int
    width: int
    height: int
    stored: tuple[int, int]
    pixel_aspect: Fraction
    rate: Fraction
    time_base: Fraction
    zero: int
    frames: int
    joins: tuple[Fraction, ...] = ()
    notes: tuple[str, ...] = ()
    pix_fmt: str = "rgb24"
    colorspace: int = 0
    color_range: int = 0
    color_primaries: int = 0
    color_trc: int = 0


@dataclass(frozen=True)
class TimeRange:
    """A part of a video.

    Attributes:
        start: Seconds at which it begins.
        end: Seconds before which it ends; the video's end when left out.
    """

    start: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    end: Annotated[float, Meta(ge=0, le=1e9)] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.end is not None and not self.start < self.end:
            raise OptionError(f"From second {self.start:g} to {self.end:g} is no part of a video; give a later end.")

    def frames(self, info: VideoInfo) -> int:
        """About how many frames it has."""
        first, end = self.start * float(info.rate), (self.end or 1e9) * float(info.rate)
        return max(1, round(min(end, info.frames) - first))


def address(path: Path) -> str:
    """What FFmpeg calls a file: without this it takes `10:30.mp4` and `http:x.mp4` for addresses."""
    return f"file:{path}"


@contextmanager
def open_video(path: Path) -> Generator[InputContainer]:
    """Open a video for reading. Raises `InputError` when there is none or FFmpeg cannot read it."""
    if not path.is_file():
        raise InputError(f"{path} {'is no file' if path.exists() else 'does not exist'}; check the name.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy it again.")
    try:
        container = av.open(address(path), metadata_errors="replace", options=_OPTIONS)
    except (FFmpegError, ValueError) as error:
        why = error.strerror if isinstance(error, FFmpegError) else error
        raise InputError(
            f"{path} is not a video or picture that can be read ({why}); it may be cut short or of another kind."
        ) from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} has no picture track; give a video or a picture.")
        yield container


def film_of(container: InputContainer, path: Path) -> VideoStream:
    """The track that a player shows: not a cover picture or thumbnails; of several that by default, or the largest.

    Raises `InputError` where there is none.
    """
    films = [stream for stream in container.streams.video if not stream.disposition & _UNSEEN]
    films = [stream for stream in films if _codec_of(stream) and stream.width * stream.height] or films[:1]
    if not films:
        raise InputError(f"{path} has a cover picture, but no film; give a video or a picture.")
    chosen = [stream for stream in films if stream.disposition & Disposition.default] or films
    film = max(chosen, key=lambda stream: stream.width * stream.height if _codec_of(stream) else 0)
    if not _codec_of(film):
        raise InputError(f"{path} has a film in a code that FFmpeg does not know; convert it to MP4 first.")
    if film.width * film.height > LARGEST:
        raise InputError(f"{path} has frames of {film.width}x{film.height} pixels, which is too many; make them fewer.")
    return film


def _codec_of(stream: Any) -> bool:
    """Whether FFmpeg can decode a track."""
    return stream.codec_context is not None and stream.codec_context.codec is not None


def probe(path: Path) -> VideoInfo:
    """Read what a video is, and what it holds of what it promises.

    Raises `InputError` when the file cannot be read or holds no frame.
    """
    with open_video(path) as container:
        packets = _count_packets(container, film_of(container, path))
    with open_video(path) as container:  # anew: not every file can be gone back in
        film = film_of(container, path)
        base = film.time_base or Fraction(1, 90000)
        first = next(_decoded(container, film, path, lambda _: None), None)
        if first is None:
            raise InputError(f"{path} holds no frame that can be decoded; copy it again.")
        stored, aspect = (first.width, first.height), pixel_aspect(film)
        if turn(first)[0]:
            stored, aspect = (first.height, first.width), 1 / aspect
        width, height = square_size(stored, aspect)
        context = film.codec_context
        rate = film.average_rate or film.guessed_rate or Fraction(25)
        return VideoInfo(
            path=path,
            track=film.index,
            width=width,
            height=height,
            stored=stored,
            pixel_aspect=aspect,
            rate=rate if _RATES[0] <= rate <= _RATES[1] else Fraction(25),
            time_base=base,
            zero=_zero(container, film),
            frames=max(1, packets.shown),
            joins=packets.joins,
            notes=tuple(_notes(path, container, film, packets)),
            pix_fmt=first.format.name,
            colorspace=int(context.colorspace),
            color_range=int(context.color_range),
            color_primaries=int(context.color_primaries),
            color_trc=int(context.color_trc),
        )


@dataclass(frozen=True)
class _Packets:
    """What a film's packets say without being decoded, about 10 µs each.

    Attributes:
        shown: How many there are, without those that an edit cut off.
        start: When the first is shown, in units of the time base; None where the file has no times.
        end: When the last is over.
        broken: Why reading stopped before the file's end.
        joins: As in `VideoInfo`.
    """

    shown: int
    start: int | None
    end: int
    broken: str
    joins: tuple[Fraction, ...]


def _reaches_beyond(path: Path) -> bool:
    """Whether the last box of an MP4 or MOV, or the one list of an AVI, is longer than what is left of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"AVI ":
            return int.from_bytes(head[4:8], "little") + 8 > size
        at = 0
        while head[4:8].isalnum() and at < size:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:], "big") if length == 1 else length
            if length < 8:  # 0: to the end of the file
                return False
            at += length
    return at > size


def _count_packets(container: InputContainer, film: VideoStream) -> _Packets:
    base = film.time_base or Fraction(1, 90000)
    shown, broken, last = 0, "", 0
    parts: list[
        tuple[int, int]
    ] = []  # when each begins and ends: their times begin again in recordings that were joined
    try:
        for packet in container.demux(film):
            if packet.size and not packet.is_discard:
                shown += 1
                time = packet.pts if packet.pts is not None else packet.dts
                if time is None:
                    continue
                decoded = packet.dts if packet.dts is not None else time
                if not parts or decoded < last - 1 / base:
                    parts.append((time, time))
                last, (first, end) = decoded, parts[-1]
                parts[-1] = min(first, time), max(end, time + (packet.duration or 0))
    except FFmpegError as error:
        broken = error.strerror or str(error)
    if not parts:
        return _Packets(shown, None, 0, broken, ())
    shifts = accumulate(((one[1] - other[0]) * base for one, other in pairwise(parts)), initial=Fraction(0))
    return _Packets(shown, parts[0][0], parts[-1][1], broken, tuple(shifts))


def _zero(container: InputContainer, film: VideoStream) -> int:
    """When a clip begins, in units of its film's time base: with its film, or with a sound before it."""
    base = film.time_base or Fraction(1, 90000)
    begin = Fraction(film.start_time or 0) * base
    for stream in container.streams.audio:
        if stream.start_time is not None and stream.time_base:
            begin = min(begin, stream.start_time * stream.time_base)
    return math.floor(begin / base)


def _notes(path: Path, container: InputContainer, film: VideoStream, packets: _Packets) -> Iterator[str]:
    """What is to be said of a file before it is read."""
    base, kind = film.time_base or Fraction(1, 90000), container.format.name
    held = float((packets.end - (packets.start or 0)) * base)
    if film.duration and film.duration > 0:
        promised = float(film.duration * base)
        slack = 0.01 * promised + 2 / float(film.average_rate or 25)
    else:  # of the whole file, whose sound may well be somewhat longer
        promised = (container.duration or 0) / av.time_base
        slack = 0.1 * promised + 1.0
    if kind in ("mpegts", "mpeg"):  # which promise nothing
        promised = held
    if packets.broken or promised - held > slack or (("mov" in kind or kind == "avi") and _reaches_beyond(path)):
        far = f"after {held:.1f} of {promised:.1f} seconds" if promised > held else f"after {held:.1f} seconds"
        yield f"{path.name} is cut short or damaged: its film ends {far}, and so much is used"
    if film.metadata.get("alpha_mode") == "1" and film.codec_context.name in ("vp8", "vp9"):  # in a film of its own
        yield f"{path.name} has transparency, which is not kept"


def read_frames(
    path: Path, *, every: int = 1, time_range: TimeRange = TimeRange(), on_note: OnNote = lambda _: None
) -> Iterator[VideoFrame]:
    """Yield each `every`-th frame of a part of a video as it is shown.

    What players pass over is passed over: packets that cannot be decoded. `on_note` is told how many, and of frames
    that change their size or are interlaced. Raises `InputError`.
    """
    with open_video(path) as container:
        film = film_of(container, path)
        film.thread_type = "AUTO"
        shown = Display(path, film, on_note)
        zero, base = _zero(container, film), film.time_base or Fraction(1, 90000)
        step = int(1 / ((film.average_rate or Fraction(25)) * base)) or 1
        steady = Steady(base)
        try:
            for index, frame in enumerate(progressive(_decoded(container, film, path, on_note), path, on_note)):
                duration = _ticks(frame, frame.duration or 0, base)
                said = index * step if frame.pts is None else _ticks(frame, frame.pts, base) - zero
                pts = steady(said, duration or step)
                time = float(pts * base)  # as a fraction, a frame at 1/5 is before 0.2, which is a little more
                if index % every or time < time_range.start:
                    continue
                if time_range.end is not None and time >= time_range.end:
                    return
                picture, stored = shown(frame)
                yield VideoFrame(picture, index, pts, duration, time, stored)
        except FFmpegError as error:
            raise InputError(f"{path} cannot be read further ({error.strerror}); convert it to MP4 first.") from error


class Steady:
    """Makes the times of a track go on, one after the other.

    Some files give two frames one time, or times in the order of decoding: then the later is put a tick after. In
    recordings that were joined, times begin again: what goes back by more than a second follows on what was before.

    Attributes:
        end: When what was last is over.
    """

    def __init__(self, base: Fraction, joins: Sequence[Fraction] = ()) -> None:
        """For times in units of `base` seconds. `joins`: as in `VideoInfo`, for tracks that go with the film."""
        self._back, self._joins = math.ceil(1 / base), [round(seconds / base) for seconds in joins[1:]]
        self._last = self.end = -(2**62)
        self._shift = 0

    def __call__(self, time: int, duration: int) -> int:
        """When what the file says to begin at `time` begins."""
        if time + self._shift < self._last - self._back:
            self._shift = self._joins.pop(0) if self._joins else self.end - time
        self._last = max(self._last + 1, time + self._shift)
        self.end = self._last + duration
        return self._last


def _ticks(frame: av.VideoFrame, time: int, base: Fraction) -> int:
    """A time of a frame in units of `base`."""
    return time if frame.time_base in (None, base) else round(time * frame.time_base / base)


def _decoded(container: InputContainer, film: VideoStream, path: Path, on_note: OnNote) -> Iterator[av.VideoFrame]:
    """Yield what can be decoded of a film, from where its container is."""
    lost, packets = 0, container.demux(film)
    cut_off = "mov" in container.format.name  # there a corrupt packet is half a one, and would take others with it
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:  # the file is broken here; the notes of `probe` say where
            packet = None
        if packet is not None and packet.is_corrupt and cut_off:
            lost += 1
            continue
        try:
            frames = film.decode(packet)  # without a packet: what the decoder still holds
        except EOFError:
            frames = []
        except FFmpegError:
            frames, lost = [], lost + 1
        yield from frames
        if packet is None or not packet.size:
            break
    if lost:
        on_note(f"{path.name} has {lost} frame{'s' * (lost > 1)} that cannot be decoded; left out")


def read_spread(path: Path, count: int) -> Iterator[VideoFrame]:
    """Yield about `count` frames that are spread over a video, as they are shown, quickly.

    Where there are enough key frames, these are taken, which need no other frame to be decoded. Where seeking does not
    lead to them, as in transport streams, all is decoded. Raises `InputError`.
    """
    with open_video(path) as container:
        film = film_of(container, path)
        wanted = _spread_times(container, film, count)
        shown, base = Display(path, film, lambda _: None), film.time_base or Fraction(1, 90000)
        zero, done = _zero(container, film), 0
        for index, frame in enumerate(_sought(container, film, path, wanted)):
            pts = (frame.pts or 0) - zero
            picture, stored = shown(frame)
            yield VideoFrame(picture, index, pts, frame.duration or 0, float(pts * base), stored)
            done = index + 1
    if done < len(wanted) or not wanted:
        left = [time - zero for time, _ in wanted[done:]] or [0]
        for frame in read_frames(path):
            if left and frame.pts >= left[0]:
                yield frame
                left = [time for time in left if time > frame.pts]


def _spread_times(container: InputContainer, film: VideoStream, count: int) -> list[tuple[int, bool]]:
    """`count` of the times of a film's frames, evenly spread, and whether each is a key frame's; each is moved back to
    its key frame unless that is taken.
    """
    times: dict[int, bool] = {}
    with suppress(FFmpegError):  # what comes before the damage is read
        for packet in container.demux(film):
            if packet.pts is not None and not packet.is_discard:
                times[packet.pts] = packet.is_keyframe
    pts, keys = sorted(times), sorted(time for time, is_key in times.items() if is_key)
    chosen: list[int] = []
    for i in range(count if pts else 0):
        time = pts[0] + round((i + 0.5) / count * (pts[-1] - pts[0]))
        key = keys[max(0, bisect_right(keys, time) - 1)] if keys else pts[0]
        if not chosen or key > chosen[-1]:
            chosen.append(key)
        elif (following := pts[bisect_left(pts, time)]) > chosen[-1]:
            chosen.append(following)
    return [(time, times[time]) for time in chosen]


def _sought(
    container: InputContainer, film: VideoStream, path: Path, wanted: Sequence[tuple[int, bool]]
) -> Iterator[av.VideoFrame]:
    """Yield the frames of the times `wanted` until one is not where seeking leads."""
    frames: Iterator[av.VideoFrame] = iter(())
    for time, is_key in wanted:
        if is_key:
            try:
                container.seek(time, stream=film)
            except FFmpegError:
                return
            film.codec_context.flush_buffers()
            frames = _decoded(container, film, path, lambda _: None)
        frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= time), None)
        if frame is None or (is_key and frame.pts != time):
            return
        yield frame
