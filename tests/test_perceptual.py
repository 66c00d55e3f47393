"""The perceptual distance: its authors' numbers, and that a blur is worse than a shift."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from clearswap.evaluation.metrics import PerceptualDistance, psnr
from makers import Picture, pictures_of


@pytest.fixture(scope="module")
def distance() -> PerceptualDistance:
    return PerceptualDistance()


@pytest.fixture(scope="module")
def face(demo_clips: Path) -> Picture:
    return pictures_of(demo_clips / "truth.mp4")[20][72:328, 72:328]


def tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def area() -> Tensor:
    inside = torch.zeros(1, 1, 256, 256)
    inside[..., 60:200, 70:190] = 1
    return inside


def test_it_gives_the_authors_numbers(distance: PerceptualDistance) -> None:
    """What `stlpips_pytorch` 0.0.2 with these weights says of the same pictures."""
    rows, columns = torch.meshgrid(torch.arange(97.0), torch.arange(97.0), indexing="ij")
    one = torch.stack([(rows / 7).sin(), (columns / 5).cos(), ((rows + columns) / 11).sin()])[None] / 2 + 0.5
    other = (one + 0.2 * ((rows * columns) / 50).sin()).clamp(0, 1)
    assert float(distance(one, other)) == pytest.approx(0.385168, rel=1e-3)
    assert float(distance(one, one)) == 0


def test_a_blur_is_worse_than_a_shift_though_its_psnr_is_better(distance: PerceptualDistance, face: Picture) -> None:
    soft = tensor(np.asarray(cv2.GaussianBlur(face, (0, 0), 1.5), np.uint8))
    moved = tensor(np.roll(face, (1, 1), (0, 1)))
    truth, inside = tensor(face), area()
    assert float(psnr(soft, truth, inside)) > float(psnr(moved, truth, inside))
    assert float(distance.in_area(soft, truth, inside)) > 2 * float(distance.in_area(moved, truth, inside))


def test_it_grows_with_blur_and_counts_only_the_area(distance: PerceptualDistance, face: Picture) -> None:
    truth, inside = tensor(face), area()
    soft = [tensor(np.asarray(cv2.GaussianBlur(face, (0, 0), sigma), np.uint8)) for sigma in (0.8, 1.5, 3.0)]
    found = [float(distance.in_area(one, truth, inside)) for one in soft]
    assert 0 < found[0] < found[1] < found[2]
    spoiled = torch.where(inside > 0, truth, 1 - truth)
    assert float(distance.in_area(spoiled, truth, inside)) == pytest.approx(0, abs=1e-6)
    assert float(distance.in_area(soft[1], truth, inside * 0)) == 0


def test_each_picture_has_its_own_distance(distance: PerceptualDistance, face: Picture) -> None:
    truth = tensor(face).repeat(2, 1, 1, 1)
    result = truth.clone()
    result[1] = 1 - result[1]
    found = distance.in_area(result, truth, area().repeat(2, 1, 1, 1))
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] > 0.1
