"""Files appear whole or not at all: everything is written beside its final place and renamed at the end."""

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
    """Where `path` is being written before it is whole; hidden, in the same folder, with the same suffix."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


@contextmanager
def atomic_file(path: Path) -> Generator[Path]:
    """Yield a path to write to; when the block ends well the file is renamed to `path`, else it is removed."""
    with atomic_files(path) as (partial,):
        yield partial


@contextmanager
def atomic_files(*paths: Path) -> Generator[list[Path]]:
    """The same for files that belong together: all appear, one after the other, or none; but for the last, those to
    which nothing was written do not. Errors name the last.
    """
    partials = [partial_of(path) for path in paths]
    appeared: list[Path] = []
    with output_errors(paths[-1]):
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
        try:
            for partial in partials:
                partial.touch()  # a place that cannot be written is found out before the work, not after
            yield partials
            for partial in partials:
                _to_disk(partial)
            for partial, path in zip(partials, paths, strict=True):
                if path == paths[-1] or partial.stat().st_size:
                    partial.replace(path)
                    appeared.append(path)
        except OSError:
            for path in appeared:
                path.unlink(missing_ok=True)
            raise
        finally:
            for partial in partials:
                partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """The same for a folder. Raises `OutputError` when `path` is there already and holds anything."""
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


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
