"""Files as phones, cameras, recorders and browsers write them. Made and measured by FFmpeg's own programs.

Each is read and written again without a swap, and must be shown after as it was before.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clearswap.errors import InputError, OutputError
from clearswap.media.remux import Plan, plan_tracks
from clearswap.media.video import TimeRange, probe, read_frames, read_spread
from clearswap.media.writer import EncodeConfig, try_container
from makers import HAS_FFMPEG, ffmpeg, ffprobe, frame_times, played, psnr, rewrite

pytestmark = pytest.mark.skipif(not HAS_FFMPEG, reason="needs FFmpeg's programs: apt-get install ffmpeg")
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=192x128:rate=25:duration=0.6")
SOUND = ("-f", "lavfi", "-i", "sine=600:duration=0.6:sample_rate=48000")
OTHER = ("-f", "lavfi", "-i", "sine=900:duration=0.6:sample_rate=48000")
X264 = ("-c:v", "libx264", "-crf", "10", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plain clip of 15 frames with sound, `plain.mp4`."""
    folder = tmp_path_factory.mktemp("real")
    ffmpeg(*PICTURE, *SOUND, *X264, "-g", "12", "-bf", "2", "-c:a", "aac", "plain.mp4", cwd=folder)
    return folder


def assert_shown_alike(source: Path, output: Path, least: float = 30) -> None:
    """All frames, at their times from the clip's beginning on, in one size and pixel aspect, look alike."""
    given, made = ffprobe(source), ffprobe(output)
    before, after = played(source), played(output)
    assert [frame.shape for frame in after] == [before[0].shape] * len(before)
    assert min(psnr(x, y) for x, y in zip(before, after, strict=True)) > least
    aspects = [file["video"][0].get("sample_aspect_ratio", "1:1") for file in (given, made)]
    turned = given["video"][0]["width"] != before[0].shape[1]
    assert aspects[1] == (":".join(reversed(aspects[0].split(":"))) if turned else aspects[0])
    starts = [
        min(float(track.get("start_time", "inf")) for track in file["video"] + file["audio"]) for file in (given, made)
    ]
    times = [np.array(frame_times(path)) - start for path, start in zip((source, output), starts, strict=True)]
    assert np.abs(times[0] - times[1]).max() < 0.0015
    assert starts[1] == pytest.approx(0, abs=0.05)


# --- what is stored is not what is shown ------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A file: its name, and what FFmpeg makes it with of the plain clip."""

    name: str
    options: tuple[str, ...]
    note: str = ""
    least: float = 30


ODD_PIXELS = [
    Kind("wide.mp4", ("-vf", "scale=96:128,setsar=2/1", *X264)),
    Kind("ntsc.mkv", ("-vf", "scale=172:128,setsar=10/9", *X264)),
    Kind("tall.mov", ("-vf", "scale=192:64,setsar=1/2", *X264)),
    Kind("dvd.vob", ("-vf", "scale=720:576,setsar=64/45", "-c:v", "mpeg2video", "-q:v", "2", "-c:a", "ac3")),
    Kind("phone.3gp", ("-vf", "scale=176:144,setsar=12/11", *X264, "-c:a", "aac")),
    Kind("old.avi", ("-vf", "scale=160:128,setsar=6/5", "-c:v", "mpeg4", "-q:v", "1", "-c:a", "mp3")),
    Kind(
        "tape.dv", ("-vf", "scale=720:576,setsar=16/15,format=yuv420p", "-c:v", "dvvideo", "-ar", "48000", "-ac", "2")
    ),
]


