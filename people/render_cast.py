"""Render a cast: people that a seed makes, each in frames that span all expressions, with exact labels.

    make cast                                          # 160 people, 100 frames each, into ~/.cache/clearswap-cast
    python people/render_cast.py --people 0:8          # only the first eight
    python people/render_cast.py --sheet cast.png      # one frame of each of the first 24, to look at

Only the aligned face is rendered, 256 pixels wide (`whole_face`; clearswap/core/align.py says what that is). A folder
for each person: 00.jpg, 01.jpg ..., and labels.npz as people/README.md describes them, with the weights of the face
shapes besides (`shapes`, by `shape_names`), and a `face` that has the forehead, too. person.json says who it is, and
has a digest of the pictures: a base is made from nothing but what was rendered. What is there already is kept: a run
goes on where the last one was stopped. Every seed is fixed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from functools import cache, partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cast_faces import SHAPES, Shown, shown_frame
from cast_people import Made, made_person
from demo_gl import Mesh, Renderer, vertices
from demo_head import Array, sphere
from demo_labels import Labels, landmark_table
from demo_people import Cloth, Person
from demo_props import Hand, glasses
from demo_scenes import backdrop, scene

OUT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clearswap-cast"
SIZE = 256
PEOPLE, FRAMES = 132, 100  # 128 people that the base is made of, and the 4 that `tools/pretrain.py` holds out
# Where landmarks lie in the whole_face square, in shares of its side from its upper left corner: the places of the
# mean face (dlib, image_transforms/interpolation.h; Boost licence) in the framing of clearswap/core/align.py.
_MEAN = {
    "eye_outer_right": (0.121737, 0.216423), "eye_outer_left": (0.858516, 0.216423),
    "eye_inner_right": (0.334606, 0.231733), "eye_inner_left": (0.645647, 0.231733), "nose_tip": (0.490127, 0.47),
    "nose_base": (0.490127, 0.628106), "mouth_corner_right": (0.254149, 0.780233),
    "mouth_corner_left": (0.726104, 0.780233),
}  # fmt: skip
_SIDE = 2.13137
_GOAL = (np.array(list(_MEAN.values())) - [0.5, 0.43]) / _SIDE + 0.5


@cache
def renderer() -> Renderer:
    """One for the process."""
    return Renderer(SIZE, SIZE, larger=1)


@cache
def hand() -> Hand:
    """The one hand there is."""
    return Hand()


def similarity(points: Array, goal: Array) -> Array:
    """The turn, scale and shift (2, 3) that brings ``points`` (N, 2) nearest to ``goal``."""
    x, y = points.T
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, none], 1), np.stack([y, x, none, one], 1)])
    a, b, right, down = np.linalg.lstsq(rows, goal.T.ravel())[0]
    return np.array([[a, -b, right], [b, a, down]])


def cap_mesh(person: Person, colour: tuple[float, float, float], height: float) -> Mesh:
    """A knitted cap over everything above ``height`` at the forehead."""
    rest, fine = person.rest, person.fine
    inside = rest[:, 1] + 0.25 * rest[:, 2] > height + 0.35
    triangles = person.skin.triangles[inside[person.skin.triangles].all(1)]
    normals = person.skin.normals(fine)
    table = vertices(fine + 0.16 * normals, normals, rest, 1.0)
    return Mesh("cloth", table, triangles, (colour,), (99.0, 0.0, 1.0), in_head=True, keep=True, shadow=True)


def foam(at: Array, size: float = 0.28) -> Mesh:
    """A microphone's foam ball and its stem, before the mouth."""
    ways, triangles = sphere(25, 33)
    ways = ways[:, [0, 2, 1]]  # its poles up and down
    ball = np.where(ways[:, 1:2] < -0.92, ways * [0.25, 6.0, 0.25], ways) * size + at
    return Mesh("hand", vertices(ball, ways, ball, 0.8), triangles, ((0.05, 0.05, 0.055), (0.1, 0.1, 0.1)))


