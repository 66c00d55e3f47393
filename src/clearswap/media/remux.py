"""Sound, subtitles and chapters of a clip, handed over to another that has its picture.

Copied packet for packet where the output's container can hold them. Otherwise sound is encoded again, as AAC or Opus,
and subtitles of text as mov_text; subtitles that are pictures are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from av.container import OutputContainer


class Remuxer:
    """Hands sound and subtitles of `source` over to `out`, in step with the picture, and the chapters at once.

    Attributes:
        sound: What becomes of the sound: "none", "copied" (packet for packet) or "re-encoded" (to AAC; Opus in a WebM).
        left_out: Kinds of subtitles that `out` cannot hold (those that are pictures).
    """

    def __init__(
        self, source: Any, out: OutputContainer, *, start: Fraction = Fraction(0), end: float | None = None
    ) -> None:
        """Take what lies between the seconds `start` and `end` of `source`; `start` becomes zero."""
        self._out, self._start, self._end = out, start, end
        self.left_out: list[str] = []
        self._tracks: dict[int, _Copied] = {}
        for stream in source.streams.audio:
            self._tracks[stream.index] = _Copied(stream, out) if _fits(stream, out) else _EncodedSound(stream, out)
        ways = {type(track) for track in self._tracks.values()}
        self.sound = "re-encoded" if _EncodedSound in ways else "copied" if ways else "none"
        for stream in source.streams.subtitles:
            if _fits(stream, out):
                self._tracks[stream.index] = _Copied(stream, out)
            elif stream.codec_context.codec.text_sub and "mov_text" in out.supported_codecs:
                self._tracks[stream.index] = _Text(stream, out)
            else:
                self.left_out.append(stream.codec_context.name)
        if chapters := _chapters(source, start, end):
            out.set_chapters(chapters)
        wanted = [source.streams[index] for index in self._tracks]
        self._packets = self._in_range(source.demux(*wanted) if wanted else iter(()))
        self._next: Any | None = next(self._packets, None)

    def mux_until(self, time: float) -> None:
        """Mux every packet that starts before `time` (seconds)."""
        while self._next is not None and float((self._next.dts or 0) * (self._next.time_base or 0)) <= time:
            self._out.mux(self._tracks[self._next.stream.index].convert(self._next))
            self._next = next(self._packets, None)
        if self._next is None:
            for track in self._tracks.values():
                self._out.mux(track.flush())
            self._tracks.clear()

    def _in_range(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The packets between start and end, counted from the start."""
        for packet in packets:
            if packet.dts is None or packet.time_base is None:  # the last one, which holds nothing
                yield packet
                continue
            time = float(packet.dts * packet.time_base)
            if (self._start and time < float(self._start)) or (self._end is not None and time >= self._end):
                continue
            shift = round(self._start / packet.time_base)
            packet.dts -= shift
            packet.pts = None if packet.pts is None else packet.pts - shift
            yield packet


class _Copied:
    """A track of the output that takes a track of the source packet for packet."""

    def __init__(self, stream: Any, out: OutputContainer) -> None:
        self._made = self._add_to(out, stream)
        if "language" in stream.metadata:
            self._made.metadata["language"] = stream.metadata["language"]

    def _add_to(self, out: OutputContainer, stream: Any) -> Any:
        """Add the new track to `out`."""
        return out.add_stream_from_template(stream)

    def convert(self, packet: Any) -> list[Any]:
        """The packets that one of the source becomes."""
        if not packet.size:
            return []
        packet.stream = self._made
        return [packet]

    def flush(self) -> list[Any]:
        """The packets that are left at the end."""
        return []


class _EncodedSound(_Copied):
    """Sound that is decoded and encoded again."""

    _end = 0, Fraction(1, 1000)  # when the last decoded sound is over, in which time base

    def _add_to(self, out: OutputContainer, stream: Any) -> Any:
        codec, rate = ("libopus", 48000) if out.format.name == "webm" else ("aac", stream.rate)
        layout = stream.layout.name
        if layout.endswith("channels"):  # old files only say how many there are, which encoders do not take
            layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(stream.channels, "stereo")
        return out.add_stream(codec, rate=rate, layout=layout)

    def convert(self, packet: Any) -> list[Any]:
        made: list[Any] = []
        for sound in packet.decode():
            if sound.pts is None:  # what some decoders give back at the very end
                sound.pts, sound.time_base = self._end
            base = sound.time_base
            self._end = sound.pts + round(sound.samples / (sound.sample_rate * base)), base
            made += self._made.encode(sound)
        return made

    def flush(self) -> list[Any]:
        return self._made.encode(None)


class _Text(_Copied):
    """Subtitles of any text format, as what MP4 and MOV hold."""

    def _add_to(self, out: OutputContainer, stream: Any) -> Any:
        self._decoder = stream.codec_context
        self._decoder.open()  # which makes the header that the encoder asks for
        made: Any = out.add_stream("mov_text")
        made.codec_context.subtitle_header = self._decoder.subtitle_header
        made.codec_context.time_base = stream.time_base
        return made

    def convert(self, packet: Any) -> list[Any]:
        text = self._decoder.decode2(packet) if packet.size else None
        if text is None:
            return []
        made = self._made.codec_context.encode_subtitle(text)
        made.pts = made.dts = packet.pts
        made.duration, made.time_base, made.stream = packet.duration, packet.time_base, self._made
        return [made]


def _fits(stream: Any, out: OutputContainer) -> bool:
    """Whether the output's container can hold a track as it is."""
    names = {stream.codec_context.codec.canonical_name, stream.codec_context.name}
    # uncompressed sound in an MP4 has to say which loudspeaker is which, and that of Matroska does not
    nameless = stream.codec_context.name.startswith("pcm_") and stream.layout.name.endswith("channels")
    return bool(names & set(out.supported_codecs)) and not (nameless and "mp4" in out.format.name)


def _chapters(source: Any, start: Fraction, end: float | None) -> list[Any]:
    """The chapters that lie in a part of the source, or reach into it, counted from its start."""
    found: list[Any] = []
    for chapter in source.chapters():
        base = chapter["time_base"]
        first, last = chapter["start"] * base, chapter["end"] * base
        if last > start and (end is None or first < end):
            begins = max(round((first - start) / base), 0)
            ends = round((last if end is None else min(last, Fraction(end))) / base - start / base)
            found.append({**chapter, "start": begins, "end": ends})
    return found
