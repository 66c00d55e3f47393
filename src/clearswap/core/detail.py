"""Real detail: the fine part of a person's own pictures, laid over a face that was drawn as that person.

No loss can make a network of 96 or 192 px draw pores, lashes and single brow hairs; the person's own pictures have
them. For each face of a clip the picture whose expression is nearest is chosen, so that it changes seldom: one for eyes
and skin, one for the mouth (`choose_faces`). Both are warped until their landmarks lie where the drawing has its own
(`Warp`), and where drawing and picture agree, the fine part of the picture replaces the drawing's (`find_layer`). What
the drawing shows, it goes on showing: where eyes look, and whether a mouth is open, is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points
from clearswap.core.blend import LUMA, Floats, blurred, hull, smoothstep
from clearswap.core.expression import COEFFICIENTS, LENGTH, MEASURES, Expressions, face_height

Part: TypeAlias = Literal["eyes", "mouth"]  # of a face; "eyes" is all that is not the mouth
PARTS: tuple[Part, ...] = ("eyes", "mouth")

SIDE = 256  # pixels of a store's faces, and of a drawn face with detail
_GRID = 128  # the warp is worked out on so many pixels a side, and smooth between them
_STEP = SIDE // _GRID
_PLACED = [*range(468), 468, 473]  # the landmarks that are moved: the mesh, and the middles of the irises
_RING = np.array(  # what surrounds the face and stays where it is
    [(x, y) for x in range(-44, 301, 43) for y in range(-44, 301, 43) if not (0 <= x < SIDE and 0 <= y < SIDE)],
    np.float32,
)
_APART = 14.0  # pixels: between the landmarks of cheeks and forehead that are used; all 478 take twice the time
_MOST_STRETCH = 3.0  # times as large or small may a triangle become and still be shown,
_SMALL = 4.0  # unless it has few pixels before and after
_FADE = (1, 2, 3, 2, 1)  # how much the choices of successive frames count in the middle one
# A change of the chosen face costs so many times what the best faces differ from a clip's, on average, per frame.
_CHANGE = 1.0
_COARSE = 4.0  # pixels: what is finer comes from the real face
_BAND = (2.5, 7.0)  # pixels: structure between these sizes must agree
_FAINT = 0.012  # of 0..1: structure that is fainter agrees with all
_EYES = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))
# Upper and lower edges of the lips, and of the lids (those of the first eye, then of the second).
_LIPS = ((191, 95), (80, 88), (81, 178), (82, 87), (13, 14), (312, 317), (311, 402), (310, 318), (415, 324))
_LIDS = ((160, 144), (159, 145), (158, 153), (385, 380), (386, 374), (387, 373))
_SHUT = (0.02, 0.035)  # shares of the face's height: full lips are seen the first apart when shut, the second when not
_TEETH = 0.008  # so much further apart, in shares of the face's height, lips begin to show what a shut mouth does not
_HIDDEN = 0.6  # an eye that is seen so much less than the other is hidden
_MOUTH = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)
_FEATURES = sorted({*sum(_EYES + _LIPS + _LIDS, ()), *_MOUTH})
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
        """(T, 3): the triangles of a warp."""
        return triangulate(self.landmarks.mean(0))


@dataclass(frozen=True)
class Shares:
    """Which faces of a store are seen in one face, for each part, and how much of each; together 1."""

    eyes: dict[int, float]
    mouth: dict[int, float]


@dataclass(frozen=True, eq=False)
class Layer:
    """A person's own pixels, ready to be laid over a drawing.

    Attributes:
        fine: (256, 256, 3): the fine part of warped pictures, in the light of the drawing.
        gate: (128, 128) in 0..1: how much of it is seen.
    """

    fine: Floats
    gate: Floats


@dataclass(frozen=True, eq=False)
class FaceDetail:
    """What one drawn face gets its detail from."""

    store: DetailStore
    shares: Shares
    landmarks: Points  # (478, 2), those of the drawing, in pixels of a square of `SIDE`
    layer: Layer | None = None  # what comes of it, once that is known


@dataclass(frozen=True)
class Detailer:
    """Finds what a drawn face needs to get a person's own detail.

    Attributes:
        store: That person's faces.
        find: The landmarks (478, 2) of the face in a picture, given where about they are.
    """

    store: DetailStore
    find: Callable[[Frame, Points], Points]

    def follow(self, expressions: Expressions) -> list[Shares]:
        """The faces of the store for a face in T successive frames, from its expressions (T, MEASURES)."""
        paths = (faded(choose_faces(expressions, self.store, part)) for part in PARTS)
        return [Shares(eyes, mouth) for eyes, mouth in zip(*paths, strict=True)]

    def of_drawing(self, patch: Floats, landmarks: Points, shares: Shares) -> FaceDetail:
        """The detail of a drawn `patch` (S, S, 3) in 0..1; `landmarks`: of the face that it replaces, in its pixels."""
        drawn = enlarged(patch)
        scale = np.float32(SIDE / len(patch))
        near = (landmarks + np.float32(0.5)) * scale - np.float32(0.5)
        return FaceDetail(self.store, shares, shut_like(self.find(as_bytes(drawn), near), near))


def shut_like(drawn: Points, source: Points) -> Points:
    """The landmarks (478, 2) of a drawing, lips and lids brought together where they are shut in the source.

    A drawing is soft, and where its lips meet, the landmarker sees a gap in which a picture would show teeth.
    """
    height = face_height(source)
    result = drawn.copy()
    for pairs, (shut, open_) in ((_LIPS, _SHUT), (_LIDS[:3], (0.006, 0.014)), (_LIDS[3:], (0.006, 0.014))):
        upper, lower = np.array(pairs).T
        apart = float(np.linalg.norm(source[upper] - source[lower], axis=1).max()) / height
        share = float(np.clip((apart - shut) / (open_ - shut), 0, 1))
        middle = (drawn[upper] + drawn[lower]) / 2
        result[upper] = middle + share * (drawn[upper] - middle)
        result[lower] = middle + share * (drawn[lower] - middle)
    return result


def enlarged(patch: Floats) -> Floats:
    """A square picture (S, S) or (S, S, 3) in 0..1, in `SIDE` pixels."""
    return patch if len(patch) == SIDE else np.asarray(resized(patch, SIDE).clip(0, 1), np.float32)


def resized(picture: Floats, side: int) -> Floats:
    """A square picture (S, S) or (S, S, 3), `side` pixels wide."""
    how = cv2.INTER_AREA if len(picture) > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how), np.float32)


def as_bytes(picture: Floats) -> Frame:
    """A picture in 0..1 as bytes."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0), alpha=255), np.uint8)


