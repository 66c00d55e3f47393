"""Extraction: which faces are found in real and synthetic clips, and what a face set holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import clearswap
from clearswap.core.align import Frame, Points, align, face_matrix
from clearswap.core.network import PRESETS
from clearswap.faces.face_models import Detector, Landmarker, roi_of
from clearswap.faces.faceset import INDEX, FaceRecord, read_face, read_index, unknown_pictures
from clearswap.faces.tracker import TrackConfig, Tracker, make_tracker, track
from clearswap.media.files import encode_picture, read_picture
from clearswap.media.video import probe, read_frames
from clearswap.training.dataset import load_faces
from conftest import Footage
from makers import Ran, command, head_of_clip, left_behind, pictures_of, psnr, run, save_heic, save_picture, write_clip

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
    pictures = pictures_of(footage("jwpIntro.mp4"))[:50]
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


@pytest.fixture(scope="module")
def faces(demo_clips: Path) -> list[Frame]:
    """Three frames of a synthetic person."""
    return [frame.picture for frame in islice(read_frames(demo_clips / "person_a.mp4", every=40), 3)]


def require_own_pictures(folder: Path, sources: Sequence[str]) -> None:
    """Each entry of the index has a picture of its own, and each source has its entries."""
    records = read_index(folder)
    assert [record.source for record in records] == list(sources)
    assert len({record.file.casefold() for record in records}) == len(records)
    assert len(list(folder.glob("*.jpg"))) == len(records)
    for record in records:
        turned = face_matrix(Landmarker()(read_face(folder, record), roi_of(record.aligned_landmarks()))[0], 384)
        assert np.abs(turned - np.eye(2, 3)).max() < 8  # it is the picture that the landmarks were found in


def test_pictures_and_clips_of_one_name_have_faces_of_their_own(faces: list[Frame], tmp_path: Path) -> None:
    names = ["IMG_1.jpg", "IMG_1.png", "IMG_1-2.jpg", "img_1.webp"]
    for name, face in zip(names, [*faces, faces[0][:, ::-1]], strict=True):
        save_picture(tmp_path / name, face)
    height, width = faces[0].shape[:2]
    clips = ["a.mp4", "a.mov", "a-2.mp4"]
    for start, name in enumerate(clips):
        write_clip(tmp_path / name, 1, size=(width, height), picture=lambda *_, i=start: faces[i])
    done = clearswap.extract([tmp_path / name for name in names + clips], tmp_path / "set")
    assert (done.faces, done.frames) == (7, 7)
    require_own_pictures(tmp_path / "set", names + clips)


def test_names_of_every_kind_and_files_of_one_name_in_two_folders(faces: list[Frame], tmp_path: Path) -> None:
    odd = ["ü" * 125 + ".png", "two\nlines.png", "10:30 100%.png", os.fsdecode(b"caf\xe9.png"), "-o.png"]
    (tmp_path / "other").mkdir()
    sources = [tmp_path / name for name in odd] + [tmp_path / "other" / "-o.png"]
    data = encode_picture(faces[0], ".png")
    for source in sources:
        source.write_bytes(data)
    clearswap.extract(sources, tmp_path / "set")
    said = [*odd[:3], "caf\ufffd.png", "-o.png", "-o.png-2"]
    require_own_pictures(tmp_path / "set", said)


def test_labels_of_a_clip_are_not_those_of_a_picture_of_that_name(faces: list[Frame], tmp_path: Path) -> None:
    save_picture(tmp_path / "clip.png", faces[0])
    np.savez(tmp_path / "clip.labels.npz", occluder=np.zeros(1, np.uint8), mask_shape=[1, 2, 4])
    assert clearswap.extract([tmp_path / "clip.png"], tmp_path / "set").faces == 1


def test_what_a_folder_holds_besides_is_said_once(faces: list[Frame], tmp_path: Path) -> None:
    (tmp_path / "in" / "raw").mkdir(parents=True)
    save_picture(tmp_path / "in" / "a.png", faces[0])
    save_heic(tmp_path / "in" / "b.heic", faces[1], tile=128)
    (tmp_path / "in" / "c.psd").touch()
    seen: list[clearswap.Progress] = []
    done = clearswap.extract([tmp_path / "in"], tmp_path / "set", on_progress=seen.append)
    assert (done.faces, done.frames) == (2, 2)
    (note,) = [event.note for event in seen if event.note]
    assert note.startswith("not taken: c.psd, raw/ (")


def test_two_runs_into_one_face_set_and_a_killed_one(demo_clips: Path, faces: list[Frame], tmp_path: Path) -> None:
    save_picture(tmp_path / "one.png", faces[0])
    with subprocess.Popen(command("extract", demo_clips / "person_a.mp4", "-o", tmp_path / "set")) as other:
        while not (tmp_path / ".set.partial" / INDEX).exists():
            assert other.poll() is None
            time.sleep(0.02)
        with pytest.raises(clearswap.OutputError, match="is being written by another run"):
            clearswap.extract([tmp_path / "one.png"], tmp_path / "set")
        assert other.poll() is None
        other.kill()
    assert clearswap.extract([tmp_path / "one.png"], tmp_path / "set").faces == 1
    assert [name for name in left_behind(tmp_path) if "/" not in name] == ["one.png", "set"]


def test_faces_that_another_tool_enlarged_or_saved_anew(faces_small_a: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(faces_small_a, folder)
    before = read_index(folder)
    for number, record in enumerate(before):
        picture = Image.fromarray(read_face(folder, record))
        if number % 3 == 0:
            picture.resize((768, 768), Image.Resampling.BICUBIC).save(folder / record.file, quality=98)
        elif number % 3 == 1:
            picture.resize((192, 192), Image.Resampling.BOX).save((folder / record.file).with_suffix(".png"))
            (folder / record.file).unlink()
    after = read_index(folder)
    assert [Path(record.file).stem for record in after] == [Path(record.file).stem for record in before]
    for old, new in zip(before, after, strict=True):
        side = len(read_face(folder, new))
        assert new.size == side
        found = Landmarker()(read_face(folder, new), roi_of(new.aligned_landmarks()))[0]
        assert np.abs(found - new.aligned_landmarks()).max() < 0.03 * side
        assert np.allclose(new.expression(), old.expression(), atol=0.01)
    config, device = PRESETS["lite"], torch.device("cpu")
    (own, held), (other, other_held) = (
        load_faces(path, config, device, read_index(path)) for path in (faces_small_a, folder)
    )
    assert (own.faces[:, 4] != other.faces[:, 4]).float().mean() < 0.02  # the face's area lies where it lay
    assert (own.faces.float() - other.faces.float())[:, :3].abs().mean() < 3
    assert (held.area != other_held.area).float().mean() < 0.02


def test_pictures_of_a_set_that_do_not_fit_are_refused_or_named(faces_small_a: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(faces_small_a, folder)
    first, second, *others = read_index(folder)
    for suffix in (".png", ".webp"):
        save_picture((folder / first.file).with_suffix(suffix), read_face(folder, first))
    (folder / first.file).unlink()
    (folder / second.file).rename(folder / "best smile.jpg")
    records = read_index(folder)
    assert [record.file for record in records] == [record.file for record in others]  # which of two is not known
    stem = Path(first.file).stem
    assert f"does not know best smile.jpg, {stem}.png, {stem}.webp: not used" in unknown_pictures(folder, records)
    assert unknown_pictures(faces_small_a, read_index(faces_small_a)) == ""
    for record in others:
        (folder / record.file).rename(folder / f"x {record.file}")
    with pytest.raises(clearswap.FacesetError, match=r"holds 0 faces; .* does not know best smile\.jpg, .* more: not"):
        read_index(folder, at_least=2)
    save_picture(folder / second.file, read_picture(folder / "best smile.jpg")[:300])
    with pytest.raises(clearswap.FacesetError, match="is 384x300, but a picture of a face set is square"):
        read_index(folder)


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


def test_no_file_appears_but_the_face_set(demo_clips: Path, tmp_path: Path) -> None:
    """onnxruntime keeps an identifier and a database under the user's cache unless it is told not to."""
    clip, home = head_of_clip(demo_clips / "person_b.mp4", tmp_path / "clip.mp4", 3), tmp_path / "home"
    home.mkdir()
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_CONFIG_HOME": str(home / "config")}
    assert run("extract", clip, "-o", tmp_path / "set", **places).code == 0
    assert left_behind(home) == []
