"""The invisible mark: every frame of an output carries 16 bits, so that a copy of it can still be told for what it is.

**Laying.** The mark is a sum of 512 waves of light and dark, a level or so strong. All fit a whole number of times into
a square tile, a quarter of the frame's shorter side wide, so the pattern repeats from tile to tile; it is the same in
each frame of a video. Half of the waves, the pilot, are always the same, and the reader finds them. The others carry
the bits, 128 waves for each byte: a wave whose sign is -1 stands upside down, and the signs of a byte are its word in a
code of 256 words that differ in at least half of their places. This is a spread-spectrum mark (Cox, Kilian, Leighton
and Shamoon 1997, "Secure spread spectrum watermarking for multimedia") in a periodic pattern (Kutter 1998,
"Watermarking resisting to translation, rotation, and scaling"). The code is Reed and Muller's of first order, which
flew on board of Mariner 9.

**Reading.** All that is smooth is taken away from the frames, and they are summed. In the spectrum of the sum the
mark's waves are a lattice of points. A frame that is turned, enlarged or mirrored turns, shrinks or mirrors the
lattice; a crop shifts the phases. So the reader looks the lattice up in the spectrum at some thousand scales and
angles, and at all shifts at once: the inverse Fourier transform of the values at its points, each turned back by its
own wave's phase, is highest at the mark's shift (Kuglin and Hines 1975, "The phase correlation image alignment
method"). Where the pilot fits best, each byte is the one whose word fits best.

**How sure it is.** The waves' phases have nothing to do with any picture. Whatever an unmarked picture shows, each look
at it (one scale, angle, shift and pair of bytes) gives about a normal deviate, and the score is the largest of very
many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, TypeAlias

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from clearswap.checks import check_fields
from clearswap.core.align import Frame
from clearswap.errors import InputError, OptionError

BITS = 16
TILES = 4  # tiles along the frame's shorter side
PILOT = 256  # waves that are always the same
WORD = 128  # waves of each of the two bytes
_SLOWEST = 10.0  # times into a tile: at 720p waves are 9 to 18 pixels long; shorter ones do not outlive 360p and crf 28
_PATTERN_ONE, _GAIN_ONE, _DETAIL_ONE = 16, 64, 8  # the bytes that mean 1 in a pattern, a gain and a map of detail
_ACTIVITY = 180  # pixels of the shorter side of the small frame in which detail is measured

Grey: TypeAlias = NDArray[np.float32]
Spectrum: TypeAlias = NDArray[np.complex64]
Lattices: TypeAlias = NDArray[np.float64]  # (N, 2, 2): from waves in a tile to waves in a pixel of normal size


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
    rise: Annotated[float, Meta(le=100)] = 0.6

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.6 <= self.smooth <= self.busy <= 3.9 or self.rise < 0:
            raise OptionError(
                f"A mark of {self.smooth:g} to {self.busy:g} levels cannot be read or can be seen; stay in 0.6 to 3.9."
            )


def _hashed(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Whole numbers mixed into 64 random-looking bits, which stay the same for ever and on every machine (Steele, Lea
    and Flood 2014, "Fast splittable pseudorandom number generators").
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
    """The mark of 16 bits for frames of a size, to be made once for a video.

    Returns (2, H, W): how much the mark brightens and how much it darkens, in sixteenths of its root mean square.
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
    """A new frame (H, W, 3) with the mark: equal light added to red, green and blue, strong where the frame is busy.

    `pattern` is what the function `pattern` gives for the frame's size.
    """
    gain, scale = _gain(frame, config), 1 / (_PATTERN_ONE * _GAIN_ONE)
    brighter = cv2.cvtColor(cv2.multiply(pattern[0], gain, scale=scale), cv2.COLOR_GRAY2RGB)
    darker = cv2.cvtColor(cv2.multiply(pattern[1], gain, scale=scale), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.subtract(cv2.add(frame, brighter), darker), np.uint8)


