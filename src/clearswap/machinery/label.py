"""The letters of the visible label: written with a font, whose file is found here. The rest is in `core/label.py`."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from clearswap.core.label import Grey, Label, LabelConfig, draw_label, letter_size, margin
from clearswap.errors import OptionError

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
