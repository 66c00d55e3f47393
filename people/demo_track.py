"""What drives a head: speech, blinks, gaze, pose and light over time, all from seeds; and the sound of the speech."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from demo_head import Array
from demo_people import Moment

FPS, RATE = 25, 44100

# Mouth shapes of speech: face shapes (* = both sides) and the first two vowel formants in Hz.
SOUNDS: dict[str, tuple[dict[str, float], tuple[float, float]]] = {
    "a": ({"jawOpen": 0.52, "mouthLowerDown*": 0.35, "mouthUpperUp*": 0.2}, (750, 1250)),
    "e": (
        {"jawOpen": 0.28, "mouthStretch*": 0.4, "mouthSmile*": 0.2, "mouthLowerDown*": 0.4, "mouthUpperUp*": 0.2},
        (520, 1900),
    ),
    "i": (
        {"jawOpen": 0.13, "mouthStretch*": 0.45, "mouthSmile*": 0.3, "mouthLowerDown*": 0.4, "mouthUpperUp*": 0.3},
        (300, 2250),
    ),
    "o": ({"jawOpen": 0.36, "mouthFunnel": 0.6, "mouthPucker": 0.25}, (480, 850)),
    "u": ({"jawOpen": 0.16, "mouthPucker": 0.8, "mouthFunnel": 0.3}, (330, 700)),
    "m": ({"mouthPress*": 0.4, "mouthRollLower": 0.25, "mouthRollUpper": 0.15}, (260, 1000)),
    "f": ({"jawOpen": 0.1, "mouthRollLower": 0.45, "mouthUpperUp*": 0.35}, (350, 1400)),
    "l": ({"jawOpen": 0.24, "mouthLowerDown*": 0.3}, (400, 1500)),
    "-": ({}, (400, 1300)),
}
LOUD = {"a": 1.0, "e": 0.85, "i": 0.7, "o": 0.9, "u": 0.65, "l": 0.55, "m": 0.3, "f": 0.12, "-": 0.0}


def both_sides(name: str) -> list[str]:
    """The face shapes that a name with ``*`` in place of the side stands for."""
    return [name.replace("*", side) for side in ("Left", "Right")] if "*" in name else [name]


@dataclass(frozen=True)
class Track:
    """What drives a head: every array's first axis is frames."""

    shapes: dict[str, Array]  # face shape -> (n,)
    pose: Array  # (n, 3) yaw, pitch, roll in radians
    sway: Array  # (n, 3) dm
    gaze: Array  # (n, 2) degrees
    light: Array  # (n, 3 or 4) azimuth and height in degrees, strength, share of the room's light
    said: list[tuple[int, str]]  # frame at which each mouth shape is reached

    def moment(self, i: int) -> Moment:
        """The drive of frame ``i``."""
        return Moment({name: float(w[i]) for name, w in self.shapes.items()}, self.pose[i], self.sway[i], self.gaze[i])


def _glide(count: int, keys: list[tuple[int, float]]) -> Array:
    """Values through (frame, value) keys with soft starts and stops."""
    at, value = np.array(keys, float).T
    frame = np.arange(count)
    i = np.clip(np.searchsorted(at, frame, "right") - 1, 0, len(at) - 2)
    t = np.clip((frame - at[i]) / np.maximum(at[i + 1] - at[i], 1), 0, 1)
    glide: Array = value[i] + (value[i + 1] - value[i]) * t * t * (3 - 2 * t)
    return glide


def _wander(count: int, rng: np.random.Generator, every: tuple[int, int], low: float, high: float) -> Array:
    """A smooth walk between random stops that surely reaches both ends of its range."""
    at = np.cumsum(rng.integers(*every, count))
    at = np.concatenate([[0], at[at < count - 4], [count - 1]])
    walk = _glide(count, list(zip(at.tolist(), rng.uniform(-1, 1, len(at)).tolist(), strict=True)))
    walk = np.convolve(np.pad(walk, 4, "edge"), np.ones(9) / 9, "valid")
    return low + (high - low) * (walk - walk.min()) / np.ptp(walk)


def _speech(count: int, rng: np.random.Generator) -> list[tuple[int, str]]:
    """Syllables of 3 to 5 frames with pauses between phrases; every mouth shape comes up."""
    said, frame, vowels = [(0, "-")], 8, list("aeiou")
    while frame < count - 14:
        for _ in range(int(rng.integers(4, 8))):
            if len(vowels) < 2:
                vowels += list("aeiou")
            said.append((frame, str(rng.choice(list("mfl")))))
            said.append((frame + int(rng.integers(2, 4)), vowels.pop(int(rng.integers(len(vowels))))))
            frame = said[-1][0] + int(rng.integers(3, 5))
        said += [(frame, "-"), (frame := frame + int(rng.integers(8, 18)), "-")]
        frame += 3
    said = [s for s in said if s[0] < count - 6]
    return [*said, (count - 4, "-"), (count - 1, "-")]


