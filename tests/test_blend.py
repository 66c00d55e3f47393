"""Blending: the face is laid where it belongs, and not one bit changes elsewhere."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearswap.core.align import Matrix, align, invert, transform
from clearswap.core.blend import MaskConfig, Seam, box_of_mask, face_mask, paste
from clearswap.core.network import Drawn, ModelConfig
from clearswap.core.swap import LOOKS, BlendConfig, NewFace, Swapper, smooth_faces, with_look
from makers import psnr, scene

SIZE = 64


def placed(angle: float, scale: float, x: float, y: float) -> Matrix:
    """The matrix that brings a square around (x, y) of the frame to the aligned square."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, SIZE / 2 - turn @ (x, y)])


def circle() -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    landmarks = SIZE / 2 + 0.42 * SIZE * np.stack([np.cos(angles), np.sin(angles)], 1)
    return face_mask(landmarks.astype(np.float32), SIZE, MaskConfig())


PLACES = (st.floats(-np.pi, np.pi), st.floats(0.3, 3), st.floats(-40, 200), st.floats(-40, 140))


@given(*PLACES)
def test_outside_the_mask_not_one_bit_changes(angle: float, scale: float, x: float, y: float) -> None:
    frame, matrix, mask = scene(1, 160, 100), placed(angle, scale, x, y), circle()
    result = paste(frame, np.ones((SIZE, SIZE, 3), np.float32), mask, matrix)
    reached = cv2.warpAffine((mask > 0).astype(np.float32), invert(matrix), (160, 100)) > 0
    assert result.shape == frame.shape
    assert result.dtype == np.uint8
    assert np.array_equal(result[~reached], frame[~reached])


@given(*PLACES)
def test_a_face_pasted_where_it_was_cut_out_is_nearly_the_same(angle: float, scale: float, x: float, y: float) -> None:
    frame, matrix = scene(1, 160, 100), placed(angle, scale, x, y)
    square = align(frame, matrix, SIZE)
    assert psnr(paste(frame, square.astype(np.float32) / 255, circle(), matrix), frame) > 35


@given(st.floats(-np.pi, np.pi), st.floats(0.5, 2), st.floats(60, 100), st.floats(40, 60))
def test_a_colour_lands_in_the_middle_of_the_face(angle: float, scale: float, x: float, y: float) -> None:
    red = np.zeros((SIZE, SIZE, 3), np.float32)
    red[..., 0] = 1
    result = paste(scene(1, 160, 100), red, circle(), placed(angle, scale, x, y))
    assert result[round(y), round(x)].tolist() == [255, 0, 0]


def test_values_beyond_the_range_are_clipped_not_wrapped() -> None:
    frame = np.full((80, 80, 3), 128, np.uint8)
    for value, wanted in ((1.7, 255), (-0.5, 0)):
        result = paste(frame, np.full((SIZE, SIZE, 3), value, np.float32), circle(), placed(0, 1, 40, 40))
        assert result[40, 40].tolist() == [wanted] * 3


def test_the_frame_given_is_never_changed() -> None:
    frame = scene(1, 80, 80)
    before = frame.copy()
    paste(frame, np.zeros((SIZE, SIZE, 3), np.float32), circle(), placed(0, 1, 40, 40))
    assert np.array_equal(frame, before)


@given(*PLACES)
def test_the_box_holds_all_of_the_mask(angle: float, scale: float, x: float, y: float) -> None:
    matrix, mask = placed(angle, scale, x, y), np.zeros((SIZE, SIZE), np.float32)
    mask[10:50, 20:60] = 1
    left, top, right, bottom = box_of_mask(mask, matrix, (100, 160, 3))
    assert left >= 0
    assert right <= 160
    across, down = np.linspace(20, 60, 9), np.linspace(10, 50, 9)
    square = transform(np.stack(np.meshgrid(across, down), -1).reshape(-1, 2).astype(np.float32), invert(matrix))
    seen = square[((square >= 0) & (square <= (159, 99))).all(1)]
    assert ((seen >= (left - 0.01, top - 0.01)) & (seen <= (right + 0.01, bottom + 0.01))).all()


def test_an_empty_mask_has_an_empty_box() -> None:
    assert box_of_mask(np.zeros((SIZE, SIZE), np.float32), placed(0, 1, 50, 50), (100, 160, 3)) == (0, 0, 0, 0)