def _gain(frame: Frame, config: MarkConfig) -> NDArray[np.uint8]:
    """How strong the mark is at each pixel (H, W), in 64ths of a level.

    Detail is the difference of green from its surroundings, a mean over 5x5 pixels of the frame made 180 pixels small.
    The least mean nearby counts: the mark must not spill over an edge onto what is smooth.
    """
    height, width = frame.shape[:2]
    step = max(1, min(height, width) // _ACTIVITY)
    small = np.ascontiguousarray(frame[step // 2 :: step, step // 2 :: step, 1])
    detail = cv2.convertScaleAbs(cv2.absdiff(small, cv2.blur(small, (3, 3))), alpha=_DETAIL_ONE)
    detail = cv2.erode(cv2.blur(detail, (5, 5)), np.ones((5, 5), np.uint8))
    levels = config.smooth + config.rise * (np.arange(256) / _DETAIL_ONE - 0.5)  # half a level is the rounding's
    gain = cv2.LUT(detail, np.rint(_GAIN_ONE * levels.clip(config.smooth, config.busy)).astype(np.uint8))
    return np.asarray(cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


# The confidence from which a picture counts as marked: a score of 10.07. The highest of 3,527 unmarked windows is 8.74;
# an exponential tail through their highest tenth, more careful than a normal one, has at most 1 in a million beyond.
SURE = 8.0
_SHORT, _LONG = 360, 640  # pixels: the sides of the frame that is read, cut out of the middle of a longer one
_SIDE = 2 * _LONG  # of the spectrum: twice as fine as its peaks are wide
_SMOOTH = 2.0  # pixels: what is smoother than this is taken away
_SCALES = np.exp(np.arange(-60, 61) * 0.004)  # 0.79 to 1.27: half a step moves the far corner by 0.7 pixels
_ANGLES = np.radians(np.arange(-17, 18) * 0.23)  # four degrees to either side
_SHIFTS = 48  # along a tile
_KEPT = 8  # of the best lattices, looked at more closely
_STEPS = 40  # of a closer look, at most; most need 10
# A step of a closer look is the best of these: stay, enlarge, turn, stretch in two ways (all by 0.7 pixels in the far
# corner), the opposites, and four shifts.
_WAYS = 0.002 * np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[1, 0], [0, -1]], [[0, 1], [1, 0]]])
_TURNS = np.concatenate([np.zeros((1, 2, 2)), _WAYS, -_WAYS, np.zeros((4, 2, 2))])
_MOVES = np.concatenate([np.zeros((9, 2)), np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]) / (2 * _SHIFTS)])
# How many looks a reading is worth: every lattice, shift and pair of bytes, at both sizes, and a thousand times as many
# for the closer looks between them, which lift the pilot's fit from 5.0 to 6.3 in unmarked pictures.
_LOOKS = 1000 * 2 * 2 * len(_SCALES) * len(_ANGLES) * _SHIFTS**2 * 256**2


@dataclass(frozen=True)
class MarkReading:
    """The mark as it was read.

    Attributes:
        marked: The mark is there: the confidence is at least 8.
        bits: The 16 bits; they mean nothing when it is not there.
        confidence: Minus the decimal logarithm of how probable it is, at most, that something unmarked reaches this
            score, after all the searching: 8 is one in a hundred million. Never below 0.
        score: How well the waves fit, in standard deviations of a single look: up to 32.
        margins: For each bit, the highest first, by how many standard deviations the best word beats the best word with
            this bit turned over.
        mirrored: Left and right are exchanged.
        angle: Degrees by which the picture was turned counterclockwise, before it was mirrored.
        scale: How much larger the mark is than in an untouched frame: 1.05 when 5 % were cut away.
    """

    marked: bool
    bits: int
    confidence: float
    score: float
    margins: tuple[float, ...]
    mirrored: bool
    angle: float
    scale: float


class _Look(NamedTuple):
    lattice: NDArray[np.float64]  # (2, 2)
    shift: NDArray[np.float64]  # (2,): of the mark, in tiles


def read(frames: Iterable[Frame]) -> MarkReading:
    """Read the mark from a picture, or from frames of a video that are spread over it (24 to 50 are enough).

    All frames are of one size, (H, W, 3) RGB. The mark's tile is a quarter of the frame's shorter side. When a wide
    frame was cropped to a tall one, or a tall one to a wide one, that side is now the longer one, so it is tried when
    nothing is found at first. Raises `InputError` when there is no frame.
    """
    by_short: list[NDArray[np.uint8]] = []
    by_long: list[NDArray[np.uint8]] = []
    ratio = 1.0
    for frame in frames:
        short, long = sorted(frame.shape[:2])
        ratio = long / short
        by_short.append(_normal_size(frame, short))
        if ratio >= _SCALES[-1]:
            by_long.append(_normal_size(frame, long))
    lattices = _lattices()
    reading = _best(_spectrum(by_short), lattices)
    if reading.marked or not by_long:
        return reading
    other = _best(_spectrum(by_long), lattices)
    return max(reading, replace(other, scale=other.scale * ratio), key=lambda reading: reading.score)