@pytest.mark.parametrize("kind", ODD_PIXELS, ids=lambda kind: kind.name)
def test_pixels_that_are_not_square_stay_so_and_faces_are_looked_for_in_square_ones(
    plain: Path, tmp_path: Path, kind: Kind
) -> None:
    source = tmp_path / kind.name
    ffmpeg("-i", plain / "plain.mp4", *kind.options, source, cwd=tmp_path)
    track = ffprobe(source)["video"][0]
    wide, high = map(int, track["display_aspect_ratio"].split(":"))
    shown = next(read_frames(source)).picture.shape
    assert shown[1] / shown[0] == pytest.approx(wide / high, rel=0.01)
    assert shown[0] * shown[1] >= track["width"] * track["height"]
    rewrite(source, tmp_path / "out.mp4")
    if kind.name != "tape.dv":  # which is interlaced
        assert_shown_alike(source, tmp_path / "out.mp4")
    assert ffprobe(tmp_path / "out.mp4")["video"][0]["display_aspect_ratio"] == track["display_aspect_ratio"]


def with_matrix(path: Path, matrix: tuple[int, ...]) -> Path:
    """The display matrix (a, b, c, d) written over that of an MP4's film."""
    data = bytearray(path.read_bytes())
    film = next(at for at in places(data, b"trak") if data.index(b"vide", at) - at < 600)
    a, b, c, d = (65536 * value for value in matrix)
    header = data.index(b"tkhd", film)
    data[header + 44 : header + 80] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def places(data: bytes | bytearray, box: bytes) -> list[int]:
    return [at for at in range(len(data) - 4) if data[at : at + 4] == box]


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("down", [1, -1])
@pytest.mark.parametrize("right", [1, -1])
def test_every_turn_and_mirror_of_a_display_matrix_is_shown(
    plain: Path, tmp_path: Path, across: bool, right: int, down: int
) -> None:
    source = tmp_path / "turned.mp4"
    source.write_bytes((plain / "plain.mp4").read_bytes())
    with_matrix(source, (0, down, right, 0) if across else (right, 0, 0, down))
    rewrite(source, tmp_path / "out.mp4")
    stored = played_unturned(source)
    expected = stored.transpose(1, 0, 2) if across else stored
    expected = expected[::down, ::right]
    assert psnr(next(read_frames(source)).picture, expected) > 28
    assert psnr(played(tmp_path / "out.mp4")[0], expected) > 28
    assert "side_data_list" not in ffprobe(tmp_path / "out.mp4")["video"][0]


def played_unturned(path: Path) -> np.ndarray:
    plain_copy = path.with_name("unturned.mp4")
    plain_copy.write_bytes(path.read_bytes())
    return played(with_matrix(plain_copy, (1, 0, 0, 1)))[0]


@pytest.mark.parametrize("name", ["cover.mp4", "cover.m4v", "cover.mkv", "second film.mp4", "second film.mkv"])
def test_the_film_is_taken_that_a_player_shows(plain: Path, tmp_path: Path, name: str) -> None:
    """Not a cover picture, nor a film that is not the default."""
    ffmpeg("-f", "lavfi", "-i", "color=red:size=256x256", "-frames:v", "1", "cover.png", cwd=tmp_path)
    source, output = tmp_path / name, tmp_path / "out.mp4"
    if name == "cover.mkv":
        cover = ("-attach", "cover.png", "-metadata:s:t", "mimetype=image/png", "-metadata:s:t", "filename=cover.png")
        ffmpeg("-i", plain / "plain.mp4", *cover, "-c", "copy", source, cwd=tmp_path)
    elif name.startswith("cover"):
        first = ("-map", "1", "-map", "0", "-c", "copy", "-disposition:v:0", "attached_pic")
        ffmpeg("-i", plain / "plain.mp4", "-i", "cover.png", *first, source, cwd=tmp_path)
    else:
        ffmpeg("-f", "lavfi", "-i", "color=red:size=320x320:duration=0.6", *X264, "red.mp4", cwd=tmp_path)
        both = ("-map", "1", "-map", "0", "-c", "copy", "-disposition:v:0", "0", "-disposition:v:1", "default")
        ffmpeg("-i", plain / "plain.mp4", "-i", "red.mp4", *both, source, cwd=tmp_path)
    plan = rewrite(source, output)
    assert len(played(output)) == 15
    assert min(psnr(x, y) for x, y in zip(played(plain / "plain.mp4"), played(output), strict=True)) > 30
    assert "picture" in plan.notes[0]