# --- which face ------------------------------------------------------------------------------------------


def _weights(part: Part) -> Floats:
    """How much each number of an expression counts in the choice (MEASURES,): what a warp cannot mend counts most."""
    weights = np.full(MEASURES, 0.2, np.float32)
    words = ("eyeBlink", "eyeLook", "brow") if part == "eyes" else ("jawOpen", "mouth")
    for i, name in enumerate(COEFFICIENTS):
        if name.startswith(words):
            weights[i] = 1
    lips, lids, gaze, pose = (len(COEFFICIENTS) + start for start in (0, 3, 5, 7))
    weights[lips:pose] = 0
    if part == "eyes":
        weights[lids:gaze], weights[gaze:pose] = 6, 10
    else:
        weights[lips:lids] = 12
    weights[pose:] = 8
    return weights / weights.sum()


def _compared(expressions: Expressions) -> Expressions:
    """Expressions (T, MEASURES) with roots of how far lips and lids are apart: shut and nearly shut are far apart."""
    lengths = slice(len(COEFFICIENTS), len(COEFFICIENTS) + 5)
    compared = expressions.copy()
    compared[:, lengths] = 1.5 * np.sqrt(np.maximum(expressions[:, lengths], 0))
    return compared


def choose_faces(expressions: Expressions, store: DetailStore, part: Part) -> NDArray[np.int64]:
    """Which face of the store (T,) goes with each of T successive expressions (T, MEASURES) of one face, in a `part`.

    Of all ways through the store, the one on which faces are near and change seldom (Viterbi 1967).
    """
    root = np.sqrt(_weights(part))
    said, lips = expressions.copy(), slice(len(COEFFICIENTS), len(COEFFICIENTS) + 3)
    said[:, lips] *= np.clip((said[:, lips] / LENGTH - _SHUT[0]) / (_SHUT[1] - _SHUT[0]), 0, 1)
    wanted, known = root * _compared(said), root * _compared(store.expressions)
    squares = (wanted**2).sum(1)[:, None] + (known**2).sum(1) - 2 * wanted @ known.T
    cost = np.sqrt(np.maximum(squares, 0))  # (T, N)
    change = _CHANGE * float(cost.min(1).mean())
    total = np.asarray(cost[0], np.float64)
    came = np.empty(cost.shape, np.int32)
    stay = np.arange(len(store))
    for step in range(1, len(cost)):
        best = int(total.argmin())
        most = float(total[best]) + change
        came[step] = np.where(total > most, best, stay)
        total = np.asarray(np.minimum(total, most) + cost[step], np.float64)
    path = np.empty(len(cost), np.int64)
    path[-1] = total.argmin()
    for step in range(len(cost) - 1, 0, -1):
        path[step - 1] = came[step, path[step]]
    return path


