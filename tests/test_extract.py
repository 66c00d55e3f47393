"""Extraction: which faces are found in real and synthetic clips, and what a face set holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

import clearswap
from clearswap.core.align import Frame, Points, align, face_matrix
from clearswap.faces.face_models import Detector, Landmarker
from clearswap.faces.faceset import INDEX, FaceRecord, read_face, read_index
from clearswap.faces.tracker import TrackConfig, Tracker, make_tracker, track
from clearswap.media.files import read_picture
from clearswap.media.video import probe, read_frames
from conftest import Footage
from makers import Ran, left_behind, pictures_of, psnr, save_picture

# Looked up by eye, frame by frame. face_noface.mov: the man is there up to and including frame 71, frame 72 is
# black, from 73 on there is a cartoon sky. noface_face.mov: sky up to 95, the man from 96 to 167,
# and frame 168, the last, is black.
FACES_SEEN = {"face_noface.mov": range(72), "noface_face.mov": range(96, 168)}


@pytest.fixture(scope="session")
def man(footage: Footage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The face set of single_face.mp4."""
    folder = tmp_path_factory.mktemp("sets") / "man"
    clearswap.extract([footage("single_face.mp4")], folder)
    return folder


@pytest.mark.parametrize("name", ["jwpIntro.mp4", "testMovie.mp4", "WolfgangLanger_Pexels.mp4", "single_face.mp4"])
def test_finds_the_face_in_99_of_100_frames_of_real_clips(footage: Footage, tmp_path: Path, name: str) -> None:
    every = 2 if name == "WolfgangLanger_Pexels.mp4" else 1  # 1080p
    found = clearswap.extract([footage(name)], tmp_path / "set", config=clearswap.ExtractConfig(every=every))
    records = read_index(tmp_path / "set")
    assert found.faces == len(records) == found.frames - found.frames_without_face
    assert found.faces >= 0.99 * found.frames
    assert found.frames == -(-probe(footage(name)).frames // every)


@pytest.mark.parametrize("name", ["person_a.mp4", "person_b.mp4"])
def test_finds_the_face_in_98_of_100_frames_of_both_synthetic_people(
    demo_clips: Path, tmp_path: Path, name: str
) -> None:
    found = clearswap.extract([demo_clips / name], tmp_path / "set")
    assert found.faces >= 0.98 * found.frames


@pytest.mark.parametrize("name", list(FACES_SEEN))
def test_faces_appear_and_vanish_when_people_see_them_do(footage: Footage, name: str) -> None:
    looked = range(40, 110) if name == "face_noface.mov" else range(66, 169)
    frames = islice(read_frames(footage(name)), looked.start, looked.stop)
    found = {frame.index for frame, faces in track(frames, make_tracker(TrackConfig())) if faces}
    first, last = FACES_SEEN[name][0], FACES_SEEN[name][-1]
    wrong = found ^ (set(FACES_SEEN[name]) & set(looked))
    assert all(min(abs(index - first), abs(index - last)) <= 2 for index in wrong), sorted(wrong)
    assert len(wrong) <= 2, sorted(wrong)


def test_a_clip_without_a_face_is_refused_in_words(footage: Footage, tmp_path: Path) -> None:
    with pytest.raises(clearswap.InputError, match=r"No face was found in .*no_face\.mp4 \(19 frames\)"):
        clearswap.extract([footage("no_face.mp4")], tmp_path / "set", config=clearswap.ExtractConfig(every=5))
    assert left_behind(tmp_path) == []


def test_following_a_face_shakes_no_more_than_finding_it_anew(footage: Footage) -> None:
    """Anew: by a tracker that knows nothing of the frame before, so the detector's box starts every frame."""
    pictures = pictures_of(footage("jwpIntro.mp4"))[:80]
    detector, mesh, config = Detector(), Landmarker(), TrackConfig()
    follower = Tracker(config, detector, mesh)
    followed = jitter([follower(picture)[0].landmarks for picture in pictures])
    anew = jitter([Tracker(config, detector, mesh)(picture)[0].landmarks for picture in pictures])
    print(f"jitter: followed {followed:.5f}, found anew {anew:.5f}")
    assert followed <= 1.02 * anew
    assert followed < 0.008


def jitter(landmarks: Sequence[Points]) -> float:
    """Second difference over time of a landmark, in distances between the eyes; median of all."""
    points = np.stack(landmarks)  # (T, 478, 2)
    shake = np.linalg.norm(points[:-2] - 2 * points[1:-1] + points[2:], axis=2)
    eyes = np.linalg.norm(points[1:-1, 263] - points[1:-1, 33], axis=1)
    return float(np.median(shake / eyes[:, None]))


def test_every_picture_is_the_aligned_face_that_its_index_entry_describes(footage: Footage, man: Path) -> None:
    frames = pictures_of(footage("single_face.mp4"))
    records = read_index(man)
    assert [record.frame for record in records] == list(range(72))
    for record in records[::9]:
        aligned = align(frames[record.frame], np.array(record.matrix), 384)
        assert psnr(aligned, read_face(man, record)) > 38  # what JPEG takes
        again = face_matrix(np.array(record.landmarks, np.float32), 384)
        assert np.allclose(again, record.matrix, atol=0.05)


def test_the_index_has_every_field_with_sensible_values(man: Path) -> None:
    names = {field.name for field in fields(FaceRecord)}
    for number, line in enumerate((man / INDEX).read_text(encoding="utf-8").splitlines()):
        entry = json.loads(line)
        assert set(entry) == names
        left, top, right, bottom = entry["box"]
        points = np.array(entry["landmarks"])
        assert entry["source"] == "single_face.mp4"
        assert entry["file"] == f"single_face_{number:06d}.jpg"
        assert entry["time"] == pytest.approx(entry["frame"] / 30, abs=1e-5)
        assert 0 <= left < right <= 640
        assert 0 <= top < bottom <= 360
        assert points.shape == (478, 2)
        assert np.allclose([left, top, right, bottom], [*points.min(0), *points.max(0)], atol=0.02)
        assert 0.5 <= entry["score"] <= 1
        assert entry["sharpness"] > 0
        assert entry["size"] == 384
        assert read_picture(man / entry["file"]).shape == (384, 384, 3)


def test_sharpness_tells_a_blurred_face_from_a_sharp_one(footage: Footage, tmp_path: Path) -> None:
    sharp = pictures_of(footage("single_face.mp4"))[0]
    save_picture(tmp_path / "sharp.png", sharp)
    save_picture(tmp_path / "blurred.png", np.asarray(cv2.GaussianBlur(sharp, (0, 0), 4), np.uint8))
    clearswap.extract([tmp_path / "sharp.png", tmp_path / "blurred.png"], tmp_path / "set")
    scores = {record.source: record.sharpness for record in read_index(tmp_path / "set")}
    assert scores["blurred.png"] < 0.5 * scores["sharp.png"]


def test_a_face_set_survives_deleted_pictures(man: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in man.iterdir():
        if not file.name.endswith(("3.jpg", "7.jpg")):
            (copy / file.name).write_bytes(file.read_bytes())
    records = read_index(copy)
    assert [record.frame for record in records] == [i for i in range(72) if i % 10 not in (3, 7)]
    assert all(read_face(copy, record).shape == (384, 384, 3) for record in records)


def test_every_takes_each_nth_frame(footage: Footage, tmp_path: Path) -> None:
    config = clearswap.ExtractConfig(every=10, size=128)
    found = clearswap.extract([footage("single_face.mp4")], tmp_path / "set", config=config)
    assert found.frames == 8
    records = read_index(tmp_path / "set")
    assert [record.frame for record in records] == [0, 10, 20, 30, 40, 50, 60, 70]
    assert all(read_face(tmp_path / "set", record).shape == (128, 128, 3) for record in records)


def test_smaller_faces_than_min_size_are_left_out(footage: Footage, tmp_path: Path) -> None:
    picture = pictures_of(footage("single_face.mp4"))[0]
    save_picture(tmp_path / "man.png", picture)
    clearswap.extract([tmp_path / "man.png"], tmp_path / "any")
    box = read_index(tmp_path / "any")[0].box
    size = round(max(box[2] - box[0], box[3] - box[1]))
    clearswap.extract([tmp_path / "man.png"], tmp_path / "under", tracking=TrackConfig(min_size=size - 2))
    with pytest.raises(clearswap.InputError, match="No face"):
        clearswap.extract([tmp_path / "man.png"], tmp_path / "over", tracking=TrackConfig(min_size=size + 2))


def test_a_threshold_out_of_reach_finds_nothing(footage: Footage, tmp_path: Path) -> None:
    save_picture(tmp_path / "man.png", pictures_of(footage("single_face.mp4"))[0])
    with pytest.raises(clearswap.InputError, match="No face"):
        clearswap.extract([tmp_path / "man.png"], tmp_path / "set", tracking=TrackConfig(threshold=0.999))


def two_people(footage: Footage) -> Frame:
    """A frame with a large face on the left and a small one on the right."""
    large = pictures_of(footage("jwpIntro.mp4"))[0]
    small = cv2.resize(pictures_of(footage("single_face.mp4"))[0], (480, 270), interpolation=cv2.INTER_AREA)
    frame = np.full((480, 1120, 3), 128, np.uint8)
    frame[:, :640] = large
    frame[100:370, 640:] = small
    return frame


def test_the_largest_face_or_all_faces(footage: Footage, tmp_path: Path) -> None:
    save_picture(tmp_path / "two.png", two_people(footage))
    clearswap.extract([tmp_path / "two.png"], tmp_path / "largest")
    clearswap.extract([tmp_path / "two.png"], tmp_path / "all", config=clearswap.ExtractConfig(faces="all"))
    largest, both = read_index(tmp_path / "largest"), read_index(tmp_path / "all")
    assert [record.file for record in largest] == ["two_000000.jpg"]
    assert [record.file for record in both] == ["two_000000.jpg", "two_000000_2.jpg"]
    assert largest[0].box[2] < 640 <= both[1].box[0]


def test_pictures_and_folders_are_taken_too(footage: Footage, tmp_path: Path) -> None:
    frames = pictures_of(footage("single_face.mp4"))
    folder = tmp_path / "pictures and clips"
    folder.mkdir()
    save_picture(folder / "b.png", frames[0])
    save_picture(folder / "a.jpg", frames[30])
    save_picture(folder / ".hidden.png", frames[0])
    (folder / "notes.txt").write_text("no picture")
    save_picture(tmp_path / "Größe 大.webp", frames[60])
    found = clearswap.extract([folder, tmp_path / "Größe 大.webp"], tmp_path / "set")
    assert (found.faces, found.frames) == (3, 3)
    assert [record.source for record in read_index(tmp_path / "set")] == ["a.jpg", "b.png", "Größe 大.webp"]


def test_clips_of_the_same_name_do_not_overwrite_each_other(footage: Footage, tmp_path: Path) -> None:
    frames = pictures_of(footage("single_face.mp4"))
    for place, frame in (("one", frames[0]), ("two", frames[30])):
        (tmp_path / place).mkdir()
        save_picture(tmp_path / place / "face.png", frame)
    clearswap.extract([tmp_path / "one", tmp_path / "two"], tmp_path / "set")
    assert len({record.file for record in read_index(tmp_path / "set")}) == 2


def test_a_face_set_that_is_there_is_not_overwritten(footage: Footage, man: Path) -> None:
    before = left_behind(man)
    with pytest.raises(clearswap.OutputError, match="is not empty; delete it or choose another place"):
        clearswap.extract([footage("single_face.mp4")], man)
    assert left_behind(man) == before


def test_the_command_takes_the_same_options(footage: Footage, tmp_path: Path, cli: Callable[..., Ran]) -> None:
    clip, output = footage("single_face.mp4"), tmp_path / "set"
    done = cli("extract", clip, "-o", output, "--every", "20", "--size", "64", "--min-size", "40", "--faces", "all")
    assert done.code == 0, done
    assert done.err == ""
    assert f"{output}: 4 faces from 4 frames; 0 frames had no face." in done.out
    assert len(read_index(output)) == 4


def test_progress_counts_up_to_the_number_of_frames(footage: Footage, tmp_path: Path) -> None:
    seen: list[clearswap.Progress] = []
    config = clearswap.ExtractConfig(every=9)
    clearswap.extract([footage("single_face.mp4")], tmp_path / "set", config=config, on_progress=seen.append)
    assert [event.done for event in seen] == list(range(1, 9))
    assert {event.total for event in seen} == {8}
    assert {event.stage for event in seen} == {"extract single_face.mp4"}
    assert seen[-1].values["faces"] == 8
