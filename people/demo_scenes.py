"""What is behind the synthetic people: computed, and out of focus as through a lens."""

import cv2
import numpy as np

from demo_gl import Mesh, vertices
from demo_head import Array


def backdrop() -> Mesh:
    """One triangle behind everything, with the picture that is loaded as ``wall``."""
    corners = np.array([[-1, -1, 0.9999], [3, -1, 0.9999], [-1, 3, 0.9999]])
    seen = (corners[:, :2] + 1) / 2
    return Mesh("back", vertices(corners, 0 * corners, 0 * corners, *seen.T), np.array([[0, 1, 2]]), paint="wall")


def background(low: tuple[float, float, float], high: tuple[float, float, float], seed: int) -> Array:
    """A wall out of focus: a slope of light and a few soft discs, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:1:512j, 0:1:512j]
    wall = np.array(low) + (np.array(high) - low) * np.clip(0.75 * y + 0.35 * x - 0.05, 0, 1)[..., None]
    for _ in range(7):
        cx, cy, size, lift = rng.uniform([0, 0.35, 0.08, -0.05], [1, 1, 0.2, 0.07])
        disc = np.clip((size - np.hypot(x - cx, y - cy)) / 0.06 + 0.5, 0, 1)
        wall = wall + lift * (disc * disc * (3 - 2 * disc))[..., None]
    wall = cv2.GaussianBlur(wall.astype(np.float32), (0, 0), 9)
    return np.clip(wall + rng.normal(0, 0.004, (512, 512, 1)), 0, 1)


def scene(kind: str, width: int, height: int, seed: int) -> Array:
    """A place out of focus, (H, W, 3) 0..1 with row 0 lowest: ``shelves``, ``window``, ``leaves`` or ``lamps``."""
    rng = np.random.default_rng(seed)
    tall = 540
    canvas = np.zeros((tall, round(tall * width / height), 3), np.float32)
    draw = {"shelves": _shelves, "window": _window, "leaves": _leaves, "lamps": _lamps}[kind]
    draw(canvas, rng)
    radius = {"shelves": 9, "window": 12, "leaves": 13, "lamps": 14}[kind]
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (np.hypot(x, y) <= radius + 0.3).astype(np.float32)
    soft = cv2.filter2D(canvas, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT)  # in linear light: bright discs
    picture = np.clip(cv2.GaussianBlur(soft, (0, 0), 2.0), 0, 1) ** (1 / 2.2)
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)[::-1]
    return np.clip(picture + rng.normal(0, 0.004, (height, width, 1)), 0, 1)


def _shelves(canvas: Array, rng: np.random.Generator) -> None:
    """Rows of books and a few gaps."""
    tall, wide = canvas.shape[:2]
    canvas[:] = (0.10, 0.075, 0.055)
    top = int(rng.integers(-60, -10))
    while top < tall:
        row, x = int(rng.integers(105, 135)), -10
        while x < wide:
            if rng.random() < 0.12:
                x += int(rng.integers(20, 60))
            thick, high = int(rng.integers(9, 26)), int(row * rng.uniform(0.62, 0.92))
            colour = rng.uniform(0.02, 0.45, 3) * rng.uniform(0.4, 1.0) + 0.02
            colour = (0.35 * colour + 0.65 * colour.mean()) * [1.1, 1.0, 0.88]
            cv2.rectangle(canvas, (x, top + row - high), (x + thick, top + row), colour.tolist(), -1)
            cv2.rectangle(canvas, (x, top + row - high), (x + 2, top + row), (colour * 0.5).tolist(), -1)
            x += thick + 1
        cv2.rectangle(canvas, (0, top + row), (wide, top + row + 12), (0.30, 0.22, 0.15), -1)
        top += row + 12


def _window(canvas: Array, rng: np.random.Generator) -> None:
    """A wall with a bright window, its bars, and a curtain."""
    tall, wide = canvas.shape[:2]
    canvas[:] = np.linspace(0.34, 0.22, wide)[None, :, None] * np.array([1.0, 0.95, 0.86])
    left, right, low = int(wide * rng.uniform(-0.1, 0.1)), int(wide * rng.uniform(0.45, 0.6)), int(tall * 0.72)
    sky = np.linspace(1.5, 0.75, low)[:, None, None] * np.array([0.80, 0.92, 1.0])
    canvas[:low, max(left, 0) : right] = sky
    for _ in range(60):  # trees outside
        at = (int(rng.uniform(left, right)), int(low - rng.uniform(0, 0.35) * tall))
        cv2.circle(
            canvas, at, int(rng.integers(10, 32)), (rng.uniform(0.08, 0.35) * np.array([0.75, 1.0, 0.5])).tolist(), -1
        )
    canvas[low:, right:] = canvas[low:, right:].clip(0, 0.3)
    canvas[low : low + 18, : right + 20] = 0.75
    for x in (left, (left + right) // 2, right):
        cv2.rectangle(canvas, (x - 9, 0), (x + 9, low), (0.70, 0.70, 0.68), -1)
    folds = 0.42 + 0.12 * np.sin(np.arange(wide) / 7.0) + 0.05 * np.sin(np.arange(wide) / 2.9)
    edge = slice(right + 5, right + int(0.16 * wide))
    canvas[:, edge] = folds[None, edge, None] * np.array([0.9, 0.62, 0.45])


def _leaves(canvas: Array, rng: np.random.Generator) -> None:
    """Foliage with light between the leaves."""
    tall, wide = canvas.shape[:2]
    canvas[:] = np.linspace(0.55, 0.06, tall)[:, None, None] * np.array([0.75, 1.0, 0.55])
    for i in range(2600):
        near = i / 2600
        at = (int(rng.uniform(0, wide)), int(rng.uniform(0, tall)))
        size = (int(rng.uniform(5, 11) * (1 + near)), int(rng.uniform(3, 6) * (1 + near)))
        bright = rng.uniform(0.03, 0.30) * (1.5 - 0.9 * at[1] / tall)
        colour = bright * np.array([rng.uniform(0.45, 0.95), 1.0, rng.uniform(0.2, 0.4)])
        cv2.ellipse(canvas, at, size, float(rng.uniform(0, 180)), 0, 360, colour.tolist(), -1)
    for _ in range(70):
        at = (int(rng.uniform(0, wide)), int(rng.uniform(0, 0.7) * tall))
        cv2.circle(canvas, at, int(rng.integers(1, 4)), (3.0, 3.2, 2.4), -1)


def _lamps(canvas: Array, rng: np.random.Generator) -> None:
    """A street or a bar at night: dark, with lamps."""
    tall, wide = canvas.shape[:2]
    canvas[:] = np.linspace(0.05, 0.025, tall)[:, None, None] * np.array([0.8, 0.9, 1.2])
    for _ in range(14):
        at = rng.uniform([0, 0.1], [1, 0.9]) * [wide, tall]
        end = at + rng.uniform([40, 60], [140, 260])
        colour = rng.uniform(0.01, 0.10) * rng.uniform(0.5, 1.2, 3)
        cv2.rectangle(canvas, at.astype(int).tolist(), end.astype(int).tolist(), colour.tolist(), -1)
    for _ in range(55):
        at = (int(rng.uniform(0, wide)), int(rng.uniform(0.05, 0.8) * tall))
        warm = np.array([[1.0, 0.62, 0.25], [1.0, 0.85, 0.6], [0.45, 0.65, 1.0], [1.0, 0.25, 0.2]])[rng.integers(4)]
        cv2.circle(canvas, at, int(rng.integers(2, 5)), (warm * rng.uniform(2, 14)).tolist(), -1)
