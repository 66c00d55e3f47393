"""The invisible mark: laid into real clips, it comes back from what people do to them; and it is not seen."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearswap.disclosure.mark import PHASES, SURE, WAVES, WORDS, MarkConfig, confidence_of, lay, pattern, read
from clearswap.errors import InputError, OptionError
from clearswap.media.video import read_frames
from conftest import Footage
from makers import Picture, psnr, scene

BITS = 0xA53C
Change = Callable[[Picture], Picture]


def marked(pictures: list[Picture], bits: int = BITS) -> list[Picture]:
    wanted = pattern(bits, *pictures[0].shape[:2])
    return [lay(picture, wanted) for picture in pictures]


def encoded(pictures: list[Picture], crf: int) -> list[Picture]:
    """As they come back from H.264, encoded as is usual."""
    file = io.BytesIO()
    height, width = (side // 2 * 2 for side in pictures[0].shape[:2])
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf)}
        for picture in pictures:
            even = np.ascontiguousarray(picture[:height, :width])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        out.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def frames_of(path: Path, count: int) -> list[Picture]:
    return [frame.picture for frame in islice(read_frames(path), count)]


def cropped(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    return picture[: height * 95 // 100, width * 5 // 100 :]


def turned(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 2, 1)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height)), np.uint8)


def halved(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, (640, 360), interpolation=cv2.INTER_AREA), np.uint8)


def brighter(picture: Picture) -> Picture:
    return np.asarray(cv2.convertScaleAbs(picture, alpha=1.15), np.uint8)


def jpeg(picture: Picture) -> Picture:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


@pytest.fixture(scope="module")
def real(footage: Footage) -> list[Picture]:
    """A few frames of a real clip, 1280x720."""
    return frames_of(footage("bigbuckbunny.mp4"), 8)


@pytest.fixture(scope="module")
def face(footage: Footage) -> list[Picture]:
    """A few frames of a real face before a smooth wall, 640x360 made 1280x720."""
    frames = frames_of(footage("single_face.mp4"), 8)
    return [np.asarray(cv2.resize(one, (1280, 720), interpolation=cv2.INTER_CUBIC), np.uint8) for one in frames]


@pytest.mark.parametrize(
    ("which", "change", "crf"),
    [
        ("real", np.copy, 28),
        ("face", np.copy, 33),
        ("real", halved, 28),
        ("face", halved, 23),
        ("real", cropped, 23),
        ("face", turned, 23),
        ("face", brighter, 23),
    ],
)
def test_bits_come_back_from_an_encoded_clip(
    which: str, change: Change, crf: int, request: pytest.FixtureRequest
) -> None:
    pictures: list[Picture] = request.getfixturevalue(which)
    reading = read(encoded([change(picture) for picture in marked(pictures)], crf))
    assert reading.marked
    assert reading.bits == BITS
    assert not reading.mirrored
    assert min(reading.margins) > 0.5


def test_the_reader_says_how_the_picture_was_turned_cropped_and_mirrored(face: list[Picture]) -> None:
    after = [np.ascontiguousarray(cropped(turned(picture))[:, ::-1]) for picture in marked(face[:4], 0x0F01)]
    reading = read(encoded(after, 23))
    assert reading.marked
    assert reading.bits == 0x0F01
    assert reading.mirrored
    assert reading.angle == pytest.approx(2, abs=0.3)
    assert reading.scale == pytest.approx(1 / 0.95, abs=0.005)
    assert len(reading.margins) == 16


def test_a_tall_clip_cut_out_of_a_wide_one_is_read(face: list[Picture]) -> None:
    after = [np.ascontiguousarray(picture[:, 420:826]) for picture in marked(face)]
    reading = read(encoded(after, 23))
    assert reading.marked
    assert reading.bits == BITS
    assert reading.scale == pytest.approx(720 / 406, rel=0.01)


def test_unmarked_clips_are_not_marked(real: list[Picture], face: list[Picture], demo_clips: Path) -> None:
    demo = frames_of(demo_clips / "person_a.mp4", 6)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    checks = np.kron(np.indices((40, 40)).sum(0) % 2, np.full((10, 10), 255))[..., None].repeat(3, 2).astype(np.uint8)
    for frames in (real, face[:4], demo, encoded(face, 28), [noise], [checks]):
        reading = read(frames)
        assert not reading.marked
        assert reading.confidence < 3


@pytest.mark.parametrize("size", [(360, 640), (480, 854), (1080, 1920), (401, 333), (300, 300)])
def test_a_single_picture_of_any_usual_size_is_read_after_jpeg(face: list[Picture], size: tuple[int, int]) -> None:
    picture = np.asarray(cv2.resize(face[0], size, interpolation=cv2.INTER_AREA), np.uint8)
    reading = read([jpeg(lay(picture, pattern(0x1234, *picture.shape[:2])))])
    assert reading.marked
    assert reading.bits == 0x1234


def test_every_frame_stays_within_42_decibel(real: list[Picture], face: list[Picture], demo_clips: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3)).astype(np.uint8)
    for picture in (real[0], real[-1], face[0], *frames_of(demo_clips / "person_b.mp4", 1), noise):
        assert psnr(picture, marked([picture])[0]) > 42
    smooth = np.full((720, 1280, 3), 150, np.uint8)
    assert psnr(smooth, marked([smooth])[0]) > 49  # weaker where it could be seen
    assert marked([smooth])[0].std() > 0.7  # but there


def test_the_mark_is_the_same_light_in_all_colours() -> None:
    picture = np.full((120, 160, 3), (90, 120, 200), np.uint8)
    change = marked([picture])[0].astype(int) - picture
    assert change.any()
    assert np.array_equal(change[..., 0], change[..., 1])
    assert np.array_equal(change[..., 0], change[..., 2])


@pytest.mark.parametrize("level", [0, 255])
def test_saturated_frames_do_not_wrap_around(level: int) -> None:
    picture = np.full((240, 320, 3), level, np.uint8)
    change = np.abs(marked([picture])[0].astype(int) - picture)
    assert 0 < change.max() <= 4


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 65535), st.integers(0, 9))
def test_any_size_can_be_marked(height: int, width: int, bits: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    after = lay(picture, pattern(bits, height, width))
    assert after.shape == picture.shape
    assert after.dtype == np.uint8
    assert np.abs(after.astype(int) - picture).max() <= 8


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (33, 7), (64, 64)])
@pytest.mark.parametrize("level", [0, 128])
def test_tiny_grey_and_black_frames_are_read_as_unmarked(size: tuple[int, int], level: int) -> None:
    reading = read([np.full((*size, 3), level, np.uint8)])
    assert not reading.marked
    assert np.isfinite([reading.score, reading.confidence, reading.angle, reading.scale]).all()


def test_reading_is_the_same_each_time_and_leaves_the_frames_alone(real: list[Picture]) -> None:
    frames = marked(real[:2])
    before = [frame.copy() for frame in frames]
    assert read(frames) == read(iter(frames))
    assert all(np.array_equal(one, other) for one, other in zip(frames, before, strict=True))
    plain = real[0].copy()
    lay(real[0], pattern(BITS, 720, 1280))
    assert np.array_equal(plain, real[0])


def test_the_pattern_is_the_same_for_ever() -> None:
    """Marks laid by an older version, on another machine, must stay readable: do not change these sums."""
    assert hashlib.sha256(WAVES.astype("<i4").tobytes()).hexdigest()[:16] == "b233d824e20c3145"
    assert hashlib.sha256((PHASES * 1e6).astype("<i8").tobytes()).hexdigest()[:16] == "b3457d2d9d2359aa"
    assert hashlib.sha256(pattern(BITS, 90, 161).tobytes()).hexdigest()[:16] == "cd8ce335de567d84"


def test_the_waves_are_as_the_documentation_says() -> None:
    length = 720 / 4 / np.linalg.norm(WAVES, axis=1)
    assert len(np.unique(WAVES, axis=0)) == 512
    assert 8 < length.min() < length.max() <= 18
    apart = (WORDS[:, None] != WORDS[None]).sum(2)
    assert (apart[~np.eye(256, dtype=bool)] >= 64).all()
    light = pattern(BITS, 360, 640)[0].astype(float) - pattern(BITS, 360, 640)[1]
    assert light.std() / 16 == pytest.approx(1, abs=0.05)
    assert np.abs(light[:270] - light[90:]).max() <= 1  # it repeats


def test_confidence_falls_with_the_score_and_the_threshold_is_where_it_was_measured() -> None:
    assert confidence_of(7.2) == 0
    assert confidence_of(9.9) < SURE < confidence_of(10.1)
    assert confidence_of(32) > 200
    assert np.isfinite(confidence_of(100))


def test_mistakes_end_in_a_sentence() -> None:
    with pytest.raises(InputError, match="no frame"):
        read([])
    for bits in (-1, 65536):
        with pytest.raises(OptionError, match="16 bits"):
            pattern(bits, 90, 90)
    for strengths in ({"smooth": 0.0}, {"busy": 9.0}, {"smooth": 3.0}, {"rise": -1.0}):
        with pytest.raises(OptionError, match="levels"):
            MarkConfig(**strengths)


def test_a_smooth_scene_is_marked_and_read() -> None:
    """Nothing to hide in: all of the mark is as weak as on skin."""
    reading = read(encoded(marked([scene(index, 1280, 720) for index in range(8)]), 28))
    assert reading.marked
    assert reading.bits == BITS
