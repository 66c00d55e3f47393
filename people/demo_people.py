"""Who the demo people are, and how one of them is put together for one frame.

Neither ever lived: they are weights on the CC0 base mesh plus computed paint and hair.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import trimesh

from demo_gl import Mesh, vertices
from demo_hair import STYLES, Strands, beard, brows, hair
from demo_head import (
    PIVOT,
    Array,
    Ints,
    Surface,
    expression,
    eyeball,
    head_rotation,
    identity,
    lattice,
    mask_at_points,
    neck_weight,
    openness,
    rotation,
    teeth,
    template,
    turned,
)
from demo_looks import Look, paint, scalp


@dataclass(frozen=True)
class Cloth:
    """The shirt, which belongs to the clip and not to the person."""

    colour: tuple[float, float, float]
    collar: tuple[float, float]  # height in dm, and how much it rises to the nape
    knit: float


@dataclass(frozen=True)
class Moment:
    """What drives a head in one frame; both people understand the same moments."""

    shapes: Mapping[str, float]  # face shape -> 0..1
    pose: Array  # yaw, pitch, roll in radians
    sway: Array  # dm, of the head
    gaze: Array  # degrees to the person's left, up


def _affine(start: Array, end: Array) -> Array:
    """The best (4, 3) matrix from ``start`` to ``end``, both (N, 3): carries teeth with their jaw."""
    return np.linalg.lstsq(np.c_[start, np.ones(len(start))], end, rcond=None)[0]


def _ribbons(strands: Strands, roots: Array, normals: Array, turn: Array, on_face: Array | float) -> tuple[Array, Ints]:
    """Flat bands along the hairs that the vertex program turns towards the camera."""
    line = roots[:, None] + strands.bend @ turn.T  # (S, K, 3)
    count, steps = line.shape[:2]
    along = np.gradient(line, axis=1)
    t = np.linspace(0, 1, steps)
    half = 0.5 * strands.width[:, None] * np.sqrt(np.clip(1.02 - t, 0, 1))
    side = np.stack([half, -half], -1).ravel()
    out = np.repeat(normals, steps, 0) if strands.facing is None else strands.facing @ turn.T
    on_face = np.repeat(on_face, 2 * steps) if isinstance(on_face, np.ndarray) else on_face
    double = [np.repeat(x.reshape(-1, 3), 2, 0) for x in (line, along, out)]
    table = vertices(*double, np.tile(np.repeat(t, 2), count), side, np.repeat(strands.tone, 2 * steps), on_face)
    triangles = lattice(steps, 2) + 2 * steps * np.arange(count)[:, None, None]
    return table, triangles.reshape(-1, 3)


def gaze_rotation(gaze: Array) -> Array:
    """How an eyeball turns for a gaze in degrees, (3, 3)."""
    side, up = np.radians(gaze)
    turn: Array = rotation(np.array([0, side, 0])) @ rotation(np.array([-up, 0, 0]))
    return turn


FACE_TOP = 7.62  # dm on the unmorphed mesh: just over the brows


def face_area(rest: Array, top: float = FACE_TOP) -> Array:
    """1 at unmorphed points (P, 3) of the face: from ``top`` to the chin, from ear to ear."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    jaw = 6.15 + 0.62 * np.clip((1.42 - z) / 0.85, 0, 1) ** 0.8
    before_ears = z > 0.58 - 0.12 * np.clip((7.1 - y) / 0.5, 0, 1)
    face: Array = (y > jaw) & (y < top) & before_ears & (x < 0.88)
    return face.astype(float)