def test_a_song_with_a_cover_is_no_film(plain: Path, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:size=256x256", "-frames:v", "1", "cover.png", cwd=tmp_path)
    covered = ("-map", "0:a", "-map", "1", "-c:v", "copy", "-c:a", "copy", "-disposition:v", "attached_pic")
    ffmpeg("-i", plain / "plain.mp4", "-i", "cover.png", *covered, "song.m4a", cwd=tmp_path)
    with pytest.raises(InputError, match="has a cover picture, but no film"):
        probe(tmp_path / "song.m4a")


SEE_THROUGH = [
    Kind("prores.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le")),
    Kind("animation.mov", ("-c:v", "qtrle", "-pix_fmt", "argb")),
    Kind("lossless.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuva420p")),
    Kind("browser.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-b:v", "2M")),
]


@pytest.mark.parametrize("kind", SEE_THROUGH, ids=lambda kind: kind.name)
def test_transparency_is_laid_on_black_and_said(tmp_path: Path, kind: Kind) -> None:
    left = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,96),0,255)'"
    source = tmp_path / kind.name
    ffmpeg(*PICTURE, "-vf", left, "-frames:v", "3", *kind.options, source, cwd=tmp_path)
    notes = list(probe(source).notes)
    shown = next(read_frames(source, on_note=notes.append)).picture
    (note,) = notes
    assert note.startswith(f"{kind.name} has transparency, which is not kept")
    assert shown[:, 100:].mean() > 60
    if kind.name != "browser.webm":  # whose transparency FFmpeg's own decoder does not read
        assert shown[:, :92].max() <= 3


INTERLACED = [
    Kind("camera.mp4", ("-c:v", "libx264", "-crf", "8", "-flags", "+ildct+ilme", "-x264opts", "tff=1")),
    Kind("disc.mpg", ("-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme")),
    Kind("edit.mov", ("-c:v", "prores_ks", "-flags", "+ildct", "-pix_fmt", "yuv422p10le")),
]


@pytest.mark.parametrize("kind", INTERLACED, ids=lambda kind: kind.name)
def test_interlaced_frames_become_whole_pictures_and_it_is_said(tmp_path: Path, kind: Kind) -> None:
    """A bar that moves 8 pixels between the half pictures shows two edges, as a comb, where they are one frame."""
    source = tmp_path / kind.name
    moving = ("-f", "lavfi", "-i", "color=black:size=192x128:rate=50:duration=0.6", "-f", "lavfi", "-i")
    moving += ("color=white:size=16x128:rate=50:duration=0.6",)
    woven = ("-filter_complex", "[0][1]overlay=x='6*n+4':y=0:eval=frame,tinterlace=interleave_top,setfield=tff")
    ffmpeg(*moving, *woven, *kind.options, source, cwd=tmp_path)
    notes: list[str] = []
    frames = [frame.picture[..., 1].astype(int) for frame in read_frames(source, on_note=notes.append)]
    assert notes == [f"{kind.name} is interlaced; each of its frames becomes one whole picture"]
    assert len(frames) == len(played(source))
    combed = [np.abs(np.diff(frame, axis=0)).mean() for frame in frames[2:-2]]
    before = [np.abs(np.diff(frame[..., 1].astype(int), axis=0)).mean() for frame in played(source)[2:-2]]
    assert max(combed) < 0.35 * min(before)
    rewrite(source, tmp_path / "out.mp4")
    made = ffprobe(tmp_path / "out.mp4")["video"][0]
    assert made.get("field_order", "progressive") == "progressive"


