"""What is known about every rendered frame: landmarks, masks, pose, how far eyes and mouth are open."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from demo_gl import Mesh, Renderer
from demo_head import Array, Ints, data
from demo_people import Moment, Person, gaze_rotation

# Name, number in MediaPipe's face mesh, vertex of base.obj; * stands for the side, with the person's right, then left.
PAIRED = (
    ("eye_outer_*", (33, 263), 6805),
    ("eye_inner_*", (133, 362), 6853),
    ("lid_upper_*", (159, 386), 6785),
    ("lid_lower_*", (145, 374), 6828),
    ("brow_outer_*", (70, 300), 7005),
    ("brow_middle_*", (105, 334), 7002),
    ("brow_inner_*", (107, 336), 7006),
    ("nose_wing_*", (129, 358), 11669),
    ("mouth_corner_*", (61, 291), 10374),
)
SINGLE = (
    ("nose_bridge", 6, 133),
    ("nose_tip", 1, 297),
    ("nose_base", 2, 343),
    ("lip_upper_top", 0, 455),
    ("lip_upper_bottom", 13, 474),
    ("lip_lower_top", 14, 493),
    ("lip_lower_bottom", 17, 492),
    ("chin", 152, 5296),
)
IRISES = ("iris_right", "iris_left")  # from the eyeballs: only the refined mesh has them


def _mirrored() -> dict[int, int]:
    """base.obj's vertex on the other side of the face."""
    lines = (data() / "mpfb2/mesh_metadata/hm08.mirror").read_text().splitlines()
    return {int(a): int(b) for a, b, *_ in (line.split() for line in lines if line and line[0].isdigit())}


def landmark_table() -> tuple[list[str], list[int], list[int]]:
    """Names, MediaPipe numbers and base.obj vertices; irises (no vertex: -1) come last."""
    other = _mirrored()
    rows = [(name, mesh, vertex) for name, mesh, vertex in SINGLE]
    for name, (right, left), vertex in PAIRED:
        rows += [(name.replace("*", "right"), right, other[vertex]), (name.replace("*", "left"), left, vertex)]
    rows += [(name, -1, -1) for name in IRISES]
    names, mesh, vertices = zip(*rows, strict=True)
    return list(names), list(mesh), list(vertices)


@dataclass
class Labels:
    """Collects one clip's labels, frame by frame."""

    renderer: Renderer
    names: list[str] = field(init=False)
    rows: dict[str, list[Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names, self.mesh_index, self.vertices = landmark_table()
        self.at: dict[str, Ints] = {}

    def add(self, person: Person, moment: Moment, light: Array, meshes: list[Mesh], turn: Array) -> None:
        """Note the frame whose ``meshes`` were last put together by ``person``."""
        seen, depth = self.renderer.labels(meshes, turn)
        world = self.points(person, moment, turn)
        eyes, mouth = self._openings(world)
        pixels = self.renderer.project(world)
        visible = self._visible(pixels, depth)
        visible[-2:] &= eyes > 0.035
        row = {
            "landmarks": pixels[:, :2].astype(np.float32),
            "visible": visible,
            "pose": np.degrees(moment.pose),
            "gaze": moment.gaze,
            "eye_open": eyes.mean(),
            "mouth_open": mouth,
            "light": light[:3],
            "room": light[3] if len(light) > 3 else 1.0,
        }
        row |= {name: np.packbits(seen[..., i]) for i, name in enumerate(("face", "occluder", "glasses"))}
        for name, value in row.items():
            self.rows.setdefault(name, []).append(np.asarray(value))

    def points(self, person: Person, moment: Moment, turn: Array) -> Array:
        """The landmarks in the world, (K, 3)."""
        skin = np.searchsorted(person.skin.used, self.vertices[:-2])  # a fine surface begins with the coarse points
        left, right = (m + gaze_rotation(moment.gaze) @ [0, 0, 1.05 * r] for m, r, _ in person.balls)
        irises = np.stack([right, left]) @ turn[:3, :3].T + turn[:3, 3]
        return np.concatenate([person.placed[skin], irises])

    def _openings(self, world: Array) -> tuple[Array, float]:
        """Distance of the lids (right, left) and of the lips by that of the eyes' outer corners."""

        def apart(one: str, other: str) -> float:
            return float(np.linalg.norm(world[self.names.index(one)] - world[self.names.index(other)]))

        unit = apart("eye_outer_right", "eye_outer_left")
        lids = [apart(f"lid_upper_{side}", f"lid_lower_{side}") / unit for side in ("right", "left")]
        return np.array(lids), apart("lip_upper_bottom", "lip_lower_top") / unit

    def _visible(self, pixels: Array, depth: Array) -> Array:
        """In the frame, and nothing more than 4 mm before it in the depth buffer (5 x 5 of its pixels about it)."""
        height, width = depth.shape
        fine = self.renderer.larger * (pixels[:, :2] + 0.5) - 0.5
        column, row = np.round(fine).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        around = np.arange(-2, 3)
        rows = np.clip(row[:, None, None] + around[:, None], 0, height - 1)
        columns = np.clip(column[:, None, None] + around, 0, width - 1)
        there = self.renderer.distance(depth[rows, columns]).max((1, 2))
        visible: Array = inside & (self.renderer.distance(pixels[:, 2]) < there + 0.04)
        return visible

    def save(self, path: Path, person: str, tone: int, **more: Array) -> None:
        """Write everything, and ``more`` as it is, beside ``path``, then move it there in one step."""
        shape = (len(self.rows["pose"]), self.renderer.height, self.renderer.width)
        table = {name: np.stack(rows) for name, rows in self.rows.items()}
        size = int(np.prod(shape))
        for name in ("face", "occluder", "glasses"):
            flat = np.unpackbits(table[name], axis=1)[:, : shape[1] * shape[2]]
            if name == "glasses" and not flat.any():
                del table[name]
            else:
                table[name] = np.packbits(flat.reshape(size))
        for name in ("pose", "gaze", "eye_open", "mouth_open", "light", "room"):
            table[name] = table[name].astype(np.float32)
        table |= {
            "landmark_names": np.array(self.names),
            "mesh_index": np.array(self.mesh_index, np.int32),
            "mask_shape": np.array(shape, np.int32),
            "person": np.array(person),
            "tone": np.array(tone, np.int32),
            **more,
        }
        beside = path.with_suffix(".part")
        with beside.open("wb") as file:
            np.savez_compressed(file, **table)
        beside.replace(path)
