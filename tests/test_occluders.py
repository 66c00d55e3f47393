"""The learned mask: what training is told of hands before faces, and what a swap then leaves in front."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import clearswap
from clearswap.core.align import transform
from clearswap.core.expression import MEASURES, centred, mirrored, read_expression
from clearswap.core.mask import MaskConfig, hull
from clearswap.core.network import PRESETS, Drawn
from clearswap.core.swap import Swapper
from clearswap.faces.faceset import mask_of, read_index
from clearswap.media.files import Occluders
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

    def draw(aligned: torch.Tensor) -> Drawn:
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


def test_expressions_are_measures_without_the_person_and_know_left_from_right(labelled: Path) -> None:
    found = np.stack([read_expression(record.aligned_landmarks()) for record in read_index(labelled)])
    assert found.shape == (20, MEASURES)
    own, other = centred(found)
    assert np.abs((own + other).mean(0)).max() < 1e-4
    assert np.allclose(mirrored(mirrored(found)), found)
    wider = np.stack([read_expression(record.landmarks) for record in read_index(labelled)])
    upright = np.abs(wider - found).max()
    assert upright < 0.6  # the size and place of a face do not matter, and its tilt hardly


def test_an_opened_mouth_is_measured(labelled: Path) -> None:
    landmarks = read_index(labelled)[0].landmarks.copy()
    before = read_expression(landmarks)
    landmarks[[14, 87, 317, 17], 1] += 10
    after = read_expression(landmarks)
    assert after[12] > before[12] + 1  # between the lips
    assert np.allclose(after[:6], before[:6])  # eyes and brows
