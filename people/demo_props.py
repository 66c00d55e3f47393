"""What comes between the camera and a face: a passing hand, and glasses. Both belong to the clip, not the person."""

from dataclasses import dataclass

import numpy as np
import trimesh

from demo_gl import Mesh, vertices
from demo_head import Array, Ints, Surface, lattice, mask_at_points, openness, rotation, template
from demo_looks import Colour
from demo_people import Person


@dataclass(frozen=True)
class Grip:
    """Where the hand is in one frame."""

    middle: Array  # of the palm, dm
    angle: float  # degrees from upright, positive leans to the picture's left
    tilt: float  # degrees, fingertips towards the camera
    right: bool  # mirrored


class Hand:
    """A hand and forearm cut from the base mesh, fingers slightly bent.

    Its own axes: x to the thumb, y to the fingertips, z out of its back; the origin is in the palm.
    """

    def __init__(self) -> None:
        base = template()

        def joint(name: str) -> Array:
            middle: Array = base.points[base.of(f"joint-l-{name}")].mean(0)
            return middle

        wrist, knuckle = joint("hand"), joint("finger-3-1")
        along = (knuckle - wrist) / np.linalg.norm(knuckle - wrist)
        across = joint("finger-2-1") - joint("finger-5-1")
        across -= (across @ along) * along
        across /= np.linalg.norm(across)
        axes = np.stack([across, along, np.cross(across, along)])
        own = (base.points - 0.4 * wrist - 0.6 * knuckle) @ axes.T
        quads = base.quads["body"]
        middles = own[quads].mean(1)
        reach = float((joint("elbow") - 0.4 * wrist - 0.6 * knuckle) @ along)
        arm = (middles[:, 1] > reach) & (base.points[quads].mean(1)[:, 0] > 2.9)
        self.surface = Surface(quads[arm])
        bent = _bent(own, start=float((knuckle - 0.4 * wrist - 0.6 * knuckle) @ along))
        self.points = self.surface.refine(bent)
        self.normals = self.surface.normals(self.points)
        mesh = trimesh.Trimesh(self.points, self.surface.triangles, process=False)
        self.free = openness(self.points, self.normals, mesh)
        self.nails = np.clip(self.surface.refine(mask_at_points("fingernails")), 0, 1)

    def mesh(self, grip: Grip, skin: Colour, pale: Colour) -> Mesh:
        """The hand in the world; ``pale`` is the colour of nails and palm."""
        angle, tilt = np.radians([grip.angle, grip.tilt])
        turn = rotation(np.array([0, 0, angle])) @ rotation(np.array([tilt, 0, 0]))
        mirror = np.array([-1.0 if grip.right else 1.0, 1, 1])
        place = (self.points * mirror) @ turn.T + grip.middle
        palm = np.clip(-self.normals[:, 2], 0, 1) * np.clip((self.points[:, 1] + 1.0) / 0.4, 0, 1)
        table = vertices(place, (self.normals * mirror) @ turn.T, self.points, self.free, self.nails, 0.7 * palm)
        return Mesh("hand", table, self.surface.triangles, (skin, pale), shadow=True)


def _bent(own: Array, start: float, bend: float = 0.55) -> Array:
    """Bend everything beyond the knuckles towards the palm, evenly along its length (radians per dm)."""
    over = np.maximum(own[:, 1] - start, 0)
    angle = bend * over
    low = own[:, 2]
    y = own[:, 1] - over + np.sin(angle) / bend + low * np.sin(angle)
    z = -(1 - np.cos(angle)) / bend + low * np.cos(angle)
    return np.stack([own[:, 0], y, z], -1)


def passes(count: int, seed: int, first: int = 12, gap: tuple[int, int] = (14, 34)) -> list[Grip | None]:
    """A hand's visits to a face, frame by frame: it comes from below or aside, rests or sweeps on, and leaves."""
    rng = np.random.default_rng(seed)
    grips: list[Grip | None] = [None] * count
    start = first
    while start < count - 8:
        frames = int(rng.integers(12, 34))
        side = float(rng.choice([-1, 1]))  # from the picture's left or right
        angle = -side * rng.uniform(-60, 20) * -1
        lean = np.radians(angle)
        way = np.array([-np.sin(lean), np.cos(lean), 0])  # where the fingers point
        aim = np.array([rng.uniform(-0.45, 0.45), rng.uniform(6.2, 7.3), rng.uniform(2.2, 2.5)])
        sweep, tilt = rng.random() < 0.45, rng.uniform(-15, 15)
        for i in range(frames):
            t = (i + 0.5) / frames
            away = np.abs(2 * t - 1) ** (4.0 if frames > 22 else 2.2)
            drift = np.array([np.cos(lean), np.sin(lean), 0]) * side * (2 * t - 1)
            middle = aim + (2.3 * drift if sweep else 0.35 * drift - 3.0 * away * way)
            if start + i < count:
                grips[start + i] = Grip(middle, float(angle), float(tilt), side > 0)
        start += frames + int(rng.integers(*gap))
    return grips


