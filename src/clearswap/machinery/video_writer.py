"""Writing video: the same size, times and sound as the clip that the frames came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter

from clearswap.errors import OptionError
from clearswap.machinery.video import VideoFrame, VideoInfo, open_video

_BT709 = 1  # FFmpeg's AVCOL_SPC_BT709


@dataclass(frozen=True)
class EncodeConfig:
    """How the output video is compressed.

    Attributes:
        crf: Quality of x264, 0 (lossless) to 51 (worst). What was not swapped keeps a PSNR of at least 41 dB
            at 12 and 39 dB at 16 (worst frame of two clips), of which the way through RGB takes its share
            (45 dB alone).
        encoder_preset: x264's speed setting.
    """

    crf: int = 12
    encoder_preset: Literal[
        "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
    ] = "fast"

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise OptionError(f"A crf of {self.crf} is not possible; give one from 0 (lossless) to 51 (worst).")


class VideoWriter:
    """Encodes frames like those of `info` into `path` and copies the clip's sound. A context manager.

    Attributes:
        sound: What became of the sound: "none", "copied" (packet for packet) or "re-encoded" (to AAC, where the
            output's container cannot hold the original codec).
    """

    def __init__(self, path: Path, info: VideoInfo, config: EncodeConfig) -> None:
        self._info, self._to_yuv = info, VideoReformatter()
        self._pts = -(2**62)
        self._closing = ExitStack()
        self._out: OutputContainer = self._closing.enter_context(
            av.open(str(path), "w", options={"movflags": "+faststart"})
        )
        self._stream = self._out.add_stream("libx264", rate=info.rate)
        self._stream.width, self._stream.height = info.width, info.height
        self._stream.pix_fmt = _pixel_format(info)
        # No B-frames: with them an MP4's length is summed up from decoding times, and a clip of uneven frame
        # times (phones) comes out at another mean frame rate (26.47 for 26.40 on one).
        self._stream.options = {"crf": str(config.crf), "preset": config.encoder_preset, "bf": "0"}
        self._stream.time_base = self._stream.codec_context.time_base = info.time_base
        context = self._stream.codec_context
        context.flags |= Flags.frame_duration  # else the last frame of a clip of uneven rate loses its length
        self._colorspace = info.colorspace or _BT709  # 0 says RGB, which the output is not
        context.colorspace, context.color_range = self._colorspace, info.color_range
        context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
        source = self._closing.enter_context(open_video(info.path))
        self._sound_packets = _SoundCopy(source, self._out)
        self.sound = self._sound_packets.how

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._out.mux(self._stream.encode(None))
                self._sound_packets.mux_until(float("inf"))
        finally:
            self._closing.close()

    def write(self, frame: VideoFrame) -> None:
        """Encode one frame at its own time, with the sound up to it."""
        picture = av.VideoFrame.from_ndarray(frame.picture, format="rgb24")
        encoded = self._to_yuv.reformat(
            picture,
            format=self._stream.pix_fmt,
            dst_colorspace=self._colorspace,
            dst_color_range=self._info.color_range or None,
        )
        self._pts = max(frame.pts, self._pts + 1)  # some files give two frames one time, which none may have here
        encoded.pts, encoded.duration, encoded.time_base = self._pts, frame.duration, self._info.time_base
        self._sound_packets.mux_until(frame.time)
        self._out.mux(self._stream.encode(encoded))


class _SoundCopy:
    """Hands the sound packets of `source` over to `out`, in step with the picture."""

    def __init__(self, source: Any, out: OutputContainer) -> None:
        self._out = out
        self._streams: dict[int, Any] = {}
        self._encoded: set[int] = set()
        self._sound_end = 0, Fraction(1, 1000)  # when the last decoded sound is over, in which time base
        for stream in source.streams.audio:
            if (
                stream.codec_context.codec.canonical_name in out.supported_codecs
                or stream.codec_context.name in out.supported_codecs
            ):
                self._streams[stream.index] = out.add_stream_from_template(stream)
            else:
                self._streams[stream.index] = out.add_stream("aac", rate=stream.rate, layout=_aac_layout(stream))
                self._encoded.add(stream.index)
        self.how = "re-encoded" if self._encoded else "copied" if self._streams else "none"
        self._packets: Iterator[Any] = source.demux(*source.streams.audio) if self._streams else iter(())
        self._next: Any | None = next(self._packets, None)

    def mux_until(self, time: float) -> None:
        """Mux every sound packet that starts before `time` (seconds)."""
        while self._next is not None and float((self._next.dts or 0) * (self._next.time_base or 0)) <= time:
            self._mux(self._next)
            self._next = next(self._packets, None)
        if self._next is None:
            self._flush()

    def _mux(self, packet: Any) -> None:
        target = self._streams[packet.stream.index]
        if packet.stream.index in self._encoded:
            for sound in packet.decode():
                if sound.pts is None:  # what some decoders give back at the very end
                    sound.pts, sound.time_base = self._sound_end
                base = sound.time_base
                self._sound_end = sound.pts + round(sound.samples / (sound.sample_rate * base)), base
                self._out.mux(target.encode(sound))
        elif packet.size:
            packet.stream = target
            self._out.mux(packet)

    def _flush(self) -> None:
        for index in self._encoded:
            self._out.mux(self._streams[index].encode(None))
        self._encoded.clear()


def _aac_layout(stream: Any) -> str:
    """The loudspeakers of a sound track; old files only say how many, which AAC does not take."""
    usual = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
    return usual.get(stream.channels, "stereo") if stream.layout.name.endswith("channels") else stream.layout.name


def _pixel_format(info: VideoInfo) -> str:
    """8 bits with the source's chroma; a side of odd length needs full chroma, which has no half pixels."""
    if info.width % 2 or info.height % 2 or "444" in info.pix_fmt or info.pix_fmt.startswith(("rgb", "bgr", "gbr")):
        return "yuv444p"
    return "yuv422p" if "422" in info.pix_fmt else "yuv420p"
