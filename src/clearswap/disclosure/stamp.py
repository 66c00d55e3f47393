"""The visible label: a few words in a corner of every frame that say what the video is.

Signed metadata are lost when a video is encoded anew, and who looks at a video does not see them. Words in the picture
stay. They are drawn once for a video (the letters come from `disclosure/stamp.py`, for here no files are known), and
laid into the corner that faces cover least, the same one in all frames.

The letters of the visible label: written with a font, whose file is found here. The rest is in `disclosure/stamp.py`.

What every picture and frame of an output gets: the invisible mark, and the visible label over it.

An original that carries Clearswap's mark already keeps it. Two marks over each other would both be hard to read, and
the first says more of where the picture comes from; so the same bits are laid again into what was replaced, and nothing
into the rest.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from clearswap.core.align import Frame
from clearswap.disclosure.mark import lay, pattern, read_untouched
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


_FONT = "mpl-data/fonts/ttf/DejaVuSans-Bold.ttf"  # comes with matplotlib, which draws the plots
_BESIDE, _ABOVE = 0.62, 0.42  # of the letters' size: the plate's room beside the words, above capitals and below


def require_label(config: LabelConfig) -> None:
    """Raise `OptionError`, before any work, when the label's text cannot be written with its font."""
    if not config.label or (config.label_text.isascii() and config.label_font is None):
        return
    file, text = _font_file(config), _composed(config)
    _font(file, 20)
    known = _letters(file)
    lacking = list(dict.fromkeys(c for c in text if ord(c) not in known and unicodedata.category(c) != "Cf"))
    if lacking:
        raise OptionError(
            f"The font {Path(file).name} has no {' '.join(lacking[:8])}, which the label's text needs; give a "
            "font that has them with --label-font FILE."
        )
    special = (
        unicodedata.bidirectional(c) in ("R", "AL") or unicodedata.category(c) in ("Mn", "Mc", "Cf") for c in text
    )
    if any(special) and not features.check("raqm"):
        raise OptionError(
            "The label's text has letters that are written from right to left or joined, for which Pillow needs the "
            "library FriBiDi; install it (libfribidi0, fribidi), or give another --label-text."
        )


def make_label(height: int, width: int, config: LabelConfig) -> Label | None:
    """The label for frames of (height, width), drawn once for a video; None where none is wanted.

    Where it would be wider than the frame its letters are smaller. Raises `OptionError` for a font that cannot be read.
    """
    if not config.label:
        return None
    size, room = letter_size(height, width, config.label_scale), width - 2 * margin(height, width)
    written = _written(config, size)
    while written.shape[1] > room and size > 4:
        size = max(4.0, size * min(0.95, room / written.shape[1]))
        written = _written(config, size)
    return draw_label(written)


def _written(config: LabelConfig, size: float) -> Grey:
    """The text (h, w), 1 where a letter is and 0 elsewhere, with the plate's room around it."""
    font, text = _font(_font_file(config), size), _composed(config)
    rise = -font.getbbox("H", anchor="ls")[1]  # of capitals above the line
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    beside, above = round(_BESIDE * size), round(_ABOVE * size)
    edge = max(1, round(0.2 * size))  # that tall and deep letters keep of it
    over, under = round(max(rise + above, edge - top)), round(max(above, edge + bottom))
    picture = Image.new("L", (round(right - left) + 2 * beside, over + under))
    ImageDraw.Draw(picture).text((beside - left, over), text, 255, font, "ls")
    return np.asarray(np.asarray(picture, np.float32) / 255, np.float32)


def _font_file(config: LabelConfig) -> str:
    if config.label_font is not None:
        return config.label_font
    found = find_spec("matplotlib")  # looks for it, does not import it
    folders = found.submodule_search_locations if found is not None else None
    return str(Path(folders[0] if folders else "") / _FONT)


def _font(file: str, size: float) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(file, size)
    except OSError as error:
        raise OptionError(f"{file} is no font that can be read; give a .ttf, .otf or .ttc as --label-font.") from error


def _letters(file: str) -> Collection[int]:
    """The characters for which a font has glyphs."""
    from matplotlib.ft2font import FT2Font  # matplotlib takes 0.3 s to import, and the usual label does without

    return FT2Font(file).get_charmap()


def _composed(config: LabelConfig) -> str:
    """The text with letters and their accents in one."""
    return unicodedata.normalize("NFC", config.label_text.strip())


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
    shape: tuple[int, int], mark: int, *, marked: bool, label: LabelConfig, boxes: NDArray[np.float32]
) -> Stamp:
    """The stamp for frames of a shape (height, width) with the 16 bits `mark`; the label goes where it covers least of
    the faces of all frames, whose `boxes` are (N, 4). Raises `OptionError` for a label that cannot be written.
    """
    drawn, corner = make_label(*shape, label), "bottom right"
    if drawn is not None:
        corner = quietest_corner(boxes, *shape, drawn.size)
    return Stamp(pattern(mark, *shape), marked, drawn, corner)


def mark_in(frames: Iterable[Frame]) -> int | None:
    """The bits that an original carries already; None where it is not marked. What was turned or cropped since it was
    marked counts as not marked: the search for such marks takes seconds.
    """
    found = read_untouched(frames)
    return found.bits if found.marked else None
