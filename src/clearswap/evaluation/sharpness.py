"""Fine detail of faces, with grain told apart from structure.

Structure (lashes, lips, pores) is still there in the next frame, at the place to which the face has moved; grain and
noise are not. So what a band of detail has in common with that of the next frame, brought back along the face's
motion, is structure, whatever noise lies over it; the rest is grain. Noise on a blurred face makes it no sharper.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.core.blend import LUMA, blurred

Picture = NDArray[np.float32]

# Gaussians whose differences are the bands: waves of about 5, 9 and 18 pixels of a face 256 pixels large.
_SIGMAS = (0.7, 1.4, 2.8, 5.6)
BANDS = len(_SIGMAS) - 1
_CALM = 2.5  # pixels: the face's motion is followed on pictures blurred so much, in which no grain is left
_ROUNDING = 1 / 12  # power of the noise that rounding to whole levels makes
_LEAST = 0.04  # power of structure in levels squared: a band with less in the reference says nothing


@dataclass(frozen=True)
class Detail:
    """Power of the luma's detail in levels (0..255) squared, of T runs of three frames."""

    structure: NDArray[np.float64]  # (T, BANDS), fine to coarse; chance may make it a little negative
    grain: NDArray[np.float64]  # (T,), in the finest band


def detail(runs: list[NDArray[np.uint8]], areas: list[NDArray[np.uint8]]) -> Detail:
    """The detail of runs of three successive aligned faces (3, S, S, 3), within `areas` (S, S), 0 or 1."""
    found = [_of_run(faces, area) for faces, area in zip(runs, areas, strict=True)]
    structure, whole = (np.array([one[kind] for one in found]).reshape(-1, BANDS) for kind in (0, 1))
    return Detail(structure, (whole - structure)[:, 0].clip(min=0))


def structure_ratios(result: Detail, reference: Detail) -> list[float]:
    """How much structure each band of the result has, in multiples of the reference's; 1 is equal.

    Bands in which the reference has none are left out.
    """
    if len(reference.structure) == 0:
        return []
    pairs = zip(result.structure.mean(0), reference.structure.mean(0), strict=True)
    return [float(np.sqrt(max(own, 0) / goal)) for own, goal in pairs if goal > _LEAST]


def run_ratios(result: Detail, reference: Detail) -> NDArray[np.float64]:
    """The mean of the bands' ratios for each run (T,)."""
    known = reference.structure > _LEAST
    ratios = np.sqrt(result.structure.clip(min=0) / np.where(known, reference.structure, 1))
    return (ratios * known).sum(1) / known.sum(1).clip(min=1)


def grain_ratio(result: Detail, reference: Detail) -> float:
    """How strong the grain of the result is, in multiples of the reference's; below rounding, all is alike."""
    return float(np.sqrt((result.grain.mean() + _ROUNDING) / (reference.grain.mean() + _ROUNDING)))


def _of_run(faces: NDArray[np.uint8], area: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Power of structure and of all detail (BANDS,) each, of a run of three frames."""
    luma = [np.asarray(face @ np.array(LUMA, np.float32), np.float32) for face in faces]
    calm = [np.rint(blurred(one, _CALM)).astype(np.uint8) for one in luma]
    before, now, after = (_bands(one) for one in luma)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    count = max(1.0, float(area.sum()))
    structure, still = np.zeros(BANDS), np.zeros((*area.shape, 2), np.float32)
    for other, seen in ((before, calm[0]), (after, calm[2])):
        moved = _brought_back(other, np.asarray(flow.calc(calm[1], seen, still.copy()), np.float32))
        structure += (now * moved * area[..., None]).sum((0, 1), dtype=np.float64) / (2 * count)
    return structure, (now**2 * area[..., None]).sum((0, 1), dtype=np.float64) / count


def _bands(luma: Picture) -> Picture:
    """The bands (S, S, BANDS) of a picture (S, S)."""
    blurs = [blurred(luma, sigma) for sigma in _SIGMAS]
    return np.stack([fine - coarse for fine, coarse in pairwise(blurs)], -1)


def _brought_back(bands: Picture, flow: Picture) -> Picture:
    """The bands of a neighbouring frame where each pixel of this one has gone: `flow` (S, S, 2), right and down."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    across, down = columns + flow[..., 0], rows + flow[..., 1]
    return np.asarray(cv2.remap(bands, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.float32)
