"""Video in, video out: frame count, exact times, size, colour and sound of clips of every kind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearswap.errors import InputError
from clearswap.media.remux import plan_tracks
from clearswap.media.shown import VideoFrame
from clearswap.media.video import probe, read_frames
from clearswap.media.writer import EncodeConfig, Segments
from conftest import Footage
from makers import (
    Picture,
    cut_clip,
    head_of_clip,
    pictures_of,
    psnr,
    rewrite,
    scene,
    sound_packets,
    ticks_of,
    turn_by_matrix,
    write_clip,
)

RATES = [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(50)]


def end_of(path: Path) -> Fraction:
    """When the last frame's time is over, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        return max(((p.pts or 0) + (p.duration or 0)) * Fraction(p.time_base or 0) for p in packets)


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{float(rate):.3f}")
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_count_rate_and_times_are_exact(tmp_path: Path, rate: Fraction, suffix: str) -> None:
    source = write_clip(tmp_path / f"in{suffix}", 31, rate=rate)
    rewrite(source, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    assert info.frames == 31
    assert len(pictures_of(tmp_path / "out.mp4")) == 31
    assert ticks_of(tmp_path / "out.mp4") == ticks_of(source)
    if suffix != ".mkv":  # whose times are whole milliseconds
        assert info.rate == rate == probe(source).rate
        assert ticks_of(source) == [index / rate for index in range(31)]
        assert end_of(tmp_path / "out.mp4") == end_of(source) == 31 / rate


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.integers(1, 3000), min_size=2, max_size=12))
def test_uneven_frame_times_are_kept_to_the_tick(tmp_path: Path, gaps: list[int]) -> None:
    times = [sum(gaps[:index]) for index in range(len(gaps) + 1)]
    base = Fraction(1, 15360)
    source = write_clip(tmp_path / "in.mp4", len(times), times=times, time_base=base, size=(32, 32))
    assert ticks_of(source) == [tick * base for tick in times]
    rewrite(source, tmp_path / "out.mp4")
    assert ticks_of(tmp_path / "out.mp4") == ticks_of(source)
    assert probe(tmp_path / "out.mp4").rate == probe(source).rate


def test_frames_that_share_one_time_are_all_kept(tmp_path: Path) -> None:
    """Some recorders write two frames with one time; an output may not have that."""
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        packets = []
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(scene(index, 64, 48), format="rgb24")
            packets += stream.encode(frame)
        for packet, time in zip(packets, [0, 40, 80, 80, 120], strict=True):
            packet.pts = packet.dts = time
            packet.time_base = Fraction(1, 1000)
            out.mux(packet)
    assert [float(tick) for tick in ticks_of(source)] == [0, 0.04, 0.08, 0.08, 0.12]
    rewrite(source, tmp_path / "out.mp4")
    ticks = ticks_of(tmp_path / "out.mp4")
    assert len(ticks) == 5
    assert all(later > earlier for earlier, later in itertools.pairwise(ticks))
    assert max(abs(float(a - b)) for a, b in zip(ticks, ticks_of(source), strict=True)) <= 0.001


@pytest.mark.parametrize(
    ("codec", "suffix", "output"),
    [
        ("aac", ".mp4", ".mp4"),
        ("libmp3lame", ".mp4", ".mp4"),
        ("aac", ".mkv", ".mp4"),
        ("aac", ".mp4", ".mov"),
        ("pcm_s16le", ".mov", ".mov"),
        ("flac", ".mkv", ".mp4"),
        ("ac3", ".mkv", ".mp4"),
    ],
)
def test_sound_is_copied_packet_for_packet(tmp_path: Path, codec: str, suffix: str, output: str) -> None:
    source = write_clip(tmp_path / f"in{suffix}", 40, sound=codec)
    packets = sound_packets(source)
    assert len(packets) > 10
    assert rewrite(source, tmp_path / f"out{output}").sound == "copied"
    assert sound_packets(tmp_path / f"out{output}") == packets


def samples_of(path: Path) -> Picture:
    """The first sound channel, as floats."""
    with av.open(str(path)) as container:
        to_float = av.AudioResampler("fltp", "mono", 44100)
        parts = [sound.to_ndarray()[0] for frame in container.decode(audio=0) for sound in to_float.resample(frame)]
    return np.concatenate(parts)


def sound_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(container.streams.audio[0]) if packet.size]


