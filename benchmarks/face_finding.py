"""Are faces of every skin tone, pose and occlusion found as often, and are their landmarks where they belong?

    make people                          # renders the clips with their exact landmarks, once
    python benchmarks/face_finding.py

Seven people on one shared track of motion, light and a passing hand, so that they can be compared fairly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import common
from clearswap.faces.tracker import TrackConfig, fill_gaps, make_tracker, track
from clearswap.media.video import read_frames
from clips import PEOPLE
from common import Cell, Plot, Result, Table

NEAR = 0.25  # of the eye distance: landmarks further off on average are no find


@dataclass(frozen=True)
class Frames:
    """What was found in the frames of one person's clip."""

    person: str
    tone: int  # 0 is the lightest skin
    found: NDArray[np.bool_]  # (F,)
    error: NDArray[np.float64]  # (F,) per cent of the eye distance, each landmark's constant difference taken out
    raw: NDArray[np.float64]  # (F,) with it
    yaw: NDArray[np.float64]  # (F,) degrees
    covered: NDArray[np.float64]  # (F,) share of the face behind the hand


def look(clip: Path) -> Frames:
    """Track one clip and compare with its labels."""
    with np.load(clip.with_suffix(".labels.npz"), allow_pickle=False) as file:
        labels = {name: file[name] for name in file.files}
    index = labels["mesh_index"]
    known, visible = labels["landmarks"][:, index >= 0], labels["visible"][:, index >= 0]
    count = len(known)
    offsets = np.full((count, known.shape[1], 2), np.nan)
    for frame, faces in fill_gaps(track(read_frames(clip), make_tracker(TrackConfig()))):
        if faces:
            offsets[frame.index] = faces[0].landmarks[index[index >= 0]] - known[frame.index]
    scale = eye_distance(labels, index)
    distance = np.linalg.norm(offsets, axis=-1) / scale
    offsets[~visible] = np.nan  # a landmark behind the nose or the hand is anybody's guess
    turned = in_head(offsets, labels["pose"][:, 2])
    with np.errstate(all="ignore"):
        constant = np.nanmedian(turned, axis=0)
        error = np.linalg.norm(turned - constant, axis=-1) / scale
        raw = np.where(visible, distance, np.nan)
        means = [np.nanmean(np.where(np.isnan(v).all(1)[:, None], 9.0, v), axis=1) for v in (error, raw)]
    found = np.isfinite(distance[:, 0]) & (np.median(np.nan_to_num(distance, nan=9.0), axis=1) < NEAR)
    return Frames(
        str(labels["person"]),
        int(labels["tone"]),
        found,
        100 * means[0],
        100 * means[1],
        labels["pose"][:, 0].astype(float),
        covered_share(labels),
    )


def eye_distance(labels: dict[str, NDArray[np.float32]], index: NDArray[np.int32]) -> float:
    """Pixels between the outer eye corners of the head seen from the front."""
    points = labels["landmarks"]
    corners = points[:, int(np.flatnonzero(index == 263)[0])] - points[:, int(np.flatnonzero(index == 33)[0])]
    return float(np.median(np.linalg.norm(corners, axis=-1) / np.cos(np.radians(labels["pose"][:, 0]))))


def in_head(offsets: NDArray[np.float64], roll: NDArray[np.float32]) -> NDArray[np.float64]:
    """Offsets (F, K, 2) turned back by the head's roll, so that a constant one stays constant."""
    angle = -np.radians(roll)  # the labels count a tilt to the left of the picture as positive
    turn = np.stack([np.stack([np.cos(angle), np.sin(angle)], -1), np.stack([-np.sin(angle), np.cos(angle)], -1)], 1)
    return np.einsum("fij,fkj->fki", turn, offsets)


def covered_share(labels: dict[str, NDArray[np.uint8]]) -> NDArray[np.float64]:
    """How much of the face the hand hides, of each frame: hand inside the box of the landmarks."""
    count, height, width = (int(n) for n in labels["mask_shape"])
    hand = np.unpackbits(labels["occluder"])[: count * height * width].reshape(count, height, width)
    shares: list[float] = []
    for mask, points in zip(hand, labels["landmarks"], strict=True):
        left, top = np.clip(points.min(0), 0, [width - 1, height - 1]).astype(int)
        right, bottom = np.clip(points.max(0), 0, [width - 1, height - 1]).astype(int)
        box = mask[top : bottom + 1, left : right + 1]
        shares.append(float(box.mean()) if box.size else 0.0)
    return np.array(shares)


CONDITIONS: dict[str, Callable[[Frames], NDArray[np.bool_]]] = {
    "all frames": lambda f: np.ones(len(f.found), bool),
    "yaw under 20": lambda f: (np.abs(f.yaw) < 20) & (f.covered < 0.02),
    "yaw 20 to 40": lambda f: (np.abs(f.yaw) >= 20) & (np.abs(f.yaw) < 40) & (f.covered < 0.02),
    "yaw 40 and more": lambda f: (np.abs(f.yaw) >= 40) & (f.covered < 0.02),
    "a hand over a part": lambda f: (f.covered >= 0.02) & (f.covered < 0.3),
    "a hand over much": lambda f: f.covered >= 0.3,
}


def main() -> None:
    """Look at every stress clip."""
    wanted = common.options(__doc__)
    given = wanted.clips or sorted(PEOPLE.glob("stress_*.mp4"))
    if not given:
        print(f"Nothing was measured: there are no stress_*.mp4 in {PEOPLE}; `make people` renders them.")
        return
    people = sorted((look(clip) for clip in given[: 2 if wanted.quick else None]), key=lambda f: f.tone)
    found: list[list[Cell]] = []
    errors: list[list[Cell]] = []
    for frames in people:
        name = f"{frames.person}, tone {frames.tone}"
        chosen = [condition(frames) for condition in CONDITIONS.values()]
        found.append([name, *(100 * float(frames.found[c].mean()) if c.any() else "" for c in chosen)])
        errors.append([name, *(mean(frames.error[c & frames.found]) for c in chosen), mean(frames.raw[frames.found])])
    shares = {str(row[0]): float(row[1]) for row in found}
    behind = max(shares.values()) - min(shares.values())
    common.save(
        Result(
            "face_finding",
            "Are faces of every skin tone, pose and occlusion found as often, and their landmarks where they belong?",
            "Seven synthetic people, lightest skin (tone 0) to darkest, on one shared track; found: the tracker's "
            f"landmarks lie within {NEAR:.0%} of the eye distance of the exact ones (median of the points).",
            [
                Table("Frames found, per cent", ["person", *CONDITIONS], found),
                Table(
                    "Landmark error, per cent of the eye distance, constant differences taken out",
                    ["person", *CONDITIONS, "all, with them"],
                    errors,
                ),
            ],
            [Plot("Frames found", "bars", "", "per cent", {"found": list(shares.items())})],
            [f"The person found least often is {behind:.1f} percentage points behind the best."],
        ),
        wanted,
    )


def mean(values: NDArray[np.float64]) -> Cell:
    """The mean, or nothing of nothing."""
    return float(values.mean()) if len(values) else ""


if __name__ == "__main__":
    main()