@pytest.mark.parametrize("name", ["change.ts", "change.webm", "change.mkv"])
def test_frames_that_change_their_size_get_that_of_the_first(tmp_path: Path, name: str) -> None:
    codec = ("-c:v", "libvpx", "-b:v", "2M") if name == "change.webm" else X264
    for part, size in enumerate(("192x128", "96x64")):
        picture = f"testsrc2=size={size}:rate=25:duration=0.3"
        ffmpeg(
            "-f",
            "lavfi",
            "-i",
            picture,
            *codec,
            "-output_ts_offset",
            str(0.32 * part),
            f"{part}{Path(name).suffix}",
            cwd=tmp_path,
        )
    joined = b"".join((tmp_path / f"{part}{Path(name).suffix}").read_bytes() for part in range(2))
    source, notes = tmp_path / name, list[str]()
    if name.endswith(".ts"):
        source.write_bytes(joined)
    else:
        (tmp_path / "list.txt").write_text("".join(f"file '{part}{Path(name).suffix}'\n" for part in range(2)))
        ffmpeg("-f", "concat", "-i", "list.txt", "-c", "copy", source, cwd=tmp_path)
    shapes = {frame.picture.shape for frame in read_frames(source, on_note=notes.append)}
    assert shapes == {(128, 192, 3)}
    assert f"the frames of {name} change from 192x128 to 96x64; all get the size of the first" in notes
    rewrite(source, tmp_path / "out.mp4")
    assert {frame.shape for frame in played(tmp_path / "out.mp4")} == {(128, 192, 3)}


def test_an_aspect_that_changes_on_the_way_does_not_change_the_frames_size(tmp_path: Path) -> None:
    """As between films and advertisements on television."""
    for part, aspect in enumerate(("16/15", "64/45")):
        picture = f"testsrc2=size=180x144:rate=25:duration=0.3,setsar={aspect}"
        late = ("-output_ts_offset", str(0.32 * part), f"{part}.ts")
        ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "mpeg2video", "-q:v", "2", *late, cwd=tmp_path)
    source = tmp_path / "television.ts"
    source.write_bytes(b"".join((tmp_path / f"{part}.ts").read_bytes() for part in range(2)))
    assert {frame.picture.shape for frame in read_frames(source)} == {(144, 192, 3)}
    rewrite(source, tmp_path / "out.mp4")
    assert {frame.shape for frame in played(tmp_path / "out.mp4")} == {(144, 180, 3)}


# --- a header is a claim ----------------------------------------------------------------------------------


