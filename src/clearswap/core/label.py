"""The visible label: a few words in a corner of every frame that say what the video is.

Signed metadata are lost when a video is encoded anew, and who looks at a video does not see them. Words in the picture
stay. They are drawn once for a video (the letters come from `machinery/label.py`, for here no files are known), and
laid into the corner that faces cover least, the same one in all frames.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame
from clearswap.errors import OptionError

Grey: TypeAlias = NDArray[np.float32]
Corner: TypeAlias = Literal["bottom right", "bottom left", "top right", "top left"]  # the ones first that are preferred

TEXT = "AI face swap"
_LONGEST = 60  # characters
_NO_LETTERS = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories of control characters, halves of pairs, ends of lines
_SHARE = 0.024  # of the frame's shorter side: the letters' size
_LEAST = 12.0  # pixels
_MARGIN = 0.9  # of the letters' size, between the plate and the frame's edges
# Over white, white letters on a plate of this opacity have a contrast of 6.2; WCAG 2.1 asks for 4.5.
_PLATE, _DARK, _WHITE = 0.66, 16.0, 255.0


@dataclass(frozen=True)
class LabelConfig:
    """What is written into the picture.

    Attributes:
        label: Write a small label into a corner of every picture and frame, the corner that faces cover least.
        label_text: What it says, in any language.
        label_scale: How large it is, 1 being 2.4 % of the frame's shorter side (0.5 to 4).
        label_font: A font file (.ttf, .otf, .ttc) for letters that the usual font lacks, such as Chinese ones. The
            usual one has Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian and Georgian ones.
    """

    label: bool = True
    label_text: str = TEXT
    label_scale: float = 1.0
    label_font: str | None = None

    def __post_init__(self) -> None:
        if not self.label_text.strip() or any(unicodedata.category(c) in _NO_LETTERS for c in self.label_text):
            raise OptionError("The label's text must be one line of letters; give another --label-text, or --no-label.")
        if len(self.label_text) > _LONGEST:
            raise OptionError(
                f"The label's text has {len(self.label_text)} characters; give a --label-text of {_LONGEST} at most."
            )
        if not 0.5 <= self.label_scale <= 4:
            raise OptionError(f"A label scale of {self.label_scale:g} is not possible; give one from 0.5 to 4.")


@dataclass(frozen=True)
class Label:
    """A label that is drawn: a pixel of the frame becomes `keep` times what it was, plus `add` (0..255)."""

    keep: Grey  # (h, w, 1) in 0..1: 1 less the opacity
    add: Grey  # (h, w, 1) in 0..255: the opacity times the colour, which is a grey

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.keep.shape[0], self.keep.shape[1]


def letter_size(height: int, width: int, scale: float = 1.0) -> float:
    """How large letters are on a frame, in pixels from the top of an `f` to the foot of a `p`."""
    return max(_LEAST, _SHARE * scale * min(height, width))


def margin(height: int, width: int) -> int:
    """The pixels between a label and the edges of a frame."""
    return round(_MARGIN * letter_size(height, width))


def draw_label(written: Grey) -> Label:
    """White letters on a dark, rounded, see-through plate.

    `written`: (h, w) in 0..1, how much of each pixel is letter, with the room around that the plate is to have. It is
    the plate that makes letters readable on any picture: behind them, nothing is brighter than a third of white.
    """
    height, width = written.shape
    y, x = np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)
    radius = 0.32 * height
    # The distance to a rounded rectangle: to its core, a rectangle smaller by the radius on all sides, less the radius.
    beside = np.maximum(np.abs(x - width / 2) - (width / 2 - radius), 0)
    above = np.maximum(np.abs(y - height / 2) - (height / 2 - radius), 0)
    plate = _PLATE * np.clip(radius + 0.5 - np.hypot(beside, above), 0, 1)
    keep = (1 - plate) * (1 - written)
    add = plate * _DARK * (1 - written) + _WHITE * written
    return Label(np.asarray(keep, np.float32)[..., None], np.asarray(add, np.float32)[..., None])


def place(height: int, width: int, size: tuple[int, int], corner: Corner) -> tuple[int, int, int, int]:
    """Where a label of `size` (height, width) lies in a corner of a frame: left, top, right, bottom in pixels."""
    (high, wide), gap = size, margin(height, width)
    left = gap if corner.endswith("left") else width - gap - wide
    top = gap if corner.startswith("top") else height - gap - high
    left, top = max(0, min(left, width - wide)), max(0, min(top, height - high))
    return left, top, left + wide, top + high


def lay_label(frame: Frame, label: Label, corner: Corner) -> Frame:
    """A new frame (H, W, 3) with the label in a corner. Pixels outside of its box keep their exact value."""
    left, top, right, bottom = place(frame.shape[0], frame.shape[1], label.size, corner)
    result = frame.copy()
    box = result[top:bottom, left:right]
    seen = np.s_[: box.shape[0], : box.shape[1]]  # a frame may be smaller than any label
    box[:] = np.rint(box * label.keep[seen] + label.add[seen])
    return result


def quietest_corner(boxes: NDArray[np.float32], height: int, width: int, size: tuple[int, int]) -> Corner:
    """The corner of a frame where a label of `size` (height, width) covers least of faces, over a whole video.

    `boxes`: (N, 4), left, top, right, bottom in pixels, of the faces of all frames together. Where it is all the same,
    the bottom right.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    covered: dict[Corner, float] = {}
    for corner in get_args(Corner):
        left, top, right, bottom = place(height, width, size, corner)
        across = np.minimum(boxes[:, 2], right) - np.maximum(boxes[:, 0], left)
        down = np.minimum(boxes[:, 3], bottom) - np.maximum(boxes[:, 1], top)
        covered[corner] = float((across.clip(0) * down.clip(0)).sum(dtype=np.float64))
    return min(covered, key=lambda corner: covered[corner])
