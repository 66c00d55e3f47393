"""What tests are made of: clips of every kind, ways to read files back, and the command line as people run it."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from clearswap.disclosure.credentials_reader import Provenance
from clearswap.disclosure.credentials_reader import read as read_provenance
from clearswap.disclosure.mark import lay, pattern
from clearswap.disclosure.signer import known_roots
from clearswap.media.remux import Plan, plan_tracks
from clearswap.media.video import TimeRange, probe, read_frames
from clearswap.media.writer import EncodeConfig, Segments
from clearswap.training import checkpoint

Picture = NDArray[np.uint8]
HAS_FFMPEG = all(map(shutil.which, ("ffmpeg", "ffprobe")))  # the programs themselves, not the library under test
SYNTHETIC = ("--basis-a", "synthetic", "--basis-b", "synthetic")


def scene(index: int, width: int, height: int) -> Picture:
    """A smooth picture that moves with `index`; up, down, left and right all differ."""
    y, x = np.mgrid[:height, :width]
    red = 255 * x / max(width - 1, 1)
    green = 255 * y / max(height - 1, 1)
    blue = 127 + 100 * np.sin(x / 9 + y / 17 + index / 3)
    return np.stack([red, green, blue], 2).astype(np.uint8)


def write_clip(
    path: Path,
    frames: int = 20,
    *,
    size: tuple[int, int] = (96, 64),
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    sound: str | None = None,
    faststart: bool = False,
    picture: Callable[[int, int, int], Picture] = scene,
) -> Path:
    """Write a clip; `times` are frame times in units of `time_base`, for clips of uneven rate."""
    width, height = size
    time_base = time_base or (Fraction(1, 1000) if times is not None else None)
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as out:
        stream: Any = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if codec == "libx264":
            stream.options = {"crf": "10", "preset": "ultrafast"}
        if time_base is not None:
            stream.time_base = stream.codec_context.time_base = time_base
        track: Any = out.add_stream(sound, rate=44100, layout="stereo") if sound else None
        if sound == "wmav2":
            track.bit_rate = 128_000
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, width, height), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if track is not None:
            for samples in sine(frames / float(rate)):
                out.mux(track.encode(samples))
            out.mux(track.encode(None))
    return path


def sine(seconds: float, rate: int = 44100) -> Iterator[AudioFrame]:
    """A rising tone in stereo, in frames of 1024 samples."""
    count = int(seconds * rate) // 1024 * 1024
    t = np.arange(count) / rate
    wave = (9000 * np.sin(2 * np.pi * (300 + 200 * t) * t)).astype(np.int16)
    for start in range(0, count, 1024):
        both = np.repeat(wave[start : start + 1024], 2)[None]
        frame = AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame


def cut_clip(source: Path, path: Path, start: int, stop: int) -> Path:
    """Frames `start` to `stop` of a clip, encoded anew at its rate; without sound."""
    pictures = [frame.picture for frame in read_frames(source) if start <= frame.index < stop]
    height, width = pictures[0].shape[:2]
    return write_clip(
        path, len(pictures), size=(width, height), rate=probe(source).rate, picture=lambda i, _w, _h: pictures[i]
    )


def head_of_clip(source: Path, path: Path, frames: int) -> Path:
    """The first frames of a clip (a few more where they depend on each other), packets untouched, with their sound."""
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        video = given.streams.video[0]
        tracks: dict[int, Any] = {
            stream.index: out.add_stream_from_template(stream) for stream in [video, *given.streams.audio]
        }
        packets = [packet for packet in given.demux() if packet.size and packet.stream.index in tracks]
        shown = [packet.pts for packet in packets if packet.stream is video]  # in the order of decoding
        step = min(abs(one - other) for one, other in itertools.pairwise(shown))
        while max(shown[:frames]) - min(shown[:frames]) != (frames - 1) * step:
            frames += 1
        end = float((max(shown[:frames]) + step) * Fraction(video.time_base))
        for packet in packets:
            is_video = packet.stream is video
            if packet.pts in shown[:frames] if is_video else float(packet.pts * packet.time_base) < end:
                packet.stream = tracks[packet.stream.index]
                out.mux(packet)
    return path


def turn_by_matrix(path: Path, degrees: int) -> Path:
    """Give the picture track of an MP4 a display matrix, as phones do: shown turned clockwise by `degrees`."""
    data = bytearray(path.read_bytes())
    width, height = probe(path).width, probe(path).height
    one = 1 << 16
    turns = {
        90: (0, one, 0, -one, 0, 0, height * one, 0, 1 << 30),
        180: (-one, 0, 0, 0, -one, 0, width * one, height * one, 1 << 30),
        270: (0, -one, 0, one, 0, 0, 0, width * one, 1 << 30),
    }
    header = data.index(b"tkhd")  # the picture track comes first
    assert data[header + 4] == 0, "a version 0 header"
    data[header + 44 : header + 80] = struct.pack(">9i", *turns[degrees])
    path.write_bytes(data)
    return path


def sound_packets(path: Path) -> list[bytes]:
    """The bytes of each packet of the first sound track."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def pictures_of(path: Path) -> list[Picture]:
    """Every frame of a clip, as Clearswap reads it."""
    return [frame.picture for frame in read_frames(path)]


