"""Faces of a set that something covers: a hand at the mouth, a microphone, hair blown across.

Nobody says where they are in people's own clips. But skin looks the same in all pictures of a person, once each face is
warped so that all have their landmarks in one place; eyes and mouth do not, and are left out. A picture whose skin
differs much from the median of all shows something else there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points
from clearswap.core.blend import LUMA, blurred, hull
from clearswap.core.detail import SIDE, Warp, features, triangulate
from clearswap.faces.faceset import FaceRecord, mask_of, read_face

_HALF = SIDE // 2
_SPOTS = 32  # places a side in which a spot is looked for
# Mean difference of the skin's structure, in shares of its brightness, and how many times as large as for faces that
# are like most. Of twelve sets, faces with a hand over cheek or mouth lie above 0.05 and 2.0 times; what lies above
# 0.045 elsewhere (glasses in moving light) is at most 1.9 times as large.
_MOST, _TIMES = 0.045, 2.0
# The same for the spot that differs most, beyond what it differs in half of the faces: fingers at the chin have 0.2
# to 0.3 where 1.9 times of the mean are reached. A face that frowns, laughs or is turned away has 0.19 at most.
_SPOT, _SPOT_TIMES = 0.2, 1.6
# A hand comes and goes at the rim of a face. Of the faces within so many seconds of a face, such a share, and so many,
# are covered where it is, too.
_NEAR, _SHARE, _FEWEST = 0.25, 0.25, 3


def uncovered(folder: Path, records: list[FaceRecord]) -> list[FaceRecord]:
    """The faces of a set that nothing covers, and those whose mask says what does. Raises `FacesetError`.

    Never fewer than half of them; where faces near covered ones would be too many, only the covered ones are left out.
    """

    def squares() -> Iterator[Frame]:
        for record in records:  # one picture in memory at a time
            picture = read_face(folder, record)
            yield np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)

    landmarks = np.stack([record.aligned_landmarks() * np.float32(SIDE / record.size) for record in records])
    hidden = covered(squares(), landmarks)
    sources = np.unique([record.source for record in records], return_inverse=True)[1]
    near = near_covered(hidden, sources, np.array([record.time for record in records]))
    if (hidden | near).mean() <= 0.5:
        hidden |= near
    masked = np.array([(folder / mask_of(record.file)).is_file() for record in records])
    return [record for record, out in zip(records, hidden & ~masked, strict=True) if not out]


def near_covered(
    hidden: NDArray[np.bool_], sources: NDArray[np.int64], times: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which faces (N,) lie within a quarter of a second of `hidden` ones of the same source, and of enough of these."""
    found = np.zeros(len(hidden), np.bool_)
    for place in np.flatnonzero(~hidden):
        near = (sources == sources[place]) & (np.abs(times - times[place]) <= _NEAR)
        found[place] = hidden[near].sum() >= max(_FEWEST, _SHARE * near.sum())
    return found


def covered(faces: Iterable[Frame], landmarks: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which faces of one person something covers (N,); never more than half of them.

    `faces`: N pictures (256, 256, 3), one at a time; `landmarks` (N, 478, 2), in their pixels. 10 ms a face.
    """
    middle = landmarks.mean(0)
    skin = _skin(middle)
    warp = Warp(triangulate(middle, 0.0), middle)  # by all landmarks: with fewer, turned faces seem to be covered
    pairs = [_structure(*warp(face, points)) for face, points in zip(faces, landmarks, strict=True)]
    structures, trusted = np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
    usual = np.stack([np.median(rows, 0) for rows in np.moveaxis(structures, 1, 0)])  # row by row: sorting takes room
    found = [_difference(*pair, usual, skin) for pair in zip(structures, trusted, strict=True)]
    away, spots = np.array([mean for mean, _ in found]), np.stack([spots for _, spots in found])
    spot = (spots - np.median(spots, 0)).max((1, 2))
    like_most = np.quantile(away, 0.1)
    over_all = away > max(_MOST, _TIMES * like_most)
    at_a_spot = (spot > _SPOT) & (away > _SPOT_TIMES * like_most)
    return (over_all | at_a_spot) & (away > np.median(away))


def _difference(
    structure: NDArray[np.float16], trust: NDArray[np.float16], usual: NDArray[np.float16], skin: NDArray[np.float32]
) -> tuple[float, NDArray[np.float32]]:
    """How far the structure of a face (128, 128) is from the usual one, on its skin: in all, and around each of 32x32
    places.
    """
    weight = skin * trust
    apart = np.abs(structure - usual) * weight
    by_place = [cv2.resize(each, (_SPOTS, _SPOTS), interpolation=cv2.INTER_AREA) for each in (apart, weight)]
    near, counted = (blurred(np.asarray(each, np.float32), 1.25) for each in by_place)
    spots = np.asarray(near / np.maximum(counted, np.float32(0.25)), np.float32)
    return float(apart.sum() / max(float(weight.sum()), 1e-6)), spots


def _skin(landmarks: Points) -> NDArray[np.float32]:
    """Where a face shows skin (128, 128), 1 or less: well inside its outline, and not at eyes and mouth."""
    inside = cv2.erode(hull(landmarks, SIDE), np.ones((17, 17)))
    small = np.asarray(cv2.resize(inside, (_HALF, _HALF), interpolation=cv2.INTER_AREA), np.float32) / 255
    return np.asarray(small * (1 - np.max(features(landmarks, 1.9), 0)), np.float32)


def _structure(face: Frame, trust: NDArray[np.float32]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """The structure of a warped face (256, 256, 3), less its light: (128, 128); and how far to trust it (128, 128)."""
    small = np.asarray(cv2.resize(face, (_HALF, _HALF), interpolation=cv2.INTER_AREA), np.float32)
    luma = np.asarray(small @ np.array(LUMA, np.float32) / 255, np.float32)
    light, fine = blurred(luma, 6), blurred(luma, 1)
    return ((fine - light) / (light + 0.1)).astype(np.float16), trust.astype(np.float16)
