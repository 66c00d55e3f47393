"""What the benchmarks measure with: the demo's clips, made longer, larger or fuller, their face sets, and a model.

A face is in every frame of them all. What a clip shows matters little for speed; that anyone has it matters more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch

import clearswap
from clearswap.core.align import Frame
from clearswap.core.network import PRESETS, ModelConfig
from clearswap.media.video import read_frames

DEMO = Path(clearswap.__file__).parent / "demo_clips"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
PEOPLE = CACHE / "clearswap-people"  # what `make people` renders
RATE = 25
_BASE = Fraction(1, 12800)
_STEP = 512  # of _BASE, a frame at 25 a second


def clip_of(side: str) -> Path:
    """The demo's clip of person "a" or "b"."""
    return DEMO / f"person_{side}.mp4"


def pictures(clip: Path, count: int | None = None) -> Iterator[Frame]:
    """The first `count` frames of a clip."""
    return (frame.picture for frame in islice(read_frames(clip), count))


def sized(picture: Frame, width: int, height: int) -> Frame:
    """A picture made as high as wanted, and as wide by repeating its edge: the face grows along."""
    wide = round(picture.shape[1] * height / picture.shape[0])
    grown = cv2.resize(picture, (wide, height), interpolation=cv2.INTER_CUBIC)
    cut = max(0, wide - width) // 2
    grown = grown[:, cut : cut + width]
    missing = width - grown.shape[1]
    sides = (missing // 2, missing - missing // 2)
    return np.asarray(cv2.copyMakeBorder(grown, 0, 0, *sides, cv2.BORDER_REPLICATE), np.uint8)


def tiled(picture: Frame, width: int, height: int, faces: int) -> Frame:
    """A frame of four tiles, `faces` of them sharp and the rest too blurred to show a face: the same face size and
    about the same work for decoder and encoder, whatever the number of faces.
    """
    tile = sized(picture, width // 2, height // 2)
    small = cv2.resize(tile, (6, 4), interpolation=cv2.INTER_AREA)
    blurred = np.asarray(cv2.resize(small, (width // 2, height // 2), interpolation=cv2.INTER_CUBIC), np.uint8)
    tiles = [tile if at < faces else blurred for at in range(4)]
    return np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])


def write_clip(frames: Iterable[Frame], path: Path) -> Path:
    """Encode frames at 25 a second, as a camera's file is encoded, without sound."""
    with av.open(str(path), "w") as out:
        stream = None
        for index, picture in enumerate(frames):
            if stream is None:
                stream = out.add_stream("libx264", rate=RATE)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "18", "preset": "veryfast", "bf": "0"}  # no B-frames: `looped` counts on it
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index * _STEP, _BASE
            out.mux(stream.encode(frame))
        if stream is not None:
            out.mux(stream.encode(None))
    return path


def looped(clip: Path, path: Path, seconds: float) -> Path:
    """A clip of `write_clip` again and again, for `seconds`: its packets are repeated, nothing is encoded anew."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        packets = [(bytes(packet), packet.is_keyframe) for packet in source.demux(stream) if packet.size]
        copy = out.add_stream_from_template(stream)
        for index in range(round(seconds * RATE)):
            data, whole = packets[index % len(packets)]
            packet = av.Packet(data)
            packet.stream, packet.time_base = copy, _BASE
            packet.pts = packet.dts = index * _STEP
            packet.duration, packet.is_keyframe = _STEP, whole
            out.mux(packet)
    return path


def standard_clip(folder: Path, frames: int, given: list[Path], size: tuple[int, int] = (640, 480)) -> Path:
    """The clip that most is measured with: person b (or the first of the given clips), `frames` long."""
    source = given[0] if given else clip_of("b")
    once = write_clip((sized(picture, *size) for picture in pictures(source, frames)), folder / "once.mp4")
    return looped(once, folder / "clip.mp4", frames / RATE)


def face_sets(folder: Path, clips: list[Path], *, every: int = 1) -> list[Path]:
    """The face sets of two clips (of the demo's, when none are given)."""
    sets: list[Path] = []
    for side, clip in zip("ab", clips or [clip_of("a"), clip_of("b")], strict=True):
        clearswap.extract([clip], folder / side, config=clearswap.ExtractConfig(every=every))
        sets.append(folder / side)
    return sets


def presets() -> dict[str, ModelConfig]:
    """The presets for this machine: without an accelerator, a step of `hd` and `xl` takes seconds."""
    small = ("classic", "lite")
    return {n: c for n, c in PRESETS.items() if n in small or torch.accelerator.is_available()}


def untrained_model(folder: Path, preset: str = "lite") -> Path:
    """A model that has learned nothing, for what does not depend on what it knows: speed and memory."""
    from clearswap.core.train_step import start_training
    from clearswap.training import checkpoint
    from clearswap.training.device import used_device

    checkpoint.save(folder, start_training(PRESETS[preset], 0, used_device()))
    return folder
