"""Real detail: the fine part of a person's own pictures, laid over a face that was drawn as that person.

No loss can make a network of 96 or 192 px draw pores, lashes and single brow hairs; the person's own pictures have
them. For each face of a clip the picture whose expression is nearest is chosen (`choose_faces`), so that it changes
seldom; it is warped until its landmarks lie where the drawing has its own (`warp_face`); and where the two agree, its
fine part replaces that of the drawing (`add_detail`). What the drawing shows, it goes on showing: where eyes look, and
whether a mouth is open, is never decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points
from clearswap.core.colour import LUMA
from clearswap.core.expression import COEFFICIENTS, MEASURES, Expressions

Floats = NDArray[np.float32]
Shares = dict[int, float]  # faces of a store, and how much of each is seen; together 1

SIDE = 256  # pixels of a store's faces, and of a drawn face with detail
_GRID = 128  # the warp is worked out on so many pixels a side, and smooth between them
_PLACED = [*range(468), 468, 473]  # the landmarks that are moved: the mesh, and the middles of the irises
_RING = np.array(  # what surrounds the face and stays where it is
    [(x, y) for x in range(-44, 301, 43) for y in range(-44, 301, 43) if not (0 <= x < SIDE and 0 <= y < SIDE)],
    np.float32,
)
_MOST_STRETCH = 5.0  # times as large or small may a triangle become and still be shown
_FADE = (1, 2, 3, 2, 1)  # how much the choices of successive frames count in the middle one
# A change of the chosen face costs so many times what the best faces differ from a clip's, on average, per frame.
_CHANGE = 3.0
_COARSE = 4.0  # pixels: what is finer comes from the real face
_BAND = (2.5, 7.0)  # pixels: structure between these sizes must agree
_FAINT = 0.012  # of 0..1: structure that is fainter agrees with all
_LUMA = np.array(LUMA, np.float32)


@dataclass(frozen=True, eq=False)
class DetailStore:
    """A person's own faces, in the square that a model sees, `SIDE` pixels wide.

    Attributes:
        faces: (N, 256, 256, 3).
        landmarks: (N, 478, 2), in pixels of that square.
        expressions: (N, MEASURES).
    """

    faces: NDArray[np.uint8]
    landmarks: Floats
    expressions: Expressions

    def __len__(self) -> int:
        return len(self.faces)

    @cached_property
    def triangles(self) -> NDArray[np.int32]:
        """(T, 3): which landmarks and points around them make the triangles of a warp."""
        return triangulate(_with_ring(self.landmarks.mean(0)))


@dataclass(frozen=True)
class FaceDetail:
    """What one drawn face gets its detail from."""

    store: DetailStore
    shares: Shares
    landmarks: Points  # (478, 2), those of the drawing, in pixels of a square of `SIDE`


@dataclass(frozen=True)
class Detailer:
    """Finds what a drawn face needs to get a person's own detail.

    Attributes:
        store: That person's faces.
        find: The landmarks (478, 2) of the face in a picture, given where about they are.
        read: The expression (MEASURES,) of a face, from its landmarks.
    """

    store: DetailStore
    find: Callable[[Frame, Points], Points]
    read: Callable[[Points], Expressions]

    def nearest(self, landmarks: Points) -> Shares:
        """The face of the store for a face that stands alone, whose `landmarks` (478, 2) are given."""
        return {int(choose_faces(self.read(landmarks)[None], self.store)[0]): 1.0}

    def of_drawing(self, patch: Floats, landmarks: Points, shares: Shares) -> FaceDetail:
        """The detail of a drawn `patch` (S, S, 3) in 0..1; `landmarks`: of the face that it replaces, in its pixels."""
        drawn = enlarged(patch)
        scale = np.float32(SIDE / len(patch))
        near = (landmarks + np.float32(0.5)) * scale - np.float32(0.5)
        return FaceDetail(self.store, shares, self.find(as_bytes(drawn), near))


def enlarged(patch: Floats) -> Floats:
    """A square picture (S, S) or (S, S, 3) in `SIDE` pixels."""
    if len(patch) == SIDE:
        return patch
    how = cv2.INTER_AREA if len(patch) > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(patch, (SIDE, SIDE), interpolation=how).clip(0, 1), np.float32)


def as_bytes(picture: Floats) -> Frame:
    """A picture in 0..1 as bytes."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0), alpha=255), np.uint8)


# --- which face ------------------------------------------------------------------------------------------


