"""Working folders: what a long run has done so far, hidden beside its output, for a run that goes on after it.

Writing long videos: segment by segment, so that a run that was killed goes on after the last finished one.

A segment holds some seconds of picture, encoded by itself; its name says which one it is and when it begins. In the end
all are put one after the other without encoding again, with the sound and subtitles. Whether a run was killed in
between makes no difference to what comes out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av

from clearswap.errors import OutputError
from clearswap.media.atomic import atomic_file
from clearswap.media.encoder import EncodeConfig, PictureTrack
from clearswap.media.remux import Remuxer
from clearswap.media.video import TimeRange, VideoFrame, VideoInfo, open_video

PIECES = "segment_"  # what finished pieces of the work begin with
_ABOUT = "run.json"


def workdir_of(output: Path) -> Path:
    """The working folder of what becomes `output`."""
    return output.with_name(f".{output.name}.work")


def fingerprint(file: Path) -> list[str | int]:
    """What tells a file from a changed one: its name, length and time."""
    about = file.stat()
    return [str(file.resolve()), about.st_size, about.st_mtime_ns]


@contextmanager
def workdir(folder: Path, about: Mapping[str, Any], *, resume: bool) -> Generator[bool]:
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
            with atomic_file(folder / _ABOUT) as partial:
                partial.write_text(json.dumps(known))
        yield going_on
    except (KeyboardInterrupt, OutputError, OSError):
        stays = any(folder.glob(f"{PIECES}*"))
        raise
    finally:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)


LENGTH = 250  # frames in a segment: as many as x264 has between two key frames at most, so none are added


class Segments:
    """The segments of one clip in a working folder."""

    def __init__(self, folder: Path, info: VideoInfo, config: EncodeConfig, length: int = LENGTH) -> None:
        self._folder, self._info, self._config, self._length = folder, info, config, length

    @property
    def frames(self) -> int:
        """How many frames are in finished segments."""
        return self._length * len(self._files())

    def write(self, frames: Iterator[VideoFrame]) -> None:
        """Write the frames that follow on the finished segments."""
        number = len(self._files())
        while (first := next(frames, None)) is not None:
            with (
                atomic_file(self._folder / f"{PIECES}{number:06d}_{first.pts}.mp4") as partial,
                av.open(str(partial), "w") as out,
            ):
                track = PictureTrack(out, self._info, self._config, first.pts)
                for frame in chain([first], islice(frames, self._length - 1)):
                    track.write(frame)
                track.close()
            number += 1

    def join(self, output: Path, time_range: TimeRange = TimeRange()) -> Remuxer:
        """Put all segments into `output`, and what goes beside them in that part of the clip; the result says what
        became of that. A part that does not begin with the clip begins at zero.
        """
        with (
            av.open(str(output), "w", options={"movflags": "+faststart"}) as out,
            open_video(self._info.path) as original,
        ):
            files = self._files()
            with av.open(str(files[0])) as first:
                # opaque: copied as it is; PyAV would look for an AV1 encoder by its decoder's name otherwise
                stream: Any = out.add_stream_from_template(first.streams.video[0], opaque=True)
                stream.time_base = self._info.time_base
            zero = _start_of(files[0]) if time_range.start else 0
            beside = Remuxer(original, out, zero * self._info.time_base, time_range.end)
            for packet in chain.from_iterable(self._packets(file, zero) for file in files):
                beside.mux_until(float(packet.pts * packet.time_base))
                packet.stream = stream
                out.mux(packet)
            beside.mux_until(float("inf"))
        return beside

    def _packets(self, file: Path, zero: int) -> Iterator[Any]:
        """The packets of a segment at their times in the clip, counted from `zero`."""
        with av.open(str(file)) as segment:
            for packet in segment.demux(segment.streams.video[0]):
                if packet.dts is not None and packet.pts is not None:
                    start = int((_start_of(file) - zero) * self._info.time_base / packet.time_base)
                    packet.pts, packet.dts = packet.pts + start, packet.dts + start
                    yield packet

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{PIECES}*.mp4"))


def _start_of(segment: Path) -> int:
    """When a segment begins, in units of the clip's time base."""
    return int(segment.stem.split("_")[2])
