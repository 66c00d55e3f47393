"""MarkReading video: frames as upright RGB pictures with their times. PyAV does the decoding."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator
from contextlib import contextmanager
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
    """Read what the video is, and walk through its packets (without decoding: about 10 µs each) to see that
    the file is whole. Raises `InputError` when it is cut short or holds no frame.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        packets, hidden, end = _count_packets(container, path)
        held_back = container.format.name == "avi"  # whose header may count a frame that the encoder held back
        promised = max(0, stream.frames - held_back)
        seconds = _promised_seconds(container)
        if packets < promised or (not promised and seconds and end < 0.9 * seconds - 1.0):
            share = f"{packets} of its {promised} frames" if promised else f"{end:.1f} of its {seconds:.1f} seconds"
            raise InputError(f"{path} is cut short: it holds {share}; copy it again.")
        container.seek(0)
        try:
            first = next(container.decode(stream), None)
        except FFmpegError as error:
            raise InputError(f"{path} cannot be decoded ({error.strerror}); copy it again.") from error
        if first is None:
            raise InputError(f"{path} holds no frame; copy it again.")
        turned = first.rotation % 180 != 0
        context = stream.codec_context
        return VideoInfo(
            path=path,
            width=first.height if turned else first.width,
            height=first.width if turned else first.height,
            rate=stream.average_rate or stream.guessed_rate or Fraction(25),
            time_base=stream.time_base or Fraction(1, 90000),
            frames=packets - hidden,
            pix_fmt=first.format.name,
            colorspace=int(context.colorspace),
            color_range=int(context.color_range),
            color_primaries=int(context.color_primaries),
            color_trc=int(context.color_trc),
        )


def read_frames(path: Path, *, every: int = 1, time_range: TimeRange = TimeRange()) -> Iterator[VideoFrame]:
    """Yield each `every`-th frame of a part of a video, upright. Raises `InputError` where it cannot be decoded.

    One reformatter serves the whole clip: PyAV's own `to_ndarray` makes a new colour converter for each frame.
    """
    to_rgb = VideoReformatter()
    index = -1
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
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
            raise InputError(f"{path} is damaged after frame {index} ({error.strerror}); copy it again.") from error


def read_spread(path: Path, count: int) -> Iterator[VideoFrame]:
    """Yield about `count` upright frames that are spread over a video: key frames where there are enough, for they need
    no others to be decoded. Raises `InputError`; a video that is damaged somewhere gives what comes before.
    """
    to_rgb = VideoReformatter()
    with open_video(path) as container:
        stream = container.streams.video[0]
        packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.pts is not None]
        if not packets:
            raise InputError(f"{path} holds no frame; copy it again.")
        first, last = min(packets)[0], max(packets)[0]
        keys = sorted(pts for pts, key in packets if key) or [first]
        wanted = sorted({first + round((i + 0.5) / count * (last - first)) for i in range(count)})
        base, shown = float(stream.time_base or 0), first - 1
        container.seek(keys[0], stream=stream)
        frames = container.decode(stream)
        for index, time in enumerate(wanted):
            key = keys[max(0, bisect_right(keys, time) - 1)]
            if key > shown:
                container.seek(key, stream=stream)
                frames, time = container.decode(stream), key
            try:
                frame = next((one for one in frames if one.pts is not None and shown < one.pts >= time), None)
            except FFmpegError as error:
                if shown >= first:
                    return
                raise InputError(f"{path} cannot be decoded ({error.strerror}); copy it again.") from error
            if frame is None or frame.pts is None:
                return
            shown = frame.pts
            yield VideoFrame(_upright(frame, to_rgb), index, shown, frame.duration or 0, shown * base)


def _upright(frame: av.VideoFrame, to_rgb: VideoReformatter) -> Frame:
    picture: Frame = np.asarray(to_rgb.reformat(frame, format="rgb24").to_ndarray(), np.uint8)
    if frame.rotation:  # counterclockwise, as np.rot90 turns
        picture = np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))
    return picture


def _count_packets(container: InputContainer, path: Path) -> tuple[int, int, float]:
    """How many packets of the first video stream there are, how many of them are decoded but not shown (what an
    edit cut off), and at which second the last one ends.
    """
    stream = container.streams.video[0]
    count, hidden, end = 0, 0, 0.0
    try:
        for packet in container.demux(stream):
            if packet.size:
                count, hidden = count + 1, hidden + packet.is_discard
                last = (packet.pts or packet.dts or 0) + (packet.duration or 0)
                end = max(end, float(last * (packet.time_base or 0)))
    except FFmpegError as error:
        raise InputError(
            f"{path} is cut short or damaged after frame {count} ({error.strerror}); copy it again."
        ) from error
    return count, hidden, end


def _promised_seconds(container: InputContainer) -> float:
    """The length that the file's header states, or 0 where it states none."""
    return container.duration / av.time_base if container.duration else 0.0
