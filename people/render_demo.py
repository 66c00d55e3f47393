"""Render the demo clips: two people who never existed, and the exact answer to swapping them.

    python3 -m venv /tmp/render && . /tmp/render/bin/activate
    pip install --no-deps -r people/requirements-render.txt
    apt-get install -y libegl1 libgl1-mesa-dri        # a software OpenGL is enough
    python people/render_demo.py                       # writes src/clearswap/demo_clips/*.mp4
    python people/render_demo.py --still b 40 out.png  # one frame to look at

``person_a`` and ``person_b`` each follow a track of their own. ``truth`` is person A driven by
person B's track in front of B's background: frame i is what a perfect swap of A's face into
B's frame i looks like. The same command gives the same frames: every seed is fixed.
"""

import argparse
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from demo_cast import LOOKS, SEEDS, SHAPES
from demo_gl import Light, Renderer
from demo_people import Cloth, Person
from demo_scenes import backdrop, background
from demo_track import FPS, RATE, Track, make_sound, make_track

SIZE = 400
CLIPS = Path(__file__).parent.parent / "src/clearswap/demo_clips"


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


class Studio:
    """The renderer with the people it has been asked for."""

    def __init__(self) -> None:
        self.renderer = Renderer(SIZE, SIZE)
        self.people: dict[str, Person] = {}
        self.wall = backdrop()

    def frames(self, clip: Clip, track: Track, which: range) -> Iterator[NDArray[np.uint8]]:
        """The clip's pictures, (400, 400, 3) RGB each."""
        if clip.person not in self.people:
            name = clip.person
            person = self.people[name] = Person(name, SHAPES[name], LOOKS[name], SEEDS[name])
            self.renderer.load(person.name, person.paint)
        person = self.people[clip.person]
        self.renderer.load("wall", background(*clip.wall, clip.track_seed))
        for i in which:
            meshes, turn = person.meshes(track.moment(i), clip.cloth)
            yield self.renderer.draw([*meshes, self.wall], Light(*track.light[i]), turn)


def encode(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    sound: NDArray[np.float32],
    size: tuple[int, int] = (SIZE, SIZE),
    crf: int = 18,
) -> None:
    """Write H.264 and AAC beside ``path``, then move it there in one step."""
    beside = path.with_suffix(f".{os.getpid()}.part")
    with av.open(str(beside), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as file:
        video = file.add_stream("libx264", rate=FPS, options={"crf": str(crf), "preset": "slow", "threads": "2"})
        video.width, video.height = size
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
