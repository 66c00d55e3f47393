"""The visible label: readable on anything at any size, in any script that its font has, away from faces, and nothing
but its own box is touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from clearswap.disclosure.stamp import (
    Corner,
    Label,
    LabelConfig,
    lay_label,
    letter_size,
    make_label,
    margin,
    place,
    quietest_corner,
    require_label,
)
from clearswap.errors import OptionError
from clearswap.faces.faceset import read_index
from makers import pictures_of

SIZES = {"240p": (240, 426), "360p": (360, 640), "720p": (720, 1280), "portrait": (1920, 1080), "4K": (2160, 3840)}
CORNERS = get_args(Corner)
Picture = NDArray[np.uint8]


def label_of(height: int, width: int, config: LabelConfig = LabelConfig()) -> Label:
    label = make_label(height, width, config)
    assert label is not None
    return label


def behind(kind: str, height: int, width: int) -> Picture:
    if kind == "noise":
        return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    if kind == "stripes":
        return np.broadcast_to(
            (np.arange(width) // 3 % 2 * 255).astype(np.uint8)[None, :, None], (height, width, 3)
        ).copy()
    return np.full((height, width, 3), {"black": 0, "grey": 128, "white": 255}[kind], np.uint8)


def luminance(picture: Picture) -> NDArray[np.float64]:
    """WCAG 2.1's relative luminance of sRGB."""
    part = picture / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", ["black", "grey", "white", "noise", "stripes"])
def test_letters_stand_out_on_anything_at_any_size(kind: str, size: tuple[int, int]) -> None:
    label = label_of(*size)
    frame = behind(kind, *size)
    left, top, right, bottom = place(*size, label.size, "bottom right")
    shown = luminance(lay_label(frame, label, "bottom right")[top:bottom, left:right])
    letters = label.keep[..., 0] < 0.02  # wholly covered by a letter
    plate = (label.add[..., 0] < 20) & (label.keep[..., 0] < 0.35)
    assert letters.sum() > 0.04 * letters.size
    assert plate.sum() > 0.4 * plate.size
    darkest, brightest = shown[letters].min(), shown[plate].max()
    assert (darkest + 0.05) / (brightest + 0.05) > 4.5


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_it_is_small_and_well_inside(size: tuple[int, int]) -> None:
    label, short = label_of(*size), min(size)
    high, wide = label.size
    assert letter_size(*size) == pytest.approx(max(12, 0.024 * short))
    assert high < max(24, 0.045 * short)
    assert wide < 0.28 * size[1]
    for corner in CORNERS:
        left, top, right, bottom = place(*size, label.size, corner)
        gaps = (left if "left" in corner else size[1] - right, top if "top" in corner else size[0] - bottom)
        assert gaps == (margin(*size), margin(*size))
        assert margin(*size) >= 10


@pytest.mark.parametrize("corner", CORNERS)
def test_only_its_box_changes_and_the_frame_given_stays(demo_clips: Path, corner: Corner) -> None:
    frame = pictures_of(demo_clips / "person_b.mp4")[0]
    before = frame.copy()
    label = label_of(*frame.shape[:2])
    laid = lay_label(frame, label, corner)
    assert np.array_equal(frame, before)
    left, top, right, bottom = place(frame.shape[0], frame.shape[1], label.size, corner)
    changed = (laid != frame).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert top <= rows[0] < rows[-1] < bottom
    assert left <= columns[0] < columns[-1] < right
    assert changed[top:bottom, left:right].mean() > 0.9
    corners_of_plate = [(top, left), (top, right - 1), (bottom - 1, left), (bottom - 1, right - 1)]
    assert not any(changed[at] for at in corners_of_plate)  # they are round


def test_the_edges_of_letters_and_plate_are_smooth() -> None:
    label = label_of(2160, 3840)
    shown = lay_label(behind("black", 2160, 3840), label, "top left")
    assert len(np.unique(shown)) > 50
    corner = label.keep[:20, :20, 0]  # as large as the plate is round; no letter reaches there
    for other in (label.keep[:20, -20:, 0][:, ::-1], label.keep[-20:, :20, 0][::-1]):
        assert np.array_equal(corner, other)
    assert len(np.unique(corner)) > 6


def test_it_can_be_left_out_scaled_and_said_otherwise() -> None:
    assert make_label(720, 1280, LabelConfig(label=False)) is None
    usual, larger = label_of(720, 1280), label_of(720, 1280, LabelConfig(label_scale=2))
    assert larger.size[1] == pytest.approx(2 * usual.size[1], rel=0.05)
    other = label_of(720, 1280, LabelConfig(label_text="swap face AI"))
    assert other.size[0] == usual.size[0]
    assert not np.array_equal(label_of(720, 1280, LabelConfig(label_text="AI face swab")).keep, usual.keep)