def faded(path: NDArray[np.int64]) -> list[dict[int, float]]:
    """For each step of a path (T,) the faces that are seen: where it changes, one fades over into the next."""
    reach, steps = len(_FADE) // 2, list[dict[int, float]]()
    for step in range(len(path)):
        found: dict[int, float] = {}
        for offset, weight in enumerate(_FADE, -reach):
            face = int(path[min(max(step + offset, 0), len(path) - 1)])
            found[face] = found.get(face, 0.0) + weight
        two = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:2]  # each costs a warp
        together = sum(weight for _, weight in two)
        steps.append({face: weight / together for face, weight in two})
    return steps


# --- warp ------------------------------------------------------------------------------------------------


def triangulate(landmarks: Points, apart: float = _APART) -> NDArray[np.int32]:
    """Delaunay's triangles (T, 3), turning the same way, of landmarks (478, 2), those of cheeks `apart`, and a ring."""
    points = _with_ring(landmarks)
    places = points - points.min(0) + 1
    width, height = (int(side) + 2 for side in places.max(0))
    plane = cv2.Subdiv2D((0, 0, width, height))
    plane.insert(places[_needed(places, apart)].tolist())
    corners = np.asarray(plane.getTriangleList(), np.float32).reshape(-1, 3, 2)
    away = np.linalg.norm(places[None, None] - corners[:, :, None], axis=3)  # (T, 3, P)
    inside = away.min(2).max(1) < 1e-3  # the others lead to the plane's own corners
    triangles = away[inside].argmin(2).astype(np.int32)
    return np.asarray(np.where(_areas(points[triangles])[:, None] < 0, triangles[:, ::-1], triangles), np.int32)


def _needed(places: Points, apart: float) -> list[int]:
    """Which points a warp needs: the ring, all around eyes and mouth, and of the others some that lie apart."""
    chosen = [*range(len(_PLACED) - 2, len(places)), *_FEATURES]  # first the irises
    for number in set(range(len(_PLACED))) - set(chosen):
        if np.linalg.norm(places[chosen] - places[number], axis=1).min() >= apart:
            chosen.append(number)
    return chosen


class Warp:
    """Moves faces until their landmarks lie where they are `wanted` (478, 2), by `triangles` (T, 3).

    Which triangle covers which pixel is worked out once for all of them.
    """

    def __init__(self, triangles: NDArray[np.int32], wanted: Points) -> None:
        self._triangles = triangles
        self._to = _with_ring(wanted)[triangles]  # (T, 3, 2)
        self._area = _areas(self._to)
        self._seen = self._area > 0.02
        self._covering = np.zeros((_GRID, _GRID), np.int32)
        scale = _GRID / SIDE
        fixed = np.round(((self._to + 0.5) * scale - 0.5) * 16).astype(np.int32)
        for number, corners in zip(np.flatnonzero(self._seen).tolist(), fixed[self._seen], strict=True):
            cv2.fillConvexPoly(self._covering, corners, number, shift=4)

    def __call__(self, face: Frame, landmarks: Points, top: int = 0, bottom: int = _GRID) -> tuple[Frame, Floats]:
        """A `face` (256, 256, 3) with `landmarks` (478, 2) as it is wanted, of the same size, and how far each pixel
        can be trusted (128, 128): not where the face is seen from behind, or was stretched out of a few pixels.

        Only the rows from `top` to before `bottom`, of 128, where these are given.
        """
        own = _with_ring(landmarks)[self._triangles]
        area = _areas(own)
        ratio = (self._area + _SMALL) / (np.maximum(area, 0) + _SMALL)
        trusted = (area > -_SMALL) & (ratio < _MOST_STRETCH) & (ratio > 1 / _MOST_STRETCH)
        covering = self._covering[top:bottom]
        affine = _affine(self._to, own, self._seen)[covering]  # (rows, 128, 2, 3)
        middles = (np.arange(_GRID, dtype=np.float32) + np.float32(0.5)) * np.float32(_STEP) - np.float32(0.5)
        x, y = middles[None, :, None], middles[top:bottom, None, None]
        maps = cv2.blur(affine[..., 0] * x + affine[..., 1] * y + affine[..., 2], (3, 3))
        columns, rows = cv2.split(cv2.resize(maps, None, fx=_STEP, fy=_STEP, interpolation=cv2.INTER_LINEAR))
        warped = cv2.remap(face, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        trust = cv2.erode(trusted[covering].astype(np.float32), np.ones((3, 3), np.uint8))
        return np.asarray(warped, np.uint8), blurred(np.asarray(trust, np.float32), 1.5)


def _with_ring(landmarks: Points) -> Points:
    return np.concatenate([landmarks[_PLACED], _RING]).astype(np.float32)


def _areas(triangles: Floats) -> Floats:
    """Twice the areas (T,) of triangles (T, 3, 2); below 0 where they turn the other way."""
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.asarray(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0], np.float32)


