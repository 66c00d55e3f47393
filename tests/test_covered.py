"""Faces that something covers, found without labels: a hand at the cheek, and the moments before and after."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from clearswap.faces.covered import near_covered, uncovered
from clearswap.faces.faceset import read_face, read_index


def test_a_hand_over_cheek_and_mouth_is_found_and_the_others_stay(faces_small_a: Path, tmp_path: Path) -> None:
    """Four fingers, as bright as the skin: only their edges tell."""
    folder = tmp_path / "set"
    shutil.copytree(faces_small_a, folder)
    records = [replace(record, time=10.0 * i) for i, record in enumerate(read_index(folder))]
    touched = {record.file for record in records[8:14]}
    for record in records[8:14]:
        picture = read_face(folder, record)
        points = record.aligned_landmarks()
        cheek = points[205]
        skin = picture[int(cheek[1]), int(cheek[0])].astype(int)
        for finger in range(4):
            x, y = int(cheek[0]) - 30 + 30 * finger, int(cheek[1]) - 20
            for width, shade in ((30, 0.4), (22, 1.0)):
                colour = [int(value) for value in (shade * skin).clip(0, 255)]
                cv2.line(picture, (x, y), (x - 30, y + 250), colour, width, cv2.LINE_AA)
        cv2.imwrite(str(folder / record.file), picture[..., ::-1])
    left = {record.file for record in uncovered(folder, records)}
    assert not left & touched
    assert len(left) >= len(records) - len(touched) - 1


def test_half_of_a_set_is_always_left(faces_small_a: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second face is covered, and so is the moment around each of the others."""
    records = [replace(record, time=i / 25) for i, record in enumerate(read_index(faces_small_a))]
    every_second = np.arange(len(records)) % 2 == 0
    monkeypatch.setattr("clearswap.faces.covered.covered", lambda *_: every_second.copy())
    assert uncovered(faces_small_a, records) == records[1::2]


def test_what_lies_between_covered_faces_is_covered_too() -> None:
    times = np.arange(40) / 25
    hidden = np.zeros(40, np.bool_)
    hidden[10:20] = True
    hidden[14] = False
    found = near_covered(hidden, np.zeros(40, np.int64), times)
    assert np.flatnonzero(found).tolist() == [7, 8, 9, 14, 20, 21, 22]
    lone = np.arange(40) == 30
    assert not near_covered(lone, np.zeros(40, np.int64), times).any()  # one face alone may be chance
    other = np.arange(40) % 2  # two clips that were filmed at the same time
    assert not near_covered(other == 0, other, times).any()


def test_faces_far_apart_in_time_say_nothing_of_each_other() -> None:
    hidden = np.array([True, True, False, True])
    assert not near_covered(hidden, np.zeros(4, np.int64), np.array([0.0, 5, 10, 15])).any()
