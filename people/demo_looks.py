"""The looks of the demo people: painted skin, hair strands and brows, all computed.

Skin is painted on a cylinder around the head of the *unmorphed* mesh: a place there is the same
part of the face for every person, and the face gets far more texels than in the package's UV map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from demo_head import Array, Surface, template

Colour = tuple[float, float, float]  # sRGB, 0..1
PAINT_SHAPE = (1024, 2048)  # rows from y = 5.4 to 8.6 dm, columns once around: about 3 texels per millimetre
AXIS_Z = 0.25  # the cylinder stands upright here (the shader in demo_gl.py knows it too)


@dataclass(frozen=True)
class Look:
    """Everything about a person's surface. Shapes are in demo_head.identity's weights."""

    skin: Colour
    flush: Colour  # what cheeks, nose and ears lean to
    shade: Colour  # what eye sockets and the places under the eyes lean to
    lips: Colour
    lip_shine: float
    iris: tuple[Colour, Colour]  # around the pupil, at the rim
    hair: tuple[Colour, Colour]  # root, tip
    hair_style: str  # "combed", "curls", or one of demo_hair.STYLES
    hairline: Sequence[tuple[float, float]]  # degrees from the front, height in dm on the unmorphed mesh
    brow: tuple[float, float, float]  # height above the eye, arch, thickness in dm
    stubble: float
    freckles: float
    lashes: float  # length, 1 is the mesh's own
    wrinkles: float = 0.0
    spots: float = 0.0  # of age
    beard: float = 0.0  # length in dm
    sheen: float = 0.0  # of dark skin: 3 is as oily as light skin
    fine: bool = False  # thin brow hairs and a soft hairline, as all but the first two people have them


def _noise(rng: np.random.Generator, cell: float) -> Array:
    """Smooth noise over the paint with a given cell in texels, mean 0, deviation 1."""
    rows, columns = (max(2, round(n / cell)) for n in PAINT_SHAPE)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    fine = cv2.resize(coarse, PAINT_SHAPE[::-1], interpolation=cv2.INTER_CUBIC)
    return fine / fine.std()


def _ground(surface: Surface) -> Array:
    """The unmorphed skin point under each texel, (H, W, 3), found by shooting rays at the axis."""
    height, width = (n // 4 for n in PAINT_SHAPE)
    y = 5.4 + 3.2 * (np.arange(height) + 0.5) / height
    angle = 2 * np.pi * ((np.arange(width) + 0.5) / width - 0.5)
    ways = -np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1)
    ways = np.broadcast_to(ways, (height, width, 3)).reshape(-1, 3)
    axis = np.zeros((height, width, 3)) + np.array([0, 0, AXIS_Z])
    axis[..., 1] = y[:, None]
    roots = axis.reshape(-1, 3) - 3 * ways
    mesh = trimesh.Trimesh(surface.refine(template().points), surface.triangles, process=False)
    face = RayMeshIntersector(mesh).intersects_first(roots, ways)
    corner = mesh.triangles[np.maximum(face, 0)]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    far = ((corner[:, 0] - roots) * normal).sum(1) / ((ways * normal).sum(1) + 1e-9)
    points = np.where((face >= 0)[:, None], roots + far[:, None] * ways, axis.reshape(-1, 3))
    picture = points.reshape(height, width, 3).astype(np.float32)
    return cv2.resize(picture, PAINT_SHAPE[::-1], interpolation=cv2.INTER_LINEAR)


def scalp(points: Array, hairline: Sequence[tuple[float, float]], ragged: Array | float = 0.0) -> Array:
    """How far points (..., 3) lie above the hairline, in dm; ``ragged`` moves the line."""
    degrees = np.degrees(np.abs(np.arctan2(points[..., 0], points[..., 2] - AXIS_Z)))
    angles, heights = np.array(hairline).T
    line = np.interp(degrees, angles, heights)
    above: Array = points[..., 1] - line + ragged
    return above


def brow_line(x: Array, look: Look) -> Array:
    """Height of the brow's middle at distance ``x`` from the face's middle."""
    up, arch, _ = look.brow
    t = np.clip((x - 0.13) / 0.45, 0, 1)
    height: Array = 7.285 + up + arch * np.sin(np.pi * t**1.3) - 0.035 * t**2
    return height


def _spot(folded: Array, x: float, y: float, z: float, size: float) -> Array:
    """A soft round patch about a place of the face, (H, W), 1 in its middle."""
    near: Array = np.exp(-((folded - [x, y, z]) ** 2).sum(-1) / (2 * size**2))
    return near


def _lean(colour: Array, to: Colour | Array, amount: Array) -> Array:
    """Mix ``to`` in where ``amount`` (H, W) is high."""
    mixed: Array = colour + np.clip(amount, 0, 1)[..., None] * (np.array(to) - colour)
    return mixed


def paint(surface: Surface, look: Look, seed: int) -> Array:
    """Skin colour and relief, (H, W, 4) float 0..1, row 0 lowest; relief 0.5 is level."""
    rng = np.random.default_rng(seed)
    ground = _ground(surface)
    folded = np.abs(ground) * [1, 1, 0] + ground * [0, 0, 1]  # both halves of the face onto one
    colour = _complexion(folded, look, rng)
    colour = _beard(colour, folded, look, rng)
    x, middle = folded[..., 0], brow_line(folded[..., 0], look)
    taper = np.clip((x - 0.10) / 0.05, 0, 1) * np.clip((0.60 - x) / 0.15, 0, 1)
    under = np.exp(-(((folded[..., 1] - middle) / look.brow[2]) ** 2)) * taper * (ground[..., 2] > 0.8)
    colour = _lean(colour, look.hair[0], (0.22 if look.fine else 0.5) * under * (1 + 0.3 * _noise(rng, 5)))
    roots = scalp(ground, look.hairline, 0.015 * _noise(rng, 10)) / 0.16
    if look.fine:  # hair shades the skin below its edge, and its roots thin out
        above = 0.16 * roots
        colour *= 1 - 0.30 * (np.exp(-np.maximum(-above, 0) / 0.05) * (ground[..., 1] > 6.6))[..., None]
        roots = np.clip((above + 0.02) / 0.3, 0, 1) ** 0.8
    colour = _lean(colour, np.array(look.hair[0]) * 0.7, 0.93 * np.clip(roots, 0, 1))
    relief = _relief(folded, rng)
    if look.wrinkles:
        furrows = look.wrinkles * _furrows(ground, rng)
        colour = _lean(colour, np.array(look.shade) * 0.8, 0.35 * furrows)
        relief = relief - 0.22 * furrows
    if look.spots:
        aged = np.clip(_noise(rng, 14) - 1.9, 0, 1) * (0.5 + 0.5 * (_noise(rng, 70) > 0))
        colour = _lean(colour, np.array(look.shade) * 0.9, look.spots * aged * (roots < 0.5))
    return np.clip(np.dstack([colour, relief]), 0, 1).astype(np.float32)


def _furrows(ground: Array, rng: np.random.Generator) -> Array:
    """The lines that years draw: across the forehead, beside the eyes, under them, from nose to chin, (H, W) 0..1."""
    x, y, z = np.abs(ground[..., 0]), ground[..., 1], ground[..., 2]
    wobble = 0.012 * _noise(rng, 45)
    broken = np.clip(0.55 + 0.55 * _noise(rng, 24), 0, 1)
    front = np.clip((z - 0.55) / 0.2, 0, 1)

    def line(across: Array, along: Array, length: float, width: float) -> Array:
        t = along / length  # swells from its start and dies out at its end
        drawn: Array = np.exp(-((across / width) ** 2)) * np.clip(4 * t, 0, 1) * np.clip(2.5 * (1 - t), 0, 1) * (t > 0)
        return drawn

    drawn = np.zeros_like(x)
    for height in (7.62, 7.70, 7.785, 7.87):
        arched = y - height - 0.04 * np.sin(np.clip(x, 0, 0.5) * 6.3) + 1.4 * wobble
        drawn = np.maximum(drawn, 0.8 * line(arched, 0.66 - x, 0.9, 0.0085))
    for degrees in (-32, -14, 3, 20):
        a = np.radians(degrees)
        along = (x - 0.47) * np.cos(a) + (y - 7.285) * np.sin(a)
        across = -(x - 0.47) * np.sin(a) + (y - 7.285) * np.cos(a) + wobble
        drawn = np.maximum(drawn, 0.75 * line(across, along, 0.19, 0.0065))
    for drop, strength in ((0.115, 0.7), (0.16, 0.45)):
        arc = y - (7.285 - drop * np.sqrt(np.clip(1 - ((x - 0.31) / 0.22) ** 2, 0, 1))) + 0.5 * wobble
        drawn = np.maximum(drawn, strength * line(arc, x - 0.13, 0.36, 0.008))
    fold = x - 0.205 - 0.13 * np.clip((6.88 - y) / 0.3, 0, 1) ** 0.8 + wobble
    drawn = np.maximum(drawn, line(fold, 6.90 - y, 0.42, 0.013))
    drawn = np.maximum(drawn, 0.6 * line(x - 0.285 + wobble, 6.57 - y, 0.28, 0.010))
    return drawn * broken * front


def _complexion(folded: Array, look: Look, rng: np.random.Generator) -> Array:
    """Bare skin: blood in cheeks, nose and ears, shade about the eyes, blotches, freckles and moles, (H, W, 3)."""

    def spots(*patches: tuple[float, float, float, float, float]) -> Array:
        return np.sum([strength * _spot(folded, *place) for strength, *place in patches], 0)

    cheek, nose, chin = (0.55, 0.45, 6.92, 1.3, 0.17), (0.6, 0, 6.9, 1.65, 0.12), (0.25, 0, 6.22, 1.45, 0.14)
    ear, forehead = (0.5, 0.9, 7.1, 0.5, 0.22), (0.2, 0, 7.9, 1.45, 0.3)
    inner, below, lid = (0.5, 0.2, 7.25, 1.35, 0.09), (0.45, 0.33, 7.12, 1.4, 0.09), (0.25, 0.33, 7.38, 1.4, 0.09)
    nostril, lip = (0.35, 0.2, 6.8, 1.5, 0.06), (0.25, 0, 6.43, 1.5, 0.08)
    colour = np.zeros((*PAINT_SHAPE, 3)) + look.skin
    colour = _lean(colour, look.flush, spots(cheek, nose, chin, ear, forehead) * (1 + 0.25 * _noise(rng, 40)))
    colour = _lean(colour, look.shade, spots(inner, below, lid, nostril, lip))
    cells = ((200, 0.5), (60, 0.6), (16, 0.5), (5, 0.45))
    mottle = np.sum([weight * _noise(rng, cell) for cell, weight in cells], 0)
    colour *= 1 + 0.024 * mottle[..., None] * [0.8, 1.05, 1.1]
    freckled = spots((1.0, 0.35, 6.95, 1.4, 0.28), (1.0, 0, 7.0, 1.6, 0.2))
    colour = _lean(colour, look.shade, look.freckles * freckled * np.clip(_noise(rng, 4) - 1.9, 0, 1))
    return _lean(colour, np.array(look.shade) * 0.8, 0.5 * np.clip(_noise(rng, 7) - 3.1, 0, 1))


def _relief(folded: Array, rng: np.random.Generator) -> Array:
    """Pores everywhere and upright lines on the lips, (H, W) about 0.5."""
    pores = 0.45 * _noise(rng, 3.2) + 0.35 * _noise(rng, 7) + 0.15 * _noise(rng, 18)
    row = rng.standard_normal((16, PAINT_SHAPE[1] // 5)).astype(np.float32)
    lines = cv2.resize(row, PAINT_SHAPE[::-1], interpolation=cv2.INTER_CUBIC)  # long from top to bottom
    on_lips = np.exp(-(((folded[..., :2] - [0, 6.6]) / [0.24, 0.09]) ** 2).sum(-1))
    return 0.5 + 0.09 * (pores + 0.8 * np.clip(lines, -1.5, 1.5) * on_lips)


def _beard(colour: Array, folded: Array, look: Look, rng: np.random.Generator) -> Array:
    """Stubble on jaw, chin and upper lip: a cool veil plus single dots."""
    amount = look.stubble * beard_area(folded, 0.03 * _noise(rng, 20))
    dots = np.clip(rng.standard_normal(PAINT_SHAPE) * 0.5 + 0.3, 0, 1)
    dark = np.array(look.hair[0]) * 0.6 + np.array(look.skin) * 0.15
    return colour + (amount * (0.25 + 0.6 * dots))[..., None] * (dark - colour)


def beard_area(folded: Array, edge: Array | float) -> Array:
    """Where a beard grows, 0..1, at points with both halves of the face folded onto one."""
    x, y, z = np.moveaxis(folded, -1, 0)
    cheek = 6.62 + 0.75 * np.clip((x - 0.3) / 0.45, 0, 1.2) ** 1.4 + edge  # beard line from mouth corner to ear
    jaw = np.clip((cheek + 0.05 - y) / 0.35, 0, 1) * np.clip((y - 6.12) / 0.12, 0, 1)
    jaw *= np.clip((z - 0.55) / 0.15, 0, 1)
    lip = np.exp(-(((x - 0.12) / 0.13) ** 2) - ((y - 6.765) / 0.04) ** 2)
    bare = np.exp(-((x / 0.27) ** 4) - ((y - 6.60) / 0.125) ** 4)  # lips and just below
    area: Array = np.clip(np.maximum(jaw * (1 - bare), 0.9 * lip * (z > 1.2)), 0, 1)
    return area
