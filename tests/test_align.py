"""Alignment: similarities are found exactly, the framing is the field's, and there is a way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearswap.core.align import (
    MEAN_FACE,
    MESH_TO_68,
    STABLE,
    Points,
    align,
    face_matrix,
    invert,
    pixel_scale,
    transform,
    umeyama,
    zoomed,
)
from makers import psnr, scene

ANGLES = st.floats(-np.pi, np.pi)
SCALES = st.floats(0.05, 20)
SHIFTS = st.floats(-2000, 2000)


def similarity(angle: float, scale: float, right: float, down: float) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, right], [sin, cos, down]])


def mean_face_68() -> Points:
    """68 landmarks whose steady ones are the mean face's; the others must not matter."""
    points = np.full((68, 2), 1e6, np.float32)
    points[STABLE] = MEAN_FACE
    return points


@given(ANGLES, SCALES, SHIFTS, SHIFTS)
def test_any_similarity_is_recovered(angle: float, scale: float, right: float, down: float) -> None:
    matrix = similarity(angle, scale, right, down)
    goal = MEAN_FACE @ matrix[:, :2].T + matrix[:, 2]
    assert np.allclose(umeyama(MEAN_FACE, goal), matrix, atol=1e-6 * max(1, scale, abs(right), abs(down)))


@given(ANGLES, SCALES)
def test_a_mirrored_face_is_met_by_a_turn_never_by_a_mirror(angle: float, scale: float) -> None:
    matrix = similarity(angle, scale, 3, 4)
    goal = (MEAN_FACE * [-1, 1]) @ matrix[:, :2].T + matrix[:, 2]
    found = umeyama(MEAN_FACE, goal)
    assert np.linalg.det(found[:, :2]) > 0
    assert found[0, 0] == pytest.approx(found[1, 1])
    assert found[0, 1] == pytest.approx(-found[1, 0])


@given(st.integers(0, 2**31), ANGLES, SCALES)
def test_no_other_similarity_is_nearer(seed: int, angle: float, scale: float) -> None:
    random = np.random.default_rng(seed)
    goal = transform(MEAN_FACE.astype(np.float32), similarity(angle, scale, 1, 2)) + random.normal(0, 0.1, (33, 2))
    found = umeyama(MEAN_FACE, goal)

    def distance(matrix: np.ndarray) -> float:
        return float(((MEAN_FACE @ matrix[:, :2].T + matrix[:, 2] - goal) ** 2).sum())

    best = distance(found)
    for _ in range(10):
        turn, grow, right, down = random.normal(0, 0.01, 4)
        other = similarity(turn, 1 + grow, 0, 0)[:, :2] @ found
        other[:, 2] += right, down
        assert distance(other) >= best - 1e-9


@pytest.mark.parametrize("size", [64, 256])
def test_the_mean_face_lies_where_the_field_s_whole_face_has_it(size: int) -> None:
    """Both eyes, the nose's tip and the corners of the mouth, as DeepFaceLab's own function places them."""
    matrix = face_matrix(mean_face_68(), size)
    places = transform(mean_face_68(), matrix) / size
    five = [places[36:42].mean(0), places[42:48].mean(0), places[30], places[48], places[54]]
    whole_face = [(0.3712, 0.3996), (0.6195, 0.3996), (0.4954, 0.5402), (0.3847, 0.6643), (0.6061, 0.6643)]
    assert np.allclose(five, whole_face, atol=1e-3)


@given(ANGLES, st.floats(20, 2000), SHIFTS, SHIFTS)
def test_a_face_of_any_size_turn_and_place_is_brought_to_the_same_square(
    angle: float, scale: float, right: float, down: float
) -> None:
    face = transform(mean_face_68(), similarity(angle, scale, right, down))
    home = transform(face, face_matrix(face, 256))[STABLE]
    assert np.allclose(home, transform(mean_face_68(), face_matrix(mean_face_68(), 256))[STABLE], atol=0.05)


def test_the_mesh_s_468_points_stand_for_the_usual_68() -> None:
    mesh = np.random.default_rng(0).normal(100, 30, (478, 2)).astype(np.float32)
    assert len(set(MESH_TO_68.tolist())) == 68
    assert np.array_equal(face_matrix(mesh, 128), face_matrix(mesh[MESH_TO_68], 128))