class Sitting:
    """One person of the cast, frame by frame."""

    def __init__(self, made: Made) -> None:
        self.rng = np.random.default_rng([11, made.seed])
        self.person = Person(str(made.seed), made.shape, made.look, made.seed, face_top=8.6, every=3)
        self.labels = Labels(renderer())
        self.names = landmark_table()[0]
        self.rims = glasses(self.person, made.glasses) if made.glasses else []
        self.cap = [cap_mesh(self.person, made.cap, 7.62 + self.rng.uniform(0, 0.2))] if made.cap else []
        renderer().load(self.person.name, self.person.paint)
        self.wall = backdrop()

    def _place(self) -> None:
        """Another wall, shirt and distance of the camera now and then, and the hand in the colour of any skin."""
        rng = self.rng
        kind = str(rng.choice(["shelves", "window", "leaves", "lamps"]))
        renderer().load("wall", scene(kind, SIZE, SIZE, int(rng.integers(1 << 30))))
        red, green, blue = rng.uniform(0.05, 0.85, 3).tolist()
        self.cloth = Cloth((red, green, blue), (float(rng.uniform(5.86, 6.03)), 0.38), float(rng.uniform(0, 1)))
        self.away = float(rng.uniform(6.0, 16.0))
        self.skin = made_person(int(rng.integers(1 << 30))).look.skin

    def frame(self, number: int) -> NDArray[np.uint8]:
        """A picture (256, 256, 3) RGB; its labels are noted."""
        rng = self.rng
        if number % 20 == 0:
            self._place()
        shown = shown_frame(rng, hand=rng.random() < 0.15, knob=rng.random() < 0.05)
        wears = self.rims if rng.random() < 0.7 else []
        meshes, turn = self.person.meshes(shown.moment, self.cloth)
        meshes += [*wears, *(self.cap if number % 40 < 20 else []), *self._before(shown), self.wall]
        meshes.sort(key=lambda mesh: {"back": 1, "lens": 2}.get(mesh.material, 0))
        self._aim(shown, turn)
        picture = renderer().draw(meshes, shown.light, turn)
        light = np.array([shown.light.azimuth, shown.light.height, shown.light.strength, shown.light.room])
        self.labels.add(self.person, shown.moment, light, [m for m in meshes if m.material != "lens"], turn)
        weights = np.array([shown.moment.shapes.get(name, 0.0) for name in SHAPES], np.float32)
        self.labels.rows.setdefault("shapes", []).append(weights)
        return self._taken(picture)

    def _before(self, shown: Shown) -> list[Mesh]:
        red, green, blue = self.skin
        held = (
            [hand().mesh(shown.grip, (0.94 * red, 0.92 * green, 0.92 * blue), (red, green, blue))] if shown.grip else []
        )
        return [*held, *([foam(shown.knob)] if shown.knob is not None else [])]

    def _aim(self, shown: Shown, turn: Array) -> None:
        """Bring the landmarks to where the aligned square has them."""
        renderer().set_camera(self.away, 3.5)
        world = self.labels.points(self.person, shown.moment, turn)
        seen = renderer().project(world)[[self.names.index(name) for name in _MEAN], :2]
        flat = (seen + 0.5) / SIZE * [2, -2] - [1, -1]
        renderer().move_picture(similarity(flat, _GOAL * [2, -2] - [1, -1]))

    def _taken(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a camera makes of it: a tint, sometimes few pixels, sometimes noise."""
        rng = self.rng
        taken = picture * rng.normal(1, [0.04, 0.025, 0.06]) * rng.uniform(0.85, 1.1)
        if rng.random() < 0.45:
            small = int(SIZE * rng.uniform(0.35, 0.95))
            taken = cv2.resize(
                cv2.resize(taken, (small, small), interpolation=cv2.INTER_AREA),
                (SIZE, SIZE),
                interpolation=cv2.INTER_LINEAR,
            )
        if rng.random() < 0.5:
            taken = taken + rng.normal(0, rng.uniform(0.5, 4), (SIZE, SIZE, 1)) + rng.normal(0, 0.6, (SIZE, SIZE, 3))
        return np.clip(taken, 0, 255).astype(np.uint8)


def digest(folder: Path) -> str:
    """The SHA-256 of all pictures in their order, in hexadecimal: bases are made from nothing but these."""
    return sha256(b"".join(picture.read_bytes() for picture in sorted(folder.glob("*.jpg")))).hexdigest()


def render(seed: int, frames: int, out: Path) -> str:
    """Write one person's folder; returns a line about it."""
    folder, start = out / f"{seed:06d}", time.perf_counter()
    if folder.exists():  # by another run in the meantime
        return f"{seed}: is there"
    partial = out / f".{seed:06d}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    made = made_person(seed)
    sitting = Sitting(made)
    for number in range(frames):
        picture = sitting.frame(number)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(sitting.rng.integers(60, 97))]
        cv2.imwrite(str(partial / f"{number:02d}.jpg"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    sitting.labels.save(partial / "labels.npz", str(seed), round(6 * made.tone), shape_names=np.array(SHAPES))
    about = {"seed": seed, "frames": frames, "sex": made.sex, "age": made.age, "tone": round(made.tone, 3)}
    about |= {
        "hair": made.look.hair_style,
        "glasses": bool(made.glasses),
        "cap": bool(made.cap),
        "beard": made.look.beard,
    }
    about["sha256"] = digest(partial)
    (partial / "person.json").write_text(json.dumps(about) + "\n")
    partial.rename(folder)
    return f"{seed}: {frames} frames, {time.perf_counter() - start:.0f} s"


def sheet(path: Path, people: range, columns: int = 8) -> None:
    """One picture with a frame or more of each person."""
    shown = []
    for seed in people:
        made = made_person(seed)
        sitting = Sitting(made)
        shown.append(np.vstack([sitting.frame(number) for number in range(2)]))
        print(seed, made.look.hair_style, flush=True)
    shown += [np.zeros_like(shown[0])] * (-len(shown) % columns)
    rows = [np.hstack(shown[i : i + columns]) for i in range(0, len(shown), columns)]
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description="Render a cast of people who never lived.")
    parser.add_argument("--people", default=f"0:{PEOPLE}", metavar="FROM:TO", help="their seeds")
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--jobs", type=int, default=2, help="people that are rendered at the same time")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="only look at them")
    args = parser.parse_args()
    first, last = map(int, args.people.split(":"))
    if args.sheet:
        sheet(args.sheet, range(first, last))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    todo = [seed for seed in range(first, last) if not (args.out / f"{seed:06d}").exists()]
    os.environ.setdefault("LP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // args.jobs)))  # of the software OpenGL
    start = time.perf_counter()
    # a process for each person, as its graphics memory grows; ProcessPoolExecutor hung when it had to start new ones
    with get_context("spawn").Pool(args.jobs, maxtasksperchild=1) as pool:
        for line in pool.imap(partial(render, frames=args.frames, out=args.out), todo, chunksize=1):
            print(line, flush=True)
    print(f"{len(todo)} people, {len(todo) * args.frames} frames in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
