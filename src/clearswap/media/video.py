"""Reading video: frames as upright RGB pictures with their times. PyAV does the decoding."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from clearswap.core.align import Frame
from clearswap.errors import InputError, OptionError


@dataclass(frozen=True)
class VideoFrame:
    """A frame with its place in the clip."""

    picture: Frame  # (H, W, 3) RGB, upright
    index: int
    pts: int  # in units of the video's time base
    duration: int  # likewise; 0 where the file does not say
    time: float  # seconds from the clip's zero


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself, checked against what it holds."""

    path: Path
    width: int  # upright
    height: int
    rate: Fraction  # mean frames a second
    time_base: Fraction
    frames: int
    pix_fmt: str
    colorspace: int  # FFmpeg's AVCOL_* numbers
    color_range: int
    color_primaries: int
    color_trc: int


@dataclass(frozen=True)
class TimeRange:
    """A part of a video.

    Attributes:
        start: Seconds at which it begins.
        end: Seconds before which it ends; the video's end when left out.
    """

    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise OptionError(f"A video does not begin at second {self.start:g}; give 0 or more.")
        if self.end is not None and self.end <= self.start:
            raise OptionError(f"From second {self.start:g} to {self.end:g} is no part of a video; give a later end.")

    def frames(self, info: VideoInfo) -> int:
        """About how many frames it has."""
        first, end = self.start * float(info.rate), (self.end or 1e9) * float(info.rate)
        return max(1, round(min(end, info.frames) - first))


