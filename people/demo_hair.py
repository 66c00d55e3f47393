"""Hair of the synthetic people as single strands that stand on the skin: head, brows and beards."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from demo_head import Array, Ints, Surface
from demo_looks import Look, beard_area, brow_line, scalp


@dataclass(frozen=True)
class Strands:
    """Hairs as lines: ``bend`` are the points relative to the root, which sits on a triangle of the skin."""

    triangle: Ints  # (S,)
    weights: Array  # (S, 3) barycentric
    bend: Array  # (S, K, 3) dm
    width: Array  # (S,) dm
    tone: Array  # (S,) 0..1, each hair's own lightness
    facing: Array | None = None  # (S, K, 3) which way each point looks out; without it, that of the root

    def thinned(self, every: int) -> "Strands":
        """Only every so-manieth hair, wider, so that they cover nearly as much."""
        parts = (self.triangle, self.weights, self.bend, self.width * every**0.75, self.tone)
        facing = None if self.facing is None else self.facing[::every]
        return Strands(*(part[::every] for part in parts), facing)


def _roots(points: Array, triangles: Ints, density: Array, count: int, rng: np.random.Generator) -> tuple[Ints, Array]:
    """Random places on the skin, likelier where ``density`` (per point) is high."""
    corner = points[triangles]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    chance = area * density[triangles].mean(1)
    chosen = rng.choice(len(triangles), count, p=chance / chance.sum())
    a, b = np.sort(rng.random((2, count)), 0)
    return chosen, np.stack([a, b - a, 1 - b], -1)


def _unit(vectors: Array) -> Array:
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)


def _curve(start: Array, end: Array, length: Array, steps: int) -> Array:
    """Lines (S, steps, 3) from the origin that begin along ``start`` and end along ``end``."""
    t = np.linspace(0, 1, steps)[:, None]
    way = _unit(start[:, None] * (1 - t) + end[:, None] * t) * (length / (steps - 1))[:, None, None]
    way[:, 0] = 0
    return np.cumsum(way, 1)


def hair(surface: Surface, rest: Array, points: Array, look: Look, seed: int) -> Strands:
    """The hair of the head, grown on a person's fine points; ``rest`` are the unmorphed ones."""
    if look.hair_style in STYLES:
        return styled(surface, rest, points, look, seed)
    rng = np.random.default_rng(seed)
    above = scalp(rest, look.hairline)
    behind = np.abs(rest[:, 0]) < 0.86  # not on the ears
    density = (0.06 + 0.94 * np.clip(above / 0.10, 0, 1)) * (above > -0.015) * behind * (rest[:, 1] > 6.5)
    curls = look.hair_style == "curls"
    count = 10000 if curls else 15000
    triangle, weights = _roots(points, surface.triangles, density, count, rng)
    at = surface.triangles[triangle]
    normal = _unit((surface.normals(points)[at] * weights[..., None]).sum(1))
    root = (rest[at] * weights[..., None]).sum(1)
    high = np.clip((root[:, 1] - 7.55) / 0.6, 0, 1)  # 0 at the sides, 1 on top
    grow = np.clip((above[at] * weights).sum(1) / 0.3, 0.22, 1)
    wild = rng.standard_normal((count, 3))
    if curls:
        length = (0.60 - 0.27 * high) * grow * rng.uniform(0.75, 1.1, count)
        hang = np.array([0, -1.5, -0.5]) * (1 - high[:, None]) + np.array([0, 0.1, -0.25]) * high[:, None]
        lines = _curve(normal, _unit(normal + hang + 0.3 * wild), length, 16)
        lines += _coil(normal, length, rng)
        width = rng.uniform(0.008, 0.013, count)
    else:
        front = np.clip((root[:, 2:] - 0.7) / 0.5, 0, 1)  # swept up and aside over the forehead
        top = np.array([0.65, 0.15, 0.1]) * (1 - front) + np.array([0.55, 0.75, -0.35]) * front
        side = top * high[:, None] + np.array([0, -0.8, -0.45]) * (1 - high[:, None])
        length = (0.10 + 0.32 * high**1.3) * np.sqrt(grow) * rng.uniform(0.7, 1.1, count)
        flat = _unit(side + 0.16 * wild - normal * (0.35 - 0.35 * front))
        lines = _curve(_unit(normal * (0.5 + 0.5 * high[:, None]) + side), flat, length, 7)
        width = rng.uniform(0.006, 0.011, count) * (0.35 + 0.65 * np.clip(grow / 0.6, 0, 1))
    return Strands(triangle, weights, lines, width, rng.random(count))


