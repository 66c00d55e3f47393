"""Pictures: every depth, kind and name comes in as 8-bit RGB, upright, and goes out without loss of chroma."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from clearswap.errors import InputError
from clearswap.media.files import encode_picture, is_picture, list_inputs, read_alpha, read_picture, read_source
from makers import psnr, save_picture, scene

RGB = scene(3, 80, 60)
GREY = np.asarray(cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY), np.uint8)
SPREAD = np.repeat(GREY[..., None], 3, 2)
ALPHA = scene(5, 80, 60)[..., 2]


@pytest.mark.parametrize("name", ["a.png", "A.PNG", "a.tif", "a.bmp", "mit leer zeichen.png", "größe 图片 рис.png"])
def test_eight_bits_come_back_exactly(tmp_path: Path, name: str) -> None:
    assert np.array_equal(read_picture(save_picture(tmp_path / name, RGB)), RGB)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kind", ["rgb", "grey", "rgba"])
def test_sixteen_bits_become_eight(tmp_path: Path, suffix: str, kind: str) -> None:
    pixels = {"rgb": RGB, "grey": GREY, "rgba": np.dstack([RGB, ALPHA])}[kind].astype(np.uint16) * 257
    picture = read_picture(save_picture(tmp_path / f"deep{suffix}", pixels))
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - (SPREAD if kind == "grey" else RGB)).max() <= 1


def test_grey_is_spread_to_three_channels(tmp_path: Path) -> None:
    assert np.array_equal(read_picture(save_picture(tmp_path / "grey.png", GREY)), SPREAD)


def test_transparency_is_apart_from_the_picture(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "clear.png", np.dstack([RGB, ALPHA]))
    assert np.array_equal(read_picture(path), RGB)
    assert np.array_equal(read_alpha(path), ALPHA)
    for name in ("deep.png", "deep.tif"):
        deep = save_picture(tmp_path / name, np.dstack([RGB, ALPHA]).astype(np.uint16) * 257)
        assert np.array_equal(read_alpha(deep), ALPHA)
    assert read_alpha(save_picture(tmp_path / "opaque.png", RGB)) is None
    assert read_alpha(save_picture(tmp_path / "grey.png", GREY)) is None


def test_palettes_and_cmyk_are_read(tmp_path: Path) -> None:
    few = (RGB // 64) * 64
    Image.fromarray(few).quantize(256).save(tmp_path / "palette.png")
    assert np.abs(read_picture(tmp_path / "palette.png").astype(int) - few).mean() < 8
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "press.jpg", quality=95)
    assert psnr(read_picture(tmp_path / "press.jpg"), RGB) > 20


TURNS = {1: 0, 3: 2, 6: 1, 8: 3}  # EXIF's number for how a phone was held; quarter turns that were undone


@pytest.mark.parametrize("held", list(TURNS))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_phone_pictures_are_turned_upright(tmp_path: Path, held: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = held
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(RGB, TURNS[held])))
    stored.save(tmp_path / f"phone{suffix}", exif=exif, quality=98)
    picture = read_picture(tmp_path / f"phone{suffix}")
    assert picture.shape == RGB.shape
    assert psnr(picture, RGB) > 28


@pytest.mark.parametrize("held", list(TURNS))
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_transparency_is_turned_with_the_picture(tmp_path: Path, held: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = held
    stored = np.ascontiguousarray(np.rot90(np.dstack([RGB, ALPHA]), TURNS[held]))
    Image.fromarray(stored).save(tmp_path / f"phone{suffix}", exif=exif, lossless=True)
    alpha = read_alpha(tmp_path / f"phone{suffix}")
    assert alpha is not None
    assert alpha.shape == read_picture(tmp_path / f"phone{suffix}").shape[:2]
    assert np.array_equal(alpha, ALPHA)


def test_jpeg_keeps_the_colour_of_thin_lines(tmp_path: Path) -> None:
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[:, ::2] = (220, 30, 30)
    lines[:, 1::2] = (30, 30, 220)
    (tmp_path / "lines.jpg").write_bytes(encode_picture(lines, ".jpg"))
    assert psnr(read_picture(tmp_path / "lines.jpg"), lines) > 30  # halved chroma leaves 12 dB


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_lossless_kinds_go_out_and_in_unchanged(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(encode_picture(RGB, suffix))
    assert np.array_equal(read_picture(tmp_path / f"a{suffix}"), RGB)


def test_transparency_goes_out_and_in(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_picture(np.dstack([RGB, ALPHA]), ".png"))
    assert np.array_equal(read_picture(tmp_path / "a.png"), RGB)
    assert np.array_equal(read_alpha(tmp_path / "a.png"), ALPHA)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [("none.png", None, "does not exist"), ("empty.png", b"", "empty"), ("text.jpg", b"text" * 99, "damaged")],
)
def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_picture(tmp_path / name)


def test_a_picture_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    (frame,) = read_source(save_picture(tmp_path / "a.png", RGB))
    assert np.array_equal(frame.picture, RGB)
    assert (frame.index, frame.time) == (0, 0.0)


def test_folders_are_listed_by_name_without_what_is_no_source(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.MP4", ".hidden.png", "notes.txt", "d"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_inputs([tmp_path])] == ["a.JPG", "b.png", "c.MP4"]


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a\0b.png"])
def test_names_that_no_disk_takes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        list_inputs([tmp_path / name])


def test_kinds_are_told_by_the_name() -> None:
    assert is_picture(Path("a.JPeG"))
    assert is_picture(Path("a.webp"))
    assert not is_picture(Path("a.mp4"))
    assert not is_picture(Path("png"))
