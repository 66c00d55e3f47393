"""Feed damaged files to extract, convert and check: each must end in work or in one sentence.

    python tools/fuzz.py MODEL --files 500 --seed 0

Ten small originals (containers and pictures of several kinds) are made of the demo's clip with PyAV and Pillow. Each
file is one of them with bytes flipped, zeroed, cut off, doubled or put in another order, by a seed that names it. A run
of its own (forked, so that importing is paid once) goes through the three verbs. What counts as a fault: an exception
that is no sentence, more than 30 seconds, more than 2 GB, anything left behind, or the end of the process by a signal.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from PIL import Image

import clearswap
from clearswap.errors import ClearswapError
from clearswap.media.files import is_picture

DEMO = Path(clearswap.__file__).parent / "demo_clips" / "person_b.mp4"
SECONDS, BYTES = 30, 2 << 30
FRAMES = 6


def originals(folder: Path) -> list[Path]:
    """Ten small files of as many kinds."""
    with av.open(str(DEMO)) as clip:
        frames = [
            frame.to_ndarray(format="rgb24") for frame, _ in zip(clip.decode(video=0), range(FRAMES), strict=False)
        ]
    kinds = {"a.mp4": ("libx264", "yuv420p"), "b.mkv": ("libx265", "yuv420p10le"), "c.webm": ("libvpx-vp9", "yuv420p")}
    kinds |= {"d.avi": ("mjpeg", "yuvj420p"), "e.ts": ("libx264", "yuv420p"), "f.mov": ("prores_ks", "yuva444p10le")}
    made = [video(folder / name, frames, *kind) for name, kind in kinds.items()]
    picture = Image.fromarray(frames[0])
    for name in ("g.jpg", "h.png", "i.webp", "j.avif"):
        picture.save(folder / name)
        made.append(folder / name)
    return made


def video(path: Path, frames: list[Any], codec: str, pix_fmt: str) -> Path:
    """A short clip of some kind, with sound where that is easy."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        sound: Any = out.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000, layout="mono")
        for picture in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
        for start in range(0, 48000 * FRAMES // 25, 960):
            wave = (8000 * np.sin(np.arange(start, start + 960) / 20)).astype(np.int16)[None]
            samples = av.AudioFrame.from_ndarray(wave, "s16", "mono")
            samples.sample_rate, samples.pts, samples.time_base = 48000, start, Fraction(1, 48000)
            out.mux(sound.encode(samples))
        out.mux(sound.encode(None))
    return path


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The file with one to four faults."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        size = len(made)
        near = min(size, 4096) if rng.random() < 0.5 else size  # headers are where claims are made
        start = int(rng.integers(0, near))
        length = int(min(size - start, 2 ** rng.integers(0, 14)))
        piece = made[start : start + length]
        match rng.integers(0, 6):
            case 0:
                for at in rng.integers(0, near, 16):
                    made[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                made = made[: max(16, int(rng.integers(0, size)))]
            case 2:
                made[start:start] = piece  # a box, a packet or half of one, twice
            case 3:
                made[start : start + length] = bytes(length)
            case 4:
                del made[start : start + length]
            case _:
                number = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
                made[start : start + 4] = number.to_bytes(4, "big")
    return bytes(made)


def run(model: Path, file: Path, place: Path) -> str:
    """Go through the three verbs; returns the names of exceptions that are no sentence."""
    faults: list[str] = []
    outputs = place / "out"
    outputs.mkdir()
    steps: list[Any] = [
        lambda: clearswap.extract([file], outputs / "set"),
        lambda: clearswap.convert(
            *(model, file, outputs / ("out.png" if is_picture(file) else "out.mp4")),
            to="a",
            select=clearswap.SelectConfig(faces="largest"),
        ),
        lambda: clearswap.check([file]),
    ]
    for step in steps:
        try:
            step()
        except ClearswapError:
            pass
        except BaseException as error:
            faults.append(f"{type(error).__name__}: {error}")
            traceback.print_exc()
    allowed = {"set", "out.png", "out.mp4"}
    faults += [f"left behind: {path.name}" for path in outputs.iterdir() if path.name not in allowed]
    faults += [f"changed: {path.name}" for path in place.iterdir() if path not in (file, outputs, place / "log")]
    return "; ".join(faults)


def watched(model: Path, file: Path, place: Path) -> str:
    """`run` in a process of its own, stopped where it takes too long."""
    child = os.fork()
    if not child:
        with (place / "log").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            fault = run(model, file, place)
        (place / "log").write_text((place / "log").read_text() + fault)
        os._exit(bool(fault))
    begun = time.monotonic()
    while time.monotonic() - begun < 3 * SECONDS:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            most = used.ru_maxrss << 10
            took = time.monotonic() - begun
            if os.WIFSIGNALED(status):
                return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
            if os.WEXITSTATUS(status):
                return (place / "log").read_text()[-300:].replace("\n", " ")
            if took > SECONDS:
                return f"took {took:.0f} s"
            return f"took {most >> 20} MB" if most > BYTES else ""
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the files that show a fault")
    given = parser.parse_args()
    faults = 0
    begun = time.monotonic()
    with TemporaryDirectory() as folder:
        made = originals(Path(folder))
        for number in range(given.files):
            rng = np.random.default_rng([given.seed, number])
            original = made[number % len(made)]
            place = Path(folder) / f"run{number}"
            place.mkdir()
            file = place / f"{number}{original.suffix}"
            file.write_bytes(mutated(original.read_bytes(), rng))
            if fault := watched(given.model.resolve(), file, place):
                faults += 1
                print(f"{file.name}: {fault}", flush=True)
                if given.keep:
                    given.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, given.keep)
            shutil.rmtree(place)
            if number % 50 == 49:
                print(f"{number + 1} files, {faults} faults, {time.monotonic() - begun:.0f} s", flush=True)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    print(f"{given.files} files of seed {given.seed}: {faults} faults; at most {most} MB")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
