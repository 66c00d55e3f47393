"""How often the guard raises an alarm: a line for each folder or file, of all pictures and videos in it.

    python tools/guard_check.py FOLDER [FILE ...]

Of a video, all frames are looked at. Prints how many frames there were, how many raised an alarm, and the
three that the detector was surest of.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from clearswap.core.align import Frame
from clearswap.errors import InputError
from clearswap.faces.face_models import EXPOSED, Guard
from clearswap.media.files import PICTURE_SUFFIXES, VIDEO_SUFFIXES, is_picture, read_picture
from clearswap.media.video import read_frames


def frames_of(path: Path) -> Iterator[Frame]:
    """The pictures to look at in a file."""
    if is_picture(path):
        yield read_picture(path)
        return
    for frame in read_frames(path):
        yield frame.picture


def files_of(place: Path) -> list[Path]:
    """The pictures and videos in a folder, or the file itself."""
    if place.is_file():
        return [place]
    known = PICTURE_SUFFIXES | VIDEO_SUFFIXES
    return sorted(path for path in place.rglob("*") if path.is_file() and path.suffix.lower() in known)


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", type=Path, nargs="+")
    guard = Guard()
    for place in parser.parse_args().places:
        scores: list[tuple[float, str]] = []
        for path in files_of(place):
            try:
                scores += [(guard.look(frame), path.name) for frame in frames_of(path)]
            except InputError as error:
                print(f"passed over: {error}")
        alarms = sum(score >= EXPOSED for score, _ in scores)
        best: dict[str, float] = {}
        for score, name in sorted(scores):
            best[name] = score
        surest = [f"{name} {score:.2f}" for name, score in sorted(best.items(), key=lambda item: -item[1])[:3]]
        print(f"{place}: {len(scores)} frames, {alarms} alarms; surest: {', '.join(surest)}", flush=True)


if __name__ == "__main__":
    main()
