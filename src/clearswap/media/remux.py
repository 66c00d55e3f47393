"""What goes beside the picture: sound, subtitles and chapters of the clip that it came from.

Copied packet for packet; made anew where the output's container cannot hold them: sound as AAC or Opus, text
as mov_text.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

from av.container import OutputContainer


class Remuxer:
    """Hands sound and subtitles of `source` over to `out`, in step with the picture, and the chapters at once.

    Attributes:
        sound: What becomes of the sound: "none", "copied" (packet for packet) or "re-encoded" (to AAC; Opus in a WebM).
        left_out: Kinds of subtitles that `out` cannot hold (those that are pictures).
    """

    def __init__(
        self, source: Any, out: OutputContainer, start: Fraction = Fraction(0), end: float | None = None
    ) -> None:
        """Of those from second `start` to `end`; `start` becomes zero."""
        self._out, self._start, self._end = out, start, end
        self._tracks: dict[int, _Track] = {}
        self.left_out: list[str] = []
        for stream in source.streams.audio:
            self._tracks[stream.index] = _Copied(stream, out) if _fits(stream, out) else _Encoded(stream, out)
        ways = {type(track) for track in self._tracks.values()}
        self.sound = "re-encoded" if _Encoded in ways else "copied" if ways else "none"
        for stream in source.streams.subtitles:
            track = _subtitles(stream, out)
            if track is None:
                self.left_out.append(stream.codec_context.name)
            else:
                self._tracks[stream.index] = track
        if chapters := _chapters(source, start, end):
            out.set_chapters(chapters)
        wanted = [source.streams[index] for index in self._tracks]
        self._packets = self._part(source.demux(*wanted) if wanted else iter(()))
        self._next: Any | None = next(self._packets, None)

    def mux_until(self, time: float) -> None:
        """Mux every packet that starts before `time` (seconds)."""
        while self._next is not None and float((self._next.dts or 0) * (self._next.time_base or 0)) <= time:
            self._out.mux(self._tracks[self._next.stream.index].handed_over(self._next))
            self._next = next(self._packets, None)
        if self._next is None:
            for track in self._tracks.values():
                self._out.mux(track.last())
            self._tracks.clear()

    def _part(self, packets: Iterator[Any]) -> Iterator[Any]:
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


class _Track(Protocol):
    """One track of the output and how it is made of one of the source."""

    def handed_over(self, packet: Any) -> list[Any]:
        """What a packet of the source becomes."""
        ...

    def last(self) -> list[Any]:
        """What is left at the end; none after that."""
        ...


class _Copied:
    """Packet for packet."""

    def __init__(self, stream: Any, out: OutputContainer) -> None:
        self._stream: Any = out.add_stream_from_template(stream)
        _named(self._stream, stream)

    def handed_over(self, packet: Any) -> list[Any]:
        if not packet.size:
            return []
        packet.stream = self._stream
        return [packet]

    def last(self) -> list[Any]:
        return []


class _Encoded:
    """Sound that is decoded and encoded again."""

    def __init__(self, stream: Any, out: OutputContainer) -> None:
        codec, rate = ("libopus", 48000) if out.format.name == "webm" else ("aac", stream.rate)
        self._stream: Any = out.add_stream(codec, rate=rate, layout=_layout(stream))
        self._end = 0, Fraction(1, 1000)  # when the last decoded sound is over, in which time base
        _named(self._stream, stream)

    def handed_over(self, packet: Any) -> list[Any]:
        made: list[Any] = []
        for sound in packet.decode():
            if sound.pts is None:  # what some decoders give back at the very end
                sound.pts, sound.time_base = self._end
            base = sound.time_base
            self._end = sound.pts + round(sound.samples / (sound.sample_rate * base)), base
            made += self._stream.encode(sound)
        return made

    def last(self) -> list[Any]:
        return self._stream.encode(None)


class _Text:
    """Subtitles of any text format, as what MP4 and MOV hold."""

    def __init__(self, stream: Any, out: OutputContainer) -> None:
        self._from = stream.codec_context
        self._from.open()  # which makes the header that the encoder asks for
        self._stream: Any = out.add_stream("mov_text")
        self._stream.codec_context.subtitle_header = self._from.subtitle_header
        self._stream.codec_context.time_base = stream.time_base
        _named(self._stream, stream)

    def handed_over(self, packet: Any) -> list[Any]:
        text = self._from.decode2(packet) if packet.size else None
        if text is None:
            return []
        made = self._stream.codec_context.encode_subtitle(text)
        made.pts = made.dts = packet.pts
        made.duration, made.time_base, made.stream = packet.duration, packet.time_base, self._stream
        return [made]

    def last(self) -> list[Any]:
        return []


def _subtitles(stream: Any, out: OutputContainer) -> _Track | None:
    """How subtitles are handed over; None where the output cannot hold them."""
    if _fits(stream, out):
        return _Copied(stream, out)
    return _Text(stream, out) if stream.codec_context.codec.text_sub and "mov_text" in out.supported_codecs else None


def _named(made: Any, stream: Any) -> None:
    """The language of the one track is that of the other."""
    if "language" in stream.metadata:
        made.metadata["language"] = stream.metadata["language"]


def _fits(stream: Any, out: OutputContainer) -> bool:
    """Whether the output's container can hold a track as it is."""
    names = {stream.codec_context.codec.canonical_name, stream.codec_context.name}
    # uncompressed sound in an MP4 has to say which loudspeaker is which, and that of Matroska does not
    nameless = stream.codec_context.name.startswith("pcm_") and stream.layout.name.endswith("channels")
    return bool(names & set(out.supported_codecs)) and not (nameless and "mp4" in out.format.name)


def _layout(stream: Any) -> str:
    """The loudspeakers of a sound track; old files only say how many, which encoders do not take."""
    usual = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
    return usual.get(stream.channels, "stereo") if stream.layout.name.endswith("channels") else stream.layout.name


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
