"""Writing video: frames are encoded in segments, and the segments are joined with the sound and subtitles.

A segment holds some seconds of picture, encoded by itself as H.264, H.265 or AV1, with the size, times and colours of
the clip that it came from. Its name says which one it is, when it begins, and by a digest what is in it. Segments lie
in a working folder next to the output, so that a run that was killed goes on after the last finished one. Joining
encodes nothing again: whether a run was killed in between makes no difference to what comes out.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from msgspec import Meta

from clearswap.checks import check_fields, decode, stored
from clearswap.errors import InputError, OptionError, OutputError
from clearswap.media.files import atomic_file, clear, hidden, output_errors
from clearswap.media.remux import Plan, Remuxer, name_like
from clearswap.media.shown import VideoFrame, as_stored
from clearswap.media.video import TimeRange, VideoInfo, address, open_video

_AVX512 = 13  # OpenCV's CV_CPU_AVX_512F
_BT709 = 1  # FFmpeg's AVCOL_SPC_BT709
_HDR = {16: "PQ", 18: "HLG"}  # of FFmpeg's AVCOL_TRC_*
_Preset: TypeAlias = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]
_NAMES = {"x264": "libx264", "x265": "libx265", "av1": "libsvtav1", "nvenc": "h264_nvenc"}
_MOMENT = 0.5  # seconds of sound with which a kind of file is tried
_SEGMENT = "segment_"  # how the files of finished segments begin
_NAMED = re.compile(rf"{_SEGMENT}(\d+)_(-?\d+)_([0-9a-f]+)\.mp4")  # number, begin, and digest of what is in it
_ABOUT = "run.json"  # in a working folder: all that the work in it depends on

# Encoding


@dataclass(frozen=True)
class EncodeConfig:
    """How the output video is compressed.

    Attributes:
        encoder: "x264" (H.264, plays everywhere), "x265" (H.265) or "av1" (AV1), which make smaller files and take
            longer, or "nvenc" (H.264 on an NVIDIA GPU).
        crf: Quality, 0 (lossless, or nearly) to 51 (worst). What was not swapped keeps a PSNR of at least 41 dB
            at 12 and 39 dB at 16 with x264 (worst frame of two clips), of which the way through RGB takes its share
            (45 dB alone).
        encoder_preset: How much time the encoder takes for a smaller file. With x264, "veryfast" took 1.46 times as
            long as "superfast" for files of 0.86 to 0.92 times the size at the same PSNR (three clips), and "fast"
            twice as long as "veryfast" for files of 0.93 to 1.05 times the size and 0.2 to 0.8 dB more.
    """

    encoder: Literal["x264", "x265", "av1", "nvenc"] = "x264"
    crf: Annotated[int, Meta(ge=0, le=51)] = 12
    encoder_preset: _Preset = "superfast"

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def options(self) -> dict[str, str]:
        """The options of FFmpeg's encoder.

        There are no B-frames: with them an MP4's length is summed up from decoding times, and a clip of uneven frame
        times (phones) comes out at another mean frame rate (26.47 for 26.40 on one).
        """
        crf, speed = str(self.crf), get_args(_Preset).index(self.encoder_preset)
        if self.encoder == "x265":
            return {"crf": crf, "preset": self.encoder_preset, "x265-params": "log-level=error:bframes=0"}
        if self.encoder == "av1":
            return {"crf": crf, "preset": str(11 - speed), "svtav1-params": "pred-struct=1"}
        if self.encoder == "nvenc":
            return {"rc": "vbr", "cq": crf, "preset": f"p{max(1, speed - 1)}", "bf": "0"}
        # "superfast" spends no bits where the next frames need them, which "veryfast" does: files twice as large
        own = ["mbtree=1:rc-lookahead=10"] * (self.encoder_preset == "superfast")
        # Its AVX-512 code for that is not always of one mind: on a busy machine 4 to 15 of 700 encodings of the same
        # seven frames came out different, with AVX2 none of 5,500; and what is resumed should be as if never stopped.
        own += ["asm=avx2"] * cv2.checkHardwareSupport(_AVX512)
        return {"crf": crf, "preset": self.encoder_preset, "bf": "0"} | ({"x264-params": ":".join(own)} if own else {})


class PictureTrack:
    """Encodes frames like those of `info` into the picture track of `out`."""

    def __init__(self, out: OutputContainer, info: VideoInfo, config: EncodeConfig, first: int) -> None:
        """Begin the track; the time `first`, in units of `info.time_base`, becomes zero."""
        self._out, self._info, self._first, self._to_yuv = out, info, first, VideoReformatter()
        stream: Any = out.add_stream(_NAMES[config.encoder], rate=info.rate)
        self._stream = stream
        stream.width, stream.height = _size(info, config)
        stream.pix_fmt = "yuv420p" if config.encoder == "av1" else _pixel_format(info)
        stream.options = config.options
        stream.time_base = stream.codec_context.time_base = info.time_base
        context = stream.codec_context
        context.flags |= Flags.frame_duration  # else the last frame of a clip of uneven rate loses its length
        self._colorspace = info.colorspace or _BT709  # 0 says RGB, which the output is not
        context.colorspace, context.color_range = self._colorspace, info.color_range
        context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
        self._square = config.encoder == "av1"
        if not self._square and info.pixel_aspect != 1:
            context.sample_aspect_ratio = info.pixel_aspect

    def write(self, frame: VideoFrame) -> None:
        """Encode one frame at its own time."""
        pixels = np.ascontiguousarray(frame.picture if self._square else as_stored(frame))
        picture = av.VideoFrame.from_numpy_buffer(pixels, format="rgb24")  # no copy
        encoded = self._to_yuv.reformat(
            picture,
            format=self._stream.pix_fmt,
            dst_colorspace=self._colorspace,
            dst_color_range=self._info.color_range or None,
        )
        encoded.pts, encoded.duration = frame.pts - self._first, frame.duration
        encoded.time_base = self._info.time_base
        self._out.mux(self._stream.encode(encoded))

    def close(self) -> None:
        """Encode what the encoder still holds."""
        self._out.mux(self._stream.encode(None))


def require_container(output: Path, config: EncodeConfig) -> None:
    """Raise `OptionError` for a kind of file that cannot hold what `config` encodes."""
    if output.suffix.lower() == ".webm" and config.encoder != "av1":
        raise OptionError(f"{output} cannot hold {config.encoder}, only AV1; choose the encoder av1, or write .mkv.")


def require_encoder(info: VideoInfo, config: EncodeConfig) -> None:
    """Check before any work that `info` can be encoded here.

    Raises `OptionError` where this machine does not have the encoder, and `InputError` for HDR video.
    """
    if info.color_trc in _HDR:
        raise InputError(
            f"{info.path} is HDR video ({_HDR[info.color_trc]}), whose light would be lost in 8 bits; "
            "convert it to SDR (BT.709) first."
        )
    width, height = _size(info, config)
    if config.encoder in ("av1", "nvenc") and (width % 2 or height % 2):
        raise OptionError(f"{config.encoder} cannot encode {width}x{height}, an odd size; leave `encoder` out.")
    try:
        context: Any = av.CodecContext.create(_NAMES[config.encoder], "w")
        context.width, context.height, context.pix_fmt = 640, 480, "yuv420p"
        context.time_base, context.options = info.time_base, config.options
        context.framerate = info.rate  # AV1's encoder takes the time base for one otherwise, and refuses 12800
        context.open()
    except (FFmpegError, ValueError) as error:
        raise OptionError(f"The encoder {config.encoder} does not work here ({error}); leave `encoder` out.") from error


def _size(info: VideoInfo, config: EncodeConfig) -> tuple[int, int]:
    """Width and height to encode: in the pixels of the file, or in square ones where AV1 could not say their aspect."""
    return (info.width, info.height) if config.encoder == "av1" else info.stored


def _pixel_format(info: VideoInfo) -> str:
    """8 bits with the source's chroma; a side of odd length needs full chroma, which has no half pixels."""
    width, height = info.stored
    if width % 2 or height % 2 or "444" in info.pix_fmt or info.pix_fmt.startswith(("rgb", "bgr", "gbr")):
        return "yuv444p"
    return "yuv422p" if "422" in info.pix_fmt else "yuv420p"