def _weights() -> Floats:
    """How much each number of an expression counts in the choice (MEASURES,): what a warp cannot mend counts most."""
    weights = np.full(MEASURES, 0.3, np.float32)
    for i, name in enumerate(COEFFICIENTS):
        if name.startswith(("eyeBlink", "eyeLook", "jawOpen", "mouthSmile", "mouthUpperUp", "mouthLowerDown")):
            weights[i] = 1
    lips, lids, gaze, pose = (len(COEFFICIENTS) + start for start in (0, 3, 5, 7))
    weights[lips:lids] = 2
    weights[lids:gaze] = 2
    weights[gaze:pose] = 2
    weights[pose:] = 8
    return weights / weights.sum()


def choose_faces(expressions: Expressions, store: DetailStore) -> NDArray[np.int64]:
    """Which face of the store (T,) goes with each of T successive expressions (T, MEASURES) of one face.

    Of all ways through the store, the one on which faces are near and change seldom (Viterbi 1967).
    """
    root = np.sqrt(_weights())
    wanted, known = expressions * root, store.expressions * root
    squares = (wanted**2).sum(1)[:, None] + (known**2).sum(1) - 2 * wanted @ known.T
    cost = np.sqrt(np.maximum(squares, 0))  # (T, N)
    change = _CHANGE * float(cost.min(1).mean())
    total = cost[0].astype(np.float64)
    came = np.empty(cost.shape, np.int32)
    stay = np.arange(len(store))
    for step in range(1, len(cost)):
        best = int(total.argmin())
        moved = total > total[best] + change
        came[step] = np.where(moved, best, stay)
        total = np.where(moved, total[best] + change, total) + cost[step]
    path = np.empty(len(cost), np.int64)
    path[-1] = total.argmin()
    for step in range(len(cost) - 1, 0, -1):
        path[step - 1] = came[step, path[step]]
    return path


def faded(path: NDArray[np.int64]) -> list[Shares]:
    """For each step of a path (T,) the faces that are seen: where it changes, one fades over into the next."""
    reach, shares = len(_FADE) // 2, list[Shares]()
    for step, own in enumerate(path.tolist()):
        near = path[max(0, step - reach) : step + reach + 1].tolist()
        if len(set(near)) == 1:
            shares.append({own: 1.0})
            continue
        found: Shares = {}
        for offset, weight in enumerate(_FADE, -reach):
            face = int(path[min(max(step + offset, 0), len(path) - 1)])
            found[face] = found.get(face, 0.0) + weight
        two = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:2]  # each costs a warp
        together = sum(weight for _, weight in two)
        shares.append({face: weight / together for face, weight in two})
    return shares


# --- warp ------------------------------------------------------------------------------------------------


def triangulate(points: Points) -> NDArray[np.int32]:
    """Delaunay's triangles (T, 3) of some points (P, 2), all turning the same way."""
    low = points.min(0)
    plane = cv2.Subdiv2D((0, 0, *(int(side) + 3 for side in points.max(0) - low)))
    places = points - low + 1
    numbers: dict[int, int] = {}
    for number, (x, y) in enumerate(places.tolist()):
        numbers.setdefault(plane.insert((x, y)), number)
    found: list[list[int]] = []
    corners = plane.getTriangleList().reshape(-1, 3, 2)
    for triangle in corners:
        away = np.linalg.norm(places[None] - triangle[:, None], axis=2)  # (3, P)
        if away.min(1).max() < 1e-3:
            found.append(away.argmin(1).tolist())
    triangles = np.array(found, np.int32)
    turned = _areas(points[triangles]) < 0
    triangles[turned] = triangles[turned][:, ::-1]
    return triangles


