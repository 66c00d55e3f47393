"""The second pass over a clip: draw the new faces of its frames in batches, and fit them in."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice, repeat
from pathlib import Path

from clearswap.core.align import Points
from clearswap.core.smoothing import SmoothConfig
from clearswap.core.swap import NewFace, Swapper, steadied
from clearswap.disclosure.stamp import Stamp
from clearswap.faces.selection import Choice, chosen_by
from clearswap.faces.tracks import Tracks
from clearswap.media.pipeline import ahead, batched, map_ahead
from clearswap.media.video import TimeRange, VideoFrame, read_frames

_BATCH = 8  # frames whose faces are drawn together

_Drawn = tuple[VideoFrame, dict[int, NewFace]]
_Calmed = tuple[VideoFrame, list[NewFace]]
Cast = Sequence[tuple[Choice, Swapper]]  # who is replaced, and what draws the faces in their place; all fit in alike
_Placed = list[dict[int, Points]]  # the landmarks of the faces that each swapper draws, by track


def second_pass(
    clip: Path,
    time_range: TimeRange,
    tracks: Tracks,
    cast: Cast,
    smoothing: SmoothConfig,
    stamp: Stamp,
    start: int,
) -> Generator[VideoFrame]:
    """The frames of a part of a clip, from its frame `start` on, with new faces and stamped.

    Whatever the start, each comes out the same: colours are averaged with those of frames before it, and batches begin
    at the same frames.
    """
    choices, swappers = [choice for choice, _ in cast], [swapper for _, swapper in cast]
    reach = swappers[0].blend.colour_frames
    begin = max(0, start - reach) // _BATCH * _BATCH

    def finished(given: _Calmed) -> VideoFrame:
        frame, faces = given
        swapped = swappers[0].fit(frame.picture, faces, frame.index)
        return replace(frame, picture=stamp(swapped, frame.picture))

    with closing(ahead(read_frames(clip, time_range=time_range))) as frames:
        drawn = _draw(islice(frames, begin, None), _placed(tracks, choices, smoothing, begin), swappers)
        with closing(ahead(islice(_calmed(drawn, reach), start - begin, None))) as calmed:
            yield from map_ahead(finished, calmed)


def _placed(tracks: Tracks, choices: Sequence[Choice], smoothing: SmoothConfig, start: int) -> Iterator[_Placed]:
    """Where the faces to replace are in each frame from `start` on."""
    for frame, found in enumerate(tracks.all(start, smoothing), start):
        yield [{number: found[number] for number in own} for own in chosen_by(choices, frame, found)]


def _draw(frames: Iterator[VideoFrame], placed: Iterator[_Placed], swappers: Sequence[Swapper]) -> Iterator[_Drawn]:
    for batch in batched(zip(frames, placed, strict=False), _BATCH):
        pictures = [frame.picture for frame, _ in batch]
        drawn: list[dict[int, NewFace]] = [{} for _ in batch]
        for i, swapper in enumerate(swappers):
            for faces, new in zip(drawn, swapper.draw_all(pictures, [found[i] for _, found in batch]), strict=True):
                faces |= new
        yield from zip((frame for frame, _ in batch), drawn, strict=True)


def _calmed(drawn: Iterator[_Drawn], reach: int) -> Iterator[_Calmed]:
    """Each frame with its new faces, in colours that are averaged over `reach` frames before and after."""
    window: deque[_Drawn] = deque()
    at = 0  # where the next frame stands in the window
    for new in chain(drawn, repeat(None, reach)):
        if new is not None:
            window.append(new)
        if len(window) - at > reach or (new is None and at < len(window)):
            yield window[at][0], steadied([faces for _, faces in window], at)
            at += 1
        if at > reach:
            window.popleft()
            at -= 1
