"""Files and folders appear complete or not at all: each is written under another name and renamed at the end.

Files as people give them: pictures of every kind and depth, and folders of pictures and videos.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clearswap.core.align import Frame
from clearswap.errors import InputError, OutputError
from clearswap.media.video import TimeRange, VideoFrame, VideoInfo, probe, probe_and_read, read_frames

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another place",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another place",
    errno.EACCES: "you may not write there; choose another place",
    errno.EPERM: "you may not write there; choose another place",
    errno.EROFS: "that disk is read-only; choose another place",
    errno.ENOENT: "there is no such place; choose another",
    errno.ENOTDIR: "a part of that path is a file, not a folder; choose another place",
    errno.EISDIR: "there is a folder of that name; choose another name",
    errno.ENAMETOOLONG: "that name is too long; choose a shorter one",
    errno.EIO: "the disk reported an error; choose another place",
}


@contextmanager
def output_errors(path: Path) -> Generator[None]:
    """Turn a failed write inside the block into an `OutputError` about `path`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        raise OutputError(f"{path} cannot be written: {_REASONS[error.errno]}.") from error


def partial_of(path: Path) -> Path:
    """Where `path` is being written until it is complete: hidden, in the same folder, with the same suffix."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


@contextmanager
def atomic_file(path: Path) -> Generator[Path]:
    """Yield a path to write to. When the block ends well, that file is renamed to `path`; else it is removed.

    Missing folders are made. Raises `OutputError`, before the block where the place cannot be written at all.
    """
    partial = partial_of(path)
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
        try:
            partial.touch()  # a place that cannot be written is found out before the work, not after
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """Yield a folder to fill. When the block ends well, it is renamed to `path`; else it is removed.

    Raises `OutputError`, also where `path` is a file or a folder that holds anything.
    """
    partial = path.with_name(f".{path.name}.partial")
    with output_errors(path):
        if path.is_file():
            raise OutputError(f"{path} is a file; choose another place for the folder.")
        if path.is_dir() and any(path.iterdir()):
            raise OutputError(f"{path} is not empty; delete it or choose another place.")
        shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
        partial.mkdir(parents=True)
        try:
            yield partial
            if path.is_dir():
                path.rmdir()
            partial.replace(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
)


# Pictures


def is_picture(path: Path) -> bool:
    """Whether the name is that of a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def read_picture(path: Path) -> Frame:
    """Read a picture as (H, W, 3) RGB bytes, turned upright as its EXIF says. Raises `InputError`.

    Grey is spread to three channels, 16 bits become 8, transparency is left out.
    """
    return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR_RGB), np.uint8)


def read_alpha(path: Path) -> NDArray[np.uint8] | None:
    """The transparency (H, W) of a picture that has some, upright as in `read_picture`, else None."""
    picture = _decode(path, cv2.IMREAD_UNCHANGED)
    if picture.ndim != 3 or picture.shape[2] != 4:
        return None
    try:
        with Image.open(path) as again:  # OpenCV turns no picture upright that it reads with its transparency
            return np.asarray(ImageOps.exif_transpose(again).convert("RGBA").getchannel("A"), np.uint8)
    except OSError as error:
        raise InputError(f"The transparency of {path} cannot be read; save it as an 8-bit PNG.") from error


def encode_picture(picture: Frame, suffix: str, *, quality: int = 95) -> bytes:
    """The bytes of a picture file; JPEG keeps full chroma, so that lips and eyes do not smear."""
    options: list[int] = []
    if suffix.lower() in {".jpg", ".jpeg"}:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    order = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture, order), options)
    if not done:
        raise InputError(f"A picture could not be written as {suffix}; use .png or .jpg.")
    return data.tobytes()


def _decode(path: Path, mode: int) -> MatLike:
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the name.")
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)  # cv2.imread cannot open every non-ASCII name on Windows
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}).") from error
    if not len(data):
        raise InputError(f"{path} is empty (0 bytes); copy it again.")
    picture = cv2.imdecode(data, mode)
    if picture is None:
        raise InputError(f"{path} is not a picture that can be read; it may be damaged.")
    return picture


# Inputs: videos, pictures, and folders of either


def list_inputs(inputs: Sequence[Path]) -> list[Path]:
    """The files behind `inputs`: folders are listed (sorted by name, hidden files left out), files are kept.

    Raises `InputError` for a name that does not exist and for a folder without pictures or videos.
    """
    files: list[Path] = []
    for given in inputs:
        try:
            if given.is_dir():
                found = sorted(path for path in given.iterdir() if _is_input(path))
                if not found:
                    raise InputError(f"{given} holds no picture and no video; choose another folder.")
                files += found
            elif given.exists():
                files.append(given)
            else:
                raise InputError(f"{given} does not exist; check the name.")
        except OSError as error:  # no permission, a name that is too long
            raise InputError(f"{given} cannot be opened ({error.strerror}).") from error
    return files


def _is_input(path: Path) -> bool:
    known = path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES
    return known and path.is_file() and not path.name.startswith(".")


def pair_outputs(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """Each input file with the file that it becomes; a folder becomes a folder of the same names.

    Raises `InputError` for inputs that are none, and `OutputError` for outputs that cannot be.
    """
    files = list_inputs([source])
    with output_errors(output):
        if source.is_dir() and output.is_file():
            raise OutputError(f"{output} is a file; a folder of inputs needs a folder as output.")
        if output.is_dir() and not source.is_dir():
            raise OutputError(f"{output} is a folder; give the output a file name, such as {output / source.name}.")
        pairs = [(file, output / file.name if source.is_dir() else output) for file in files]
        for given, wanted in pairs:
            if given.resolve() == wanted.resolve():
                raise OutputError(f"{wanted} is the input itself; choose another output.")
            if is_picture(given) != is_picture(wanted):
                raise OutputError(f"{given} cannot become {wanted}: a picture stays a picture and a video a video.")
    return pairs


def count_frames(source: Path) -> int:
    """How many frames a file holds; a picture holds one. Raises `InputError` for a file that is not complete."""
    return 1 if is_picture(source) else probe(source).frames


def open_source(source: Path, *, time_range: TimeRange = TimeRange()) -> tuple[VideoInfo, Iterator[VideoFrame]]:
    """What a video is, and the frames of a part of it; a picture is a video of one frame. Raises `InputError`, also for
    a file that is not complete.
    """
    if not is_picture(source):
        return probe_and_read(source, time_range=time_range)
    height, width = read_picture(source).shape[:2]
    second = Fraction(1)
    info = VideoInfo(
        source,
        width,
        height,
        rate=second,
        time_base=second,
        frames=1,
        pix_fmt="rgb24",
        colorspace=0,
        color_range=0,
        color_primaries=0,
        color_trc=0,
    )
    return info, read_source(source)


def read_source(source: Path, *, every: int = 1, time_range: TimeRange = TimeRange()) -> Iterator[VideoFrame]:
    """Yield the frames of a part of a video, or the one frame of a picture. Raises `InputError`."""
    if is_picture(source):
        yield VideoFrame(read_picture(source), index=0, pts=0, duration=0, time=0.0)
    else:
        yield from read_frames(source, every=every, time_range=time_range)