def _coil(axis: Array, length: Array, rng: np.random.Generator) -> Array:
    """The winding of a curl about its axis, (S, 16, 3), nothing at the root."""
    t = np.linspace(0, 1, 16)
    across = _unit(np.cross(axis, rng.standard_normal(axis.shape)))
    other = np.cross(axis, across)
    phase = 2 * np.pi * (length[:, None] / 0.14 * t + rng.random(len(axis))[:, None])
    radius = (
        0.035 * np.clip(length / 0.2, 0.3, 1)[:, None] * np.minimum(t * 4, 1) * rng.uniform(0.6, 1.2, (len(axis), 1))
    )[..., None]
    return radius * (np.cos(phase)[..., None] * across[:, None] + np.sin(phase)[..., None] * other[:, None])


def brows(surface: Surface, rest: Array, points: Array, look: Look, seed: int) -> Strands:
    """Brow hairs: up at the inner end, outwards along the rest."""
    rng = np.random.default_rng(seed)
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    thick = look.brow[2] * np.clip((0.62 - x) / 0.3, 0.25, 1) * np.clip((x - 0.02) / 0.16, 0.5, 1)
    density = (
        np.exp(-(((y - brow_line(x, look)) / (0.85 * thick if look.fine else thick)) ** 4))
        * np.clip((x - 0.10) / 0.06, 0, 1)
        * np.clip((0.58 - x) / 0.12, 0, 1)
        * (z > 0.8)
    )
    count = 1700 if look.fine else 1300
    triangle, weights = _roots(points, surface.triangles, density + 1e-12, count, rng)
    at = surface.triangles[triangle]
    root = (rest[at] * weights[..., None]).sum(1)
    normal = _unit((surface.normals(points)[at] * weights[..., None]).sum(1))
    out = np.clip((np.abs(root[:, :1]) - 0.12) / 0.2, 0, 1)
    below = np.sign(brow_line(np.abs(root[:, 0]), look) - root[:, 1])[:, None]
    side = np.sign(root[:, :1]) * [1.0, 0, 0] * (0.5 + out) + [0, 1.0, 0] * (0.55 * (1 - out) + 0.3 * below)
    way = _unit(side + 0.15 * rng.standard_normal((len(root), 3)))
    way = _unit(way - (way * normal).sum(1, keepdims=True) * normal)
    length = rng.uniform(0.045, 0.08, len(root)) * np.clip((0.72 - np.abs(root[:, 0])) / 0.4, 0.5, 1)
    lines = _curve(_unit(way + 0.3 * normal), _unit(way + 0.05 * normal), length, 4)
    thin = 0.62 if look.fine else 1.0
    return Strands(triangle, weights, lines, thin * rng.uniform(0.0035, 0.006, len(root)), rng.random(len(root)))


def beard(surface: Surface, rest: Array, points: Array, look: Look, seed: int) -> Strands:
    """A trimmed beard: hairs that turn down over jaw, chin and lip."""
    rng = np.random.default_rng(seed + 1)
    folded = np.abs(rest) * [1, 1, 0] + rest * [0, 0, 1]
    triangle, weights = _roots(points, surface.triangles, beard_area(folded, 0.0) ** 1.5 + 1e-12, 5500, rng)
    at = surface.triangles[triangle]
    root = (rest[at] * weights[..., None]).sum(1)
    normal = _unit((surface.normals(points)[at] * weights[..., None]).sum(1))
    way = np.array([0, -1.0, 0.25]) + np.sign(root[:, :1]) * [0.25, 0, 0]
    way = _unit(way + 0.45 * rng.standard_normal((len(root), 3)))
    way = _unit(way - 0.85 * (way * normal).sum(1, keepdims=True) * normal)
    chin = np.clip((6.75 - root[:, 1]) / 0.4, 0.35, 1)
    lines = _curve(_unit(way + 0.7 * normal), way, look.beard * chin * rng.uniform(0.5, 1.1, len(root)), 4)
    return Strands(triangle, weights, lines, rng.uniform(0.0035, 0.006, len(root)), rng.random(len(root)))


@dataclass(frozen=True)
class Style:
    """How hair is cut and combed."""

    count: int
    steps: int
    length: tuple[float, float]  # dm at the sides, on top
    width: tuple[float, float]  # dm
    lift: float  # how far the hair stands off the head, dm
    stiff: float  # share of its way that a hair keeps from step to step
    gravity: float
    parting: float | None  # where it is parted, dm to the left; None: combed back
    cling: float = 0.0  # how fast it comes down to its layer where it stands off
    to: tuple[float, float, float] | None = None  # drawn together here
    hem: float = 0.0  # cut off at this height
    clump: float = 0.0  # how much locks hold together
    wave: tuple[float, float] = (0.0, 0.4)  # height and length of waves, dm
    curl: float = 0.0  # radius of curls, dm
    wild: float = 0.15
    knot: float = 0.0  # radius of the bun at ``to``, dm