def _blinks(count: int, rng: np.random.Generator) -> Array:
    """Closed for two frames every two to three seconds."""
    lids = np.zeros(count + 8)
    frame = int(rng.integers(20, 35))
    while frame < count:
        lids[frame : frame + 6] = [0.45, 0.95, 1.0, 0.8, 0.4, 0.12]
        frame += int(rng.integers(42, 75))
    return lids[:count]


Range = tuple[float, float]


def make_track(
    count: int,
    seed: int,
    reach: tuple[float, float, float] = (25.0, 12.0, 7.0),
    light: tuple[Range, Range, Range] = ((-52, 12), (22, 48), (1.2, 1.65)),
) -> Track:
    """A talking head. Ranges are the same for every seed, so that one clip's faces are in the other's range.

    ``reach``: degrees of yaw, pitch, roll to both sides; ``light``: from and to of the columns of ``Track.light``.
    """
    rng = np.random.default_rng(seed)
    said = _speech(count, rng)
    shapes: dict[str, Array] = {}

    def add(name: str, weight: Array) -> None:
        for side, share in (("Left", 1.0), ("Right", 0.93)) if "*" in name else (("", 1.0),):
            full = name.replace("*", side)
            shapes[full] = shapes.get(full, np.zeros(count)) + share * weight

    for name in sorted({n for mouth, _ in SOUNDS.values() for n in mouth}):
        force = rng.uniform(0.75, 1.1, len(said))
        add(name, _glide(count, [(f, SOUNDS[s][0].get(name, 0.0) * k) for (f, s), k in zip(said, force, strict=True)]))
    add("mouthSmile*", np.clip(_wander(count, rng, (22, 45), -0.2, 0.8), 0, 1))
    add("mouthFrown*", np.clip(_wander(count, rng, (30, 50), -0.8, 0.2), 0, 1))
    raised = _wander(count, rng, (14, 34), -0.5, 0.9)
    add("browInnerUp", np.clip(raised, 0, 1))
    add("browOuterUp*", 0.8 * np.clip(raised, 0, 1))
    add("browDown*", np.clip(-1.4 * raised, 0, 0.7))
    add("noseSneer*", 0.5 * np.clip(-raised, 0, 0.5))
    add("cheekSquint*", 0.6 * shapes["mouthSmileLeft"])
    gaze = np.stack([_saccades(count, rng, 13.0), _saccades(count, rng, 7.0)], 1)
    add("eyeLookDown*", np.clip(-gaze[:, 1] / 25, 0, 1))
    add("eyeLookUp*", np.clip(gaze[:, 1] / 25, 0, 1))
    add("eyeSquint*", 0.25 * shapes["mouthSmileLeft"])
    add("eyeBlink*", _blinks(count, rng))
    for side in ("Left", "Right"):  # a blink ends where the lids meet, whatever else moves them
        shut = shapes[f"eyeBlink{side}"] = np.clip(shapes[f"eyeBlink{side}"], 0, 1) / (1.0 if side == "Left" else 0.93)
        for other in ("eyeLookDown", "eyeLookUp", "eyeSquint"):
            shapes[other + side] = shapes[other + side] * (1 - np.clip(shut, 0, 1))
    shapes = {n: np.clip(w, 0, 1) for n, w in shapes.items()}
    pose = np.stack(
        [_wander(count, rng, r, -a, a) for r, a in zip(((16, 32), (15, 30), (20, 40)), reach, strict=True)], 1
    )
    sway = np.stack([_wander(count, rng, (30, 60), -a, a) for a in (0.10, 0.05, 0.06)], 1)
    lamp = np.stack([_wander(count, rng, (45, 80), *r) for r in light], 1)
    return Track(shapes, np.radians(pose), sway, gaze, lamp, said)