def try_container(output: Path, info: VideoInfo, config: EncodeConfig, plan: Plan, folder: Path) -> None:
    """Write a black frame and a moment of sound, all in `folder`, as `output` will be written.

    Raises `OutputError` where its kind of file does not take them.
    """
    trial = folder / "trial"
    clear(trial)  # left by a run that was killed
    trial.mkdir()
    try:
        black = np.zeros((info.height, info.width, 3), np.uint8)
        stored = None if info.stored == (info.width, info.height) else np.zeros((*info.stored[::-1], 3), np.uint8)
        segments = Segments(trial, info, config)
        segments.write(iter([VideoFrame(black, 0, 0, 0, 0.0, stored)]))
        segments.join(trial / f"joined{output.suffix}", plan, TimeRange(0, _MOMENT))
    except (FFmpegError, ValueError) as error:
        if isinstance(error, OSError):  # a full disk, for which `output_errors` has words
            raise
        why = error.strerror if isinstance(error, FFmpegError) else error
        raise OutputError(
            f"{output.suffix} cannot hold this video as {config.encoder} ({why}); write .mp4 or .mkv."
        ) from error
    finally:
        shutil.rmtree(trial)


# Working folders


def workdir_of(output: Path) -> Path:
    """The working folder of a run that makes `output`."""
    return hidden(output, ".work")


