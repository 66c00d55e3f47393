"""Working folders: what a long run has done so far, hidden beside its output, for a run that goes on after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clearswap.errors import OutputError
from clearswap.machinery.whole import whole_file

PIECES = "segment_"  # what finished pieces of the work begin with
_ABOUT = "run.json"


def work_of(output: Path) -> Path:
    """The working folder of what becomes `output`."""
    return output.with_name(f".{output.name}.work")


def fingerprint(file: Path) -> list[str | int]:
    """What tells a file from a changed one: its name, length and time."""
    about = file.stat()
    return [str(file.resolve()), about.st_size, about.st_mtime_ns]


@contextmanager
def working_folder(folder: Path, about: Mapping[str, Any], *, resume: bool) -> Generator[bool]:
    """Have `folder` for as long as the block lasts; yields whether it holds what a run that was stopped has done.

    `about`: all that the work depends on; what was done with other settings is of no use. The folder goes when the
    block ends well, or with an error that will not go away. It stays where a piece is finished and the program stopped
    or killed, or the place to write to full: room can be made.
    """
    known = json.loads(json.dumps(about, default=str))
    going_on = resume and (folder / _ABOUT).is_file() and json.loads((folder / _ABOUT).read_text()) == known
    stays = False
    try:
        if not going_on:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with whole_file(folder / _ABOUT) as partial:
                partial.write_text(json.dumps(known))
        yield going_on
    except (KeyboardInterrupt, OutputError, OSError):
        stays = any(folder.glob(f"{PIECES}*"))
        raise
    finally:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)
