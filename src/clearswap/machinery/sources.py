"""Inputs as people give them: videos, pictures, and folders of either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from clearswap.errors import InputError, OutputError
from clearswap.machinery.pictures import is_picture, read_picture
from clearswap.machinery.video import VideoFrame, probe, read_frames
from clearswap.machinery.whole import output_errors

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
)


def list_sources(inputs: Sequence[Path]) -> list[Path]:
    """The files behind `inputs`: folders are listed (sorted by name, hidden files left out), files are kept.

    Raises `InputError` for a name that does not exist and for a folder without pictures or videos.
    """
    files: list[Path] = []
    for given in inputs:
        try:
            files += _files_of(given)
        except OSError as error:  # no permission, a name that is too long
            raise InputError(f"{given} cannot be opened ({error.strerror}).") from error
    return files


def _files_of(given: Path) -> list[Path]:
    if given.is_dir():
        found = sorted(path for path in given.iterdir() if _is_source(path))
        if not found:
            raise InputError(f"{given} holds no picture and no video; choose another folder.")
        return found
    if not given.exists():
        raise InputError(f"{given} does not exist; check the name.")
    return [given]


def pair_outputs(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """Each input file with the file that it becomes; a folder becomes a folder of the same names.

    Raises `InputError` for inputs that are none, and `OutputError` for outputs that cannot be.
    """
    files = list_sources([source])
    with output_errors(output):
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
    return pairs


def count_frames(source: Path) -> int:
    """How many frames a file holds; a picture holds one. Raises `InputError` for a file that is not whole."""
    return 1 if is_picture(source) else probe(source).frames


def read_source(source: Path, *, every: int = 1) -> Iterator[VideoFrame]:
    """The frames of a video, or the one frame of a picture."""
    if is_picture(source):
        yield VideoFrame(read_picture(source), index=0, pts=0, duration=0, time=0.0)
    else:
        yield from read_frames(source, every=every)


def _is_source(path: Path) -> bool:
    known = is_picture(path) or path.suffix.lower() in VIDEO_SUFFIXES
    return known and path.is_file() and not path.name.startswith(".")
