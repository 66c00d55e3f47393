"""The stamp: what every picture and frame of an output gets, the invisible mark and the visible label over it.

The label is a few words in a corner of every frame that say what the video is. Signed metadata are lost when a video is
encoded anew, and whoever looks at a video does not see them; words in the picture stay. The label is drawn once for a
video and laid into the corner that faces cover least, the same one in all frames.

An original that carries Clearswap's mark already keeps it. Two marks over each other would both be hard to read, and
the first says more about where the picture comes from. So the same bits are laid again into what was replaced, and
nothing into the rest.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from clearswap.checks import check_fields
from clearswap.core.align import Frame
from clearswap.disclosure.mark import lay, pattern, read_untouched
from clearswap.errors import OptionError

Corner: TypeAlias = Literal["bottom right", "bottom left", "top right", "top left"]  # the preferred ones first

TEXT = "AI face swap"
_LONGEST = 60  # characters
_JOINING = {"Mn", "Mc", "Cf"}  # Unicode's categories of marks and joiners
_NO_LETTERS = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories of control characters, halves of pairs, ends of lines
_FONT = "mpl-data/fonts/ttf/DejaVuSans-Bold.ttf"  # comes with matplotlib, which draws the plots
_SHARE = 0.024  # of the frame's shorter side: the letters' size
_LEAST = 12.0  # pixels: the letters' size on small frames
# of the letters' size: the plate's distance from the frame's edges, its room at the words' ends, above capitals and
# below the line, and around tall and deep letters
_MARGIN, _ENDS, _ABOVE, _AROUND = 0.9, 0.62, 0.42, 0.2
_ICON = 1.7  # of the capitals' height: the sign's side
_ROUND = 0.32  # of the plate's height: the radius of its corners
# Over white, white letters on a plate of this opacity have a contrast of 6.2; WCAG 2.1 asks for 4.5.
_OPACITY, _DARK, _WHITE = 0.66, 16, 255
_FINER = 4  # the plate is drawn so many times larger and made small, for smooth corners


@dataclass(frozen=True)
class LabelConfig:
    """What is written into the picture.

    Attributes:
        label: Write a small label into a corner of every picture and frame, the corner that faces cover least.
        label_text: What it says, in any language.
        label_icon: Draw a sign next to the words: a disc, half of it filled, with "AI" in it, for "partly by AI".
        label_scale: How large it is, 1 being 2.4 % of the frame's shorter side (0.5 to 4). 2.1 is 5 %.
        label_font: A font file (.ttf, .otf, .ttc) for letters that the usual font lacks, such as Chinese ones. The
            usual one has Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian and Georgian ones.
    """

    label: bool = True
    label_text: str = TEXT
    label_icon: bool = False
    label_scale: Annotated[float, Meta(ge=0.5, le=4)] = 1.0
    label_font: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.label_text.strip() or any(unicodedata.category(c) in _NO_LETTERS for c in self.label_text):
            raise OptionError("The label's text must be one line of letters; give another, or switch the label off.")
        if len(self.label_text) > _LONGEST:
            raise OptionError(f"The label's text has {len(self.label_text)} characters; give {_LONGEST} at most.")

    @property
    def text(self) -> str:
        """The label's text, with letters and their accents in one."""
        return unicodedata.normalize("NFC", self.label_text.strip())

    def font(self, size: float) -> ImageFont.FreeTypeFont:
        """The font of a size in pixels. Raises `OptionError` for a file that is none."""
        file = self.label_font
        if file is None:
            found = find_spec("matplotlib")  # looks for it, does not import it
            folders = found.submodule_search_locations if found is not None else None
            file = str(Path(folders[0] if folders else "") / _FONT)
        try:
            return ImageFont.truetype(file, size)
        except OSError as error:
            raise OptionError(f"{file} is no font that can be read; give a .ttf, .otf or .ttc file.") from error


def require_label(config: LabelConfig) -> None:
    """Raise `OptionError`, before any work, when the label's text cannot be written with its font."""
    if not config.label or (config.label_text.isascii() and config.label_font is None):
        return
    from fontTools.ttLib import TTFont  # 0.1 s to import, and the usual label does without

    file, text = str(config.font(20).path), config.text
    try:
        with TTFont(file, fontNumber=0, lazy=True) as font:
            known = font.getBestCmap() or {}
    except Exception as error:  # it raises errors of every kind where fonts are damaged
        raise OptionError(f"{file} is no font that can be read; give a .ttf, .otf or .ttc file.") from error
    lacking = dict.fromkeys(c for c in text if ord(c) not in known and unicodedata.category(c) != "Cf")
    if lacking:
        raise OptionError(
            f"The font {Path(file).name} has no {' '.join(list(lacking)[:8])}, which the label's text needs; give "
            "a font file that has them."
        )
    special = [c for c in text if unicodedata.bidirectional(c) in ("R", "AL") or unicodedata.category(c) in _JOINING]
    if special and not features.check("raqm"):
        raise OptionError(
            "The label's text has letters that are written from right to left or joined, for which Pillow needs the "
            "library FriBiDi; install it (libfribidi0, fribidi), or give another text."
        )


