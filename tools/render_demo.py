"""Render the demo clips: two people who never existed, and the exact answer to swapping them.

    python3 -m venv /tmp/render && . /tmp/render/bin/activate
    pip install --no-deps -r tools/requirements-render.txt
    apt-get install -y libegl1 libgl1-mesa-dri        # a software OpenGL is enough
    python tools/render_demo.py                       # writes src/clearswap/demo_clips/*.mp4
    python tools/render_demo.py --still b 40 out.png  # one frame to look at

``person_a`` and ``person_b`` each follow a track of their own. ``truth`` is person A driven by
person B's track in front of B's background: frame i is what a perfect swap of A's face into
B's frame i looks like. The same command gives the same frames: every seed is fixed.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from demo_gl import Light, Mesh, Renderer, vertices
from demo_head import Array
from demo_people import Cloth, Moment, Person
from numpy.typing import NDArray

SIZE, FPS, RATE = 400, 25, 44100
CLIPS = Path(__file__).parent.parent / "src/clearswap/demo_clips"

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


@dataclass(frozen=True)
class Track:
    """What drives a head: every array's first axis is frames."""

    shapes: dict[str, Array]  # face shape -> (n,)
    pose: Array  # (n, 3) yaw, pitch, roll in radians
    sway: Array  # (n, 3) dm
    gaze: Array  # (n, 2) degrees
    light: Array  # (n, 3) azimuth and height in degrees, strength
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


def make_track(count: int, seed: int) -> Track:
    """A talking head. Ranges are the same for every seed, so that one clip's faces are in the other's range."""
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
        [_wander(count, rng, r, -a, a) for r, a in (((16, 32), 25.0), ((15, 30), 12.0), ((20, 40), 7.0))], 1
    )
    sway = np.stack([_wander(count, rng, (30, 60), -a, a) for a in (0.10, 0.05, 0.06)], 1)
    light = np.stack([_wander(count, rng, (45, 80), *r) for r in ((-52, 12), (22, 48), (1.2, 1.65))], 1)
    return Track(shapes, np.radians(pose), sway, gaze, light, said)


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


def background(low: tuple[float, float, float], high: tuple[float, float, float], seed: int) -> Array:
    """A wall out of focus: a slope of light and a few soft discs, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:1:512j, 0:1:512j]
    wall = np.array(low) + (np.array(high) - low) * np.clip(0.75 * y + 0.35 * x - 0.05, 0, 1)[..., None]
    for _ in range(7):
        cx, cy, size, lift = rng.uniform([0, 0.35, 0.08, -0.05], [1, 1, 0.2, 0.07])
        disc = np.clip((size - np.hypot(x - cx, y - cy)) / 0.06 + 0.5, 0, 1)
        wall = wall + lift * (disc * disc * (3 - 2 * disc))[..., None]
    wall = cv2.GaussianBlur(wall.astype(np.float32), (0, 0), 9)
    return np.clip(wall + rng.normal(0, 0.004, (512, 512, 1)), 0, 1)


@dataclass(frozen=True)
class Clip:
    """Which person follows which track, where and in what."""

    person: str
    frames: int
    track_seed: int
    pitch: float  # of the voice, Hz
    wall: tuple[tuple[float, float, float], tuple[float, float, float]]
    cloth: Cloth


CLIP = {
    "person_a": Clip(
        "a", 300, 11, 112.0, ((0.24, 0.30, 0.36), (0.55, 0.62, 0.66)), Cloth((0.20, 0.33, 0.36), (5.86, 0.30), 1.0)
    ),
    "person_b": Clip(
        "b", 200, 23, 196.0, ((0.50, 0.42, 0.36), (0.80, 0.74, 0.66)), Cloth((0.72, 0.38, 0.22), (5.98, 0.42), 0.4)
    ),
}
CLIP["truth"] = Clip("a", *[getattr(CLIP["person_b"], n) for n in ("frames", "track_seed", "pitch", "wall", "cloth")])
SEED = {"a": 5, "b": 9}  # of paint and hair


class Studio:
    """The renderer with the people it has been asked for."""

    def __init__(self) -> None:
        self.renderer = Renderer(SIZE)
        self.people: dict[str, Person] = {}
        corners = np.array([[-1, -1, 0.9999], [3, -1, 0.9999], [-1, 3, 0.9999]])
        seen = (corners[:, :2] + 1) / 2
        table = vertices(corners, 0 * corners, 0 * corners, *seen.T)
        self.wall = Mesh("back", table, np.array([[0, 1, 2]]), paint="wall")

    def frames(self, clip: Clip, track: Track, which: range) -> Iterator[NDArray[np.uint8]]:
        """The clip's pictures, (400, 400, 3) RGB each."""
        if clip.person not in self.people:
            person = self.people[clip.person] = Person(clip.person, SEED[clip.person])
            self.renderer.load(person.name, person.paint)
        person = self.people[clip.person]
        self.renderer.load("wall", background(*clip.wall, clip.track_seed))
        for i in which:
            meshes, turn = person.meshes(track.moment(i), clip.cloth)
            yield self.renderer.draw([*meshes, self.wall], Light(*track.light[i]), turn)


def encode(path: Path, pictures: Iterator[NDArray[np.uint8]], sound: NDArray[np.float32]) -> None:
    """Write H.264 and AAC beside ``path``, then move it there in one step."""
    beside = path.with_suffix(f".{os.getpid()}.part")
    with av.open(str(beside), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as file:
        video = file.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "slow", "threads": "2"})
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        audio = file.add_stream("aac", rate=RATE, layout="mono", bit_rate=64000)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for start in range(0, len(sound), 1024):
            part = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="fltp", layout="mono")
            part.sample_rate, part.pts, part.time_base = RATE, start, Fraction(1, RATE)
            file.mux(audio.encode(part))
        file.mux(audio.encode(None))
    beside.replace(path)


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description="Render the demo clips.")
    parser.add_argument("clips", nargs="*", metavar="CLIP", help=f"only these of {', '.join(CLIP)}")
    parser.add_argument("--out", type=Path, default=CLIPS)
    parser.add_argument(
        "--still", nargs=3, metavar=("CLIP", "FRAMES", "PNG"), help="comma-separated frames side by side"
    )
    args = parser.parse_args()
    studio = Studio()
    if args.still:
        name, which, path = args.still
        clip = CLIP[name]
        track = make_track(clip.frames, clip.track_seed)
        pictures = [next(studio.frames(clip, track, range(int(i), int(i) + 1))) for i in which.split(",")]
        cv2.imwrite(path, cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.clips or CLIP:
        clip, start = CLIP[name], time.perf_counter()
        track = make_track(clip.frames, clip.track_seed)
        sound = make_sound(track, clip.frames, clip.pitch, clip.track_seed)
        encode(args.out / f"{name}.mp4", studio.frames(clip, track, range(clip.frames)), sound)
        size = (args.out / f"{name}.mp4").stat().st_size
        print(f"{name}: {clip.frames} frames, {size / 1e6:.2f} MB, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
