"""Convert: put a person's face into videos, pictures, or folders of either.

Four stages overlap for a video: decode, track, swap, encode. What is written carries signed Content Credentials.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clearswap.core.align import Frame
from clearswap.core.mask import MaskConfig
from clearswap.core.model import Side
from clearswap.core.swap import BlendConfig, Swapper, drawer
from clearswap.errors import InputError, OutputError
from clearswap.machinery import checkpoint, credentials
from clearswap.machinery.bridge import followed
from clearswap.machinery.detector import Detector
from clearswap.machinery.device import used_device
from clearswap.machinery.encoder import EncodeConfig, VideoWriter
from clearswap.machinery.identity import Identity, load_or_make
from clearswap.machinery.mesh import Mesh
from clearswap.machinery.pictures import encode_picture, is_picture, read_alpha, read_picture
from clearswap.machinery.sources import list_sources
from clearswap.machinery.stages import ahead, batched
from clearswap.machinery.tracker import Face, TrackConfig, Tracker
from clearswap.machinery.video import VideoFrame, probe
from clearswap.machinery.whole import output_errors, whole_file
from clearswap.progress import Progress, Report, silent

_BATCH = 8  # frames that are swapped together


@dataclass(frozen=True)
class Converted:
    """What was done."""

    files: int
    frames: int
    swapped: int
    without_face: int
    sound: str

    def __str__(self) -> str:
        sound = f"; sound {self.sound}" if self.sound != "none" else ""
        changed = f"{self.swapped} of {self.frames} frames swapped"
        return f"{changed}; {self.without_face} frames had no face and are unchanged{sound}."

    def __add__(self, other: Converted) -> Converted:
        sound = self.sound if other.sound == "none" else other.sound
        return Converted(
            self.files + other.files,
            self.frames + other.frames,
            self.swapped + other.swapped,
            self.without_face + other.without_face,
            sound,
        )


@dataclass(frozen=True)
class _Tools:
    """What every file of one run needs."""

    swapper: Swapper
    detector: Detector
    mesh: Mesh
    tracking: TrackConfig
    encoding: EncodeConfig
    identity: Identity
    report: Report

    def tracker(self) -> Tracker:
        return Tracker(self.tracking, self.detector, self.mesh)


def convert(
    model: Path | str,
    source: Path | str,
    output: Path | str,
    *,
    to: Side,
    mask: MaskConfig = MaskConfig(),
    blend: BlendConfig = BlendConfig(),
    tracking: TrackConfig = TrackConfig(),
    encoding: EncodeConfig = EncodeConfig(),
    report: Report = silent,
) -> Converted:
    """Replace the faces in `source` by that of person `to` ("a" or "b") of `model`, into `output`.

    A video keeps its size, frame times and sound; frames without a face pass through and are counted. A folder
    becomes a folder of the same names. Outputs appear whole or not at all. Raises `InputError` (also when there
    is no face in the whole of `source`), `ModelError`, `OutputError`, `FaceModelsMissing`.
    """
    pairs = _pair(Path(source), Path(output))
    device = used_device()
    config, net = checkpoint.load_network(Path(model), device)
    tools = _Tools(
        Swapper(drawer(net, to), config, device, mask, blend),
        Detector(size=tracking.detect_size, threshold=tracking.threshold),
        Mesh(),
        tracking,
        encoding,
        load_or_make(),
        report,
    )
    done = Converted(0, 0, 0, 0, "none")
    for given, wanted in pairs:
        alone = len(pairs) == 1
        done += (
            _convert_picture(given, wanted, tools, alone)
            if is_picture(given)
            else _convert_video(given, wanted, tools, alone)
        )
    if not done.swapped:
        raise InputError(f"No face was found in {source} ({done.frames} frames).")
    return done


def _pair(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """Each input file with its output. Raises before any work for outputs that cannot be."""
    files = list_sources([source])
    with output_errors(output):
        return _checked_pairs(source, files, output)


def _checked_pairs(source: Path, files: list[Path], output: Path) -> list[tuple[Path, Path]]:
    if source.is_dir():
        if output.is_file():
            raise OutputError(f"{output} is a file; a folder of inputs needs a folder as output.")
        pairs = [(file, output / file.name) for file in files]
    else:
        if output.is_dir():
            raise OutputError(f"{output} is a folder; give the output a file name, such as {output / source.name}.")
        pairs = [(source, output)]
    for given, wanted in pairs:
        if given.resolve() == wanted.resolve():
            raise OutputError(f"{wanted} is the input itself; choose another output.")
        if is_picture(given) != is_picture(wanted):
            raise OutputError(f"{given} cannot become {wanted}: a picture stays a picture and a video a video.")
        credentials.require_signable(wanted)
    return pairs


def _convert_video(source: Path, output: Path, tools: _Tools, alone: bool) -> Converted:
    info = probe(source)
    frames = followed(source, tools.tracker())
    swapped = without = total = 0
    with _signed(output, source, tools.identity) as unsigned:
        with output_errors(output), VideoWriter(unsigned, info, tools.encoding) as writer:
            for frame, found in ahead(_swap(frames, tools.swapper)):
                writer.write(frame)
                total, swapped, without = total + 1, swapped + bool(found), without + (not found)
                values = {"no face": without}
                tools.report(Progress(f"convert {source.name}", total, info.frames, values=values))
        _refuse_faceless(source, swapped or not alone, total)
    return Converted(1, total, swapped, without, writer.sound)


def _convert_picture(source: Path, output: Path, tools: _Tools, alone: bool) -> Converted:
    picture, alpha = read_picture(source), read_alpha(source)
    found = tools.tracker()(picture)
    _refuse_faceless(source, bool(found) or not alone, 1)
    result = tools.swapper([picture], [[face.landmarks for face in found]])[0]
    if alpha is not None and output.suffix.lower() not in {".jpg", ".jpeg"}:
        result = np.dstack([result, alpha])
    with _signed(output, source, tools.identity) as unsigned:
        unsigned.write_bytes(encode_picture(result, output.suffix))
    tools.report(Progress(f"convert {source.name}", 1, 1))
    return Converted(1, 1, int(bool(found)), int(not found), "none")


@contextmanager
def _signed(output: Path, source: Path, identity: Identity) -> Generator[Path]:
    """Yield a path to write to; when the block ends well the file is signed and appears as `output`."""
    with whole_file(output) as signed:
        unsigned = signed.with_name(f"{signed.stem}-unsigned{signed.suffix}")
        try:
            yield unsigned
            credentials.sign(unsigned, signed, source, identity)
        finally:
            unsigned.unlink(missing_ok=True)


def _swap(
    tracked: Iterator[tuple[VideoFrame, list[Face]]], swapper: Swapper
) -> Iterator[tuple[VideoFrame, list[Face]]]:
    """Each frame with its new face, and the faces found in the old one."""
    for batch in batched(tracked, _BATCH):
        landmarks = [[face.landmarks for face in found] for _, found in batch]
        pictures: list[Frame] = swapper([frame.picture for frame, _ in batch], landmarks)
        for (frame, found), picture in zip(batch, pictures, strict=True):
            yield VideoFrame(picture, frame.index, frame.pts, frame.duration, frame.time), found


def _refuse_faceless(source: Path, fine: bool | int, frames: int) -> None:
    if not fine:
        raise InputError(f"No face was found in {source} ({frames} frames); nothing was written.")