def test_sound_that_the_output_cannot_hold_is_encoded_anew_and_said_so(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.wmv", 50, codec="wmv2", sound="wmav2")
    assert rewrite(source, tmp_path / "out.mp4").sound == "re-encoded"
    before, after = samples_of(source), samples_of(tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    assert abs(len(before) - len(after)) < 5000
    ends = [
        max(float((p.pts + p.duration) * p.time_base) for p in sound_of(path))
        for path in (source, tmp_path / "out.mp4")
    ]
    assert abs(ends[0] - ends[1]) < 0.1
    spectrum = [np.abs(np.fft.rfft(sound[20000:60000])) for sound in (before, after)]
    assert np.corrcoef(*spectrum)[0, 1] > 0.95  # the same tone


def test_sound_stays_in_step_and_complete_when_it_is_longer_than_the_picture(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", 75, sound="aac")
    with av.open(str(clip)) as given_clip, av.open(str(tmp_path / "in.mp4"), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in given_clip.streams}
        count = 0
        for packet in given_clip.demux():
            if packet.size and (packet.stream.type == "audio" or count < 25):
                count += packet.stream.type == "video"
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    assert rewrite(tmp_path / "in.mp4", tmp_path / "out.mp4").sound == "copied"
    assert sound_packets(tmp_path / "out.mp4") == sound_packets(clip)
    assert probe(tmp_path / "out.mp4").frames == 25


def test_every_sound_track_is_kept(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "one.mp4", 25, sound="aac")
    two = write_clip(tmp_path / "two.mp4", 25, sound="libmp3lame")
    with av.open(str(one)) as first, av.open(str(two)) as second, av.open(str(tmp_path / "in.mkv"), "w") as out:
        wanted = [*first.streams, *second.streams.audio]
        tracks = [out.add_stream_from_template(stream) for stream in wanted]
        for stream, track in zip(wanted, tracks, strict=True):
            stream.container.seek(0)
            for packet in stream.container.demux(stream):
                if packet.size:
                    packet.stream = track
                    out.mux(packet)
    assert rewrite(tmp_path / "in.mkv", tmp_path / "out.mp4").sound == "copied"
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sorted(s.codec_context.codec.canonical_name for s in container.streams.audio) == ["aac", "mp3"]


def test_no_sound_is_no_sound(tmp_path: Path) -> None:
    assert rewrite(write_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4").sound == "none"


@pytest.mark.parametrize(
    ("size", "codec", "pix_fmt"),
    [
        ((97, 63), "ffv1", "yuv420p"),
        ((97, 64), "libx264", "yuv444p"),
        ((96, 63), "ffv1", "yuv422p"),
        ((3, 5), "ffv1", "yuv444p"),
    ],
)
def test_odd_sizes_stay(tmp_path: Path, size: tuple[int, int], codec: str, pix_fmt: str) -> None:
    source = write_clip(tmp_path / "in.mkv", 5, size=size, codec=codec, pix_fmt=pix_fmt)
    rewrite(source, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height) == size
    assert [picture.shape for picture in pictures_of(tmp_path / "out.mp4")] == [(size[1], size[0], 3)] * 5
    assert near(source, tmp_path / "out.mp4") > 30


def near(one: Path, other: Path) -> float:
    """PSNR of the worst frame of two clips."""
    return min(psnr(a, b) for a, b in zip(pictures_of(one), pictures_of(other), strict=True))


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "kept"),
    [
        ("yuv420p", "libx264", "yuv420p"),
        ("yuv422p", "libx264", "yuv422p"),
        ("yuv444p", "libx264", "yuv444p"),
        ("gray", "libx264", "yuv420p"),
        ("rgb24", "png", "yuv444p"),
        ("yuvj420p", "mjpeg", "yuv420p"),
        ("yuv420p10le", "ffv1", "yuv420p"),
        ("yuv422p10le", "ffv1", "yuv422p"),
        ("bgr0", "ffv1", "yuv444p"),
    ],
)
def test_pixels_of_every_kind(tmp_path: Path, pix_fmt: str, codec: str, kept: str) -> None:
    source = write_clip(tmp_path / f"in{'.mov' if codec == 'png' else '.mkv'}", 5, pix_fmt=pix_fmt, codec=codec)
    rewrite(source, tmp_path / "out.mp4", EncodeConfig(crf=4))
    assert probe(tmp_path / "out.mp4").pix_fmt.replace("yuvj", "yuv") == kept
    assert near(source, tmp_path / "out.mp4") > 36
    if pix_fmt == "gray":
        picture = pictures_of(tmp_path / "out.mp4")[0].astype(int)
        assert abs(picture - picture.mean(2, keepdims=True)).max() <= 3


@pytest.mark.parametrize("space", [1, 5, 6])  # BT.709, BT.601 (625 lines), BT.601 (525 lines)
@pytest.mark.parametrize("full", [False, True])
def test_colours_mean_the_same_after_as_before(tmp_path: Path, space: int, full: bool) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv444p"
        stream.options = {"crf": "4", "preset": "ultrafast"}
        context = stream.codec_context
        context.colorspace, context.color_range = space, 2 if full else 1
        for index in range(4):
            frame = av.VideoFrame.from_ndarray(scene(index, 96, 64), format="rgb24")
            frame = frame.reformat(format="yuv444p", dst_colorspace=space, dst_color_range=2 if full else 1)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    info = probe(source)
    assert (info.colorspace, info.color_range) == (space, 2 if full else 1)
    rewrite(source, tmp_path / "out.mp4", EncodeConfig(crf=4))
    after = probe(tmp_path / "out.mp4")
    assert (after.colorspace, after.color_range) == (info.colorspace, info.color_range)
    assert near(source, tmp_path / "out.mp4") > 40
    assert min(psnr(picture, scene(i, 96, 64)) for i, picture in enumerate(pictures_of(source))) > 36


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_phone_clips_are_turned_upright(tmp_path: Path, degrees: int) -> None:
    def lying(index: int, width: int, height: int) -> Picture:
        """What a phone stores: the scene turned back, so that its matrix turns it upright."""
        upright = scene(index, *((width, height) if degrees == 180 else (height, width)))
        return np.ascontiguousarray(np.rot90(upright, degrees // 90))  # rot90 turns counterclockwise

    source = turn_by_matrix(write_clip(tmp_path / "in.mp4", 5, picture=lying, sound="aac"), degrees)
    upright = (96, 64) if degrees == 180 else (64, 96)
    info = probe(source)
    assert (info.width, info.height) == upright
    assert min(psnr(picture, scene(i, *upright)) for i, picture in enumerate(pictures_of(source))) > 25
    rewrite(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        first = next(container.decode(video=0))
        assert (first.width, first.height, first.rotation) == (*upright, 0)
    assert near(source, tmp_path / "out.mp4") > 33
    assert sound_packets(tmp_path / "out.mp4") == sound_packets(source)


def test_every_nth_frame_keeps_its_own_number_and_time(tmp_path: Path) -> None:
    frames = list(read_frames(write_clip(tmp_path / "in.mp4", 20), every=6))
    assert [frame.index for frame in frames] == [0, 6, 12, 18]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.24, 0.48, 0.72])


def test_frames_that_an_edit_cut_off_are_not_counted(footage: Footage) -> None:
    clip = footage("no_face.mp4")  # 98 packets, the first three of them before the clip's zero
    assert probe(clip).frames == len(pictures_of(clip)) == 95


def test_real_clips_keep_their_times(footage: Footage, demo_clips: Path, tmp_path: Path) -> None:
    for clip in (footage("testMovie.mp4"), demo_clips / "person_a.mp4"):  # 2500/83 and 25 frames/s
        head = head_of_clip(clip, tmp_path / clip.name, 20)
        rewrite(head, tmp_path / "out.mp4")
        assert ticks_of(tmp_path / "out.mp4") == ticks_of(head)
        assert probe(tmp_path / "out.mp4").rate == probe(head).rate
        assert sound_packets(tmp_path / "out.mp4") == sound_packets(head)
        assert near(head, tmp_path / "out.mp4") > 38


def test_quality_is_for_the_user_to_choose(footage: Footage, tmp_path: Path) -> None:
    clip = cut_clip(footage("testMovie.mp4"), tmp_path / "in.mp4", 0, 6)
    figures = []
    for crf in (0, 12, 40):
        rewrite(clip, tmp_path / f"{crf}.mp4", EncodeConfig(crf=crf, encoder_preset="ultrafast"))
        figures.append((near(clip, tmp_path / f"{crf}.mp4"), (tmp_path / f"{crf}.mp4").stat().st_size))
    assert figures == sorted(figures, reverse=True)


def test_spaces_and_letters_of_every_script_in_paths(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "ein Größe 视频.mp4", 3)
    rewrite(source, tmp_path / "наружу 'quoted' %d.mp4")
    assert probe(tmp_path / "наружу 'quoted' %d.mp4").frames == 3


def test_only_whole_segments_are_left_by_an_error_and_writing_goes_on_after_them(tmp_path: Path) -> None:
    source, work = write_clip(tmp_path / "in.mp4", 23, sound="aac"), tmp_path / "work"
    rewrite(source, tmp_path / "once.mp4")

    def frames(fails: int) -> Iterator[VideoFrame]:
        for frame in read_frames(source):
            if frame.index == fails:
                raise ZeroDivisionError
            yield frame

    work.mkdir()
    for fails, whole in ((3, 0), (10, 7), (22, 21)):
        segments = Segments(work, probe(source), EncodeConfig())
        segments.length = 7
        with pytest.raises(ZeroDivisionError):
            segments.write(islice(frames(fails), segments.frames, None))
        assert segments.frames == whole
        assert len(list(work.iterdir())) == whole // 7
    segments.write(islice(read_frames(source), segments.frames, None))
    segments.join(tmp_path / "again.mp4", plan_tracks(source, probe(source).track, tmp_path / "again.mp4", work))
    assert (tmp_path / "once.mp4").read_bytes() == (tmp_path / "again.mp4").read_bytes()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("kind", ["index first.mp4", "clip.mkv", "clip.ts"])
def test_a_clip_that_is_cut_short_is_read_as_far_as_it_goes_and_said_so(
    tmp_path: Path, kind: str, share: float
) -> None:
    path = write_clip(tmp_path / kind, 300, sound="aac", faststart="first" in kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    shown = [frame.index for frame in read_frames(path)]
    assert 0.7 * share * 300 < len(shown) < 300
    if kind == "clip.ts" or (kind == "clip.mkv" and share > 0.8):
        return  # the one says nowhere how long it is; of the other a last tenth and a second may be sound alone
    assert f"is cut short or damaged: its film ends after {len(shown) / 25:.1f} of 12.0" in probe(path).notes[0]


def test_a_clip_without_its_index_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "index last.mp4", 30, sound="aac")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="may be cut short"):
        probe(path)