def ticks_of(path: Path) -> list[Fraction]:
    """The exact time in seconds of each frame, read with PyAV alone."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(frame.pts or 0) * Fraction(stream.time_base or 0) for frame in container.decode(stream)]


def psnr(one: NDArray[Any], other: NDArray[Any], where: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio in dB of two pictures of bytes, over the pixels `where`."""
    difference = (one.astype(np.float64) - other.astype(np.float64)) ** 2
    error = float((difference if where is None else difference[where]).mean())
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def save_picture(path: Path, picture: NDArray[Any]) -> Path:
    """Write RGB, RGBA or grey pixels of 8 or 16 bits, whatever the path's name."""
    order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[picture.shape[2] if picture.ndim == 3 else 2]
    done, data = cv2.imencode(path.suffix, picture if order is None else cv2.cvtColor(picture, order))
    assert done
    path.write_bytes(data.tobytes())
    return path


def save_heic(path: Path, picture: Picture, tile: int = 64) -> Path:
    """Write a picture as phones do: as tiles, each an H.265 key frame, and a list of how they lie (a "grid")."""
    height, width = picture.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    padded = np.pad(picture, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), "edge")
    tiles, header = list[bytes](), b""
    for row, column in itertools.product(range(rows), range(columns)):
        part = padded[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        file = io.BytesIO()
        with av.open(file, "w", "mp4") as out:
            stream: Any = out.add_stream("libx265", rate=25)
            stream.width, stream.height, stream.pix_fmt = tile, tile, "yuv420p"
            stream.options = {"crf": "4", "preset": "ultrafast", "x265-params": "log-level=error:bframes=0"}
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(part), format="rgb24")))
            out.mux(stream.encode(None))
        file.seek(0)
        with av.open(file) as made:
            header = made.streams.video[0].codec_context.extradata or b""
            tiles.append(b"".join(bytes(packet) for packet in made.demux() if packet.size))

    def box(kind: bytes, *content: bytes, full: int | None = None) -> bytes:
        data = (b"" if full is None else struct.pack(">I", full)) + b"".join(content)
        return struct.pack(">I", 8 + len(data)) + kind + data

    count = len(tiles)
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    sizes = [box(b"ispe", struct.pack(">II", *size), full=0) for size in ((tile, tile), (width, height))]
    owned = [struct.pack(">HBBB", i + 1, 2, 0x81, 2) for i in range(count)] + [struct.pack(">HBB", count + 1, 1, 3)]
    kinds = [b"hvc1"] * count + [b"grid"]
    infos = [box(b"infe", struct.pack(">HH", i + 1, 0), kind, b"\0", full=2 << 24) for i, kind in enumerate(kinds)]
    of_grid = struct.pack(f">{count + 2}H", count + 1, count, *range(1, count + 1))

    def meta(start: int) -> bytes:
        places = list[bytes]()
        for number, data in enumerate([*tiles, grid], 1):
            places.append(struct.pack(">HHHII", number, 0, 1, start, len(data)))
            start += len(data)
        return box(
            b"meta",
            box(b"hdlr", bytes(4), b"pict", bytes(13), full=0),
            box(b"pitm", struct.pack(">H", count + 1), full=0),
            box(b"iloc", b"\x44\0", struct.pack(">H", count + 1), *places, full=0),
            box(b"iinf", struct.pack(">H", count + 1), *infos, full=0),
            box(b"iref", box(b"dimg", of_grid), full=0),
            box(
                b"iprp",
                box(b"ipco", box(b"hvcC", header), *sizes),
                box(b"ipma", struct.pack(">I", count + 1), *owned, full=0),
            ),
            full=0,
        )

    kind = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    start = len(kind) + len(meta(0)) + 8
    path.write_bytes(kind + meta(start) + box(b"mdat", *tiles, grid))
    return path


def profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile of these tags."""
    table, data, offset = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = bytes(8) + struct.pack(">I", 0x02400000) + kind + space + pcs + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)  # the white of all profiles
    head = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data
    return struct.pack(">I", len(head)) + head[4:]


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    def sentence(self) -> str:
        """The one sentence that a user's mistake must end in: exit code 2, nothing else on stderr."""
        assert self.code == 2, self
        # libpng and libjpeg say a word of their own on broken pictures, past Python
        lines = [line for line in self.err.splitlines() if line and not line.startswith(("libpng", "Corrupt JPEG"))]
        assert len(lines) == 1, self
        assert lines[0].startswith("clearswap: "), self
        assert "Traceback" not in self.out + self.err, self
        return lines[0]


def command(*arguments: str | Path) -> list[str]:
    """The command line of `clearswap` in this Python."""
    return [sys.executable, "-m", "clearswap", *map(str, arguments)]


def run(*arguments: str | Path, timeout: float = 300, cwd: Path | None = None, **environment: str) -> Ran:
    """Run `clearswap` as a process of its own."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def rewrite(
    source: Path, output: Path, config: EncodeConfig = EncodeConfig(), time_range: TimeRange = TimeRange()
) -> Plan:
    """Read a clip and write it again, seven frames at a time; what became of the sound and subtitles."""
    with TemporaryDirectory() as folder:
        info = probe(source)
        plan = plan_tracks(source, info.track, output, Path(folder))
        segments = Segments(Path(folder), info, config)
        segments.length = 7
        segments.write(read_frames(source, time_range=time_range))
        segments.join(output, plan, time_range)
        return plan


def said_by(path: Path) -> Provenance:
    """What a file's credentials say to somebody who knows this machine's own root."""
    return read_provenance(path, known_roots())


def left_behind(folder: Path) -> list[str]:
    """Every file and folder below `folder`, hidden ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def with_mark(picture: Picture, model: Path) -> Picture:
    """What a picture becomes in an output of the model where nothing is replaced: it is marked."""
    bits = checkpoint.mark_of(checkpoint.open_model(model).fingerprint())
    return lay(picture, pattern(bits, picture.shape[0], picture.shape[1]))


def stream_copy(path: Path, copy: Path) -> Path:
    """The picture of a clip in another file, packet for packet; whatever stands beside it is lost."""
    with av.open(str(path)) as given, av.open(str(copy), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return copy


def ffmpeg(*arguments: str | Path, cwd: Path) -> None:
    """Run FFmpeg's own program in a folder."""
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], cwd=cwd, check=True, timeout=60)


def ffprobe(path: Path) -> dict[str, Any]:
    """What FFmpeg's own program says of a file: its tracks as "streams", and its "format"."""
    asked = ["-v", "error", "-show_streams", "-show_format", "-of", "json", f"file:{path}"]
    said = subprocess.run(["ffprobe", *asked], check=True, capture_output=True, timeout=60)
    told: dict[str, Any] = json.loads(said.stdout)
    told["video"] = [
        track
        for track in told["streams"]
        if track["codec_type"] == "video" and not track["disposition"]["attached_pic"]
    ]
    told["audio"] = [track for track in told["streams"] if track["codec_type"] == "audio"]
    return told


def played(path: Path) -> list[Picture]:
    """The frames (H, W, 3) of a clip as FFmpeg's own program plays them: turned, but with the pixels of the file."""
    chosen = ["-map", f"0:{ffprobe(path)['video'][0]['index']}"]
    asked = [
        "-v",
        "error",
        "-i",
        f"file:{path}",
        *chosen,
        "-fps_mode",
        "passthrough",
        "-f",
        "image2pipe",
        "-pix_fmt",
        "rgb24",
    ]
    asked += ["-c:v", "ppm", "-"]
    data = subprocess.run(["ffmpeg", *asked], capture_output=True, timeout=60).stdout
    frames: list[Picture] = []
    at = 0
    while at < len(data):
        kind, size, _, rest = data[at : at + 40].split(b"\n", 3)
        width, height = map(int, size.split())
        begin = at + data[at : at + 40].index(rest)
        frames.append(np.frombuffer(data, np.uint8, width * height * 3, begin).reshape(height, width, 3))
        at = begin + width * height * 3
        assert kind == b"P6"
    return frames


def frame_times(path: Path) -> list[float]:
    """When the frames of a clip are shown, by FFmpeg's own program, in seconds of the file."""
    asked = ["-v", "error", "-select_streams", str(ffprobe(path)["video"][0]["index"])]
    asked += ["-show_entries", "frame=best_effort_timestamp_time", "-of", "json", f"file:{path}"]
    said = json.loads(subprocess.run(["ffprobe", *asked], check=True, capture_output=True).stdout)
    return [float(frame["best_effort_timestamp_time"]) for frame in said["frames"]]
