"""Render the data set of synthetic people: clips for swaps with the exact answer, and labels for every frame.

    make people                                  # makes .venv-render and runs this
    python people/render_people.py                # writes ~/.cache/clearswap-people; what is there is kept
    python people/render_people.py --still light_dark_source 0,40,90 out.png   # frames to look at, labels drawn on

The set-up is that of people/render_demo.py; people/README.md says what is in the folder. Every seed is fixed.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demo_gl import Light, Mesh, Renderer
from demo_labels import Labels
from demo_people import Person
from demo_props import Grip, Hand, glasses, passes
from demo_scenes import backdrop, scene
from demo_track import make_sound
from people_clips import CLIPS, STRESS, Clip, member
from render_demo import encode

OUT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clearswap-people"


@cache
def person(name: str) -> Person:
    """Each person is put together once."""
    who = member(name)
    return Person(name, who.shape, who.look, who.seed)


@cache
def hand() -> Hand:
    """The one hand that passes."""
    return Hand()


class Take:
    """One clip, ready to be rendered frame by frame."""

    def __init__(self, clip: Clip) -> None:
        shot = clip.shot
        self.clip, self.track, self.person = clip, shot.track(), person(clip.person)
        self.renderer = Renderer(*shot.size, shot.span)
        self.renderer.load(clip.person, self.person.paint)
        self.renderer.load("wall", scene(shot.scene, *shot.size, shot.seed))
        self.fixed = [backdrop(), *(glasses(self.person) if shot.glasses else [])]
        self.labels = Labels(self.renderer)
        self.grips: list[Grip | None] = [None] * shot.frames
        if shot.hand:
            stress = shot.seed == STRESS
            self.grips = passes(shot.frames, shot.seed, 108 if stress else 10, (1, 3) if stress else (14, 34))

    def frame(self, i: int) -> NDArray[np.uint8]:
        """Picture ``i``, (H, W, 3) RGB; its labels are noted."""
        shot, moment, light = self.clip.shot, self.track.moment(i), self.track.light[i]
        meshes, turn = self.person.meshes(moment, shot.cloth)
        meshes += self._hand(i) + self.fixed
        last = {"back": 1, "lens": 2}  # in this order, after everything else
        meshes.sort(key=lambda mesh: last.get(mesh.material, 0))
        picture = self.renderer.draw(meshes, Light(*light), turn)
        self.labels.add(self.person, moment, light, meshes, turn)
        return picture

    def _hand(self, i: int) -> list[Mesh]:
        grip, colours = self.grips[i], self.clip.shot.hand
        return [hand().mesh(grip, *colours)] if grip and colours else []

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """All pictures in order."""
        for i in range(self.clip.shot.frames):
            yield self.frame(i)


def marked(take: Take, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with the outlines of its masks and its landmarks: green where visible, red where not."""
    row = {name: values[-1] for name, values in take.labels.rows.items()}
    height, width = picture.shape[:2]
    drawn = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for name, colour in (("face", (255, 255, 0)), ("occluder", (255, 0, 255)), ("glasses", (0, 255, 255))):
        mask = np.unpackbits(row[name])[: height * width].reshape(height, width)
        wide = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        cv2.drawContours(drawn, cv2.findContours(wide, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0], -1, colour, 1)
    for (x, y), visible in zip(row["landmarks"], row["visible"], strict=True):
        at = (round(2 * float(x) + 0.5), round(2 * float(y) + 0.5))
        cv2.circle(drawn, at, 2, (0, 255, 0) if visible else (255, 0, 0), -1, cv2.LINE_AA)
    return drawn.astype(np.uint8, copy=False)


def render(name: str, out: Path) -> str:
    """Write one clip and its labels, the clip last; returns a line about it."""
    clip, start = CLIPS[name], time.perf_counter()
    if (out / f"{name}.mp4").exists():  # by another run in the meantime
        return f"{name}: is there"
    take, shot = Take(clip), clip.shot
    sound = make_sound(take.track, shot.frames, member(clip.person).pitch, shot.seed)
    path = out / f"{name}.mp4"
    beside = out / f"{name}.{os.getpid()}.new.mp4"
    encode(beside, take.frames(), sound, shot.size, shot.crf)
    take.labels.save(out / f"{name}.labels.npz", clip.person, member(clip.person).tone)
    beside.replace(path)
    size = path.stat().st_size / 1e6
    return f"{name}: {shot.frames} frames, {size:.2f} MB, {time.perf_counter() - start:.0f} s"


def describe(out: Path) -> None:
    """people.json: what is in each clip."""
    table = {}
    for name, clip in CLIPS.items():
        who, shot = member(clip.person), clip.shot
        table[name] = {
            "person": clip.person, "pair": clip.pair, "role": clip.role, "size": list(shot.size),
            "frames": shot.frames, "crf": shot.crf, "tone": who.tone, "sex": who.sex, "age": who.age,
            "looks": who.words, "scene": shot.scene, "glasses": shot.glasses, "occluder": bool(shot.hand),
        }  # fmt: skip
    beside = out / f"people.{os.getpid()}.part"
    beside.write_text(json.dumps(table, indent=1) + "\n")
    beside.replace(out / "people.json")


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description="Render the synthetic people and their labels.")
    parser.add_argument("clips", nargs="*", metavar="CLIP", help=f"only these of {', '.join(CLIPS)}")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--jobs", type=int, default=2, help="clips that are rendered at the same time")
    parser.add_argument("--plain", action="store_true", help="no labels on the still")
    parser.add_argument("--still", nargs=3, metavar=("CLIP", "FRAMES", "PNG"), help="comma-separated frames in a row")
    args = parser.parse_args()
    if args.still:
        name, which, path = args.still
        take = Take(CLIPS[name])
        shown = []
        for i in which.split(","):
            picture = take.frame(int(i))
            shown.append(picture if args.plain else marked(take, picture))
        cv2.imwrite(path, cv2.cvtColor(np.hstack(shown), cv2.COLOR_RGB2BGR))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    describe(args.out)
    todo = [name for name in args.clips or CLIPS if not (args.out / f"{name}.mp4").exists()]
    os.environ.setdefault("LP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // args.jobs)))  # of the software OpenGL
    alone = get_context("spawn")  # a process for each clip: two OpenGL contexts in one get into each other's way
    with ProcessPoolExecutor(args.jobs, alone, max_tasks_per_child=1) as pool:
        for line in pool.map(render, todo, [args.out] * len(todo)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
