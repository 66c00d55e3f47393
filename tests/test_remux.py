"""What goes beside the picture: subtitles and chapters stay, at their times, in their language."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from clearswap import TimeRange
from makers import Ran, cut_clip, rewrite

WORDS = "1\n00:00:00,100 --> 00:00:00,300\nHello\n\n2\n00:00:00,320 --> 00:00:00,440\nsecond\nline, \u00e4\n\n"
CHAPTERS = [("One", 0, 240), ("Two", 240, 480)]  # milliseconds


@pytest.fixture(scope="module")
def clip(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_clip(demo_clips / "person_b.mp4", tmp_path_factory.mktemp("clip") / "clip.mp4", 0, 12)


def subtitled(clip: Path, path: Path) -> Path:
    """The clip with two subtitles and two chapters."""
    words = path.with_suffix(".srt")
    words.write_text(WORDS, encoding="utf-8")
    with av.open(str(clip)) as picture, av.open(str(words)) as text, av.open(str(path), "w") as out:
        chapters: Any = [
            {"id": i, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": name}}
            for i, (name, a, b) in enumerate(CHAPTERS)
        ]
        out.set_chapters(chapters)
        streams: dict[Any, Any] = {
            picture.streams.video[0]: out.add_stream_from_template(picture.streams.video[0]),
            text.streams.subtitles[0]: out.add_stream_from_template(text.streams.subtitles[0]),
        }
        streams[text.streams.subtitles[0]].metadata["language"] = "ita"
        for given, made in streams.items():
            for packet in given.container.demux(given):
                if packet.dts is not None:
                    packet.stream = made
                    out.mux(packet)
    return path


def read(path: Path) -> tuple[list[tuple[int, int, str]], list[tuple[str, int, int]], str]:
    """Subtitles (start, length, text), chapters (title, start, end), in milliseconds, and the language."""
    with av.open(str(path)) as file:
        stream: Any = file.streams.subtitles[0]
        words: list[tuple[int, int, str]] = []
        for packet in file.demux(stream):
            base = packet.time_base
            for line in packet.decode() if packet.size else []:
                text = line.dialogue.decode().replace("\\N", "\n")
                if text:
                    words.append((round(packet.pts * base * 1000), round(packet.duration * base * 1000), text))
        chapters = [
            (c["metadata"]["title"], *(round(c[edge] * c["time_base"] * 1000) for edge in ("start", "end")))
            for c in file.chapters()
        ]
        return words, chapters, stream.metadata["language"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_subtitles_and_chapters_stay(clip: Path, tmp_path: Path, suffix: str) -> None:
    given = subtitled(clip, tmp_path / "in.mkv")
    out = tmp_path / f"out{suffix}"
    rewrite(given, out)
    words, chapters, language = read(out)
    assert words == [(100, 200, "Hello"), (320, 120, "second\nline, \u00e4")]
    assert chapters == CHAPTERS
    assert language == "ita"
    again = tmp_path / f"again{suffix}"  # from mov_text, packet for packet
    rewrite(out, again)
    assert read(again) == (words, chapters, language)


def test_a_part_of_a_clip_has_those_of_that_part(clip: Path, tmp_path: Path) -> None:
    given = subtitled(clip, tmp_path / "in.mkv")
    rewrite(given, tmp_path / "out.mp4", time_range=TimeRange(0.2, 0.4))
    words, chapters, _ = read(tmp_path / "out.mp4")
    assert words == [(120, 120, "second\nline, \u00e4")]
    assert chapters == [("One", 0, 40), ("Two", 40, 200)]


def test_subtitles_that_are_pictures_are_left_out_and_named(
    model: Path, clip: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    given = tmp_path / "in.mkv"
    with av.open(str(clip)) as picture, av.open(str(given), "w") as out:
        stream: Any = out.add_stream_from_template(picture.streams.video[0])
        shown: Any = out.add_mux_stream("pgssub")
        for packet in picture.demux(picture.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
        image = av.Packet(bytes(30))
        image.pts = image.dts = 100
        image.duration, image.time_base, image.stream = 200, Fraction(1, 1000), shown
        out.mux(image)
    done = cli("convert", model, given, "-o", tmp_path / "out.mp4", "--to", "a", "--faces", "largest")
    assert done.code == 0, done.err
    assert ".mp4 cannot hold this of in.mkv, so it is left out: subtitles (pgssub)" in " ".join(done.out.split())
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert not made.streams.subtitles