def test_what_an_edit_list_cuts_off_is_not_missed(plain: Path, tmp_path: Path) -> None:
    """As phones trim: the edit list alone says that seconds 0.2 to 0.4 are shown."""
    data = bytearray((plain / "plain.mp4").read_bytes())
    base = int(ffprobe(plain / "plain.mp4")["video"][0]["time_base"].split("/")[1])
    for at, (scale, shift) in zip(places(data, b"elst"), ((base, 1024 * base // 12800), (48000, 1024)), strict=True):
        data[at + 12 : at + 20] = struct.pack(">Ii", 200, shift + int(0.2 * scale))
    source = tmp_path / "trimmed.mp4"
    source.write_bytes(data)
    assert probe(source).notes == ()
    rewrite(source, tmp_path / "out.mp4")
    assert len(played(tmp_path / "out.mp4")) == len(played(source)) == 5
    assert_shown_alike(source, tmp_path / "out.mp4")
    sound = [float(ffprobe(path)["audio"][0]["duration"]) for path in (source, tmp_path / "out.mp4")]
    assert sound[1] == pytest.approx(sound[0], abs=0.03)


CUT = [
    Kind("recorder.mp4", ("-c", "copy", "-movflags", "frag_keyframe+empty_moov+default_base_moof")),
    Kind("index first.mp4", ("-c", "copy", "-movflags", "faststart")),
    Kind("copied.avi", ("-c:v", "mpeg4", "-q:v", "1", "-c:a", "mp3")),
    Kind("ten seconds.mkv", ("-c", "copy")),
]


@pytest.mark.parametrize("kind", CUT, ids=lambda kind: kind.name)
def test_a_recording_that_was_cut_short_is_used_as_far_as_it_goes(plain: Path, tmp_path: Path, kind: Kind) -> None:
    source = tmp_path / kind.name
    again = 16 if kind.name == "ten seconds.mkv" else 0  # it says no more than how long it is
    ffmpeg("-stream_loop", str(again), "-i", plain / "plain.mp4", *kind.options, source, cwd=tmp_path)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    rewrite(source, tmp_path / "out.mp4")
    frames = len(played(tmp_path / "out.mp4"))
    assert 0.3 < frames / (15 * (again + 1)) < 0.95
    seconds = float(re.findall(r"is cut short or damaged: its film ends after ([0-9.]+)", probe(source).notes[0])[0])
    assert seconds == pytest.approx(frames / 25, abs=0.25)


def test_damage_in_the_middle_costs_what_it_hits(plain: Path, tmp_path: Path) -> None:
    ffmpeg("-i", plain / "plain.mp4", "-c:v", "png", "-an", "in.mov", cwd=tmp_path)
    data, notes = bytearray((tmp_path / "in.mov").read_bytes()), list[str]()
    for start in places(data, b"\x89PNG")[4:6]:
        data[start : start + 600] = bytes(600)
    (tmp_path / "damaged.mov").write_bytes(data)
    frames = list(read_frames(tmp_path / "damaged.mov", on_note=notes.append))
    assert len(frames) == 13
    assert notes == ["damaged.mov has 2 frames that cannot be decoded; left out"]


# --- the clip does not begin at zero, and seeking does not lead anywhere ----------------------------------


LATE = [
    Kind("hour.ts", (*X264, "-c:a", "aac", "-output_ts_offset", "3600")),
    Kind("usual.ts", (*X264, "-c:a", "aac")),
    Kind("camera.mts", (*X264, "-c:a", "ac3", "-f", "mpegts", "-mpegts_m2ts_mode", "1", "-bf", "2", "-g", "250")),
    Kind("disc.mpg", ("-c:v", "mpeg1video", "-q:v", "2", "-bf", "2", "-g", "60", "-c:a", "mp2")),
    Kind("late.mkv", (*X264, "-c:a", "aac", "-output_ts_offset", "10")),
    Kind("late.mov", (*X264, "-c:a", "aac", "-output_ts_offset", "0.5")),
    Kind("web.flv", (*X264, "-c:a", "aac", "-ar", "44100", "-output_ts_offset", "5")),
    Kind("one key.ts", (*X264, "-g", "250", "-bf", "2", "-c:a", "aac")),
]


@pytest.mark.parametrize("kind", LATE, ids=lambda kind: kind.name)
def test_a_clip_begins_at_zero_whenever_its_file_does(plain: Path, tmp_path: Path, kind: Kind) -> None:
    source = tmp_path / kind.name
    ffmpeg("-i", plain / "plain.mp4", *kind.options, source, cwd=tmp_path)
    rewrite(source, tmp_path / "out.mp4")
    assert_shown_alike(source, tmp_path / "out.mp4")
    assert float(ffprobe(tmp_path / "out.mp4")["format"]["duration"]) == pytest.approx(0.62, abs=0.08)
    assert len(list(read_spread(source, 5))) == 5
    rewrite(source, tmp_path / "part.mp4", time_range=TimeRange(0.2, 0.4))
    assert 4 <= len(played(tmp_path / "part.mp4")) <= 6
    assert float(ffprobe(tmp_path / "part.mp4")["format"]["duration"]) == pytest.approx(0.2, abs=0.06)


def test_recordings_that_were_joined_go_on_where_the_first_ends(plain: Path, tmp_path: Path) -> None:
    """Both begin at the same time, as pieces of a camera or a stream do that are copied one after the other."""
    source, output = tmp_path / "joined.ts", tmp_path / "out.mp4"
    long = ("-stream_loop", "3", "-i", plain / "plain.mp4", *X264, "-c:a", "aac")
    ffmpeg(*long, "one.ts", cwd=tmp_path)
    source.write_bytes(2 * (tmp_path / "one.ts").read_bytes())
    rewrite(source, output)
    times = np.array(frame_times(output))
    assert len(times) == 120
    assert np.abs(np.diff(times) - 0.04).max() < 0.05  # FFmpeg leaves a gap at each of its loops
    lasts = [float(ffprobe(output)[kind][0]["duration"]) for kind in ("video", "audio")]
    assert lasts[1] == pytest.approx(lasts[0], abs=0.12)


def test_sound_of_a_joined_recording_begins_with_each_part_s_picture(tmp_path: Path) -> None:
    """The first sound of each part is shorter than its picture; later parts also begin at an earlier time of day."""
    tone = ("-f", "lavfi", "-i", "sine=600:duration=1:sample_rate=48000")
    for part, late in enumerate(("900", "5", "5")):
        film = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=2", *tone, *X264, "-c:a", "aac")
        ffmpeg(*film, "-output_ts_offset", late, f"{part}.ts", cwd=tmp_path)
    source = tmp_path / "joined.ts"
    source.write_bytes(b"".join((tmp_path / f"{part}.ts").read_bytes() for part in range(3)))
    rewrite(source, tmp_path / "out.mp4")
    times = np.array(frame_times(tmp_path / "out.mp4"))
    assert len(times) == 150
    assert np.abs(np.diff(times) - 0.04).max() < 0.01
    begins = sound_begins(tmp_path / "out.mp4")
    assert begins == pytest.approx([times[0], times[50], times[100]], abs=0.06)


def sound_begins(path: Path) -> list[float]:
    """When the packets of sound begin that follow on a gap, by FFmpeg's own program."""
    asked = ["ffprobe", "-v", "error", "-select_streams", "a", "-show_entries", "packet=pts_time", "-of", "csv=p=0"]
    said = subprocess.run([*asked, path], check=True, capture_output=True, text=True).stdout
    times = np.array([float(line.strip(",")) for line in said.split()])
    return [float(time) for time in times[np.r_[True, np.diff(times) > 0.3]]]


# --- what the end needs is found out before the beginning --------------------------------------------------


def unknown_code(path: Path) -> None:
    """The last sound track of a MOV in a code that FFmpeg does not know, as iPhones write one."""
    data = bytearray(path.read_bytes())
    last = [at for at in places(data, b"mp4a") if data[at - 16 : at - 12] == b"stsd"][-1]
    data[last : last + 4] = b"apac"
    descriptor = data.index(b"esds", last)
    data[descriptor : descriptor + 4] = b"dapa"
    path.write_bytes(data)


TRACKS: list[tuple[Kind, str, str, Callable[[Path], None] | None]] = [
    (Kind("iphone.mov", ("-map", "0", "-map", "0:a", "-c", "copy")), "copied", "sound (unknown)", unknown_code),
    (
        Kind("camera.mov", ("-map", "0", "-c:v", "copy", "-c:a", "pcm_s24le", "-timecode", "01:00:00:00")),
        "copied",
        "data",
        None,
    ),
    (Kind("old phone.mkv", ("-c:v", "copy", "-c:a", "pcm_alaw", "-ar", "8000")), "re-encoded", "", None),
    (Kind("film.mkv", ("-c:v", "copy", "-c:a", "libvorbis")), "copied", "", None),
    (Kind("studio.mkv", ("-c:v", "copy", "-c:a", "pcm_s24le", "-ar", "192000")), "re-encoded", "", None),
    (Kind("many.mkv", ("-c:v", "copy", "-c:a", "pcm_s16le", "-ac", "8")), "re-encoded", "", None),
    (Kind("game.avi", ("-c:v", "copy", "-c:a", "adpcm_ima_wav")), "re-encoded", "", None),
    (Kind("old mac.avi", ("-c:v", "copy", "-c:a", "pcm_s16le", "-ar", "22254")), "re-encoded", "", None),
]


@pytest.mark.parametrize(("kind", "sound", "left_out", "then"), TRACKS, ids=lambda value: getattr(value, "name", ""))
def test_sound_of_every_code_is_copied_encoded_or_left_out_and_said(
    plain: Path, tmp_path: Path, kind: Kind, sound: str, left_out: str, then: Callable[[Path], None] | None
) -> None:
    source = tmp_path / kind.name
    ffmpeg("-i", plain / "plain.mp4", *kind.options, source, cwd=tmp_path)
    if then is not None:
        then(source)
    plan: Plan = rewrite(source, tmp_path / "out.mp4")
    assert plan.sound == sound
    assert [left_out in note for note in plan.notes] == [True] * bool(left_out)
    made = ffprobe(tmp_path / "out.mp4")
    assert len(made["audio"]) == 1
    assert float(made["audio"][0]["duration"]) == pytest.approx(0.6, abs=0.08)


@pytest.mark.parametrize("name", ["out.avi", "out.mkv", "out.mov"])
def test_a_kind_of_file_is_tried_before_the_first_frame(plain: Path, tmp_path: Path, name: str) -> None:
    """H.264 in an AVI is what PyAV does not write."""
    source = plain / "plain.mp4"
    info, plan = probe(source), plan_tracks(source, 0, tmp_path / name, tmp_path)
    (tmp_path / "trial").mkdir()  # as a run that was killed leaves it
    with pytest.raises(OutputError, match=r"\.avi cannot hold this video") if name == "out.avi" else nullcontext():
        try_container(tmp_path / name, info, EncodeConfig(), plan, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_av1_has_no_pixel_aspect_and_gets_square_pixels(plain: Path, tmp_path: Path) -> None:
    ffmpeg("-i", plain / "plain.mp4", "-vf", "scale=64:48,setsar=4/3", *X264, "wide.mp4", cwd=tmp_path)
    rewrite(tmp_path / "wide.mp4", tmp_path / "out.webm", EncodeConfig(encoder="av1"))
    track = ffprobe(tmp_path / "out.webm")["video"][0]
    assert (track["width"], track["height"], track["sample_aspect_ratio"]) == (86, 48, "1:1")  # even, as AV1 asks for


def test_sound_that_changes_its_channels_goes_on(plain: Path, tmp_path: Path) -> None:
    """As broadcasts do, from stereo to 5.1."""
    for part, channels in enumerate(("2", "6")):
        sound = ("-c:v", "copy", "-c:a", "ac3", "-ac", channels, "-output_ts_offset", str(0.64 * part))
        ffmpeg("-i", plain / "plain.mp4", *sound, f"{part}.ts", cwd=tmp_path)
    source = tmp_path / "broadcast.ts"
    source.write_bytes(b"".join((tmp_path / f"{part}.ts").read_bytes() for part in range(2)))
    assert rewrite(source, tmp_path / "out.webm", EncodeConfig(encoder="av1")).sound == "re-encoded"
    assert float(ffprobe(tmp_path / "out.webm")["format"]["duration"]) == pytest.approx(1.26, abs=0.1)


def test_the_last_sound_of_a_slow_decoder_is_kept(plain: Path, tmp_path: Path) -> None:
    ffmpeg("-i", plain / "plain.mp4", "-c:v", "copy", "-c:a", "wmav2", "in.mkv", cwd=tmp_path)
    rewrite(tmp_path / "in.mkv", tmp_path / "out.mp4")
    lengths = [decoded_samples(tmp_path / name) for name in ("in.mkv", "out.mp4")]
    assert lengths[1] >= lengths[0]


def decoded_samples(path: Path) -> int:
    asked = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:a", "-f", "s16le", "-ac", "1", "-"]
    return len(subprocess.run(asked, check=True, capture_output=True).stdout) // 2


def test_a_sound_track_that_holds_nothing_is_left_out(plain: Path, tmp_path: Path) -> None:
    """A transport stream names tracks that it may never send, of which nothing more is known then."""
    ffmpeg("-i", plain / "plain.mp4", *X264, "-c:a", "aac", "-bsf:a", "noise=drop=1", "empty.ts", cwd=tmp_path)
    plan = rewrite(tmp_path / "empty.ts", tmp_path / "out.mp4")
    assert "sound" in plan.notes[0]
    assert (len(played(tmp_path / "out.mp4")), ffprobe(tmp_path / "out.mp4")["audio"]) == (15, [])


def test_damaged_sound_costs_what_it_hits(plain: Path, tmp_path: Path) -> None:
    ffmpeg("-i", plain / "plain.mp4", "-c:v", "copy", "-c:a", "flac", "in.mkv", cwd=tmp_path)
    data = bytearray((tmp_path / "in.mkv").read_bytes())
    for start in places(data, b"\xff\xf8")[2:4]:  # where a packet begins
        data[start : start + 300] = bytes(300)
    (tmp_path / "in.mkv").write_bytes(data)
    assert rewrite(tmp_path / "in.mkv", tmp_path / "out.webm", EncodeConfig(encoder="av1")).sound == "re-encoded"
    assert len(played(tmp_path / "out.webm")) == 15
    assert float(ffprobe(tmp_path / "out.webm")["format"]["duration"]) == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize("given", ["two.mkv", "two.mp4", "two.mov"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_the_same_track_plays_and_titles_stay(plain: Path, tmp_path: Path, given: str, suffix: str) -> None:
    named = ("-metadata:s:a:0", "title=Commentary", "-metadata:s:a:0", "language=eng")
    named += ("-metadata:s:a:1", "title=Film", "-metadata:s:a:1", f"language={'ger' if given == 'two.mov' else 'deu'}")
    if given != "two.mkv":
        named += ("-metadata:s:a:0", "handler_name=Commentary", "-metadata:s:a:1", "handler_name=Film")
    default = ("-disposition:a:0", "0", "-disposition:a:1", "default")
    ffmpeg(
        *("-i", plain / "plain.mp4", *OTHER, "-map", "0", "-map", "1:a", "-c:v", "copy", "-c:a", "aac"),
        *(*named, *default, tmp_path / given),
        cwd=tmp_path,
    )
    rewrite(tmp_path / given, tmp_path / f"out{suffix}")
    tracks = ffprobe(tmp_path / f"out{suffix}")["audio"]
    assert [track["disposition"]["default"] for track in tracks] == [0, 1]
    assert [track["tags"]["language"] for track in tracks] in (["eng", "deu"], ["eng", "ger"])
    titles = [track["tags"].get("title") or track["tags"].get("handler_name") for track in tracks]
    assert titles == ["Commentary", "Film"]


# --- a path is no address ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["2026-07-26T20:57:04Z.mp4", "10:30.mp4", "http:127.0.0.1:8099?x.mp4", "frame%03d.mp4", "-y.mp4", "a\nb.mp4"]
    + ["pipe:1.mp4", "concat:a|b.mp4", "[2024] x.mp4", "x" * 240 + ".mp4"],
)
def test_any_name_that_a_disk_takes_works(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes((plain / "plain.mp4").read_bytes())
    monkeypatch.chdir(tmp_path / "in")
    rewrite(Path(name), Path("..") / name)
    assert len(list(read_frames(Path("..") / name))) == 15


LISTS = {
    "ffconcat": "ffconcat version 1.0\nfile plain.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nplain.mp4\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
    '<AdaptationSet mimeType="video/mp4">'
    "<Representation><BaseURL>plain.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("name", ["x.mp4", "x.ffconcat", "x.m3u8"])
@pytest.mark.parametrize("kind", list(LISTS))
def test_a_list_of_files_is_no_film(plain: Path, tmp_path: Path, kind: str, name: str) -> None:
    shutil.copy(plain / "plain.mp4", tmp_path)
    (tmp_path / name).write_text(LISTS[kind])
    with pytest.raises(InputError, match="is not a video or picture that can be read"):
        probe(tmp_path / name)