CONFIG = ModelConfig(
    "lite", "modern", size=SIZE, seen=SIZE, coverage=0.8, drop=0.0, only_face=False, learning_rate=1e-3, batch=2
)


def face(x: float, y: float, width: float) -> np.ndarray:
    """478 landmarks of something like a face: an oval, with eyes, nose and mouth where they usually are."""
    random = np.random.default_rng(0)
    angles = random.uniform(0, 2 * np.pi, 478)
    radius = np.sqrt(random.uniform(0, 1, 478))
    points = np.stack([np.cos(angles) * radius * width / 2, np.sin(angles) * radius * width * 0.65], 1)
    from clearswap.core.align import MEAN_FACE, MESH_TO_68, STABLE

    points[MESH_TO_68[STABLE]] = (MEAN_FACE - 0.5) * width * 0.8
    return (points + (x, y)).astype(np.float32)


def test_a_swapper_that_draws_what_it_gets_changes_next_to_nothing() -> None:
    frame = scene(1, 200, 160)
    swapper = Swapper(lambda aligned, _: Drawn(aligned), CONFIG, torch.device("cpu"), blend=BlendConfig(colour=1.0))
    result = swapper(frame, [face(100, 80, 70)])
    assert psnr(result, frame) > 40


def test_a_swapper_draws_the_faces_of_several_frames_in_one_batch() -> None:
    batches: list[int] = []

    def draw(aligned: torch.Tensor, _: torch.Tensor) -> Drawn:
        batches.append(len(aligned))
        return Drawn(1 - aligned)

    frames = [scene(i, 200, 160) for i in range(3)]
    swapper = Swapper(draw, CONFIG, torch.device("cpu"), blend=BlendConfig(colour=0))
    places = [face(60, 80, 60), face(140, 80, 50), face(100, 80, 70)]
    left, right, other = swapper.draw([frames[0], frames[0], frames[2]], places)
    results = [swapper.fit(frame, new, seed=0) for frame, new in zip(frames, [[left, right], [], [other]], strict=True)]
    assert batches == [3]
    assert (results[0][80, 60] != frames[0][80, 60]).any()
    assert (results[0][80, 140] != frames[0][80, 140]).any()
    assert np.array_equal(results[1], frames[1])
    assert (results[2][80, 100] != frames[2][80, 100]).any()
    assert swapper(frames[0], []) is frames[0]
    assert batches == [3]  # no face, no work


def red_face(seam: Seam, mask: np.ndarray, grain: float = 0.0, seed: int = 0) -> np.ndarray:
    """A red square laid over a grey frame whose left half is darker."""
    frame = np.full((160, 200, 3), 90, np.uint8)
    frame[:, 100:] = 150
    patch = np.tile(np.array([0.8, 0.3, 0.3], np.float32), (SIZE, SIZE, 1))
    return paste(frame, patch, mask, placed(0, 1, 100, 80), seam, grain, seed)


@pytest.mark.parametrize("seam", ["feather", "pyramid"])
def test_every_seam_covers_the_face_and_changes_nothing_outside_the_mask(seam: Seam) -> None:
    frame, result = red_face(seam, 0 * circle()), red_face(seam, circle())
    whole = cv2.warpAffine(circle(), invert(placed(0, 1, 100, 80)), (200, 160))
    assert np.array_equal(result[whole == 0], frame[whole == 0])
    inside = result[75:85, 90:110].astype(int)
    assert np.abs(inside - frame[75:85, 90:110]).max() > 60
    slope = np.abs(np.diff(result[80, 60:140].astype(int).sum(-1))).max()
    assert slope < 200  # 180 is the step of the frame itself


@pytest.mark.parametrize("seam", ["feather", "pyramid"])
@pytest.mark.parametrize(("x", "y"), [(0, 0), (199, 159), (100, -20), (-500, 80)])
def test_every_seam_copes_with_faces_at_the_frames_edge(seam: Seam, x: float, y: float) -> None:
    frame = scene(1, 200, 160)
    result = paste(frame, np.full((SIZE, SIZE, 3), 0.9, np.float32), circle(), placed(0.3, 1, x, y), seam)
    assert result.shape == frame.shape
    assert (result != frame).any() == (x > -100)