STYLES = {
    "bob": Style(
        9000, 18, (2.0, 2.5), (0.010, 0.016), 0.10, 0.62, 0.22, 0.22, cling=0.30, hem=6.2, clump=0.7, wave=(0.03, 0.6)
    ),
    "bun": Style(
        12000, 14, (1.5, 2.2), (0.008, 0.013), 0.05, 0.5, 0.0, 0.0, 0.65, to=(0, 7.25, -0.95), clump=0.3, knot=0.36
    ),
    "crop": Style(24000, 6, (0.04, 0.10), (0.006, 0.009), 0.03, 0.9, 0.0, None, curl=0.014, wild=0.5),
    "thin": Style(13000, 9, (0.16, 0.55), (0.005, 0.009), 0.04, 0.5, 0.12, 0.42, 0.5, clump=0.45, wild=0.12),
    "perm": Style(10000, 16, (0.40, 0.58), (0.008, 0.013), 0.16, 0.85, 0.12, None, clump=0.6, curl=0.05, wild=0.4),
}


def styled(surface: Surface, rest: Array, points: Array, look: Look, seed: int) -> Strands:
    """Hair combed over the head: every hair walks along it, kept off the skin, then joins the others of its lock."""
    rng, style = np.random.default_rng(seed), STYLES[look.hair_style]
    above = scalp(rest, look.hairline) + 0.03 * np.sin(41 * rest[:, 0]) * np.sin(33 * rest[:, 1] + 20 * rest[:, 2])
    density = np.clip((above + 0.03) / 0.17, 0, 1) ** 1.3 * (np.abs(rest[:, 0]) < 0.86) * (rest[:, 1] > 6.5)
    triangle, weights = _roots(points, surface.triangles, density, style.count, rng)
    at = surface.triangles[triangle]
    normals = surface.normals(points)
    root, normal = ((v[at] * weights[..., None]).sum(1) for v in (points, normals))
    high = np.clip((root[:, 1] - 7.45) / 0.6, 0, 1)
    edge = np.clip((above[at] * weights).sum(1) / 0.25, 0.25, 1)
    length = (style.length[0] * (1 - high) + style.length[1] * high) * rng.uniform(0.75, 1.1, style.count)
    if style.hem == 0 and style.to is None:
        length *= np.sqrt(edge)
    line, facing = _combed(root, _unit(normal), length, points, normals, style, rng)
    line = _locks(line, style, rng)
    if style.curl:
        line += style.curl / 0.035 * _coiled(facing[:, 0], length, style.steps, rng)
    width = rng.uniform(*style.width, style.count) * (0.5 + 0.5 * edge)
    hairs = Strands(triangle, weights, line - root[:, None], width, rng.random(style.count), facing)
    return _with_knot(hairs, root, style, rng) if style.knot and style.to else hairs