def read_untouched(frames: Iterable[Frame]) -> MarkReading:
    """Read the mark from pictures that were not changed since they were marked, but for their size and encoding.

    It saves the search of `read`: 0.2 s instead of seconds. Raises `InputError` when there is no frame.
    """
    upright = TILES / _SHORT * np.eye(2)[None]
    return _best(_spectrum([_normal_size(frame, min(frame.shape[:2])) for frame in frames]), upright)


def _best(spectrum: Spectrum, lattices: Lattices) -> MarkReading:
    """The best reading of a spectrum, looked at through some lattices."""
    looks = [_climb(spectrum, look) for look in _search(spectrum, lattices)]
    return max((_reading(spectrum, look) for look in looks), key=lambda reading: reading.score)


def _normal_size(frame: Frame, side: int) -> NDArray[np.uint8]:
    """The middle of a frame in grey, at the size at which `side` pixels become 360."""
    longest = max(1, side * _LONG // _SHORT)
    top, left = ((given - min(given, longest)) // 2 for given in frame.shape[:2])
    middle = np.ascontiguousarray(frame[top : top + longest, left : left + longest])
    grey = cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY)
    height, width = (max(1, round(given * _SHORT / side)) for given in grey.shape)
    how = cv2.INTER_AREA if side > _SHORT else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (width, height), interpolation=how), np.uint8)


def _residual(grey: NDArray[np.uint8]) -> Grey:
    """What is not smooth in a picture (h, w), as strong in calm places as in busy ones."""
    light = grey.astype(np.float32)
    fine = light - np.asarray(cv2.GaussianBlur(light, (0, 0), _SMOOTH), np.float32)
    spread = np.sqrt(np.asarray(cv2.GaussianBlur(fine * fine, (0, 0), 2 * _SMOOTH), np.float32))
    return np.asarray((fine / (spread + 1)).clip(-2, 2), np.float32)


def _spectrum(pictures: Sequence[NDArray[np.uint8]]) -> Spectrum:
    """The spectrum (S, S) of the sum of the residuals of some pictures (h, w).

    The constant is in its centre, and phases are as seen from the centre of the pictures.
    """
    if not pictures:
        raise InputError("There is no frame to read a mark from; give at least one.")
    residual = np.asarray(sum(map(_residual, pictures)), np.float32)
    padded = np.zeros((_SIDE, _SIDE), np.float32)
    padded[: residual.shape[0], : residual.shape[1]] = residual
    turn = 2j * np.pi * np.fft.fftfreq(_SIDE)
    down, across = (np.exp(turn * (side - 1) / 2).astype(np.complex64) for side in residual.shape)
    return np.ascontiguousarray(np.fft.fftshift(np.fft.fft2(padded) * down[:, None] * across))


def _lattices() -> Lattices:
    """Every lattice that is searched, upright ones first."""
    mirror, scale, angle = (grid.ravel() for grid in np.meshgrid([1.0, -1.0], _SCALES, _ANGLES, indexing="ij"))
    cosine, sine = (TILES / _SHORT / scale * of(angle) for of in (np.cos, np.sin))
    return np.stack([mirror * cosine, mirror * sine, -sine, cosine], 1).reshape(-1, 2, 2)