class Person:
    """A head with everything that does not change from frame to frame worked out once."""

    def __init__(
        self,
        name: str,
        shape: Mapping[str, float],
        look: Look,
        seed: int,
        *,
        face_top: float = FACE_TOP,
        every: int = 1,
    ) -> None:
        """``face_top``: up to where skin counts as face in the masks. Only ``every`` so-manieth hair grows, wider."""
        self.name, self.look, base = name, look, template()
        self.points = identity(shape)
        middles = base.points[base.quads["body"]].mean(1)
        low, wide = (3.4, 3.4) if self.look.fine else (4.4, 2.4)  # dm: how much of the body there is
        self.skin = Surface(base.quads["body"][(middles[:, 1] > low) & (np.abs(middles[:, 0]) < wide)])
        self.tongue = Surface(base.quads["helper-tongue"])
        self.rest = self.skin.refine(base.points)
        self.fine = self.placed = fine = self.skin.refine(self.points)
        self.masks = [np.clip(self.skin.refine(mask_at_points(m)), 0, 1) for m in ("lips", "inside-mouth")]
        self.paint = paint(self.skin, self.look, seed)
        self.brows = brows(self.skin, self.rest, fine, self.look, seed)
        self.whiskers = beard(self.skin, self.rest, fine, self.look, seed) if self.look.beard else None
        skin = face_area(self.rest, face_top) * (scalp(self.rest, self.look.hairline) < 0.03)
        self.on_face = np.maximum(skin, self.masks[1] > 0.5)  # with the inside of the mouth
        self.jaws = {upper: teeth(upper) for upper in (True, False)}
        self._bake_openness()
        self.fixed = [self._hair(fine, seed, every)]
        self._keep_eyes()

    def _bake_openness(self) -> None:
        """Soft shadows in the folds for three faces; frames mix them by jaw and lids."""

        def bake(shapes: Mapping[str, float]) -> Array:
            coarse = self._shaped(shapes)
            fine = self.skin.refine(coarse)
            return openness(fine, self.skin.normals(fine), trimesh.Trimesh(fine, self.skin.triangles, process=False))

        self.open_still = bake({})
        self.open_jaw = bake({"jawOpen": 0.5}) - self.open_still
        self.open_lids = bake({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}) - self.open_still

    def _hair(self, fine: Array, seed: int, every: int) -> Mesh:
        grown = hair(self.skin, self.rest, fine, self.look, seed).thinned(every)
        roots, normals = self._rooted(grown, fine, self.skin.normals(fine))
        table, triangles = _ribbons(grown, roots, normals, np.eye(3), 0.0)
        style = self.look.hair_style
        shine = 1.0 if style in ("combed", "bob", "bun", "thin") else 0.5
        casts = style in STYLES
        kind = "locks" if casts else "hair"
        return Mesh(kind, table, triangles, self.look.hair, (shine,), in_head=True, keep=True, shadow=casts)

    def _rooted(self, strands: Strands, fine: Array, normals: Array) -> tuple[Array, Array]:
        at, weights = self.skin.triangles[strands.triangle], strands.weights[..., None]
        return (fine[at] * weights).sum(1), (normals[at] * weights).sum(1)

    def _keep_eyes(self) -> None:
        ball, self.ball_triangles, self.ball_ways = eyeball()
        self.ball_normals = trimesh.Trimesh(ball, self.ball_triangles, process=False).vertex_normals
        self.balls = []
        for side in "lr":
            own = self.points[template().of(f"helper-{side}-eye")]
            low, high = own.min(0), own.max(0)
            radius = (high - low)[:2].mean() / 2
            middle = np.array([*(low + high)[:2] / 2, high[2] - radius * 1.04])
            self.balls.append((middle, radius, ball * radius))

    def _shaped(self, shapes: Mapping[str, float]) -> Array:
        return self.points + sum(w * expression(n) for n, w in shapes.items() if w)

    def meshes(self, moment: Moment, cloth: Cloth) -> tuple[list[Mesh], Array]:
        """Everything to draw, and the (4, 4) matrix that turns what is given in the head's axes."""
        vector = head_rotation(moment.pose)
        turn = np.eye(4)
        turn[:3, :3] = rotation(vector)
        turn[:3, 3] = PIVOT - turn[:3, :3] @ PIVOT + moment.sway
        shaped = self._shaped(moment.shapes)
        weight = neck_weight()
        posed = turned(shaped, vector, weight) + moment.sway * (0.25 + 0.75 * weight[:, None])
        fine = self.skin.refine(posed)
        self.placed = fine  # where the skin of the last frame is, for labels
        normals = self.skin.normals(fine)
        shapes = moment.shapes
        lids = (shapes.get("eyeBlinkLeft", 0) + shapes.get("eyeBlinkRight", 0)) / 2
        free = np.clip(self.open_still + 2 * shapes.get("jawOpen", 0) * self.open_jaw + lids * self.open_lids, 0, 1)
        skin = vertices(fine, normals, self.rest, free, *self.masks, self.on_face)
        look = self.look
        drawn = [
            Mesh("skin", skin, self.skin.triangles, (look.lips,), (look.lip_shine, look.sheen), self.name, shadow=True)
        ]
        drawn += self._mouth(shaped, posed) + self._eyes(moment.gaze) + self.fixed
        drawn += [self._cloth(fine, normals, free, cloth), self._lashes(posed)]
        for grown in (self.brows, self.whiskers):
            if grown is not None:
                roots, skin_normals = self._rooted(grown, fine, normals)
                table, triangles = _ribbons(grown, roots, skin_normals, turn[:3, :3], self._kind(grown))
                drawn.append(Mesh("hair", table, triangles, look.hair, (0.3,)))
        return drawn, turn

    def _mouth(self, shaped: Array, posed: Array) -> list[Mesh]:
        drawn = []
        gap = self._lip_gap(shaped)
        for upper, (points, triangles, gum) in self.jaws.items():
            own = template().of(f"helper-{'upper' if upper else 'lower'}-teeth")
            at = np.c_[points, np.ones(len(points))] @ _affine(template().points[own], posed[own])
            normals = trimesh.Trimesh(at, triangles, process=False).vertex_normals
            drawn.append(Mesh("teeth", vertices(at, normals, points, gap, gum), triangles))
        fine = self.tongue.refine(posed) - [0, 0.045, 0.03]  # lower than the package has it: it hid the teeth
        rest = self.tongue.refine(template().points)
        table = vertices(fine, self.tongue.normals(fine), rest, 0.65 * gap)
        return [*drawn, Mesh("tongue", table, self.tongue.triangles)]

    def _kind(self, strands: Strands) -> Array:
        """For hair that is shaded as on the face: 1 where it counts as face in the masks, 0.6 on the throat."""
        root = self.on_face[self.skin.triangles[strands.triangle]].mean(1)
        return np.where(root > 0.5, 1.0, 0.6)

    def _lip_gap(self, shaped: Array) -> float:
        """How much light gets into the mouth, from the distance between the lips."""
        base = template().points
        inner = [int(np.argmin(((base - [0, y, 1.55]) ** 2).sum(1))) for y in (6.615, 6.588)]
        distance = float(np.linalg.norm(np.subtract(*shaped[inner])))
        return float(np.clip((distance - 0.01) / 0.10, 0.35, 0.95))

    def _eyes(self, gaze: Array) -> list[Mesh]:
        look = gaze_rotation(gaze)
        drawn = []
        for middle, _, ball in self.balls:
            ways = self.ball_ways @ look.T
            table = vertices(ball @ look.T + middle, self.ball_normals @ look.T, self.ball_ways, *ways.T)
            drawn.append(Mesh("eye", table, self.ball_triangles, self.look.iris, in_head=True))
        return drawn

    def _lashes(self, posed: Array) -> Mesh:
        """Upper and lower lashes of both eyes on the package's own lash strips."""
        base, tables, faces, seen = template(), [], [], 0
        for side in "lr":
            middle = base.points[base.of(f"helper-{side}-eye")].mean(0)
            for row, length in ((2, 1.0), (1, 0.5)):
                quads = base.quads[f"helper-{side}-eyelashes-{row}"]
                own, local = np.unique(quads, return_inverse=True)
                along, out = ((c - c.min()) / np.ptp(c) for c in base.uv[own].T)
                if np.corrcoef(out, np.linalg.norm(base.points[own] - middle, axis=1))[0, 1] < 0:
                    out = 1 - out
                rest = np.stack([along * 42 + 0.01, out, np.full(len(own), length * self.look.lashes)], -1)
                tables.append(vertices(posed[own], np.zeros((len(own), 3)), rest))
                faces.append(local.reshape(-1, 4)[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3) + seen)
                seen += len(own)
        return Mesh("lash", np.concatenate(tables), np.concatenate(faces), (self.look.hair[0],))

    def _cloth(self, fine: Array, normals: Array, free: Array, cloth: Cloth) -> Mesh:
        height, slope = cloth.collar
        below = (self.rest[:, 1] + slope * self.rest[:, 2] < height + 0.1)[self.skin.triangles].all(1)
        table = vertices(fine + 0.035 * normals, normals, self.rest, free)
        return Mesh(
            "cloth", table, self.skin.triangles[below], (cloth.colour,), (height, slope, cloth.knit), shadow=True
        )