def _combed(
    root: Array, normal: Array, length: Array, points: Array, normals: Array, style: Style, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Walk every hair over the head, (S, K, 3), and which way each point looks out."""
    near, count = cKDTree(points), len(root)
    lift = style.lift * np.linspace(1.0, 0.15, count) ** 0.8  # outer hair first: what is under it need not be drawn
    step = (length / (style.steps - 1))[:, None]
    wild = style.wild * rng.standard_normal((count, 3))
    at, way = root.copy(), _unit((1 - style.cling) * normal + (0.5 + style.cling) * _comb(root, root, style) + wild)
    line, facing = [at], [normal]
    for k in range(1, style.steps):
        way = _unit(style.stiff * way + (1 - style.stiff) * (_comb(at, root, style) + wild) + [0, -style.gravity, 0])
        at = at + step * way
        _, index = near.query(at, workers=1)
        out = normals[index]
        off = ((at - points[index]) * out).sum(1, keepdims=True) - lift[:, None] * min(1.0, k / 3)
        at = at - np.where(off < 0, 1.0, style.cling) * off * out
        way = _unit(at - line[-1])
        line.append(at)
        facing.append(_unit(0.6 * out + 0.4 * _unit((at - [0, 7.3, 0.2]) * [1, 0.5, 1])))
    walked, out = np.stack(line, 1), np.stack(facing, 1)
    if style.hem or style.to:  # cut to length: the same number of points over the part that stays
        gone = walked[..., 1] < style.hem + 0.12 * rng.random((count, 1)) if style.hem else _arrived(walked, style)
        kept = np.where(gone.any(1), gone.argmax(1), style.steps - 1)
        where = np.linspace(0, 1, style.steps) * np.maximum(kept, 2)[:, None]
        first = np.minimum(where.astype(int), style.steps - 2)
        share, rows = (where - first)[..., None], np.arange(count)[:, None]
        walked, out = (v[rows, first] * (1 - share) + v[rows, first + 1] * share for v in (walked, out))
    return walked, out


def _arrived(walked: Array, style: Style) -> Array:
    reached: Array = np.linalg.norm(walked - np.array(style.to), axis=-1) < 0.9 * style.knot
    return reached


def _comb(at: Array, root: Array, style: Style) -> Array:
    """Which way the comb goes at a place, (S, 3)."""
    if style.to is not None:
        pull = _unit(np.array(style.to) - at)
        side = np.sign(root[:, :1]) * np.exp(-np.abs(at[:, :1]) / 0.2) * np.clip(at[:, 2:] + 0.4, 0, 1)
        return _unit(pull + side * [0.9, -0.2, 0])
    if style.parting is None:
        return np.zeros_like(at) + [0, 0.1, -0.3]
    side = np.where(root[:, :1] > style.parting, 1.0, -1.0)
    front = np.clip((root[:, 2:] - 0.6) / 0.6, 0, 1)
    drop = np.clip((7.9 - at[:, 1:2]) / 0.5, 0, 1)  # sideways over the top, down at the sides
    back = np.array([0, 0.1, -0.55]) * front - np.array([0, 0, 0.2])
    return _unit(side * [1.0, 0, 0] * (1 - 0.8 * drop) + drop * [0, -1.0, 0] + back)


def _locks(line: Array, style: Style, rng: np.random.Generator) -> Array:
    """Draw the hairs of a lock together towards their tips, and give each lock its own waves."""
    t = np.linspace(0, 1, line.shape[1])[None, :, None]
    guides = rng.choice(len(line), max(len(line) // 45, 1), replace=False)
    _, own = cKDTree(line[guides, 0]).query(line[:, 0])
    guide = line[guides][own]
    line = line + style.clump * t**1.2 * rng.uniform(0.4, 1.0, (len(line), 1, 1)) * (guide - line)
    height, wavelength = style.wave
    if height:
        run = np.linalg.norm(line[:, -1] - line[:, 0], axis=1)[:, None]
        phase = 6.28 * (rng.random(len(guides))[own][:, None] + t[..., 0] * run / wavelength)
        across = _unit(rng.standard_normal((len(guides), 3)) * [1, 0.2, 1])[own]
        line = line + (height * np.minimum(3 * t[..., 0], 1) * np.sin(phase))[..., None] * across[:, None]
    return line


def _coiled(axis: Array, length: Array, steps: int, rng: np.random.Generator) -> Array:
    """As ``_coil`` with any number of points."""
    full = _coil(axis, length, rng)
    where = np.linspace(0, 15, steps).round().astype(int)
    return full[:, where]


def _with_knot(hairs: Strands, root: Array, style: Style, rng: np.random.Generator) -> Strands:
    """Add a bun: hairs wound about a ball where the others were drawn together."""
    count = 2600
    first = int(np.argmin(np.linalg.norm(root - np.array(style.to), axis=1)))
    pole = _unit(rng.standard_normal((count, 3)) * [0.7, 0.7, 0.35] + [0, 0, 1.0])
    across = _unit(np.cross(pole, rng.standard_normal((count, 3))))
    angle = np.linspace(0, rng.uniform(1.2, 2.6, count), style.steps).T[..., None]
    out = np.cos(angle) * across[:, None] + np.sin(angle) * np.cross(pole, across)[:, None]
    ball = style.knot * np.array([1.0, 0.9, 0.75]) * rng.uniform(0.85, 1.0, (count, 1, 1)) * out
    line = ball + np.array(style.to) - root[first]
    same = np.full(count, first)
    return Strands(
        np.concatenate([hairs.triangle, hairs.triangle[same]]),
        np.concatenate([hairs.weights, hairs.weights[same]]),
        np.concatenate([hairs.bend, line]),
        np.concatenate([hairs.width, rng.uniform(*style.width, count)]),
        np.concatenate([hairs.tone, rng.random(count)]),
        np.concatenate([hairs.facing if hairs.facing is not None else 0 * hairs.bend, out]),
    )