def _tube(line: Array, radius: float, sides: int = 10) -> tuple[Array, Array, Ints]:
    """A tube along a line (K, 3): points, normals, triangles."""
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-12
    helper = np.where(np.abs(along[:, 1:2]) < 0.9, [[0, 1.0, 0]], [[1.0, 0, 0]])
    one = np.cross(along, helper)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    two = np.cross(along, one)
    angle = np.linspace(0, 2 * np.pi, sides)[None, :, None]
    out = np.cos(angle) * one[:, None] + np.sin(angle) * two[:, None]
    return (line[:, None] + radius * out).reshape(-1, 3), out.reshape(-1, 3), lattice(len(line), sides)


def glasses(person: Person, colour: Colour = (0.06, 0.045, 0.04), thick: float = 0.020) -> list[Mesh]:
    """Rims, bridge, temples and lenses that sit on this person's nose and ears, in the head's axes."""
    x, y, z = person.fine.T
    about = (np.abs(x) > 0.10) & (np.abs(x) < 0.56) & (y > 7.02) & (y < 7.46) & (z > 0.6)
    front = float(z[about].max()) + 0.035
    beside = (np.abs(y - 7.37) < 0.10) & (z > 0.62) & (z < 1.0)  # the temples, in front of the ears
    wide = float(np.abs(x[beside]).max())
    t = np.linspace(0, 2 * np.pi, 73)
    lines, lenses = [], []
    for side in (-1, 1):
        across, up = (np.sign(f) * np.abs(f) ** 0.72 for f in (np.cos(t), np.sin(t)))
        rim = np.stack([side * (0.335 + 0.262 * across), 7.255 + 0.195 * up + 0.02 * across, 0 * t + front], -1)
        rim[:, 2] -= 0.22 * np.maximum(np.abs(rim[:, 0]) - 0.1, 0) ** 2  # it follows the face around
        lines.append(rim)
        lenses.append(rim)
        hinge = np.array([side * 0.615, 7.37, front - 0.07])
        ear = np.array([side * (wide + 0.03), 7.38, 0.55])
        lines.append(np.linspace(0, 1, 12)[:, None] * (ear - hinge) + hinge)
        lines.append(np.array([ear, ear + [0, -0.03, -0.15], ear + [0, -0.16, -0.3]]))
    nose = float(z[(np.abs(x) < 0.06) & (np.abs(y - 7.31) < 0.05)].max())
    s = np.linspace(-1, 1, 13)
    lines.append(np.stack([0.085 * s, 7.315 + 0.03 * (1 - s * s), max(front, nose + 0.03) + 0.02 * (1 - s * s)], -1))
    parts = [_tube(line, thick) for line in lines]
    starts = np.cumsum([0] + [len(p) for p, _, _ in parts])
    place, normal = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    faces = np.concatenate([f + start for (_, _, f), start in zip(parts, starts, strict=False)])
    frame = Mesh("frame", vertices(place, normal, place), faces, (colour,), (0.05,), in_head=True, shadow=True)
    return [frame, *(_lens(rim) for rim in lenses)]


def _lens(rim: Array) -> Mesh:
    """A slightly domed pane inside a rim."""
    middle = rim[:-1].mean(0)
    shares = np.linspace(0, 1, 8)[:, None, None]
    pane = middle + shares * (rim - middle)
    dome = 0.04 * (1 - shares[..., 0] ** 2)
    pane = pane + np.stack([0 * dome, 0 * dome, dome], -1)
    out = (pane - middle) * [0.35, 0.35, 0] + [0, 0, 1]
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    place = pane.reshape(-1, 3)
    return Mesh("lens", vertices(place, out.reshape(-1, 3), place), lattice(8, len(rim)), in_head=True)
