"""Pictures: every depth, kind and name comes in as 8-bit sRGB, upright, and goes out without loss of chroma. Folders,
names, and places that one run writes at a time.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

import clearswap
from clearswap.disclosure.credentials import sidecar_of
from clearswap.errors import InputError, OutputError
from clearswap.media.files import (
    atomic_file,
    atomic_folder,
    encode_picture,
    hidden,
    is_picture,
    left_out,
    list_inputs,
    locked,
    pair_outputs,
    partial_of,
    picture_size,
    read_alpha,
    read_picture,
    read_source,
)
from clearswap.media.writer import workdir
from clearswap.training import checkpoint
from makers import Ran, command, head_of_clip, left_behind, profile, psnr, save_heic, save_picture, scene

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


def planes_apart(path: Path, picture: NDArray[np.uint8]) -> Path:
    """Write a TIFF of 16 bits whose colours lie one after the other, as some programs do."""
    height, width = picture.shape[:2]
    size, data = 2 * height * width, np.moveaxis(picture.astype("<u2") * 257, 2, 0).tobytes()
    end = 8 + 2 + 10 * 12 + 4
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, end), (259, 4, 1, 1), (262, 4, 1, 2)]
    entries += [(273, 4, 3, end + 6), (277, 4, 1, 3), (278, 4, 1, height), (279, 4, 3, end + 18), (284, 4, 1, 2)]
    places = struct.pack("<3H6I", 16, 16, 16, *(end + 30 + size * i for i in range(3)), size, size, size)
    table = struct.pack("<H", 10) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + table + places + data)
    return path


def test_a_tiff_with_a_plane_for_each_colour_is_read(tmp_path: Path) -> None:
    assert np.array_equal(read_picture(planes_apart(tmp_path / "planes.tif", RGB)), RGB)


# Columns: red, green, blue, seen under the white of ICC profiles.
TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
WIDE = np.array([[0.51512, 0.29198, 0.15710], [0.24119, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
GAMMA = 563 / 256


def in_srgb(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (..., 3) as sRGB says, 0..255, by its formula."""
    light = (xyz @ np.linalg.inv(TO_XYZ).T).clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def wide_profile() -> bytes:
    tags = {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), WIDE.T, strict=True):
        tags[name] = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in column))
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563)
    return profile(b"RGB ", tags | {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".avif", ".jpg"])
