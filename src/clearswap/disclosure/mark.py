"""The invisible mark: every frame of an output carries 16 bits, so that a copy of it can still be told for what it is.

The mark is a sum of 512 waves of light and dark, a level or so strong. All fit a whole number of times into a square
tile, a quarter of the frame's shorter side wide, so the pattern repeats from tile to tile; it is the same in each frame
of a video. Half of the waves, the pilot, are always the same, and a reader finds them (`mark_reading`). The others
carry the bits, 128 waves for each byte: a wave whose sign is -1 stands upside down, and the signs of a byte are its
word in a code of 256 words that differ in at least half of their places.

A spread-spectrum mark (Cox, Kilian, Leighton and Shamoon 1997, "Secure spread spectrum watermarking for multimedia")
in a periodic pattern (Kutter 1998, "Watermarking resisting to translation, rotation, and scaling"). The code is
Reed and Muller's of first order, as on board of Mariner 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame
from clearswap.errors import OptionError

BITS = 16
TILES = 4  # tiles along the frame's shorter side
PILOT = 256  # waves that are always the same
WORD = 128  # waves of each of the two bytes
_SLOWEST = 10.0  # times into a tile: at 720p waves are 9 to 18 pixels long; shorter ones do not outlive 360p and crf 28
_PATTERN_ONE, _GAIN_ONE, _DETAIL_ONE = 16, 64, 8  # what stands for 1 in the bytes of a pattern, a gain and a detail map
_ACTIVITY = 180  # pixels of the shorter side, where it is looked at how much goes on in a frame


@dataclass(frozen=True)
class MarkConfig:
    """How strong the mark is, in levels of 0..255 (root mean square).

    Attributes:
        smooth: Where the picture is smooth, like skin. At 1.0 a mottle shows on skin enlarged threefold, at 0.8 none.
        busy: At most, where much goes on. 2.0 everywhere would be a PSNR of 42 dB.
        rise: How much stronger for each level of detail in the picture.
    """

    smooth: float = 0.8
    busy: float = 2.0
    rise: float = 0.6

    def __post_init__(self) -> None:
        if not 0.6 <= self.smooth <= self.busy <= 3.9 or self.rise < 0:
            raise OptionError(
                f"A mark of {self.smooth:g} to {self.busy:g} levels cannot be read or can be seen; stay in 0.6 to 3.9."
            )


def _hashed(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Whole numbers mixed into 64 random-looking bits: the same for ever, on every machine (Steele, Lea and Flood
    2014, "Fast splittable pseudorandom number generators").
    """
    x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _waves() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How often each wave fits into a tile, across and down (512, 2), and its phase (512,). The pilot comes first."""
    count = PILOT + 2 * WORD
    across, down = np.meshgrid(np.arange(-31, 32), np.arange(1, 32))
    every = np.stack([across.ravel(), down.ravel()], 1)
    length2 = (every**2).sum(1)
    order = np.lexsort((every[:, 0], every[:, 1], length2))
    slowest_first = every[order][np.sort(length2) >= _SLOWEST**2][:count]
    numbers = np.arange(1, count + 1)
    shuffled = slowest_first[np.argsort(_hashed(numbers), kind="stable")]
    return shuffled, 2 * np.pi * ((_hashed(numbers + count) >> np.uint64(11)) / 2**53)


def _words() -> NDArray[np.float32]:
    """The signs (256, 128) of each byte: the parity of (byte and place), turned over by the byte's highest bit."""
    byte, place = np.arange(256)[:, None], np.arange(WORD)
    odd = (np.bitwise_count(byte & 127 & place) + (byte >> 7)) % 2
    return np.where(odd == 1, -1, 1).astype(np.float32)


WAVES, PHASES = _waves()
WORDS = _words()


def pattern(bits: int, height: int, width: int) -> NDArray[np.uint8]:
    """The mark of 16 bits for frames of a size, made once for a video: (2, H, W), what brightens and what darkens, in
    sixteenths of its root mean square.
    """
    if not 0 <= bits < 1 << BITS:
        raise OptionError(f"{bits} is not a number of {BITS} bits; give 0 to {(1 << BITS) - 1}.")
    signs = np.concatenate([np.ones(PILOT), WORDS[bits >> 8], WORDS[bits & 255]])
    most = int(np.abs(WAVES).max())
    table = np.zeros((2 * most + 1, 2 * most + 1), np.complex128)
    table[WAVES[:, 1] + most, WAVES[:, 0] + most] = signs * np.exp(1j * PHASES)
    turn = 2j * np.pi * TILES / min(height, width) * np.arange(-most, most + 1)  # for each pixel; 0 in the centre
    down: NDArray[np.complex128] = np.exp(np.outer(np.arange(height) - (height - 1) / 2, turn)) @ table
    across: NDArray[np.complex128] = np.exp(np.outer(turn, np.arange(width) - (width - 1) / 2))
    light = (down.real @ across.real - down.imag @ across.imag) / np.sqrt(len(WAVES) / 2)
    light = np.rint(_PATTERN_ONE * light.clip(-4, 4))
    return np.stack([light.clip(min=0), (-light).clip(min=0)]).astype(np.uint8)


def lay(frame: Frame, pattern: NDArray[np.uint8], config: MarkConfig = MarkConfig()) -> Frame:
    """A frame (H, W, 3) with the mark laid into it: the same light added to red, green and blue, strong where the frame
    is busy. `pattern` is the `pattern` of the frame's size.
    """
    gain = _gain(frame, config)
    scale = 1 / (_PATTERN_ONE * _GAIN_ONE)
    brighter, darker = (
        cv2.cvtColor(cv2.multiply(part, gain, scale=scale), cv2.COLOR_GRAY2RGB) for part in (pattern[0], pattern[1])
    )
    return np.asarray(cv2.subtract(cv2.add(frame, brighter), darker), np.uint8)


def _gain(frame: Frame, config: MarkConfig) -> NDArray[np.uint8]:
    """How strong the mark is at each pixel (H, W), in 64ths of a level.

    Detail is by how much green differs from its surroundings, on the mean of 5x5 pixels of the frame made 180 pixels
    small. The least mean nearby counts: the mark must not spill over an edge onto what is smooth.
    """
    height, width = frame.shape[:2]
    step = max(1, min(height, width) // _ACTIVITY)
    small = np.ascontiguousarray(frame[step // 2 :: step, step // 2 :: step, 1])
    detail = cv2.convertScaleAbs(cv2.absdiff(small, cv2.blur(small, (3, 3))), alpha=_DETAIL_ONE)
    detail = cv2.erode(cv2.blur(detail, (5, 5)), np.ones((5, 5), np.uint8))
    levels = config.smooth + config.rise * (np.arange(256) / _DETAIL_ONE - 0.5)  # half a level is the rounding's
    gain = cv2.LUT(detail, np.rint(_GAIN_ONE * levels.clip(config.smooth, config.busy)).astype(np.uint8))
    return np.asarray(cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
