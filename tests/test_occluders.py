"""The learned mask: what training is told of hands before faces, and what a swap then leaves in front."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import clearswap
from clearswap.core.align import transform
from clearswap.core.blend import MaskConfig, hull
from clearswap.core.expression import COEFFICIENTS, MEASURES, mirrored, read_expression
from clearswap.core.network import PRESETS, Drawn
from clearswap.core.swap import Swapper
from clearswap.faces.face_models import ExpressionReader, Landmarker, roi_of
from clearswap.faces.faceset import Occluders, mask_of, read_face, read_index
from clearswap.media.video import probe
from clearswap.training.dataset import load_faces
from makers import cut_clip

CPU = torch.device("cpu")
LITE = PRESETS["lite"]


@pytest.fixture(scope="module")
def labelled(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames of person a with labels: from frame 5 on, the left half of each frame is covered."""
    folder = tmp_path_factory.mktemp("labelled")
    clip = cut_clip(demo_clips / "person_a.mp4", folder / "clip.mp4", 0, 20)
    info = probe(clip)
    covered = np.zeros((20, info.height, info.width), np.uint8)
    covered[5:, :, : info.width // 2] = 1
    np.savez(clip.with_suffix(".labels.npz"), occluder=np.packbits(covered), mask_shape=covered.shape)
    assert Occluders([clip], None)(7, info.height, info.width) is not None
    clearswap.extract([clip], folder / "set")
    return folder / "set"


def test_extract_writes_masks_of_what_labels_say_is_covered(labelled: Path) -> None:
    records = read_index(labelled)
    assert len(records) == 20
    for record in records:
        path = labelled / mask_of(record.file)
        assert path.is_file() == (record.frame >= 5)
        if record.frame >= 5:
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            assert mask is not None
            assert mask.shape == (record.size, record.size)
            middle = (transform(np.array([[200, 200]], np.float32), np.array(record.matrix)) / record.size)[0, 0]
            assert (mask < 128).mean() == pytest.approx(middle, abs=0.06)


def test_nothing_is_learned_from_what_is_covered_but_that_it_is_no_face(labelled: Path, tmp_path: Path) -> None:
    data, _ = load_faces(labelled, LITE, CPU)
    plain_set = shutil.copytree(labelled, tmp_path / "plain")
    for mask in plain_set.glob("*.mask.png"):
        mask.unlink()
    plain, _ = load_faces(plain_set, LITE, CPU)
    assert torch.equal(data.faces[:, :3], plain.faces[:, :3])
    assert torch.equal(data.faces[:5], plain.faces[:5])
    covered = (data.faces[5:, 3] == 0) & (plain.faces[5:, 3] > 0)
    assert 0.2 < covered.float().mean() < 0.7
    assert data.faces[5:, 4][covered].max() < 128
    free = ~covered & (data.faces[5:, 4] > 250)
    assert torch.equal(data.faces[5:, 3][free], plain.faces[5:, 3][free])


def test_a_damaged_mask_is_named(labelled: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(labelled, tmp_path / "broken")
    victim = sorted(broken.glob("*.mask.png"))[3]
    victim.write_bytes(b"no picture")
    with pytest.raises(clearswap.FacesetError, match=victim.name):
        load_faces(broken, LITE, CPU)


def test_what_the_mask_leaves_out_stays_in_front(labelled: Path) -> None:
    record = read_index(labelled)[0]
    frame = np.full((400, 400, 3), 120, np.uint8)

    def draw(aligned: torch.Tensor, _: torch.Tensor) -> Drawn:
        """White faces; something covers their left half."""
        mask = torch.ones_like(aligned[:, :1])
        mask[..., : aligned.shape[-1] // 2] = 0
        return Drawn(torch.ones_like(aligned), mask)

    config = MaskConfig()
    blend = clearswap.BlendConfig(colour=0)
    learned, whole = (
        Swapper(draw, LITE, CPU, replace(config, learned=how), blend)(frame, [record.landmarks])
        for how in (True, False)
    )
    area = hull(record.landmarks, 400) > 0
    centre = int(record.landmarks[:, 0].mean())
    left, right = (area & (np.arange(400)[None] < centre - 12)), (area & (np.arange(400)[None] > centre + 12))
    assert (learned[left] == 120).mean() > 0.95
    assert (whole[left] > 200).mean() > 0.5
    assert np.array_equal(learned[right], whole[right])


def test_expressions_mean_the_same_at_any_size_and_know_left_from_right(labelled: Path) -> None:
    records = read_index(labelled)
    found = np.stack([record.expression() for record in records])
    assert found.shape == (20, MEASURES)
    assert np.allclose(mirrored(mirrored(found)), found)
    reader = ExpressionReader()
    wider = np.stack([reader(3 * record.landmarks + 100) for record in records])
    assert np.abs(wider - found).mean() < 0.05  # the size and place of a face do not matter, and its tilt hardly


def test_a_mirror_swaps_a_face_s_sides(labelled: Path) -> None:
    """The picture of a face, mirrored: what is read off it is what `mirrored` makes of what was read off the face."""
    record = read_index(labelled)[10]
    picture, landmarker, reader = read_face(labelled, record), Landmarker(), ExpressionReader()
    roi = roi_of(record.aligned_landmarks())
    own, _ = landmarker(picture, roi)
    mirror = np.ascontiguousarray(picture[:, ::-1])
    other, _ = landmarker(
        mirror, (np.array([picture.shape[1] - 1 - roi[0][0], roi[0][1]], np.float32), roi[1], -roi[2])
    )
    difference = np.abs(mirrored(reader(own)[None])[0] - reader(other))
    assert difference.mean() < 0.12


def test_an_opened_mouth_is_measured(labelled: Path) -> None:
    record = read_index(labelled)[0]
    landmarks = record.aligned_landmarks().copy()
    before = read_expression(landmarks, record.coefficients)
    landmarks[[14, 87, 317, 17], 1] += 10
    after = read_expression(landmarks, record.coefficients)
    lips = len(COEFFICIENTS)
    assert after[lips : lips + 3].min() > before[lips : lips + 3].max() + 1
    assert np.allclose(after[lips + 3 : lips + 7], before[lips + 3 : lips + 7])  # lids and gaze


def test_a_set_with_the_landmarks_of_before_is_looked_at_anew(labelled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(labelled, folder)
    now = read_index(folder)
    lines = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    for line in lines:
        line["landmarks"] = line["landmarks"][:468]
        del line["coefficients"]
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    upgraded = read_index(folder)
    eyes = np.linalg.norm(now[0].landmarks[263] - now[0].landmarks[33])
    for one, other in zip(now, upgraded, strict=True):
        assert one.file == other.file
        assert np.linalg.norm(one.landmarks - other.landmarks, axis=1).mean() < 0.03 * eyes
        assert np.abs(one.coefficients - other.coefficients).mean() < 0.05
    assert len(json.loads((folder / "index.jsonl").read_text().splitlines()[0])["landmarks"]) == 478
    before = (folder / "index.jsonl").stat().st_mtime_ns
    read_index(folder)
    assert (folder / "index.jsonl").stat().st_mtime_ns == before
