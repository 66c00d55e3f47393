"""Labels: a file beside a clip that says where something covers the face, `CLIP.labels.npz` beside `CLIP.mp4`.

`occluder` holds one bit for each pixel of each frame, packed by `numpy.packbits`, and `mask_shape` the frames,
height and width. The synthetic people's clips (tools/README.md) have such files, with more in them.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from clearswap.errors import InputError


class Occluders:
    """Where something covers the face, frame by frame; nowhere when there are no labels."""

    def __init__(self, clips: list[Path], labels: Path | None) -> None:
        """Read `labels`, or else what lies beside the first of `clips` that has labels. Raises `InputError`."""
        self._bits: NDArray[np.uint8] | None = None
        if labels is not None and not labels.is_file():
            raise InputError(f"{labels} does not exist; leave --labels out or give the labels of {clips[0]}.")
        beside = [clip.with_suffix(".labels.npz") for clip in clips]
        path = labels or next((path for path in beside if path.is_file()), None)
        if path is None:
            return
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                if "occluder" in file:
                    bits, shape = np.asarray(file["occluder"], np.uint8), tuple(int(n) for n in file["mask_shape"])
                    if len(shape) != 3 or 8 * bits.size < np.prod(shape):
                        raise ValueError("fewer pixels than it says")
                    self._bits, self._shape = bits, shape
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise InputError(
                f"{path} holds no labels that Clearswap can read; leave it out or make it anew."
            ) from error

    def __call__(self, index: int, height: int, width: int) -> NDArray[np.uint8] | None:
        """The mask (height, width) of frame `index`, 1 where the face is covered. Raises `InputError` where the labels
        belong to another clip.
        """
        if self._bits is None:
            return None
        if self._shape[1:] != (height, width) or index >= self._shape[0]:
            raise InputError(
                f"The labels are for {self._shape[0]} frames of {self._shape[2]}x{self._shape[1]}; "
                f"the clip's frame {index} is {width}x{height}."
            )
        first, count = index * height * width, height * width
        bits = np.unpackbits(self._bits[first // 8 : -(-(first + count) // 8)])
        return bits[first % 8 : first % 8 + count].reshape(height, width)