def stress_track(seed: int) -> Track:
    """Six seconds of everything that is hard, the same for everybody: wide turns, light from all sides and dim."""
    count = 150
    yaw = [(0, 0), (18, 50), (50, -50), (66, 0), (84, 0), (95, 25), (108, -20), (128, 30), (149, -10)]
    pitch = [(0, 0), (46, 0), (62, 25), (80, -25), (92, 0), (115, -10), (149, 8)]
    roll = [(0, 0), (78, 0), (90, 20), (104, -20), (114, 0), (149, -8)]
    light = [
        [(0, -60), (40, 60), (75, -20), (110, 55), (149, -45)],  # azimuth
        [(0, 35), (30, 10), (70, 55), (110, 25), (149, 35)],  # height
        [(0, 1.4), (60, 1.6), (84, 0.25), (98, 0.25), (116, 1.3), (149, 1.5)],  # strength
        [(0, 1.0), (60, 0.8), (84, 0.3), (98, 0.3), (116, 0.9), (149, 1.0)],  # the room's share
    ]
    pose = np.stack([_glide(count, [(f, float(v)) for f, v in keys]) for keys in (yaw, pitch, roll)], 1)
    lamp = np.stack([_glide(count, [(f, float(v)) for f, v in keys]) for keys in light], 1)
    return replace(make_track(count, seed), pose=np.radians(pose), light=lamp)


def calm_track(count: int, seed: int, reach: tuple[float, float, float]) -> Track:
    """A listener: blinks and moves the head and the brows, but shuts the lips, looks ahead and never smiles."""
    track = make_track(count, seed, reach)
    shapes = {name: weight for name, weight in track.shapes.items() if not name.startswith(("mouth", "jaw", "cheek"))}
    for name in shapes:
        if name.startswith(("eyeSquint", "eyeLook", "noseSneer")):
            shapes[name] = 0.2 * shapes[name]
    return replace(track, shapes=shapes, gaze=0.2 * track.gaze)


def acting_track(count: int, seed: int, reach: tuple[float, float, float], acted: Sequence[dict[str, float]]) -> Track:
    """A talker who acts one after the other of the ``acted`` faces, and looks to all sides."""
    track, rng = make_track(count, seed, reach), np.random.default_rng([seed, 1])
    shapes = {name: 0.6 * weight for name, weight in track.shapes.items()}
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        shapes[name] = track.shapes[name]
    order = rng.permutation(len(acted))
    for number, at in enumerate(range(6, count - 7, 16)):
        for star, amount in acted[order[number % len(acted)]].items():
            keys = [(0, 0.0), (at, 0.0), (at + 4, amount), (at + 11, amount), (at + 15, 0.0), (count, 0.0)]
            for name in both_sides(star):
                shapes[name] = np.maximum(shapes.get(name, np.zeros(count)), _glide(count, keys))
    gaze = np.stack([_saccades(count, rng, 28.0), _saccades(count, rng, 14.0)], 1)
    return replace(track, shapes=shapes, gaze=gaze)


def _saccades(count: int, rng: np.random.Generator, reach: float) -> Array:
    """Gaze: rests, then a jump of about two frames."""
    keys, frame, now = [(0, 0.0)], 0, 0.0
    while frame < count:
        frame += int(rng.integers(12, 35))
        after = float(rng.choice([0.0, rng.uniform(-reach, reach), reach * rng.choice([-1, 1])]))
        keys += [(frame, now), (frame + 2, after)]
        frame, now = frame + 2, after
    return _glide(count, keys)


def make_sound(track: Track, count: int, pitch: float, seed: int) -> NDArray[np.float32]:
    """A quiet hum through two moving vowel formants, as loud as the mouth is open, (samples,) in -1..1."""
    rng = np.random.default_rng(seed)
    t = np.arange(count * RATE // FPS) / RATE
    at = np.array([f for f, _ in track.said]) / FPS
    first, second = (np.interp(t, at, [SOUNDS[s][1][i] for _, s in track.said]) for i in range(2))
    loud = np.interp(t, at, [LOUD[s] for _, s in track.said])
    loud = np.convolve(np.pad(loud, 400, "edge"), np.hanning(801) / np.hanning(801).sum(), "valid")
    melody = np.interp(t, np.linspace(0, t[-1], count // 10), rng.uniform(-1, 1, count // 10))
    hum = pitch * 2 ** ((2.0 * melody + 0.25 * np.sin(2 * np.pi * 4.8 * t)) / 12)
    phase = 2 * np.pi * np.cumsum(hum) / RATE
    voice = np.zeros_like(t)
    for k in range(1, int(3200 / pitch)):
        f = k * hum
        ring = sum(
            g / (1 + ((f - c) / w) ** 2) for g, c, w in ((1.0, first, 90), (0.5, second, 130), (0.15, 2700, 300))
        )
        voice += np.asarray(ring) * np.sin(k * phase + k * k * 0.3) / k**0.7
    voice = voice * loud
    edge = np.clip(np.minimum(t, t[-1] - t) / 0.05, 0, 1)
    return (0.16 * edge * voice / np.abs(voice).max()).astype(np.float32)
