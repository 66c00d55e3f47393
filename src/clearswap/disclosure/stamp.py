"""What every picture and frame of an output gets: the invisible mark, and the visible label over it.

An original that carries Clearswap's mark already keeps it. Two marks over each other would both be hard to read, and
the first says more of where the picture comes from; so the same bits are laid again into what was replaced, and nothing
into the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points
from clearswap.disclosure.label import Corner, Label, LabelConfig, lay_label, make_label, quietest_corner
from clearswap.disclosure.mark import lay, pattern
from clearswap.disclosure.mark_reader import read_untouched


@dataclass(frozen=True)
class Stamp:
    """Marks and labels the frames of one picture or video."""

    pattern: NDArray[np.uint8]
    marked: bool  # the original is marked already
    label: Label | None
    corner: Corner

    def __call__(self, frame: Frame, original: Frame) -> Frame:
        """A frame (H, W, 3) with the mark and the label; `original`: the same before anything was replaced."""
        stamped = lay(frame, self.pattern)
        if self.marked:
            stamped = np.where((frame != original).any(2, keepdims=True), stamped, frame)
        return stamped if self.label is None else lay_label(stamped, self.label, self.corner)


def make_stamp(
    shape: tuple[int, int], mark: int, *, marked: bool, label: LabelConfig, faces: Iterable[Points]
) -> Stamp:
    """The stamp for frames of a shape (height, width) with the 16 bits `mark`; the label goes where it covers least of
    `faces`, landmarks (468, 2) in all frames. Raises `OptionError` for a label that cannot be written.
    """
    drawn, corner = make_label(*shape, label), "bottom right"
    if drawn is not None:
        boxes = [np.concatenate([points.min(0), points.max(0)]) for points in faces]
        corner = quietest_corner(np.array(boxes, np.float32), *shape, drawn.size)
    return Stamp(pattern(mark, *shape), marked, drawn, corner)


def mark_in(frames: Iterable[Frame]) -> int | None:
    """The bits that an original carries already; None where it is not marked. What was turned or cropped since it was
    marked counts as not marked: the search for such marks takes seconds.
    """
    found = read_untouched(frames)
    return found.bits if found.marked else None