@pytest.mark.parametrize("clear", [False, True])
def test_a_wide_colour_space_becomes_srgb(tmp_path: Path, suffix: str, clear: bool) -> None:
    if clear and suffix == ".jpg":
        return
    flat = np.repeat(np.repeat(scene(3, 6, 5) // 2 + 60, 16, 0), 16, 1)  # no edges: JPEG loses little
    stored = np.dstack([flat, flat[..., 0]]) if clear else flat
    options = {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": "4:4:4"}
    Image.fromarray(stored).save(tmp_path / f"wide{suffix}", icc_profile=wide_profile(), **options)
    wanted = in_srgb((flat / 255) ** GAMMA @ WIDE.T)
    off = np.abs(read_picture(tmp_path / f"wide{suffix}") - wanted)
    assert np.abs(flat - wanted).max() > 20
    exact = suffix in (".png", ".tif", ".webp")
    assert off.max() < (3 if exact else 16)
    assert off.mean() < (0.5 if exact else 2)
    if clear:
        assert np.abs(read_alpha(tmp_path / f"wide{suffix}").astype(int) - stored[..., 3]).max() <= 2


def test_grey_is_as_light_as_its_profile_says(tmp_path: Path) -> None:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 256)  # light itself
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    Image.fromarray(GREY).save(tmp_path / "grey.png", icc_profile=profile(b"GRAY", {b"wtpt": white, b"kTRC": curve}))
    wanted = in_srgb(GREY[..., None] / 255 * TO_XYZ.sum(1))
    assert np.abs(read_picture(tmp_path / "grey.png") - wanted).max() < 2


def test_ink_is_seen_as_its_profile_says(tmp_path: Path) -> None:
    """Paper is white, cyan is L*a*b* (60, -30, -40), all other mixtures are black."""
    mixtures = np.zeros((2, 2, 2, 2, 3), np.uint8) + np.array([0, 128, 128], np.uint8)
    mixtures[0, 0, 0, 0, 0], mixtures[1, 0, 0, 0] = 255, (153, 98, 88)
    line, one = bytes(range(256)), struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + one + line * 4 + mixtures.tobytes() + line * 3
    ink = np.zeros((32, 32, 4), np.uint8)
    ink[:, 16:, 0] = 255
    icc = profile(b"CMYK", {b"A2B0": table, b"A2B1": table}, b"Lab ")
    Image.fromarray(ink, "CMYK").save(tmp_path / "ink.jpg", quality=100, icc_profile=icc)
    picture = read_picture(tmp_path / "ink.jpg")
    f = 76 / 116 + np.array([-30 / 500, 0, 40 / 200])
    wanted = in_srgb(np.where(f > 6 / 29, f**3, 0) * TO_XYZ.sum(1))
    assert np.abs(picture[16, 4].astype(int) - 255).max() <= 2
    assert np.abs(picture[16, 28] - wanted).max() <= 3


def test_a_profile_that_is_damaged_or_for_other_colours_is_passed_over(tmp_path: Path) -> None:
    for number, icc in enumerate((b"no profile", wide_profile()[:300])):
        Image.fromarray(RGB).save(tmp_path / f"{number}.png", icc_profile=icc)
        assert np.array_equal(read_picture(tmp_path / f"{number}.png"), RGB)
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "ink.jpg", icc_profile=wide_profile(), quality=95)
    assert psnr(read_picture(tmp_path / "ink.jpg"), RGB) > 20


@pytest.mark.parametrize("name", ["phone.heic", "PHONE.HIF", "phone.jpg", "phone"])
def test_a_heic_is_read_whole_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    large = scene(3, 200, 150)
    path = save_heic(tmp_path / name, large)
    assert is_picture(path)
    assert picture_size(path) == (200, 150)
    assert psnr(read_picture(path), large) > 35
    (frame,) = read_source(path)
    assert frame.picture.shape == large.shape


def test_an_avif_goes_out_and_in(tmp_path: Path) -> None:
    (tmp_path / "a.avif").write_bytes(encode_picture(np.dstack([RGB, ALPHA]), ".avif"))
    assert is_picture(tmp_path / "a.avif")
    assert psnr(read_picture(tmp_path / "a.avif"), RGB) > 35
    assert psnr(read_alpha(tmp_path / "a.avif"), ALPHA) > 35


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.avif", "a.tif", "gif called.jpg"])
def test_many_pictures_in_a_file_are_refused(tmp_path: Path, name: str) -> None:
    first, *others = [Image.fromarray(scene(9 * i, 80, 60)) for i in range(4)]
    kind = "GIF" if name.endswith("jpg") else None
    first.save(tmp_path / name, kind, save_all=True, append_images=others, duration=40)
    with pytest.raises(InputError, match=r"holds 4 pictures .* save the one that you want"):
        read_picture(tmp_path / name)


def test_small_copies_and_gain_maps_do_not_count(tmp_path: Path) -> None:
    small = Image.fromarray(RGB[::4, ::4])
    Image.fromarray(RGB).save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[small], quality=98)
    assert psnr(read_picture(tmp_path / "phone.jpg"), RGB) > 28
    for page, kind in ((Image.fromarray(RGB), 0), (small, 1)):
        page.save(tmp_path / f"{kind}.tif", tiffinfo={254: kind})
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "scan.tif"), new=True) as file:
        for kind in (0, 1):
            file.write((tmp_path / f"{kind}.tif").read_bytes())
            file.newFrame()
    assert np.array_equal(read_picture(tmp_path / "scan.tif"), RGB)


