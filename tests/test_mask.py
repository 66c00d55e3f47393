"""The mask: 1 well inside the face, 0 outside and on the square's border, smooth between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearswap.core.align import Points
from clearswap.core.blend import MaskConfig, face_mask, hull, only_face


def ring(size: int, radius: float, centre: tuple[float, float] = (0.5, 0.5)) -> Points:
    """Landmarks on a circle; radius and centre as shares of the square's side."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return (size * (np.array(centre) + radius * np.stack([np.cos(angles), np.sin(angles)], 1))).astype(np.float32)


@given(
    size=st.integers(32, 256),
    radius=st.floats(0.05, 0.9),
    x=st.floats(-0.2, 1.2),
    y=st.floats(-0.2, 1.2),
    shrink=st.floats(0, 0.2),
    feather=st.floats(0, 0.3),
)
def test_it_is_nothing_outside_the_hull_and_on_the_border(
    size: int, radius: float, x: float, y: float, shrink: float, feather: float
) -> None:
    landmarks = ring(size, radius, (x, y))
    mask = face_mask(landmarks, size, MaskConfig(shrink, feather))
    assert mask.shape == (size, size)
    assert mask.dtype == np.float32
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert not mask[hull(landmarks, size) == 0].any()
    assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any()


def test_it_is_one_well_inside_and_falls_without_a_step() -> None:
    size = 200
    mask = face_mask(ring(size, 0.4), size, MaskConfig(shrink=0.01, feather=0.08))
    row = mask[100, 100:]  # from the middle to the right; the hull ends 80 pixels on
    assert (row[: 80 - 19] == 1).all()
    assert (np.diff(row) <= 1e-6).all()
    assert np.abs(np.diff(row)).max() < 1.6 / (0.08 * size)  # the steepest a smoothstep of that width gets
    half = int(np.argmax(row < 0.5))
    assert 80 - 12 <= half <= 80 - 8  # shrink and half the feather


def test_more_shrink_and_more_feather_cover_less() -> None:
    areas = [
        face_mask(ring(128, 0.4), 128, MaskConfig(shrink, feather)).sum()
        for shrink, feather in ((0, 0.02), (0, 0.1), (0.05, 0.1), (0.1, 0.2))
    ]
    assert areas == sorted(areas, reverse=True)
    assert face_mask(ring(128, 0.4), 128, MaskConfig(shrink=0.5)).sum() == 0


def test_the_hull_is_convex_and_holds_every_landmark() -> None:
    points = np.random.default_rng(3).uniform(10, 118, (68, 2)).astype(np.float32)
    area = hull(points, 128)
    assert set(np.unique(area)) == {0, 255}
    assert all(area[round(float(y)), round(float(x))] for x, y in points)
    for line in [*area, *area.T]:  # no gap in any row or column
        filled = np.flatnonzero(line)
        assert len(filled) == 0 or filled[-1] - filled[0] + 1 == len(filled)


@pytest.mark.parametrize("radius", [0.2, 0.4])
def test_only_face_paints_over_what_is_no_face(radius: float) -> None:
    face = np.random.default_rng(4).integers(0, 256, (96, 96, 3), np.uint8)
    landmarks = ring(96, radius)
    painted = only_face(face, landmarks)
    inside = face_mask(landmarks, 96, MaskConfig(shrink=0.04, feather=0)) == 1
    outside = hull(ring(96, radius + 0.05), 96) == 0
    assert np.array_equal(painted[inside], face[inside])
    assert np.ptp(painted[outside], axis=0).max() == 0  # one colour
    mean = face[hull(landmarks, 96) > 0].mean(0)
    assert np.abs(painted[0, 0] - mean).max() <= 1


def test_only_face_takes_a_face_that_lies_outside_its_square() -> None:
    face = np.full((64, 64, 3), 77, np.uint8)
    assert only_face(face, ring(64, 0.2, (3, 3))).shape == (64, 64, 3)
