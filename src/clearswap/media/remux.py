"""Sound, subtitles and chapters of a clip, handed over to another that has its picture.

Copied packet for packet where the output's container can hold them. Otherwise sound is encoded again, as AAC or Opus,
and subtitles of text as mov_text. Which way goes is tried with the first packets of each track before anything else is
done: what no way takes is left out, and said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.stream import Disposition

from clearswap.media.files import fresh
from clearswap.media.video import Steady, address, open_video

_TRIED = 50  # packets of a track with which a way is tried
_LOOKED = 5000  # packets of a file in which these are looked for: subtitles may be rare
_LEAD = Fraction(1, 10)  # seconds of sound before the clip that are kept: codes need some to begin with
_APART = 10  # seconds by which a file's tracks may lie apart; what comes later than that after the end is not read
_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # of AAC
_COUNTED = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # by channels
_NAMES = ("title", "language", "handler_name")  # what a track says of itself
_NO_TITLES = ("Handler", "Media", "handler")
# FFmpeg writes languages into a MOV by their older codes, and those that it does not find as undetermined
_OF_MOV = {"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "fre": "fra"}
_KINDS = {"audio": "sound", "subtitle": "subtitles", "video": "picture"}


@dataclass(frozen=True)
class Plan:
    """What becomes of a clip's tracks.

    Attributes:
        ways: How each track that is kept is handed over, by its number in the file.
        notes: What is said of the others, a sentence each.
        sound: "none", "copied" (packet for packet) or "re-encoded" (to AAC; Opus in a WebM).
    """

    ways: Mapping[int, type[_Copied]]
    notes: tuple[str, ...]
    sound: str


def plan_tracks(source: Path, film: int, output: Path, folder: Path) -> Plan:
    """How the tracks of `source` besides its `film` get into a file of the kind of `output`; tried in `folder`."""
    ways: dict[int, type[_Copied]] = {}
    lost: list[str] = []
    with open_video(source) as container:
        streams: list[Any] = [stream for stream in container.streams if stream.index != film]
        for stream in streams:
            fitting = (
                way for way in _ways(stream) if _works(source, stream.index, way, folder / f"trial{output.suffix}")
            )
            if (way := next(fitting, None)) is not None:
                ways[stream.index] = way
            else:
                lost.append(f"{_KINDS.get(stream.type, stream.type)} ({_code_of(stream)})")
        sounds = {ways[stream.index] for stream in container.streams.audio if stream.index in ways}
    sound = "re-encoded" if _EncodedSound in sounds else "copied" if sounds else "none"
    kinds = ", ".join(f"{lost.count(kind)} {kind}" if lost.count(kind) > 1 else kind for kind in dict.fromkeys(lost))
    note = f"{output.suffix} cannot hold this of {source.name}, so it is left out: {kinds}"
    return Plan(ways, (note,) if lost else (), sound)


def _ways(stream: Any) -> tuple[type[_Copied], ...]:
    """How a track may be handed over, the best way first."""
    if stream.codec_context is None:  # in a code that FFmpeg does not know
        return ()
    if stream.type == "audio" and stream.rate:  # which tracks do not have that are named and never sent
        return (_Copied, _EncodedSound)
    if stream.type == "subtitle":
        return (_Copied, _Text)
    return ()


def _code_of(stream: Any) -> str:
    known = stream.codec_context is not None
    return (
        "a cover"
        if stream.disposition & Disposition.attached_pic
        else stream.codec_context.name
        if known
        else "unknown"
    )


def _works(source: Path, track: int, way: type[_Copied], trial: Path) -> bool:
    """Whether the first packets of a track get into a file of a kind in a certain way."""
    try:
        with open_video(source) as container, av.open(address(fresh(trial)), "w") as out:
            stream = container.streams[track]
            if way is _Copied and not _fits(stream, out):
                return False
            made = way(stream, out)
            out.start_encoding()  # also where no packet follows
            looked = islice(_timed(container.demux()), _LOOKED)
            for packet in islice((one for one in looked if one.stream_index == track), _TRIED):
                made.mux(packet, out, Fraction(0))
            made.flush(out)
    except Exception:  # whatever goes wrong now would go wrong after hours
        return False
    else:
        return True
    finally:
        trial.unlink(missing_ok=True)


class Remuxer:
    """Hands the tracks of `source` over to `out` by a plan, in step with the picture, and the chapters at once."""

    def __init__(
        self,
        source: Any,
        out: OutputContainer,
        plan: Plan,
        joins: Sequence[Fraction],
        zero: Fraction,
        start: Fraction,
        end: float | None,
    ) -> None:
        """Take what lies between the seconds `start` and `end` of the clip, which begins at `zero` of the file.

        `joins`: as in `VideoInfo`.
        """
        self._out, self._zero, self._trimmed = out, zero + start, bool(start)
        self._end = None if end is None else float(zero) + end
        self._tracks = {index: way(source.streams[index], out) for index, way in plan.ways.items()}
        if chapters := _chapters(source, self._zero, self._end):
            out.set_chapters(chapters)
        wanted = [source.streams[index] for index in self._tracks]
        self._packets = self._in_range(_timed(source.demux(*wanted) if wanted else iter(()), joins))
        self._next: Any | None = next(self._packets, None)

    @property
    def damaged(self) -> int:
        """Packets of sound and subtitles that could not be decoded or written."""
        return sum(track.damaged for track in self._tracks.values())

    def mux_until(self, time: float) -> None:
        """Mux every packet that starts before `time`, in seconds of the output."""
        while self._next is not None and float(self._next.dts * self._next.time_base - self._zero) <= time:
            track = self._tracks[self._next.stream_index]
            try:
                track.mux(self._next, self._out, self._zero)
            except (ArgumentError, InvalidDataError):  # the container does not take it; a full disk is another error
                track.damaged += 1
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Mux all that is left."""
        self.mux_until(float("inf"))
        for track in self._tracks.values():
            track.flush(self._out)

    def _in_range(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The packets between start and end."""
        for packet in packets:
            time = packet.dts * packet.time_base
            if self._end is not None and time > self._end + _APART:
                return
            if packet.is_discard and time < self._zero - _LEAD:
                continue
            if (self._trimmed and time < self._zero) or (self._end is not None and float(time) >= self._end):
                continue
            yield packet


def name_like(made: Any, stream: Any, out: OutputContainer) -> None:
    """Give a track of the output the title and language of one of the source, and its place among the others."""
    said = {name: stream.metadata[name] for name in _NAMES if name in stream.metadata}
    handler = said.get("handler_name", "")  # where MP4 keeps titles, or else who wrote the file
    title = said.get("title", "" if any(word in handler for word in _NO_TITLES) else handler)
    if title:
        said |= {"title": title, "handler_name": title}
    if out.format.name == "mov":
        said["language"] = _OF_MOV.get(said.get("language", ""), said.get("language", "und"))
    made.metadata.update(said)
    made.disposition = stream.disposition


def _timed(packets: Iterator[Any], joins: Sequence[Fraction] = ()) -> Iterator[Any]:
    """The packets that hold something, at times that go on along each track; where a file is damaged, it ends."""
    clocks: dict[int, Steady] = {}
    with suppress(FFmpegError):
        for packet in packets:
            if packet.size and packet.time_base:
                clock = clocks.setdefault(packet.stream_index, Steady(packet.time_base, joins))
                late = 0 if packet.pts is None or packet.dts is None else packet.pts - packet.dts
                times = (packet.dts, packet.pts, clock.end)
                packet.dts = clock(next(time for time in times if time is not None), packet.duration or 1)
                packet.pts = packet.dts + late
                yield packet


class _Copied:
    """A track of the output that takes a track of the source packet for packet.

    Attributes:
        damaged: Packets that could not be decoded.
    """

    def __init__(self, stream: Any, out: OutputContainer) -> None:
        self.damaged = 0
        self._made = self._add_to(out, stream)
        name_like(self._made, stream, out)

    def _add_to(self, out: OutputContainer, stream: Any) -> Any:
        """Add the new track to `out`."""
        return out.add_stream_from_template(stream)

    def mux(self, packet: Any, out: OutputContainer, zero: Fraction) -> None:
        """Write a packet of the source, whose times are counted from the second `zero` then."""
        shift = round(zero / packet.time_base)
        packet.dts -= shift
        packet.pts -= shift
        packet.stream = self._made
        out.mux(packet)

    def flush(self, out: OutputContainer) -> None:
        """Write what is left at the end."""


class _EncodedSound(_Copied):
    """Sound that is decoded and encoded again."""

    _end = Fraction(-1)  # second at which the last decoded sound is over
    _zero = Fraction(0)
    _first: Any = None  # format, layout and rate of the first sound
    _kind: Any = None  # of the last one
    _alike: Any = None  # makes others like the first: broadcasts change from two channels to six

    def _add_to(self, out: OutputContainer, stream: Any) -> Any:
        self._source = stream
        codec, rate = ("libopus", 48000) if out.format.name == "webm" else ("aac", _rate(stream.rate))
        return out.add_stream(codec, rate=rate, layout=_layout(stream, codec, rate))

    def mux(self, packet: Any, out: OutputContainer, zero: Fraction) -> None:
        self._zero = zero
        try:
            sounds = packet.decode()
        except FFmpegError:
            self.damaged += 1
            return
        for sound in sounds:
            self._encode(sound, out)

    def _encode(self, sound: Any, out: OutputContainer) -> None:
        base = sound.time_base or Fraction(1, sound.sample_rate)
        # the time of the last sound may be lost, and the pieces of a joined recording may lie over each other
        begin = self._end if sound.pts is None else max(self._end, sound.pts * base - self._zero)
        self._end = begin + Fraction(sound.samples, sound.sample_rate)
        sound.time_base = Fraction(1, sound.sample_rate)
        sound.pts = round(begin / sound.time_base)
        kind = (sound.format.name, sound.layout.name, sound.sample_rate)
        self._first = self._first or kind
        if kind != self._kind:
            self._flush_alike(out)
            self._kind, self._alike = kind, None if kind == self._first else av.AudioResampler(*self._first)
        for one in self._alike.resample(sound) if self._alike else (sound,):
            out.mux(self._made.encode(one))

    def _flush_alike(self, out: OutputContainer) -> None:
        for one in self._alike.resample(None) if self._alike else ():
            out.mux(self._made.encode(one))

    def flush(self, out: OutputContainer) -> None:
        with suppress(FFmpegError):
            for sound in self._source.decode(None):  # what the decoder still holds
                sound.pts = None
                self._encode(sound, out)
        self._flush_alike(out)
        out.mux(self._made.encode(None))


def _rate(rate: int) -> int:
    """The rate for AAC that loses nothing of sound of a rate, as far as there is one."""
    return next((one for one in _RATES if one >= rate), _RATES[-1])


def _layout(stream: Any, codec: str, rate: int) -> str:
    """How the channels of encoded sound are laid out: as they are, as is usual for their number, or as two."""
    for layout in (stream.layout.name, _COUNTED.get(stream.channels, "stereo")):
        try:
            context: Any = av.CodecContext.create(codec, "w")
            context.layout, context.sample_rate = layout, rate
            context.format = context.codec.audio_formats[0]
            context.open()
        except (FFmpegError, ValueError):
            continue
        return layout
    return "stereo"


class _Text(_Copied):
    """Subtitles of any text format, as what MP4 and MOV hold."""

    def _add_to(self, out: OutputContainer, stream: Any) -> Any:
        if not stream.codec_context.codec.text_sub or "mov_text" not in out.supported_codecs:
            raise ValueError("these are pictures")
        self._decoder = stream.codec_context
        self._decoder.open()  # which makes the header that the encoder asks for
        made: Any = out.add_stream("mov_text")
        made.codec_context.subtitle_header = self._decoder.subtitle_header
        made.codec_context.time_base = stream.time_base
        return made

    def mux(self, packet: Any, out: OutputContainer, zero: Fraction) -> None:
        try:
            text = self._decoder.decode2(packet)
        except FFmpegError:
            self.damaged += 1
            return
        if text is not None:
            made = self._made.codec_context.encode_subtitle(text)
            made.pts = made.dts = packet.pts - round(zero / packet.time_base)
            made.duration, made.time_base, made.stream = packet.duration, packet.time_base, self._made
            out.mux(made)


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
