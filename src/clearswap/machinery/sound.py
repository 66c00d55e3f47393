"""Sound: copied packet for packet beside the new picture, or made anew where the output's container cannot hold it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from av.container import OutputContainer


class SoundCopy:
    """Hands the sound packets of `source` over to `out`, in step with the picture.

    Attributes:
        how: What becomes of the sound: "none", "copied" (packet for packet) or "re-encoded" (to AAC; Opus in a
            WebM).
    """

    def __init__(
        self, source: Any, out: OutputContainer, start: Fraction = Fraction(0), end: float | None = None
    ) -> None:
        """Of the sound from second `start` to `end`; `start` becomes zero."""
        self._out, self._start = out, start
        self._streams: dict[int, Any] = {}
        self._encoded: set[int] = set()
        self._sound_end = 0, Fraction(1, 1000)  # when the last decoded sound is over, in which time base
        for stream in source.streams.audio:
            if _fits(stream, out):
                self._streams[stream.index] = out.add_stream_from_template(stream)
            else:
                self._streams[stream.index] = _new_track(stream, out)
                self._encoded.add(stream.index)
        self.how = "re-encoded" if self._encoded else "copied" if self._streams else "none"
        packets: Iterator[Any] = source.demux(*source.streams.audio) if self._streams else iter(())
        self._packets = self._part(packets, end) if start or end is not None else packets
        self._next: Any | None = next(self._packets, None)

    def mux_until(self, time: float) -> None:
        """Mux every sound packet that starts before `time` (seconds)."""
        while self._next is not None and float((self._next.dts or 0) * (self._next.time_base or 0)) <= time:
            self._mux(self._next)
            self._next = next(self._packets, None)
        if self._next is None:
            self._flush()

    def _part(self, packets: Iterator[Any], end: float | None) -> Iterator[Any]:
        """The packets between start and end, counted from the start."""
        for packet in packets:
            if packet.dts is None or packet.time_base is None:  # the last one, which holds nothing
                yield packet
                continue
            time = packet.dts * packet.time_base
            if time < self._start or (end is not None and time >= end):
                continue
            shift = round(self._start / packet.time_base)
            packet.dts -= shift
            packet.pts = None if packet.pts is None else packet.pts - shift
            yield packet

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


def _fits(stream: Any, out: OutputContainer) -> bool:
    """Whether the output's container can hold a sound track as it is."""
    names = {stream.codec_context.codec.canonical_name, stream.codec_context.name}
    # uncompressed sound in an MP4 has to say which loudspeaker is which, and that of Matroska does not
    nameless = stream.codec_context.name.startswith("pcm_") and stream.layout.name.endswith("channels")
    return bool(names & set(out.supported_codecs)) and not (nameless and "mp4" in out.format.name)


def _new_track(stream: Any, out: OutputContainer) -> Any:
    """A track for a sound that is encoded anew."""
    if out.format.name == "webm":
        return out.add_stream("libopus", rate=48000, layout=_layout(stream))
    return out.add_stream("aac", rate=stream.rate, layout=_layout(stream))


def _layout(stream: Any) -> str:
    """The loudspeakers of a sound track; old files only say how many, which encoders do not take."""
    usual = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
    return usual.get(stream.channels, "stereo") if stream.layout.name.endswith("channels") else stream.layout.name
