"""Review: what two face sets lack is found when it is there, and nothing is said when it is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import clearswap
from clearswap.faces.faceset import read_index, write_index
from clearswap.faces.pose import gap, plot_poses, rough_pose, variety
from clearswap.media.files import read_picture
from makers import Ran


def about(notes: list[str], words: str) -> list[str]:
    return [note for note in notes if words in note]


def test_the_demos_people_are_told_apart_and_only_their_number_is_small(
    faces_a: Path, faces_b: Path, tmp_path: Path
) -> None:
    looked = clearswap.review(faces_a, faces_b, tmp_path / "poses.png")
    assert looked.a.faces == 100
    assert not looked.a.strangers + looked.b.strangers
    assert [note for note in looked.notes if "holds only" not in note] == []
    assert len(about(looked.notes, "holds only")) == 2
    assert read_picture(tmp_path / "poses.png").std() > 5


def test_the_same_person_on_both_sides_is_said(faces_a: Path) -> None:
    assert about(clearswap.review(faces_a, faces_a).notes, "seem to show the same person")


def test_strangers_are_named(footage: Callable[[str], Path], faces_b: Path, tmp_path: Path) -> None:
    clips = [footage("jwpIntro.mp4"), footage("single_face.mp4")]
    clearswap.extract(clips, tmp_path / "mixed", config=clearswap.ExtractConfig(every=8))
    looked = clearswap.review(tmp_path / "mixed", faces_b)
    strange = {record.file for record in read_index(tmp_path / "mixed") if "single_face" in record.source}
    assert set(looked.a.strangers) == strange
    assert about(looked.notes, "may show somebody else")


def test_blurred_faces_are_counted(faces_a: Path, faces_b: Path, tmp_path: Path) -> None:
    own = tmp_path / "blurred"
    shutil.copytree(faces_a, own)
    records = read_index(own)
    for record in records[::5]:
        picture = cv2.imread(str(own / record.file))
        cv2.imwrite(str(own / record.file), cv2.GaussianBlur(picture, (0, 0), 6))
        object.__setattr__(record, "sharpness", 0.05 * record.sharpness)
    with (own / "index.jsonl").open("w") as file:
        write_index(file, records)
    looked = clearswap.review(own, faces_b)
    assert about(looked.notes, "20 faces in") == about(looked.notes, "much more blurred than the rest")
    assert len(looked.a.blurred) == 20


def test_one_face_again_and_again_is_much_alike(faces_a: Path, faces_b: Path, tmp_path: Path) -> None:
    own = tmp_path / "alike"
    own.mkdir()
    records = read_index(faces_a)[:6]
    for record in records:
        shutil.copy(faces_a / record.file, own / record.file)
    with (own / "index.jsonl").open("w") as file:
        write_index(file, records)
    looked = clearswap.review(own, faces_b)
    assert about(looked.notes, "are much alike")
    assert about(looked.notes, "look further")  # and b turns where these six never do


def test_a_head_that_turns_is_seen_to_turn() -> None:
    """Eyes, edges and nose of a head in three dimensions, turned and drawn flat."""
    canonical = np.zeros((478, 3))
    canonical[[33, 263]] = (-45, -20, 60), (45, -20, 60)
    canonical[[234, 454]] = (-75, 0, 0), (75, 0, 0)
    canonical[[10, 152]] = (0, -90, 40), (0, 90, 40)
    canonical[1] = (0, 0, 95)
    yaws = [-30, -10, 0, 10, 30]
    found = []
    for yaw in np.radians(yaws):
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        found.append(rough_pose((canonical @ turn.T)[:, :2].astype(np.float32))[0])
    assert found == sorted(found)
    assert found[2] == pytest.approx(0, abs=1)
    assert found[0] == pytest.approx(-found[4], abs=1)
    assert 20 < found[4] < 60


def test_a_gap_is_what_one_shows_and_the_other_never_does() -> None:
    ahead = np.array([(x, y) for x in range(-10, 11, 5) for y in range(-10, 11, 5)], float)
    turned = np.concatenate([ahead, [(35, 0), (38, 0), (40, 2)]])
    assert gap(ahead, ahead).share == 0
    missing = gap(turned, ahead)
    assert missing.share == pytest.approx(3 / 28)
    assert missing.directions == ["right"]
    assert gap(np.array([(-35.0, 0.0)]), turned).share == 0  # training mirrors


@pytest.mark.parametrize("name", ["a: $x^$", "a: 大头", "a: caf\udce9"])
def test_sets_of_any_name_are_drawn(tmp_path: Path, name: str) -> None:
    plot_poses({name: np.zeros((3, 2)), "b: other": np.ones((3, 2))}, tmp_path / "poses.png")
    assert read_picture(tmp_path / "poses.png").std() > 5


def test_variety_counts_unlike_poses_and_mouths() -> None:
    poses = np.array([(1, 1), (2, 2), (1, 1), (20, 1)], float)
    assert variety(poses, np.array([0, 0, 0.5, 0])) == 3


def test_the_command_says_what_the_api_says(
    faces_a: Path, faces_b: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    done = cli("review", faces_a, faces_b, "-o", tmp_path / "poses.png")
    assert done.code == 0, done
    assert f"{faces_a}: 100 faces" in done.out
    assert "holds only 100 faces" in done.out
    assert (tmp_path / "poses.png").is_file()


def test_a_folder_without_faces_is_one_sentence(faces_a: Path, tmp_path: Path, cli: Callable[..., Ran]) -> None:
    assert "is not a face set" in cli("review", tmp_path / "none", faces_a).sentence()