def _sample(spectrum: Spectrum, lattices: Lattices, waves: NDArray[np.int64]) -> Spectrum:
    """The values (N, W) of the spectrum at the places of the waves (W, 2) in each lattice (N, 2, 2)."""
    places = np.asarray(waves @ lattices.transpose(0, 2, 1) * _SIDE + _SIDE // 2, np.float32)
    across, down = (np.ascontiguousarray(places[..., axis]) for axis in (0, 1))
    pairs = spectrum.view(np.float32).reshape(_SIDE, _SIDE, 2)
    return np.asarray(cv2.remap(pairs, across, down, cv2.INTER_LINEAR), np.float32).view(np.complex64)[..., 0]


def _weighed(found: Spectrum) -> Spectrum:
    """Rows (N, W) in which no wave is above the row's median, so that a picture's own stripes do not drown the rest.

    Each row is scaled so that the real part of its sum, with phases at random, has a standard deviation of 1.
    """
    size = np.abs(found)
    capped = found * np.minimum(1, np.median(size, 1, keepdims=True) / np.maximum(size, 1e-9))
    return capped / np.maximum(np.linalg.norm(capped, axis=1, keepdims=True) / np.sqrt(2), 1e-9)


def _search(spectrum: Spectrum, lattices: Lattices) -> list[_Look]:
    """The looks through these lattices at which the pilot fits best."""
    pilot, turned_back = WAVES[:PILOT], np.exp(-1j * PHASES[:PILOT]).astype(np.complex64)
    fits, places = np.zeros(len(lattices)), np.zeros(len(lattices), np.int64)
    for start in range(0, len(lattices), 256):
        some = slice(start, start + 256)
        found = _weighed(_sample(spectrum, lattices[some], pilot)) * turned_back
        half = np.zeros((len(found), _SHIFTS, _SHIFTS // 2 + 1), np.complex64)
        half[:, pilot[:, 0] % _SHIFTS, pilot[:, 1]] = found.conj()
        fit = np.fft.irfft2(half).reshape(len(found), -1) * (_SHIFTS**2 / 2)
        fits[some], places[some] = fit.max(1), fit.argmax(1)
    best = np.argsort(-fits, kind="stable")[:_KEPT]
    return [_Look(lattices[at], np.array(divmod(int(places[at]), _SHIFTS)) / _SHIFTS) for at in best]


def _fits(spectrum: Spectrum, lattices: Lattices, shifts: NDArray[np.float64], waves: int) -> Grey:
    """How well each of the first waves fits (N, waves), for lattices (N, 2, 2) with shifts (N, 2)."""
    back = np.exp(-1j * (PHASES[:waves] + 2 * np.pi * (shifts @ WAVES[:waves].T)))
    return np.asarray(_weighed(_sample(spectrum, lattices, WAVES[:waves]) * back).real, np.float32)


def _climb(spectrum: Spectrum, look: _Look) -> _Look:
    """The look near a given one at which the pilot fits best: shifted, enlarged, turned or stretched a little."""
    lattice, shift, step = look.lattice, look.shift, 1.0
    for _ in range(_STEPS):
        fit = _fits(spectrum, lattice @ (np.eye(2) + step * _TURNS), shift + step * _MOVES, PILOT).sum(1)
        best = int(fit.argmax())
        if best:
            lattice, shift = lattice @ (np.eye(2) + step * _TURNS[best]), shift + step * _MOVES[best]
        elif step > 0.3:
            step /= 2
        else:
            break
    return _Look(lattice, shift)


def _reading(spectrum: Spectrum, look: _Look) -> MarkReading:
    """The bits that are read with a look, and how sure they are."""
    fit = _fits(spectrum, look.lattice[None], look.shift[None], len(WAVES))[0]
    high = WORDS @ fit[PILOT : PILOT + WORD]  # how well each value of the higher byte fits
    low = WORDS @ fit[PILOT + WORD :]
    score = float(fit[:PILOT].sum() + high.max() + low.max())
    confidence = confidence_of(score)
    turned, mirror = look.lattice / TILES * _SHORT, np.sign(np.linalg.det(look.lattice))
    return MarkReading(
        marked=confidence >= SURE,
        bits=256 * int(high.argmax()) + int(low.argmax()),
        confidence=confidence,
        score=score,
        margins=(*_margins(high), *_margins(low)),
        mirrored=bool(mirror < 0),
        angle=-math.degrees(math.atan2(turned[1, 0], turned[1, 1])),
        scale=float(abs(np.linalg.det(turned)) ** -0.5) if mirror else 1.0,
    )


def _margins(byte: Grey) -> list[float]:
    """For each bit of a byte, how much better the best value fits than the best with that bit turned over.

    `byte`: (256,), how well each value fits.
    """
    flags = np.arange(256)[:, None] >> np.arange(7, -1, -1) & 1 == 1  # (256, 8)
    return [abs(float(byte[flag].max() - byte[~flag].max())) for flag in flags.T]


def confidence_of(score: float) -> float:
    """Minus the decimal logarithm of how probable it is, at most, that something unmarked reaches a score; at least 0.

    It is the tail of a normal deviate beyond the score, as many times as there are looks (Bonferroni's bound).
    """
    tail = math.erfc(score / math.sqrt(2)) / 2
    return max(0.0, -math.log10(max(tail, 1e-300)) - math.log10(_LOOKS))
