"""The second pass over a clip: the stages that put new faces into its frames overlap, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import SmoothConfig
from clearswap.core.detail import Shares
from clearswap.core.expression import MEASURES, Expressions
from clearswap.core.swap import DETAIL_REACH, NewFace, Swapper, smooth_faces, steady_layers, with_layer
from clearswap.disclosure.stamp import Stamp
from clearswap.faces.tracker import Faces
from clearswap.media.pipeline import ahead, batched, map_ahead, windows
from clearswap.media.shown import VideoFrame

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
        found, (expressions, shares) = self.faces.by_frame(begin, self.smoothing), self._choose_detail()
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
                own: tuple[Expressions, list[Shares]] | tuple[None, None] = (None, None)
                if swapper.detailer is not None:
                    rows = [row for _, row, _ in mine]
                    own = expressions[rows], [shares[row] for row in rows]
                faces = swapper.draw(pictures, [points for _, _, points in mine], *own)
                for (new, row, _), face in zip(mine, faces, strict=True):
                    new.faces[int(self.faces.track[row])] = face
            yield from drawn

    def _choose_detail(self) -> tuple[Expressions, dict[int, Shares]]:
        """The expressions (N, MEASURES) of all faces that get detail, and which of the person's own faces give it.

        Each track is decided as a whole, so that it does not matter where a conversion goes on.
        """
        expressions, shares = np.zeros((len(self.faces), MEASURES), np.float32), dict[int, Shares]()
        detailers = {role: each.detailer for role, each in enumerate(self.swappers) if each.detailer is not None}
        if not detailers:
            return expressions, shares
        for rows, landmarks in self.faces.by_frame(0, self.smoothing):
            for row, points in zip(rows, landmarks, strict=True):
                if int(self.roles[row]) in detailers:
                    expressions[row] = self.swappers[int(self.roles[row])].read(points)
        for role, detailer in detailers.items():
            chosen = self.roles == role
            for track in np.unique(self.faces.track[chosen]):
                rows = np.flatnonzero(chosen & (self.faces.track == track))
                shares |= dict(zip(rows.tolist(), detailer.follow(expressions[rows]), strict=True))
        return expressions, shares

    def _fit(self, drawn: _DrawnFrame) -> VideoFrame:
        """Fit the new faces into their frame, and stamp it."""
        original = drawn.frame.picture
        swapped = self.swappers[0].fit(original, list(drawn.faces.values()), seed=drawn.frame.index)
        return replace(drawn.frame, picture=self.stamp(swapped, original))


def _with_layers(drawn: _DrawnFrame) -> _DrawnFrame:
    """A frame for whose new faces the person's own pixels are found."""
    return _DrawnFrame(drawn.frame, {track: with_layer(face) for track, face in drawn.faces.items()})