def warp_face(store: DetailStore, number: int, wanted: Points) -> tuple[Frame, Floats]:
    """A face of the store, moved until its landmarks lie where they are `wanted` (478, 2).

    Returns it (256, 256, 3), and how far each pixel can be trusted (128, 128): not where the face would be seen from
    behind, or was stretched out of a few pixels.
    """
    own, goal = _with_ring(store.landmarks[number]), _with_ring(wanted)
    frm, to = own[store.triangles], goal[store.triangles]  # (T, 3, 2)
    area, area_to = _areas(frm), _areas(to)
    seen = area_to > 0.02
    ids = np.zeros((_GRID, _GRID), np.int32)
    scale = _GRID / SIDE
    fixed = np.round(((to + 0.5) * scale - 0.5) * 16).astype(np.int32)
    for number_of, corners in zip(np.flatnonzero(seen).tolist(), fixed[seen], strict=True):
        cv2.fillConvexPoly(ids, corners, number_of, shift=4)
    ratio = area_to / np.maximum(area, 1e-3)
    trusted = (area > 0) & (ratio < _MOST_STRETCH) & (ratio > 1 / _MOST_STRETCH)
    affine = _affine(to, frm, seen)
    middles = (np.arange(_GRID, dtype=np.float32) + 0.5) / np.float32(scale) - 0.5
    chosen = affine[ids]  # (128, 128, 2, 3)
    maps = chosen[..., 0] * middles[None, :, None] + chosen[..., 1] * middles[:, None, None] + chosen[..., 2]
    maps = cv2.resize(cv2.blur(maps, (3, 3)), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    warped = cv2.remap(store.faces[number], maps, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    trust = cv2.erode(trusted[ids].astype(np.float32), np.ones((3, 3), np.uint8))
    return np.asarray(warped, np.uint8), np.asarray(cv2.GaussianBlur(trust, (0, 0), 1.5), np.float32)


def _with_ring(landmarks: Points) -> Points:
    return np.concatenate([landmarks[_PLACED], _RING]).astype(np.float32)


def _areas(triangles: Floats) -> Floats:
    """Twice the areas (T,) of triangles (T, 3, 2); below 0 where they turn the other way."""
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _affine(frm: Floats, to: Floats, used: NDArray[np.bool_]) -> Floats:
    """The affine maps (T, 2, 3) that take triangles (T, 3, 2) to others; zeros where they are not `used`."""
    maps = np.zeros((len(frm), 2, 3), np.float32)
    frm, to = frm[used].astype(np.float64), to[used].astype(np.float64)
    edges = np.stack([frm[:, 1] - frm[:, 0], frm[:, 2] - frm[:, 0]], 2)  # columns
    goals = np.stack([to[:, 1] - to[:, 0], to[:, 2] - to[:, 0]], 2)
    det = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    inverse = np.stack([edges[:, 1, 1], -edges[:, 0, 1], -edges[:, 1, 0], edges[:, 0, 0]], 1) / det[:, None]
    linear = goals @ inverse.reshape(-1, 2, 2)
    maps[used, :, :2] = linear
    maps[used, :, 2] = to[:, 0] - (linear @ frm[:, 0, :, None])[..., 0]
    return maps


# --- lay over --------------------------------------------------------------------------------------------


def add_detail(patch: Floats, mask: Floats, detail: FaceDetail, share: float) -> Floats:
    """A drawn face (256, 256, 3) in 0..1 with the fine part of the person's own, as `share` (0..1) says.

    `patch`: (256, 256, 3), `mask`: (256, 256) in 0..1; at its edge nothing is added.
    """
    warped, trust = _blended(detail)
    coarse, own_coarse = _coarse(patch), _coarse(warped)
    gate = agreement(patch, warped) * trust
    gate = np.asarray(cv2.resize(gate, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)
    gate *= np.float32(share) * np.clip(2 * mask - 1, 0, 1)
    light = np.clip((coarse + 0.05) / (own_coarse + 0.05), 0.5, 1.6)
    real = coarse + light * (warped - own_coarse)
    return np.asarray((patch + gate[..., None] * (real - patch)).clip(0, 1), np.float32)


def _blended(detail: FaceDetail) -> tuple[Floats, Floats]:
    """The warped face (256, 256, 3) in 0..1 of which the detail comes, and its trust (128, 128)."""
    pictures, trusts = list[Floats](), list[Floats]()
    for number, share in detail.shares.items():
        picture, trust = warp_face(detail.store, number, detail.landmarks)
        pictures.append(picture.astype(np.float32) * np.float32(share / 255))
        trusts.append(trust)
    return _sum(pictures), np.minimum.reduce(trusts)


def _sum(pictures: Sequence[Floats]) -> Floats:
    total = pictures[0]
    for picture in pictures[1:]:
        total = total + picture
    return total


def _coarse(picture: Floats) -> Floats:
    """A picture (256, 256, 3) without what is finer than `_COARSE`; worked out at a quarter of its size."""
    small = cv2.resize(picture, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), _COARSE / 4)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def agreement(drawn: Floats, real: Floats) -> Floats:
    """Where two pictures (256, 256, 3) of a face show the same things, as (128, 128) in 0..1."""
    one, other = _band(drawn), _band(real)
    reach = _BAND[1] / 2
    apart, both = (
        np.asarray(cv2.GaussianBlur(x, (0, 0), reach), np.float32) for x in ((one - other) ** 2, one**2 + other**2)
    )
    ratio = apart / (both + np.float32(_FAINT**2))  # 0: alike, 1: nothing in common, 2: the opposite
    return 1 - _smoothstep(np.clip((ratio - 0.35) / 0.5, 0, 1))


def _band(picture: Floats) -> Floats:
    """The structure of middle size (128, 128) of a picture."""
    small = cv2.resize(picture, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA) @ _LUMA
    fine, wide = (cv2.GaussianBlur(small, (0, 0), sigma / 2) for sigma in _BAND)
    return np.asarray(fine - wide, np.float32)


def _smoothstep(ramp: Floats) -> Floats:
    return ramp * ramp * (3 - 2 * ramp)