def _affine(frm: Floats, to: Floats, used: NDArray[np.bool_]) -> Floats:
    """The affine maps (T, 2, 3) that take triangles (T, 3, 2) to others; zeros where they are not `used`."""
    maps = np.zeros((len(frm), 2, 3), np.float32)
    frm, to = frm[used], to[used]
    (ax, ay), (bx, by) = (np.moveaxis(frm[:, corner] - frm[:, 0], 1, 0) for corner in (1, 2))
    first, second = to[:, 1] - to[:, 0], to[:, 2] - to[:, 0]  # (T, 2)
    size = (ax * by - ay * bx)[:, None]
    across = (first * by[:, None] - second * ay[:, None]) / size  # how far one pixel to the right leads
    down = (second * ax[:, None] - first * bx[:, None]) / size
    maps[used] = np.stack([across, down, to[:, 0] - across * frm[:, :1, 0] - down * frm[:, :1, 1]], 2)
    return maps


# --- lay over --------------------------------------------------------------------------------------------


def find_layer(patch: Floats, mask: Floats, detail: FaceDetail) -> Layer:
    """The person's own pixels for a drawn face `patch` (256, 256, 3) in 0..1.

    `mask`: (256, 256) in 0..1, where the face is replaced; at its edge nothing is added.
    """
    warped, trust = warp_parts(detail)
    small_mask = np.asarray(cv2.resize(mask, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.float32)
    gate = trust * _pooled(agreement(patch, warped) * trust, small_mask, detail.landmarks, _mouth_fits(detail))
    own_coarse = _coarse(warped)
    light = np.clip((_coarse(patch) + 0.05) / (own_coarse + 0.05), 0.5, 1.6)
    fine = light * (warped - own_coarse)
    return Layer(np.asarray(fine, np.float32), np.asarray(gate * np.clip(2 * small_mask - 1, 0, 1), np.float32))


def lay_over(patch: Floats, layer: Layer, share: float) -> Floats:
    """A drawn face (256, 256, 3) in 0..1 with the person's own pixels over it, as `share` (0..1) says."""
    gate = np.asarray(cv2.resize(layer.gate, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)
    gate *= np.float32(share)
    coarse = _coarse(patch)
    return np.asarray((patch + gate[..., None] * (coarse + layer.fine - patch)).clip(0, 1), np.float32)


def warp_parts(detail: FaceDetail) -> tuple[Floats, Floats]:
    """The warped faces that give the detail, as one picture (256, 256, 3) in 0..1, and its trust (128, 128)."""
    warp, store, shares = Warp(detail.store.triangles, detail.landmarks), detail.store, detail.shares
    if shares.eyes == shares.mouth:
        return _mixed(warp, store, shares.eyes, 0, _GRID)
    # between the foot of the nose and the upper lip, one passes over into the other
    nose, lip = float(detail.landmarks[2, 1]), float(detail.landmarks[0, 1])
    top = min(max(int(nose / _STEP) - 1, 0), _GRID - 2)
    bottom = min(max(int(lip / _STEP) + 2, top + 2), _GRID)
    both = _mixed(warp, store, shares.eyes, 0, bottom), _mixed(warp, store, shares.mouth, top, _GRID)
    ramp = np.clip((np.arange(SIDE, dtype=np.float32) - nose) / max(lip - nose, 4.0), 0, 1)
    lower = smoothstep(np.asarray(ramp, np.float32))
    joined: list[Floats] = []
    for eyes, mouth, step in zip(*both, (_STEP, 1), strict=True):
        first, last = top * step, bottom * step
        weight = lower[:: _STEP // step][first:last].reshape(-1, *[1] * (eyes.ndim - 1))
        between = eyes[first:] + weight * (mouth[: last - first] - eyes[first:])
        joined.append(np.concatenate([eyes[:first], between, mouth[last - first :]]).astype(np.float32))
    return joined[0], joined[1]


def _mixed(warp: Warp, store: DetailStore, shares: dict[int, float], top: int, bottom: int) -> tuple[Floats, Floats]:
    """As much of each face, warped, as its share says, in 0..1, and as much of its trust; some rows of them."""
    mixed, trust = np.float32(0), np.float32(0)
    for number, share in shares.items():
        picture, trusted = warp(store.faces[number], store.landmarks[number], top, bottom)
        mixed, trust = mixed + picture * np.float32(share / 255), trust + trusted * np.float32(share)
    return np.asarray(mixed, np.float32), np.asarray(trust, np.float32)


def _coarse(picture: Floats) -> Floats:
    """A picture (256, 256, 3) without what is finer than `_COARSE`; worked out at a quarter of its size."""
    small = cv2.resize(picture, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), _COARSE / 4)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def agreement(drawn: Floats, real: Floats) -> Floats:
    """Where two pictures (256, 256, 3) of a face show the same things, as (128, 128) in 0..1."""
    one, other = _band(drawn), _band(real)
    reach = _BAND[1] / 2
    apart, both = blurred((one - other) ** 2, reach), blurred(one**2 + other**2, reach)
    ratio = apart / (both + np.float32(_FAINT**2))  # 0: alike, 1: nothing in common, 2: the opposite
    return 1 - smoothstep(np.asarray(np.clip((ratio - 0.5) / 0.5, 0, 1), np.float32))


def _mouth_fits(detail: FaceDetail) -> float:
    """1 where the chosen mouths are as far open as the drawn one, 0 where one shows teeth and the drawn one is shut."""
    wanted = _lips_apart(detail.landmarks)
    open_ = sum(share * _lips_apart(detail.store.landmarks[n]) for n, share in detail.shares.mouth.items())
    return float(np.clip(2 - (open_ - wanted) / _TEETH, 0, 1))


def _lips_apart(landmarks: Points) -> float:
    """How far lips are apart, in shares of the face's height."""
    return float(np.linalg.norm(landmarks[13] - landmarks[14])) / face_height(landmarks)


def _pooled(gate: Floats, mask: Floats, landmarks: Points, mouth_fits: float) -> Floats:
    """A gate (128, 128) that is one and the same all over an eye, and all over the mouth: half an eye is none.

    The mouth is as open as `mouth_fits` at most. Both eyes are as open as the one that agrees less, but where a turned
    head hides that one, it stands alone.
    """
    *eyes, _ = features(landmarks, 1.5)
    mouth = _feature(landmarks, _MOUTH, 1.15)
    visible = [float((area * mask).sum()) for area in eyes]
    opened = [_opened(gate, area * mask) for area in eyes]
    least = min(one for one, size in zip(opened, visible, strict=True) if size >= _HIDDEN * max(visible))
    for area, share in [(area, min(one, least)) for area, one in zip(eyes, opened, strict=True)]:
        gate = np.asarray(gate + area * (share - gate), np.float32)
    opened_mouth = mouth_fits * _opened(gate, mouth * mask)
    return np.asarray(gate + mouth * (opened_mouth - gate), np.float32)


def features(landmarks: Points, wider: float) -> list[Floats]:
    """Where both eyes and the mouth are (128, 128), grown by `wider`."""
    return [_feature(landmarks, ring, wider) for ring in (*_EYES, _MOUTH)]


def _feature(landmarks: Points, ring: tuple[int, ...], wider: float) -> Floats:
    """Where an eye or the mouth is (128, 128), within soft edges, from the landmarks around it."""
    points = landmarks[list(ring)] * np.float32(_GRID / SIDE)
    middle = points.mean(0)
    area = hull(np.asarray(middle + np.array([1.1, wider]) * (points - middle), np.float32), _GRID)
    return blurred(np.asarray(area, np.float32) / np.float32(255), 2.0)


def _opened(gate: Floats, weight: Floats) -> float:
    """How far a gate is opened for a whole feature."""
    mean = float((gate * weight).sum() / max(float(weight.sum()), 1e-6))
    return float(np.interp(mean, (0.3, 0.6), (0, 1)))


def _band(picture: Floats) -> Floats:
    """The structure of middle size (128, 128) of a picture."""
    small = np.asarray(cv2.resize(picture, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.float32) @ _LUMA
    fine, wide = (blurred(small, sigma / 2) for sigma in _BAND)
    return fine - wide
