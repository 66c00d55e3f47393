"""The second pass over a clip: draw the new faces of its frames in batches, and fit them in."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice, repeat
from pathlib import Path

from clearswap.core.align import Points
from clearswap.core.steady import SteadyConfig
from clearswap.core.swap import NewFace, Swapper, steady_colours
from clearswap.machinery.stages import ahead, batched
from clearswap.machinery.tracks import Tracks
from clearswap.machinery.video import Excerpt, VideoFrame, read_frames
from clearswap.machinery.who import Choice

_BATCH = 8  # frames whose faces are drawn together

_Drawn = tuple[VideoFrame, dict[int, NewFace]]


def swapped_frames(
    clip: Path, part: Excerpt, tracks: Tracks, choice: Choice, smoothing: SteadyConfig, swapper: Swapper, start: int
) -> Generator[VideoFrame]:
    """The frames of a part of a clip, from its frame `start` on, with new faces.

    Whatever the start, each comes out the same: colours are averaged with those of frames before it, and batches begin
    at the same frames.
    """
    reach = swapper.blend.colour_frames
    begin = max(0, start - reach) // _BATCH * _BATCH
    with closing(ahead(read_frames(clip, part=part))) as frames:
        drawn = _draw(islice(frames, begin, None), _placed(tracks, choice, smoothing, begin), swapper)
        yield from islice(_fit(drawn, swapper, reach), start - begin, None)


def _placed(tracks: Tracks, choice: Choice, smoothing: SteadyConfig, start: int) -> Iterator[dict[int, Points]]:
    """The landmarks of the faces to replace by track, for each frame from `start` on."""
    for frame, found in enumerate(tracks.all(start, smoothing), start):
        yield {number: found[number] for number in choice(frame, found)}


def _draw(frames: Iterator[VideoFrame], placed: Iterator[dict[int, Points]], swapper: Swapper) -> Iterator[_Drawn]:
    for batch in batched(zip(frames, placed, strict=False), _BATCH):
        drawn = swapper.draw_all([frame.picture for frame, _ in batch], [found for _, found in batch])
        yield from zip((frame for frame, _ in batch), drawn, strict=True)


def _fit(drawn: Iterator[_Drawn], swapper: Swapper, reach: int) -> Iterator[VideoFrame]:
    """Each frame with its new faces in colours that are averaged over `reach` frames before and after."""
    window: deque[_Drawn] = deque()
    at = 0  # where the next frame to fit stands in the window
    for new in chain(drawn, repeat(None, reach)):
        if new is not None:
            window.append(new)
        if len(window) - at > reach or (new is None and at < len(window)):
            frame = window[at][0]
            faces = steady_colours([faces for _, faces in window], at)
            yield replace(frame, picture=swapper.fit(frame.picture, faces, frame.index))
            at += 1
        if at > reach:
            window.popleft()
            at -= 1