@contextmanager
def open_video(path: Path) -> Generator[InputContainer]:
    """Open a video for reading. Raises `InputError` when there is none or FFmpeg cannot read it."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the name.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy it again.")
    try:
        container = av.open(str(path))
    except FFmpegError as error:
        raise InputError(
            f"{path} is not a video or picture that can be read ({error.strerror});"
            " it may be cut short or of another kind."
        ) from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} has no picture track; give a video or a picture.")
        yield container


def probe(path: Path) -> VideoInfo:
    """Read what a video is, and check that it is complete.

    Raises `InputError` when the file cannot be read, is cut short, or holds no frame.
    """
    with open_video(path) as container:
        return _probe(container, path)[0]


def probe_and_read(path: Path, *, time_range: TimeRange = TimeRange()) -> tuple[VideoInfo, Iterator[VideoFrame]]:
    """Do what `probe` and `read_frames` do, and open the file once for both. Raises `InputError`."""
    with ExitStack() as opened:
        container = opened.enter_context(open_video(path))
        container.streams.video[0].thread_type = "AUTO"  # cannot be changed once a frame is decoded
        info, rewinds = _probe(container, path)
        if rewinds:
            return info, _rewound(container, opened.pop_all(), time_range)
    return info, read_frames(path, time_range=time_range)


def _rewound(container: InputContainer, opened: ExitStack, time_range: TimeRange) -> Iterator[VideoFrame]:
    """Yield the frames of a video that was read before, and close it."""
    with opened:
        container.seek(0)
        yield from _decode(container, 1, time_range)


def _probe(container: InputContainer, path: Path) -> tuple[VideoInfo, bool]:
    """What an open video is, and whether going back in it leads to its very first frame, which few formats fail to do.

    Raises `InputError`.
    """
    frames, start = _count_frames(container, path)
    container.seek(0)
    stream = container.streams.video[0]
    try:
        first = next(container.decode(stream), None)
    except FFmpegError as error:
        raise InputError(f"{path} cannot be decoded ({error.strerror}); copy it again.") from error
    if first is None:
        raise InputError(f"{path} holds no frame; copy it again.")
    turned = first.rotation % 180 != 0
    context = stream.codec_context
    info = VideoInfo(
        path=path,
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        rate=stream.average_rate or stream.guessed_rate or Fraction(25),
        time_base=stream.time_base or Fraction(1, 90000),
        frames=frames,
        pix_fmt=first.format.name,
        colorspace=int(context.colorspace),
        color_range=int(context.color_range),
        color_primaries=int(context.color_primaries),
        color_trc=int(context.color_trc),
    )
    return info, start is not None and first.pts == start


def _count_frames(container: InputContainer, path: Path) -> tuple[int, int | None]:
    """How many frames are shown, and when the first one is, as far as their packets say that; without decoding, about
    10 µs each.

    Raises `InputError` where there are fewer than the file's header promises.
    """
    stream = container.streams.video[0]
    packets, hidden, end = 0, 0, 0.0  # hidden: decoded but not shown, since an edit cut them off
    start: int | None = None
    try:
        for packet in container.demux(stream):
            if packet.size:
                packets += 1
                hidden += packet.is_discard
                if packet.pts is not None and not packet.is_discard:
                    start = packet.pts if start is None else min(start, packet.pts)
                last = (packet.pts or packet.dts or 0) + (packet.duration or 0)
                end = max(end, float(last * (packet.time_base or 0)))
    except FFmpegError as error:
        raise InputError(
            f"{path} is cut short or damaged after frame {packets} ({error.strerror}); copy it again."
        ) from error
    # an AVI's header may count a frame that the encoder held back
    promised = max(0, stream.frames - (container.format.name == "avi"))
    seconds = (container.duration or 0) / av.time_base
    if packets < promised:
        raise InputError(f"{path} is cut short: it holds {packets} of its {promised} frames; copy it again.")
    if not promised and end < 0.9 * seconds - 1.0:  # the sound may well be somewhat longer
        raise InputError(f"{path} is cut short: it holds {end:.1f} of its {seconds:.1f} seconds; copy it again.")
    return packets - hidden, start


def read_frames(path: Path, *, every: int = 1, time_range: TimeRange = TimeRange()) -> Iterator[VideoFrame]:
    """Yield each `every`-th frame of a part of a video, upright.

    Raises `InputError` where it cannot be decoded.
    """
    with open_video(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        yield from _decode(container, every, time_range)


def _decode(container: InputContainer, every: int, time_range: TimeRange) -> Iterator[VideoFrame]:
    """Yield each `every`-th frame of a part of an open video, from its beginning. Raises `InputError`."""
    to_rgb = VideoReformatter()  # one for the clip: PyAV's own `to_ndarray` makes one for each frame
    index = -1
    stream = container.streams.video[0]
    base = stream.time_base or Fraction(1, 90000)
    step = int(1 / ((stream.average_rate or Fraction(25)) * base)) or 1
    try:
        for index, frame in enumerate(container.decode(stream)):
            pts = frame.pts if frame.pts is not None else index * step
            time = float(pts * base)  # as a fraction, a frame at 1/5 is before 0.2, which is a little more
            if index % every or time < time_range.start:
                continue
            if time_range.end is not None and time >= time_range.end:
                return
            yield VideoFrame(_upright(frame, to_rgb), index, pts, frame.duration or 0, time)
    except FFmpegError as error:
        name = container.name
        raise InputError(f"{name} is damaged after frame {index} ({error.strerror}); copy it again.") from error


def read_spread(path: Path, count: int) -> Iterator[VideoFrame]:
    """Yield about `count` upright frames that are spread over a video, quickly.

    Where there are enough key frames, these are taken, which need no other frame to be decoded. A video that is
    damaged somewhere gives what comes before. Raises `InputError`.
    """
    to_rgb = VideoReformatter()
    with open_video(path) as container:
        stream = container.streams.video[0]
        packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.pts is not None]
        if not packets:
            raise InputError(f"{path} holds no frame; copy it again.")
        pts = sorted(time for time, _ in packets)
        keys = sorted(time for time, is_key in packets if is_key) or pts[:1]
        frames: Iterator[av.VideoFrame] = iter(())
        index = 0
        try:
            for index, time in enumerate(_spread_times(pts, keys, count)):
                if time in keys:
                    container.seek(time, stream=stream)
                    frames = container.decode(stream)
                frame = next((f for f in frames if f.pts is not None and f.pts >= time), None)
                if frame is None or frame.pts is None:
                    return
                seconds = frame.pts * float(stream.time_base or 0)
                yield VideoFrame(_upright(frame, to_rgb), index, frame.pts, frame.duration or 0, seconds)
        except FFmpegError as error:
            if index == 0:
                raise InputError(f"{path} cannot be decoded ({error.strerror}); copy it again.") from error


def _spread_times(pts: list[int], keys: list[int], count: int) -> list[int]:
    """`count` of the frame times `pts`, evenly spread; each is moved back to its key frame unless that is taken."""
    chosen: list[int] = []
    for i in range(count):
        time = pts[0] + round((i + 0.5) / count * (pts[-1] - pts[0]))
        key = keys[max(0, bisect_right(keys, time) - 1)]
        if not chosen or key > chosen[-1]:
            chosen.append(key)
        elif (following := pts[bisect_left(pts, time)]) > chosen[-1]:
            chosen.append(following)
    return chosen


def _upright(frame: av.VideoFrame, to_rgb: VideoReformatter) -> Frame:
    picture: Frame = np.asarray(to_rgb.reformat(frame, format="rgb24").to_ndarray(), np.uint8)
    if frame.rotation:  # counterclockwise, as np.rot90 turns
        picture = np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))
    return picture