def ink(config: LabelConfig) -> NDArray[np.float32]:
    """The letters alone, without the room around them."""
    bright = label_of(2160, 3840, config).add[..., 0] / 255
    inside = bright > 0.3
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return bright[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def test_arabic_is_joined_and_runs_from_right_to_left() -> None:
    # "beh, alef" joined: one stroke whose left end is the tall alef; not the two letters side by side
    joined = ink(LabelConfig(label_text="با"))
    tall = np.flatnonzero((joined > 0.5).mean(0) > 0.8)
    assert tall.size
    assert tall.max() < 0.5 * joined.shape[1]
    assert (joined > 0.3).any(0).all()  # no gap between them
    alone = [ink(LabelConfig(label_text=letter)).shape[1] for letter in "با"]
    assert joined.shape[1] < 0.9 * sum(alone)


@pytest.mark.parametrize(
    "text",
    ["Замена лица ИИ", "تبديل وجه بالذكاء الاصطناعي", "החלפת פנים", "Αλλαγή προσώπου", "Hoán đổi khuôn mặt", "ÄÅ gj"],
)
def test_texts_of_many_scripts_fit_on_their_plate(text: str) -> None:
    config = LabelConfig(label_text=text)
    require_label(config)
    label = label_of(720, 1280, config)
    letters = label.add[..., 0] > 60
    assert letters.sum() > 100
    assert not letters[:2].any()
    assert not letters[-2:].any()
    assert not letters[:, :4].any()
    assert not letters[:, -4:].any()


def test_letters_that_the_font_lacks_are_refused_and_another_font_may_have_them() -> None:
    with pytest.raises(OptionError, match=r"font DejaVuSans-Bold.ttf has no 换 脸, which .* give a font file that"):
        require_label(LabelConfig(label_text="AI 换脸"))
    require_label(LabelConfig(label=False, label_text="AI 换脸"))
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    with pytest.raises(OptionError, match=r"The font cmr10.ttf has no \u0417 "):
        require_label(LabelConfig(label_text="Замена", label_font=str(fonts / "cmr10.ttf")))
    other = LabelConfig(label_font=str(fonts / "STIXGeneral.ttf"))
    require_label(other)
    assert not np.array_equal(label_of(720, 1280, other).add, label_of(720, 1280).add)


def test_without_the_library_for_it_arabic_is_refused_and_not_garbled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "raqm")  # as where FriBiDi is not installed
    with pytest.raises(OptionError, match="needs the library FriBiDi; install it"):
        require_label(LabelConfig(label_text="با"))
    require_label(LabelConfig(label_text="Замена лица ИИ, Äpfel"))


@pytest.mark.parametrize("name", ["none.ttf", "text.ttf", "folder.ttf"])
def test_what_is_no_font_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.ttf").write_text("not a font")
    (tmp_path / "folder.ttf").mkdir()
    with pytest.raises(OptionError, match=f"{name} is no font that can be read"):
        require_label(LabelConfig(label_font=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"label_text": ""}, "must be one line of letters"),
        ({"label_text": "  "}, "must be one line of letters"),
        ({"label_text": "two\nlines"}, "must be one line of letters"),
        ({"label_text": "x" * 61}, "has 61 characters; give 60 at most"),
        ({"label_scale": 0.0}, "0.0 is not possible for label scale; give a number, at least 0.5 and at most 4"),
        ({"label_scale": float("nan")}, "is not possible"),
    ],
)
def test_what_makes_no_sense_is_refused(config: dict[str, str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        LabelConfig(**config)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("size", [(240, 100), (64, 96), (720, 300), (16, 16), (3, 2)])
def test_on_narrow_and_tiny_frames_it_shrinks_and_never_reaches_out(size: tuple[int, int]) -> None:
    label = label_of(*size, LabelConfig(label_text="made with artificial intelligence"))
    frame = behind("white", *size)
    for corner in CORNERS:
        laid = lay_label(frame, label, corner)
        assert laid.shape == frame.shape
        assert (laid != frame).any()
    if size[0] > 200:
        assert label.size[1] <= size[1] - 2 * margin(*size)


# --- where it lies ---------------------------------------------------------------------------------------


def face_in(corner: Corner, height: int, width: int) -> list[float]:
    left = 0 if corner.endswith("left") else width - 300
    top = 0 if corner.startswith("top") else height - 200
    return [left, top, left + 300, top + 200]


@pytest.mark.parametrize("free", CORNERS)
def test_the_only_corner_without_a_face_is_taken(free: Corner) -> None:
    size = label_of(720, 1280).size
    boxes = np.array([face_in(corner, 720, 1280) for corner in CORNERS if corner != free], np.float32)
    assert quietest_corner(boxes, 720, 1280, size) == free


@pytest.mark.parametrize("taken", CORNERS)
def test_a_face_in_a_corner_is_avoided_and_the_bottom_right_preferred(taken: Corner) -> None:
    size = label_of(720, 1280).size
    boxes = np.array([face_in(taken, 720, 1280)], np.float32)
    assert quietest_corner(boxes, 720, 1280, size) == ("bottom left" if taken == "bottom right" else "bottom right")


def test_faces_of_all_frames_count_and_none_at_all_is_the_bottom_right() -> None:
    size = label_of(720, 1280).size
    assert quietest_corner(np.zeros((0, 4), np.float32), 720, 1280, size) == "bottom right"
    often = [face_in("bottom right", 720, 1280)] * 30 + [face_in("top right", 720, 1280)] * 20
    often += [face_in("top left", 720, 1280)] * 10 + [face_in("bottom left", 720, 1280)] * 11
    assert quietest_corner(np.array(often, np.float32), 720, 1280, size) == "top left"
    beyond = np.array([[-500, -500, -10, -10], [1300, 700, 1500, 900]], np.float32)  # out of the picture
    assert quietest_corner(beyond, 720, 1280, size) == "bottom right"


def test_the_demos_face_is_not_covered(demo_clips: Path, faces_b: Path) -> None:
    boxes = np.array([record.box for record in read_index(faces_b)], np.float32)
    height, width = pictures_of(demo_clips / "person_b.mp4")[0].shape[:2]
    label = label_of(height, width)
    left, top, right, bottom = place(height, width, label.size, quietest_corner(boxes, height, width, label.size))
    inside = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
    assert not inside.any()
