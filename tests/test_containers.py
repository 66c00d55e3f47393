"""What people bring: containers, codecs, depths, rates, sounds. All is converted correctly or refused in a sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av import AudioFrame

import clearswap
from clearswap.media.video import probe
from clearswap.media.writer import require_encoder
from conftest import Footage
from makers import Picture, pictures_of, psnr, rewrite, sound_packets, ticks_of, turn_by_matrix, with_mark

FRAMES = 12
ANYONE = clearswap.SelectConfig(faces="largest")


@dataclass(frozen=True)
class Case:
    """A kind of file."""

    suffix: str
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rate: Fraction = Fraction(25)
    sound: str | None = None
    layout: str = "stereo"
    size: tuple[int, int] = (320, 240)
    uneven: bool = False
    turned: bool = False
    trc: int = 0  # FFmpeg's AVCOL_TRC_*
    refused: str = ""

    def __str__(self) -> str:
        marks = [self.suffix[1:], self.codec, self.pix_fmt, f"{float(self.rate):.5g}", self.sound or "silent"]
        marks += [self.layout] * bool(self.sound) + ["odd"] * (self.size[0] % 2) + ["uneven"] * self.uneven
        return "-".join(marks + ["turned"] * self.turned + [f"trc{self.trc}"] * bool(self.trc))


NTSC_FILM, NTSC = Fraction(24000, 1001), Fraction(30000, 1001)
SWAPPED = [  # converted as a whole; of the others the picture is written again without a swap
    Case(".mp4", sound="aac"),
    Case(".mp4", uneven=True, sound="aac"),
    Case(".mp4", turned=True),
    Case(".mkv", "libx265", pix_fmt="yuv420p10le", sound="flac"),
    Case(".webm", "libvpx-vp9", sound="libopus"),
    Case(".avi", "mpeg4", sound="mp3"),
]
CASES = [
    Case(".mp4", rate=NTSC_FILM, sound="aac", layout="mono"),
    Case(".mp4", rate=NTSC, sound="aac", layout="5.1"),
    Case(".mp4", rate=Fraction(50), sound="mp3"),
    Case(".mp4", size=(321, 241), pix_fmt="yuv444p"),
    Case(".mp4", pix_fmt="yuv420p10le"),
    Case(".mp4", pix_fmt="yuv422p"),
    Case(".mp4", "libx265", sound="aac"),
    Case(".mp4", "libx265", pix_fmt="yuv420p10le"),
    Case(".mp4", "libsvtav1", sound="aac"),
    Case(".mp4", "mpeg4", sound="aac"),
    Case(".mov", pix_fmt="yuv422p", sound="pcm_s16le"),
    Case(".mov", "prores_ks", pix_fmt="yuv422p10le", rate=NTSC_FILM, sound="pcm_s16le"),
    Case(".mov", "mjpeg", pix_fmt="yuvj422p"),
    Case(".mkv", rate=NTSC_FILM, sound="ac3", layout="5.1"),
    Case(".mkv", "ffv1", sound="pcm_s16le"),
    Case(".mkv", "libvpx-vp9", uneven=True, sound="libopus"),
    Case(".webm", "libvpx", sound="libopus"),
    Case(".webm", "libsvtav1", pix_fmt="yuv420p10le"),
    Case(".avi", sound="pcm_s16le", layout="mono"),
    Case(".ts", sound="mp2"),
    Case(".mp4", "libx265", pix_fmt="yuv420p10le", trc=16, refused="is HDR video"),
    Case(".mp4", "libx265", pix_fmt="yuv420p10le", trc=18, refused="is HDR video"),
]


def write(path: Path, case: Case, pictures: list[Picture]) -> Path:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(case.codec, rate=case.rate)
        stream.width, stream.height, stream.pix_fmt = *case.size, case.pix_fmt
        if case.codec in ("libx264", "libx265"):
            stream.options = {"crf": "8", "preset": "ultrafast", "x265-params": "log-level=none"}
        if case.codec in ("libvpx", "libvpx-vp9", "mpeg4", "mjpeg"):
            stream.bit_rate = 4_000_000
        stream.codec_context.color_trc = case.trc
        if case.uneven:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        track: Any = out.add_stream(case.sound, rate=48000, layout=case.layout) if case.sound else None
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if case.uneven:
                frame.pts, frame.time_base = 40 * index + 7 * (index % 3), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if track is not None:
            for frame in tone(len(pictures) / float(case.rate), case.layout):
                out.mux(track.encode(frame))
            out.mux(track.encode(None))
    return turn_by_matrix(path, 90) if case.turned else path


def tone(seconds: float, layout: str, rate: int = 48000) -> list[AudioFrame]:
    t = np.arange(int(seconds * rate) // 960 * 960) / rate
    wave = (9000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    frames: list[AudioFrame] = []
    for start in range(0, len(wave), 960):
        frame = AudioFrame.from_ndarray(np.repeat(wave[start : start + 960], channels)[None], "s16", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        frames.append(frame)
    return frames


def prepared(folder: Path, footage: Footage, case: Case) -> Path:
    """A clip of some kind that shows a face."""
    faces = [cv2.resize(f[:, 80:560], case.size) for f in pictures_of(footage("single_face.mp4"))[:FRAMES]]
    if case.turned:
        faces = [np.ascontiguousarray(np.rot90(face, -1)) for face in faces]
        case = replace(case, size=case.size[::-1])
    return write(folder / f"in{case.suffix}", case, [np.asarray(face, np.uint8) for face in faces])


def assert_like(source: Path, output: Path, case: Case, sound: str) -> None:
    """Size, count and times are those of the source, and the sound is the same packets."""
    given, made = probe(source), probe(output)
    assert (made.width, made.height, made.frames) == (given.width, given.height, FRAMES)
    times, expected = (np.array([float(t) for t in ticks_of(path)]) for path in (output, source))
    assert np.abs((times - times[0]) - (expected - expected[0])).max() < 0.0006
    if case.sound is None or sound_packets(source) == sound_packets(output):
        assert sound == ("copied" if case.sound else "none")
    else:  # uncompressed sound is cut into other packets
        assert case.sound.startswith("pcm_")


@pytest.mark.parametrize("case", SWAPPED, ids=str)
def test_a_clip_of_every_kind_is_converted(model: Path, footage: Footage, tmp_path: Path, case: Case) -> None:
    source, output = prepared(tmp_path, footage, case), tmp_path / "out.mp4"
    done = clearswap.convert(model, source, output, to="a", select=ANYONE, label=clearswap.LabelConfig(label=False))
    before, after = [with_mark(x, model) for x in pictures_of(source)], pictures_of(output)
    corner = np.zeros(before[0].shape[:2], bool)
    corner[:30, :30] = True  # no face reaches there
    assert done.swapped == FRAMES
    assert_like(source, output, case, done.sound)
    assert max(psnr(x, y, ~corner) for x, y in zip(before, after, strict=True)) < 36
    assert min(psnr(x, y, corner) for x, y in zip(before, after, strict=True)) > 38


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_clip_of_every_kind_is_written_again(footage: Footage, tmp_path: Path, case: Case) -> None:
    source, output = prepared(tmp_path, footage, case), tmp_path / "out.mp4"
    if case.refused:
        with pytest.raises(clearswap.InputError, match=case.refused):
            require_encoder(probe(source), clearswap.EncodeConfig())
        return
    require_encoder(probe(source), clearswap.EncodeConfig())
    assert_like(source, output, case, rewrite(source, output).sound)
    assert min(psnr(x, y) for x, y in zip(pictures_of(source), pictures_of(output), strict=True)) > 38
