"""Hair of the synthetic people as single strands that stand on the skin: head, brows and beards."""

from dataclasses import dataclass

import numpy as np
from demo_head import Array, Ints, Surface
from demo_looks import Look, brow_line, scalp


@dataclass(frozen=True)
class Strands:
    """Hairs as lines: ``bend`` are the points relative to the root, which sits on a triangle of the skin."""

    triangle: Ints  # (S,)
    weights: Array  # (S, 3) barycentric
    bend: Array  # (S, K, 3) dm
    width: Array  # (S,) dm
    tone: Array  # (S,) 0..1, each hair's own lightness


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
        np.exp(-(((y - brow_line(x, look)) / thick) ** 4))
        * np.clip((x - 0.10) / 0.06, 0, 1)
        * np.clip((0.58 - x) / 0.12, 0, 1)
        * (z > 0.8)
    )
    triangle, weights = _roots(points, surface.triangles, density + 1e-12, 1300, rng)
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
    return Strands(triangle, weights, lines, rng.uniform(0.0035, 0.006, len(root)), rng.random(len(root)))