def huge(path: Path, side: int) -> Path:
    """The head of a PNG that says it is so large."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )
    return path


def test_a_picture_larger_than_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more pixels than can be read"):
        read_picture(huge(tmp_path / "huge.png", 30000))
    assert picture_size(huge(tmp_path / "large.png", 10000)) == (10000, 10000)  # and no warning


@pytest.mark.parametrize("kind", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.avif", "a.heic"])
def test_damaged_pictures_are_refused_or_read_and_never_end_in_another_error(tmp_path: Path, kind: str) -> None:
    path, random = tmp_path / kind, np.random.default_rng(7)
    whole = save_heic(path, RGB).read_bytes() if kind == "a.heic" else encode_picture(RGB, path.suffix)
    for share in (0.02, 0.3, 0.9):
        path.write_bytes(whole[: round(share * len(whole))])
        with pytest.raises(InputError, match="damaged"):
            read_picture(path)
    for _ in range(40):
        data = np.frombuffer(whole, np.uint8).copy()
        places = random.integers(0, len(data) if random.random() < 0.5 else 200, 6)
        data[places] = random.integers(0, 256, 6)
        path.write_bytes(data.tobytes())
        try:
            assert read_picture(path).ndim == 3
        except InputError as error:
            assert str(path) in str(error)


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


def test_what_a_folder_holds_besides_is_said(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.heic", "c.DV", "d.gif", "e.vob", "a.mask.png", "a.labels.npz", "x.c2pa", ".hidden"):
        (tmp_path / name).touch()
    for name in ("index.jsonl", "consent.toml"):
        (tmp_path / name).touch()
    assert [path.name for path in list_inputs([tmp_path])] == ["a.jpg", "b.heic", "c.DV", "d.gif", "e.vob"]
    assert left_out([tmp_path, tmp_path / "missing"]) == ""
    for name in ("f.psd", "g.txt", "lonely.mask.png"):
        (tmp_path / name).touch()
    (tmp_path / "raw").mkdir()
    assert left_out([tmp_path / "a.jpg"]) == ""
    said = left_out([tmp_path])
    assert said.startswith("not taken: f.psd, g.txt, raw/ (")
    assert "lonely.mask.png" in [path.name for path in list_inputs([tmp_path])]


def test_files_of_a_folder_get_names_that_can_be_written_and_no_name_twice(tmp_path: Path) -> None:
    given = [
        "IMG.heic",
        "img.jpg",
        "Img.avif",
        "a.gif",
        "a.mkv",
        "a.webm",
        "A.mp4",
        "a.vob",
        "b.jfif",
        "b.hif",
        "B.png",
    ]
    (tmp_path / "in").mkdir()
    for name in given:
        (tmp_path / "in" / name).touch()
    pairs = {source.name: wanted.name for source, wanted in pair_outputs(tmp_path / "in", tmp_path / "out")}
    assert sorted(pairs) == sorted(given)
    assert {name: pairs[name] for name in ("img.jpg", "Img.avif", "A.mp4", "a.mkv", "B.png")} == {
        "img.jpg": "img.jpg",
        "Img.avif": "Img.avif",
        "A.mp4": "A.mp4",
        "a.mkv": "a.mkv",
        "B.png": "B.png",
    }
    assert pairs["a.webm"] == "a-2.webm"  # the credentials of both would be a.c2pa
    assert pairs["IMG.heic"] == "IMG-2.jpg"
    assert len({name.casefold() for name in pairs.values()}) == len(given)
    assert {Path(name).suffix for name in pairs.values()} <= {".jpg", ".avif", ".mp4", ".mkv", ".webm", ".png"}


@pytest.mark.parametrize(
    "name", ["10:30 100% #1?.txt", "-o.txt", "two\nlines.txt", "a" * 251 + ".txt", "ü" * 125 + ".txt", "[1].txt"]
)
def test_files_and_folders_of_every_name_are_written(tmp_path: Path, name: str) -> None:
    with atomic_file(tmp_path / "files" / name) as partial:
        assert partial.suffix == ".txt"
        partial.write_text("done")
    with atomic_folder(tmp_path / "folders" / name) as folder:
        (folder / "a").touch()
    assert left_behind(tmp_path) == sorted(
        ["files", "folders", f"files/{name}", f"folders/{name}", f"folders/{name}/a"]
    )


def test_a_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    with atomic_file(path) as partial:
        partial.write_text("done")
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9.txt"]  # noqa: PTH208


BUSY = "is being written by another run; wait until it ends or choose another place"
HOLD = """
import sys
from pathlib import Path
from clearswap.media import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["atomic_file", "atomic_folder"])
def test_one_run_writes_a_place_at_a_time_and_a_killed_one_does_not_keep_it(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "new" / "place"
    write = {"atomic_file": atomic_file, "atomic_folder": atomic_folder}[kind]
    command = [sys.executable, "-c", HOLD, kind, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        before = left_behind(tmp_path)
        with pytest.raises(OutputError, match=BUSY), write(place):
            raise AssertionError("both have it")
        assert left_behind(tmp_path) == before
        other.send_signal(signal.SIGKILL)
    with write(place):
        pass
    assert left_behind(tmp_path) == ["new", "new/place"]


def test_threads_are_refused_and_a_run_does_not_refuse_itself(tmp_path: Path) -> None:
    said: list[str] = []

    def other() -> None:
        try:
            with locked(tmp_path / "a"):
                said.append("both have it")
        except OutputError as error:
            said.append(str(error))

    with locked(tmp_path / "a"), locked(tmp_path / "a"):
        with locked(tmp_path / "a"), locked(tmp_path / "folder", inside=True), locked(tmp_path / "folder"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert said == [f"{tmp_path / 'a'} {BUSY}."]
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a\0b.png"])
def test_names_that_no_disk_takes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        list_inputs([tmp_path / name])


def test_kinds_are_told_by_the_name() -> None:
    assert is_picture(Path("a.JPeG"))
    assert is_picture(Path("a.webp"))
    assert not is_picture(Path("a.mp4"))
    assert not is_picture(Path("png"))


# --- what lies where something is written until it is whole ----------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file of somebody's, to which links lead; nothing may be written there."""
    (tmp_path / "home").mkdir()
    path = tmp_path / "home" / "victim"
    path.write_text("precious")
    yield path
    assert left_behind(tmp_path / "home") == ["victim"]
    assert path.read_text() == "precious"


def lay(path: Path, kind: str, victim: Path) -> None:
    """Lay something where a file or folder is to be written."""
    path.parent.mkdir(exist_ok=True)
    if kind == "folder":
        path.mkdir()
        (path / "a").touch()
    elif kind == "file":
        path.write_text("left by a run that was killed")
    else:
        path.symlink_to({"link": victim, "link to a folder": victim.parent, "broken link": victim / "none"}[kind])


KINDS = ["file", "folder", "link", "link to a folder", "broken link"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_in_the_place_of_a_partial_goes_and_no_link_is_followed(
    tmp_path: Path, victim: Path, kind: str
) -> None:
    out = tmp_path / "out"
    lay(partial_of(out / "a.txt"), kind, victim)
    with atomic_file(out / "a.txt") as partial:
        assert not partial.is_symlink()
        partial.write_text("done")
    lay(hidden(out / "set", ".partial"), kind, victim)
    with atomic_folder(out / "set") as folder:
        (folder / "b").touch()
    lay(hidden(out / "a.mp4", ".work"), kind, victim)
    with workdir(hidden(out / "a.mp4", ".work"), {}, resume=True, worth_keeping=Path.is_file) as going_on:
        assert not going_on
    assert left_behind(out) == ["a.txt", "set", "set/b"]


def test_a_lock_that_is_a_link_is_refused_and_not_followed(tmp_path: Path, victim: Path) -> None:
    for place in (tmp_path / "out" / ".a.txt.lock", tmp_path / "out" / "set" / ".lock"):
        lay(place, "link", victim)
    with pytest.raises(OutputError, match=r"out/\.a\.txt\.lock is a link; .* delete the link"):
        atomic_file(tmp_path / "out" / "a.txt").__enter__()
    with pytest.raises(OutputError, match=r"set/\.lock is a link"):
        locked(tmp_path / "out" / "set", inside=True).__enter__()


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_and_a_conversion_follow_no_link(
    tiny_model: Path, demo_clips: Path, tmp_path: Path, victim: Path, kind: str
) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(tiny_model, model)
    lay(partial_of(model / checkpoint.SNAPSHOTS / "best.safetensors"), kind, victim)
    checkpoint.keep_snapshot(model, checkpoint.BEST)
    assert left_behind(model / checkpoint.SNAPSHOTS) == ["best.safetensors"]
    clip = head_of_clip(demo_clips / "person_b.mp4", tmp_path / "clip.mp4", 3)
    for name in ("a.mkv", "b.mp4"):  # which has its credentials next to it, and which in it
        for place in (partial_of(out / name), sidecar_of(partial_of(out / name)), hidden(out / name, ".work")):
            lay(place, kind, victim)
        clearswap.convert(model, clip, out / name, to="a", select=clearswap.SelectConfig(faces="largest"))
    assert left_behind(out) == ["a.c2pa", "a.mkv", "b.mp4"]
    preview = partial_of(out / "c.png")
    lay(preview.with_name(f"{preview.stem}-unsigned.png"), kind, victim)
    clearswap.preview(model, clip, out / "c.png", to="a", select=clearswap.SelectConfig(faces="largest"))
    assert left_behind(out) == ["a.c2pa", "a.mkv", "b.mp4", "c.png"]


# --- writing that fails ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EFBIG, "no file may become that large here; raise that limit"),
        (errno.EEXIST, "there is a file of that name"),
        (errno.EMFILE, "the system says: Too many open files; mend that or choose another place"),
        (errno.ESTALE, "the system says: Stale file handle"),
    ],
)
def test_every_error_of_a_disk_is_a_sentence(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(OutputError, match=f"a.txt cannot be written: {words}"), atomic_file(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "bad"), BrokenPipeError(errno.EPIPE, "gone"), OSError("odd")])
def test_mistakes_of_programs_keep_their_traceback(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(type(error)) as raised, atomic_file(tmp_path / "a.txt"):
        raise error
    assert raised.value is error
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("verb", "limit"), [("extract", 0), ("extract", 8), ("consent", 0), ("convert", 8), ("convert", 100), ("train", 64)]
)
def test_a_limit_on_the_size_of_files_is_a_sentence(
    tiny_model: Path, faces_small_a: Path, demo_clips: Path, tmp_path: Path, verb: str, limit: int
) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(faces_small_a, faces)
    clip = head_of_clip(demo_clips / "person_b.mp4", tmp_path / "clip.mp4", 40)
    arguments: dict[str, list[str | Path]] = {
        "extract": ["extract", clip, "-o", tmp_path / "set"],
        "consent": ["consent", faces, "--basis", "me"],
        "convert": ["convert", tiny_model, clip, "-o", tmp_path / "out.mp4", "--to", "a"],
        "train": ["train", faces, faces, "-o", tmp_path / "model", "--iterations", "1", "--batch", "2"],
    }
    before = (faces / "consent.toml").read_text()
    limits = (limit * 1024, limit * 1024)
    done = subprocess.run(
        command(*arguments[verb]),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )
    assert "cannot be written: no file may become that large here" in Ran(done.returncode, "", done.stderr).sentence()
    assert (faces / "consent.toml").read_text() == before
    assert not any(".partial" in name or ".lock" in name for name in left_behind(tmp_path))
    assert not (tmp_path / "out.mp4").exists()
