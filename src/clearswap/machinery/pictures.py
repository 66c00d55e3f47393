"""Reading and writing single pictures, whatever their name, kind or depth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clearswap.core.align import Frame
from clearswap.errors import InputError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def is_picture(path: Path) -> bool:
    """Whether the name is that of a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def read_picture(path: Path) -> Frame:
    """A picture as (H, W, 3) RGB bytes: grey is spread to three channels, 16 bits become 8, transparency is
    left out, and a phone's turn (EXIF) is applied. Raises `InputError`.
    """
    picture = _decode(path, cv2.IMREAD_COLOR_RGB)
    return np.ascontiguousarray(picture, np.uint8)


def read_alpha(path: Path) -> NDArray[np.uint8] | None:
    """The transparency (H, W) of a picture that has some, upright as in `read_picture`, else None."""
    picture = _decode(path, cv2.IMREAD_UNCHANGED)
    if picture.ndim != 3 or picture.shape[2] != 4:
        return None
    try:
        with Image.open(path) as again:  # OpenCV turns no picture upright that it reads with its transparency
            return np.asarray(ImageOps.exif_transpose(again).convert("RGBA").getchannel("A"), np.uint8)
    except OSError as error:
        raise InputError(f"The transparency of {path} cannot be read; save it as an 8-bit PNG.") from error


def encode_picture(picture: Frame, suffix: str, *, quality: int = 95) -> bytes:
    """The bytes of a picture file; JPEG keeps full chroma, so that lips and eyes do not smear."""
    options: list[int] = []
    if suffix.lower() in {".jpg", ".jpeg"}:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    order = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture, order), options)
    if not done:
        raise InputError(f"A picture could not be written as {suffix}; use .png or .jpg.")
    return data.tobytes()


def _decode(path: Path, mode: int) -> MatLike:
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the name.")
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)  # cv2.imread cannot open every non-ASCII name on Windows
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}).") from error
    if not len(data):
        raise InputError(f"{path} is empty (0 bytes); copy it again.")
    picture = cv2.imdecode(data, mode)
    if picture is None:
        raise InputError(f"{path} is not a picture that can be read; it may be damaged.")
    return picture
