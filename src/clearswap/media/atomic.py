"""Files and folders appear complete or not at all: each is written under another name and renamed at the end."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from clearswap.errors import OutputError

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