@dataclass(frozen=True)
class Label:
    """A label that is drawn: a pixel of the frame becomes `keep` times what it was, plus `add`."""

    keep: NDArray[np.float32]  # (h, w, 1) in 0..1: 1 less the opacity
    add: NDArray[np.float32]  # (h, w, 1) in 0..255: the opacity times the label's grey

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


def make_label(height: int, width: int, config: LabelConfig) -> Label | None:
    """The label for frames of (height, width), to be drawn once for a video; None where none is wanted.

    Where it would be wider than the frame its letters are smaller. Raises `OptionError` for a font that cannot be read.
    """
    if not config.label:
        return None
    size, room = letter_size(height, width, config.label_scale), width - 2 * margin(height, width)
    label = _draw_label(config, size)
    while label.size[1] > room and size > 4:
        size = max(4.0, size * min(0.95, room / label.size[1]))
        label = _draw_label(config, size)
    return label


def _draw_label(config: LabelConfig, size: float) -> Label:
    """White letters of a size in pixels on a dark, rounded, see-through plate.

    The plate makes letters readable on any picture: behind them, nothing is brighter than a third of white.
    """
    font, text = config.font(size), config.text
    capital = -font.getbbox("H", anchor="ls")[1]  # above the line
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    ends, above, around = round(_ENDS * size), round(_ABOVE * size), max(1, round(_AROUND * size))
    icon = _draw_icon(config, round(_ICON * capital)) if config.label_icon else None
    room = 0 if icon is None else icon.width + round(_ENDS * size / 2)
    line = round(max(capital + above, around - top))
    height, width = line + round(max(above, around + bottom)), round(right - left) + 2 * ends + room

    letters = Image.new("L", (width, height))
    ImageDraw.Draw(letters).text((ends + room - left, line), text, _WHITE, font, "ls")
    if icon is not None:
        letters.paste(icon, (ends, round(line - (capital + icon.height) / 2)))
    large = Image.new("L", (_FINER * width, _FINER * height))
    box = (0, 0, large.width - 1, large.height - 1)
    ImageDraw.Draw(large).rounded_rectangle(box, round(_FINER * _ROUND * height), _WHITE)
    plate = large.resize(letters.size, Image.Resampling.BOX)

    written = np.asarray(np.asarray(letters)[..., None] / 255, np.float32)  # how much of each pixel is letter
    dark = np.asarray(_OPACITY * np.asarray(plate)[..., None] / 255, np.float32)
    return Label(keep=(1 - dark) * (1 - written), add=dark * _DARK * (1 - written) + _WHITE * written)


def _draw_icon(config: LabelConfig, side: int) -> Image.Image:
    """The sign, (side, side), 255 where it is white: a disc whose left half is filled; "A" in it is dark, "I" white."""
    large = Image.new("L", (_FINER * side, _FINER * side))
    draw, end, font = ImageDraw.Draw(large), _FINER * side - 1, config.font(_FINER * side * 0.47)
    draw.ellipse((0, 0, end, end), outline=_WHITE, width=round(0.09 * end))
    draw.pieslice((0, 0, end, end), 90, 270, fill=_WHITE)
    draw.text((0.47 * end, 0.5 * end), "A", 0, font, "rm")
    draw.text((0.57 * end, 0.5 * end), "I", _WHITE, font, "lm")
    return large.resize((side, side), Image.Resampling.BOX)


def place(height: int, width: int, size: tuple[int, int], corner: Corner) -> tuple[int, int, int, int]:
    """Where a label of `size` (height, width) lies in a corner of a frame: left, top, right, bottom in pixels."""
    (high, wide), gap = size, margin(height, width)
    left = gap if corner.endswith("left") else width - gap - wide
    top = gap if corner.startswith("top") else height - gap - high
    left = max(0, min(left, width - wide))
    top = max(0, min(top, height - high))
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


@dataclass(frozen=True)
class Stamp:
    """Marks and labels the frames of one picture or video."""

    pattern: NDArray[np.uint8]
    marked: bool  # the original is marked already
    label: Label | None
    corner: Corner

    def __call__(self, frame: Frame, original: Frame) -> Frame:
        """A frame (H, W, 3) with the mark and the label; `original` is the frame before anything was replaced."""
        stamped = lay(frame, self.pattern)
        if self.marked:
            stamped = np.where((frame != original).any(2, keepdims=True), stamped, frame)
        return stamped if self.label is None else lay_label(stamped, self.label, self.corner)


def make_stamp(
    shape: tuple[int, int],
    mark: int,
    *,
    marked: bool = False,
    label: LabelConfig = LabelConfig(),
    boxes: NDArray[np.float32] = np.zeros((0, 4), np.float32),
) -> Stamp:
    """The stamp for frames of a shape (height, width) with the 16 bits `mark`.

    The label goes where it covers least of the faces of all frames, whose `boxes` are (N, 4). Raises `OptionError` for
    a label that cannot be written.
    """
    drawn = make_label(*shape, label)
    corner = "bottom right" if drawn is None else quietest_corner(boxes, *shape, drawn.size)
    return Stamp(pattern(mark, *shape), marked, drawn, corner)


def mark_in(frames: Iterable[Frame]) -> int | None:
    """The bits that an original carries already; None where it is not marked.

    An original that was turned or cropped since it was marked counts as not marked: searching for such marks takes
    seconds.
    """
    found = read_untouched(frames)
    return found.bits if found.marked else None