def fingerprint(file: Path) -> list[str | int]:
    """What tells a file from a changed one: its name, length and time."""
    about = file.stat()
    return [str(file.resolve()), about.st_size, about.st_mtime_ns]


@contextmanager
def workdir(
    folder: Path, about: Mapping[str, Any], *, resume: bool, worth_keeping: Callable[[Path], bool]
) -> Generator[bool]:
    """Make a resumable working folder; yields True where an earlier run with the same settings can be continued.

    `about` holds all that the work depends on. The folder is deleted when the block ends well. Where it ends in any
    other way, it stays if a segment is finished, or other work in it is `worth_keeping`.
    """
    known = json.loads(json.dumps(about, default=str))
    note = folder / _ABOUT
    going_on = resume and not folder.is_symlink() and _read(note) == known
    stays = False
    try:
        if not going_on:
            clear(folder)
            folder.mkdir(parents=True)
            with atomic_file(note) as partial:
                partial.write_text(json.dumps(known))
        yield going_on
    except BaseException:
        stays = any(folder.glob(f"{_SEGMENT}*")) or worth_keeping(folder)
        raise
    finally:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)


def _read(note: Path) -> object:
    """What all the work in a folder depends on; None where that cannot be read."""
    try:
        return decode(dict[str, Any], stored(note))
    except (OSError, ValueError):
        return None


# Segments


class Segments:
    """The segments of one clip in a working folder.

    Attributes:
        length: Frames in a segment: as many as x264 has between two key frames at most, so none are added.
    """

    length = 250

    def __init__(self, folder: Path, info: VideoInfo, config: EncodeConfig) -> None:
        """Take up the segments that lie in `folder` as they were written, as far as none is missing."""
        self._folder, self._info, self._config = folder, info, config
        self._done: list[Path] = []
        for path in sorted(folder.glob(f"{_SEGMENT}*")):
            named = _NAMED.fullmatch(path.name)
            if named and int(named[1]) == len(self._done) and path.is_file() and named[3] == _digest(path):
                self._done.append(path)

    @property
    def frames(self) -> int:
        """How many frames are in finished segments."""
        return self.length * len(self._done)

    def write(self, frames: Iterator[VideoFrame]) -> None:
        """Write the frames that follow the finished segments."""
        partial = self._folder / "unfinished.mp4"
        while (first := next(frames, None)) is not None:
            clear(partial)
            with output_errors(partial), av.open(address(partial), "w") as out:
                track = PictureTrack(out, self._info, self._config, first.pts)
                for frame in chain([first], islice(frames, self.length - 1)):
                    track.write(frame)
                track.close()
            name = f"{_SEGMENT}{len(self._done):06d}_{first.pts}_{_digest(partial)}.mp4"
            self._done.append(partial.replace(self._folder / name))

    def join(self, output: Path, plan: Plan, time_range: TimeRange = TimeRange()) -> int:
        """Put all segments into `output`, with the tracks of a plan and the chapters of that part of the clip.

        A part that does not begin with the clip begins at zero. Returns how many packets of the tracks were damaged.
        """
        files = self._done
        with (
            av.open(address(output), "w", options={"movflags": "+faststart"}) as out,
            open_video(self._info.path) as original,
        ):
            with av.open(address(files[0])) as first:
                # opaque: copied as it is; PyAV would look for an AV1 encoder by its decoder's name otherwise
                stream: Any = out.add_stream_from_template(first.streams.video[0], opaque=True)
            base = stream.time_base = self._info.time_base
            name_like(stream, original.streams[self._info.track], out)
            begin = _start_of(files[0]) if time_range.start else 0
            part = (self._info.zero * base, begin * base, time_range.end)
            remuxer = Remuxer(original, out, plan, self._info.joins, *part)
            for packet in chain.from_iterable(self._packets(file, begin) for file in files):
                remuxer.mux_until(float(packet.pts * packet.time_base))
                packet.stream = stream
                out.mux(packet)
            remuxer.close()
        return remuxer.damaged

    def _packets(self, file: Path, zero: int) -> Iterator[Any]:
        """The packets of a segment at their times in the clip, counted from `zero`."""
        with av.open(address(file)) as segment:
            for packet in segment.demux(segment.streams.video[0]):
                if packet.dts is not None and packet.pts is not None:
                    start = int((_start_of(file) - zero) * self._info.time_base / packet.time_base)
                    packet.pts += start
                    packet.dts += start
                    yield packet


def _start_of(segment: Path) -> int:
    """When a segment begins, in units of the clip's time base."""
    return int(segment.stem.split("_")[2])


def _digest(segment: Path) -> str:
    """What tells a segment from one that is damaged: some digits of its content's SHA-256."""
    with segment.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