@pytest.mark.parametrize("enlarged", [0.7, 1.5, 3.0, 5.0])
def test_a_patch_lands_where_cubic_curves_would_draw_it(enlarged: float) -> None:
    frame, matrix = np.zeros((400, 400, 3), np.uint8), placed(0.2, 1 / enlarged, 200, 200)
    patch = np.asarray(cv2.GaussianBlur(scene(2, SIZE, SIZE), (0, 0), 1.5), np.float32) / 255
    drawn = paste(frame, patch, np.ones((SIZE, SIZE), np.float32), matrix).astype(int)
    cubic = cv2.warpAffine(255 * patch, invert(matrix), (400, 400), flags=cv2.INTER_CUBIC)
    whole = cv2.warpAffine(np.ones((SIZE, SIZE), np.float32), invert(matrix), (400, 400))
    inside = cv2.erode(whole, np.ones((25, 25))) > 0.999
    assert inside.sum() > 0.1 * (SIZE * enlarged) ** 2
    assert np.abs(drawn - cubic)[inside].max() < 2.5
    assert np.abs(drawn - cubic)[inside].mean() < 0.5


def test_grain_is_put_back_and_only_into_the_face() -> None:
    random = np.random.default_rng(0)
    frame = np.clip(120 + 5 * random.standard_normal((160, 200, 3)), 0, 255).astype(np.uint8)
    patch, matrix = np.full((SIZE, SIZE, 3), 0.5, np.float32), placed(0, 1, 100, 80)
    middle = np.s_[70:90, 90:110]
    smooth, grainy, again = (paste(frame, patch, circle(), matrix, grain=g, seed=4) for g in (0.0, 1.0, 1.0))
    assert smooth[middle].std() < 0.5
    assert 0.6 * frame[middle].std() < grainy[middle].std() < 1.4 * frame[middle].std()
    assert np.array_equal(grainy, again)
    whole = cv2.warpAffine(circle(), invert(matrix), (200, 160))
    assert np.array_equal(grainy[whole == 0], frame[whole == 0])


def test_a_look_is_changed_by_single_settings_only() -> None:
    assert with_look("natural", MaskConfig(), BlendConfig()) == (MaskConfig(), BlendConfig())
    assert with_look("soft", MaskConfig(shrink=0.1), BlendConfig(grain=0.5)) == (
        MaskConfig(feather=0.16, shrink=0.1),
        BlendConfig(seam="pyramid", grain=0.5),
    )


def test_looks_differ_on_a_real_face_and_raw_is_what_was_drawn() -> None:
    frame = np.tile(np.linspace(40, 200, 200).astype(np.uint8)[:, None, None], (1, 200, 3))
    results = {}
    for look in LOOKS:
        mask, blend = with_look(look, MaskConfig(), BlendConfig())
        swapper = Swapper(
            lambda aligned, _: Drawn(aligned * 0.5 + 0.3), CONFIG, torch.device("cpu"), mask=mask, blend=blend
        )
        results[look] = swapper(frame, [face(100, 100, 70)])
    middle = {look: int(result[100, 100, 0]) for look, result in results.items()}
    assert middle["raw"] == pytest.approx(0.5 * int(frame[100, 100, 0]) + 0.3 * 255, abs=2)
    assert middle["natural"] == pytest.approx(int(frame[100, 100, 0]), abs=3)  # the frame's own light
    assert not np.array_equal(results["soft"], results["natural"])


def test_colours_and_masks_are_calmed_by_neighbours_of_the_same_track() -> None:
    def new(value: float) -> NewFace:
        colours = torch.full((2,), value)
        square = np.full((4, 4), value, np.float32)
        return NewFace(torch.zeros(3, 4, 4), square, np.zeros((4, 4, 3), np.float32), colours, colours, np.eye(2, 3))

    window = [{1: new(0.0)}, {1: new(0.4), 2: new(0.8)}, {1: new(0.8)}, {1: new(1.0)}]
    first, second = smooth_faces(window, 1, 3).values()
    assert float(first.mask[0, 0]) == pytest.approx((0.0 + 2 * 0.4 + 0.8) / 4)
    assert float(first.patch_stats[0]) == pytest.approx((0.0 + 0.4 + 0.8 + 1.0) / 4)
    assert float(second.mask[0, 0]) == pytest.approx(0.8)  # alone
    (last,) = smooth_faces(window, 3, 3).values()
    assert float(last.mask[0, 0]) == pytest.approx((0.8 + 2 * 1.0) / 3)
