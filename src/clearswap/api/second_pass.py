"""The second pass over a clip: the stages that put new faces into its frames overlap, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from clearswap.core.detail import Detailer, Shares
from clearswap.core.expression import MEASURES
from clearswap.core.smoothing import SmoothConfig
from clearswap.core.swap import DETAIL_REACH, NewFace, Swapper, smooth_faces, steady_layers, with_layer
from clearswap.disclosure.stamp import Stamp
from clearswap.faces.tracker import Faces
from clearswap.media.pipeline import ahead, batched, map_ahead, windows
from clearswap.media.video import VideoFrame

_BATCH = 8  # frames whose faces are drawn together


@dataclass(frozen=True)
class _DrawnFrame:
    """A frame with the new faces that go into it, by track."""

    frame: VideoFrame
    faces: dict[int, NewFace]


@dataclass(frozen=True)
class SecondPass:
    """Goes through a clip again and puts the new faces in.

    Attributes:
        faces: The N faces of the clip.
        roles: (N,), which of the swappers draws each face anew; -1 where it stays.
        swappers: Draw the faces; the first one's `blend` fits them all in.
        smoothing: How landmarks are smoothed.
        stamp: Marks and labels each frame.
    """

    faces: Faces
    roles: NDArray[np.int64]
    swappers: Sequence[Swapper]
    smoothing: SmoothConfig
    stamp: Stamp

    def __call__(self, frames: Iterator[VideoFrame], start: int = 0) -> Generator[VideoFrame]:
        """Yield the swapped and stamped frames from number `start` on, for all `frames` of the clip.

        A frame comes out the same whatever the start: colours are averaged with those of frames before it, batches
        begin at the same frames, and where detail comes from is decided on the whole clip.
        """
        colours = self.swappers[0].blend.colour_frames
        reach = max(colours, DETAIL_REACH)
        begin = max(0, start - reach - DETAIL_REACH) // _BATCH * _BATCH
        with closing(ahead(frames)) as read:
            drawn = self._draw(islice(read, begin, None), begin)
            smoothed = (
                _DrawnFrame(window[at].frame, smooth_faces([one.faces for one in window], at, colours))
                for window, at in windows(drawn, reach)
            )
            with closing(map_ahead(_with_layers, smoothed)) as layered:
                steady = (
                    _DrawnFrame(window[at].frame, steady_layers([one.faces for one in window], at))
                    for window, at in windows(layered, DETAIL_REACH)
                )
                with closing(ahead(islice(steady, start - begin, None))) as ready:
                    yield from map_ahead(self._fit, ready)

    def _draw(self, frames: Iterator[VideoFrame], begin: int) -> Iterator[_DrawnFrame]:
        """Draw the new faces of the frames from number `begin` on, those of a few frames as one batch."""
        found, shares = self.faces.by_frame(begin, self.smoothing), self._shares()
        for batch in batched(zip(frames, found, strict=False), _BATCH):
            drawn = [_DrawnFrame(frame, {}) for frame, _ in batch]
            places = [
                (new, row, points)
                for new, (_, (rows, landmarks)) in zip(drawn, batch, strict=True)
                for row, points in zip(rows, landmarks, strict=True)
            ]
            for role, swapper in enumerate(self.swappers):
                mine = [place for place in places if self.roles[place[1]] == role]
                pictures = [new.frame.picture for new, _, _ in mine]
                own = [shares[row] for _, row, _ in mine] if swapper.detailer is not None else None
                faces = swapper.draw(pictures, [points for _, _, points in mine], own)
                for (new, row, _), face in zip(mine, faces, strict=True):
                    new.faces[int(self.faces.track[row])] = face
            yield from drawn

    def _shares(self) -> dict[int, Shares]:
        """Which of the person's own faces give each of the N faces its detail; decided on the whole clip."""
        shares: dict[int, Shares] = {}
        for role, swapper in enumerate(self.swappers):
            if swapper.detailer is not None:
                shares |= choose_detail(self.faces, self.roles == role, swapper.detailer, self.smoothing)
        return shares

    def _fit(self, drawn: _DrawnFrame) -> VideoFrame:
        """Fit the new faces into their frame, and stamp it."""
        original = drawn.frame.picture
        swapped = self.swappers[0].fit(original, list(drawn.faces.values()), seed=drawn.frame.index)
        return replace(drawn.frame, picture=self.stamp(swapped, original))


def _with_layers(drawn: _DrawnFrame) -> _DrawnFrame:
    """A frame for whose new faces the person's own pixels are found."""
    return _DrawnFrame(drawn.frame, {track: with_layer(face) for track, face in drawn.faces.items()})


def choose_detail(
    faces: Faces, chosen: NDArray[np.bool_], detailer: Detailer, smoothing: SmoothConfig
) -> dict[int, Shares]:
    """For each of the `chosen` (N,) of a clip's faces: which faces of the detailer's store are seen in it.

    Each track is decided as a whole, so that it does not matter where a conversion goes on.
    """
    expressions = np.zeros((len(faces), MEASURES), np.float32)
    for rows, landmarks in faces.by_frame(0, smoothing):
        for row, points in zip(rows, landmarks, strict=True):
            if chosen[row]:
                expressions[row] = detailer.read(points)
    found: dict[int, Shares] = {}
    for track in np.unique(faces.track[chosen]):
        rows = np.flatnonzero(chosen & (faces.track == track))
        found |= dict(zip(rows.tolist(), detailer.follow(expressions[rows]), strict=True))
    return found