@given(ANGLES, st.floats(0.1, 10), SHIFTS, SHIFTS)
def test_invert_is_the_way_back(angle: float, scale: float, right: float, down: float) -> None:
    matrix = similarity(angle, scale, right, down)
    points = (MEAN_FACE * 500).astype(np.float32)
    again = transform(transform(points, matrix), invert(matrix))
    assert np.allclose(again, points, atol=0.02 + 1e-5 * (abs(right) + abs(down)) / scale)
    assert pixel_scale(matrix) == pytest.approx(scale)


@pytest.mark.parametrize(("size", "new_size"), [(256, 64), (64, 64), (96, 256)])
def test_zoomed_draws_the_same_square_at_another_size(size: int, new_size: int) -> None:
    """The outer edges meet: pixel -0.5 stays -0.5 and pixel size - 0.5 becomes new_size - 0.5."""
    corners = np.array([[-0.5, -0.5], [size - 0.5, size - 0.5], [(size - 1) / 2] * 2], np.float32)
    wanted = [[-0.5, -0.5], [new_size - 0.5, new_size - 0.5], [(new_size - 1) / 2] * 2]
    assert np.allclose(transform(corners, zoomed(np.eye(2, 3), size, new_size)), wanted, atol=1e-4)


@pytest.mark.parametrize("drop", [0.0, 0.05, -0.1])
@pytest.mark.parametrize("coverage", [1.0, 0.7])
def test_zoomed_cuts_out_the_middle_moved_down(coverage: float, drop: float) -> None:
    size, new_size = 200, 100
    middle = np.array([[(size - 1) / 2, (size - 1) / 2 + drop * size]], np.float32)
    top_left = middle - coverage * size / 2
    matrix = zoomed(np.eye(2, 3), size, new_size, coverage, drop)
    assert np.allclose(transform(middle, matrix), (new_size - 1) / 2, atol=1e-3)
    assert np.allclose(transform(top_left, matrix), -0.5, atol=1e-3)


def test_a_square_of_whole_pixels_is_cut_out_exactly() -> None:
    frame = scene(0, 120, 90)
    assert np.array_equal(align(frame, np.array([[1.0, 0, -20], [0, 1, -10]]), 64), frame[10:74, 20:84])


def test_beyond_the_frame_its_edge_is_repeated() -> None:
    frame = scene(0, 50, 40)
    square = align(frame, np.array([[1.0, 0, 10], [0, 1, 10]]), 64)
    assert np.array_equal(square[10:50, 10:60], frame)
    assert np.array_equal(square[10:50, :10], np.repeat(frame[:, :1], 10, 1))


@pytest.mark.parametrize("shrink", [2, 3, 5.5, 8])
def test_a_large_face_is_averaged_down_not_sampled(shrink: float) -> None:
    """Noise of one pixel's size must vanish: sampling would keep all of it."""
    noise = np.random.default_rng(1).integers(0, 256, (64 * 8, 64 * 8, 3), np.uint8)
    square = align(noise, np.array([[1 / shrink, 0, 0], [0, 1 / shrink, 0]]), 48)
    assert square.std() < 1.35 * noise.std() / shrink
    assert abs(float(square.mean()) - 127.5) < 3


@given(st.floats(-0.5, 0.5), st.floats(0.6, 2.5))
def test_there_and_back_again_is_nearly_the_same_picture(angle: float, scale: float) -> None:
    frame = scene(2, 160, 160)
    centre = similarity(angle, scale, 0, 0)
    centre[:, 2] = 64 - centre[:, :2] @ (80, 80)
    square = align(frame, centre, 128)
    back = cv2.warpAffine(square, invert(centre), (160, 160), flags=cv2.INTER_CUBIC)
    inside = cv2.warpAffine(np.ones((128, 128)), invert(centre), (160, 160), flags=cv2.INTER_NEAREST)
    inside = cv2.erode(inside, np.ones((9, 9)), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    assert psnr(back, frame, inside) > 30
