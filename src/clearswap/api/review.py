"""Review: what two face sets lack, before hours of training are spent on them.

notes = clearswap.review("faces_a", "faces_b", "poses.png").notes
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import pixel_scale
from clearswap.faces.faceset import read_index, spread
from clearswap.faces.pose import Gap, Poses, gap, mouth_opening, plot_poses, rough_pose, variety
from clearswap.faces.selection import SAME, Embedding, average, embeddings, strangers
from clearswap.progress import OnProgress, Progress, silent

_FEW = 150  # faces; with 180 the demo's networks learn them by heart within minutes
_UNLIKE = 15  # unlike faces (`coverage.variety`): clips in which the head turns have 18 to 43, a newsreader 5 and 8
_SMALL = 0.6  # of the square's side: faces were enlarged by more than two thirds
_BLURRED = 0.3  # of the set's median sharpness
_LOOKED_AT = 150  # faces of each set whose person is told, 8 ms each


@dataclass(frozen=True)
class FacesetFacts:
    """What is known of one face set."""

    folder: Path
    faces: int
    poses: Poses  # (N, 2) yaw and pitch in degrees
    unlike: int  # faces that differ in pose or mouth
    blurred: list[str]  # files much less sharp than the rest
    size: float  # median side in frame pixels of what became the aligned square, as a share of that square
    person: NDArray[np.float32]  # (128,)
    strangers: list[str]  # files of somebody else, among those looked at


@dataclass(frozen=True)
class ReviewResult:
    """Two face sets, and in one sentence each what could be better; nothing to say is a good sign."""

    a: FacesetFacts
    b: FacesetFacts
    notes: list[str]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """How much each set holds, and what could be better."""
        facts = [f"{f.folder}: {f.faces} faces, {f.unlike} unlike poses and mouths" for f in (self.a, self.b)]
        return [*facts, *(self.notes or ["Nothing to mend was found."])]

    @property
    def persons(self) -> dict[str, NDArray[np.float32]]:
        """Who is in the sets, by side."""
        return {"a": self.a.person, "b": self.b.person}

    def draw(self, picture: Path) -> None:
        """Draw which way both look, as a PNG. Raises `OutputError`."""
        both = {"a": self.a, "b": self.b}
        plot_poses({f"{side}: {facts.folder.name}": facts.poses for side, facts in both.items()}, picture)


def review(
    faces_a: Path | str, faces_b: Path | str, output: Path | str | None = None, *, on_progress: OnProgress = silent
) -> ReviewResult:
    """Look through two face sets before hours of training: what is missing, blurred, alike, or somebody else's.

    Draws which way both persons look: what one shows and the other never does will be a guess in the swap. Training
    does this, too, when it begins a model.

    Args:
        faces_a: Face set of person a.
        faces_b: Face set of person b.
        output: Picture (PNG) to write, of which way both look.
        on_progress: Called after each face set.

    Raises:
        FacesetError: A face set is missing, damaged, or holds fewer than two faces.
        FaceModelsMissing: The face models are not installed.
        OutputError: `output` cannot be written.
    """
    embedding = Embedding()
    facts: list[FacesetFacts] = []
    for done, faces in enumerate((faces_a, faces_b)):
        on_progress(Progress("review", done, 2, "face sets"))
        facts.append(_facts(Path(faces), embedding))
    on_progress(Progress("review", 2, 2, "face sets"))
    a, b = facts
    notes = [*_alone(a), *_alone(b), *_unseen(a, b), *_unseen(b, a)]
    if np.linalg.norm(a.person - b.person) < SAME:
        notes.append(f"{a.folder} and {b.folder} seem to show the same person.")
    looked = ReviewResult(a, b, notes)
    if output is not None:
        looked.draw(Path(output))
    return looked


def _facts(folder: Path, embedding: Embedding) -> FacesetFacts:
    records = read_index(folder, at_least=2)
    poses = np.array([rough_pose(record.landmarks) for record in records])
    looked_at = spread(records, _LOOKED_AT)
    found = embeddings(folder, looked_at, embedding)
    sharpness = np.array([record.sharpness for record in records])
    dull = np.flatnonzero(sharpness < _BLURRED * np.median(sharpness))
    return FacesetFacts(
        folder,
        len(records),
        poses,
        variety(poses, np.array([mouth_opening(record.landmarks) for record in records])),
        [records[i].file for i in dull],
        float(np.median([1 / pixel_scale(np.array(record.matrix)) for record in records])),
        average(found),
        [looked_at[i].file for i in strangers(found)],
    )


def _alone(facts: FacesetFacts) -> Iterator[str]:
    """What can be said of one set by itself."""
    where = facts.folder
    if facts.faces < _FEW:
        yield f"{where} holds only {facts.faces} faces; a few hundred unlike ones make a much better model."
    if facts.unlike < _UNLIKE:
        yield (
            f"The faces in {where} are much alike ({facts.unlike} poses and mouths in {facts.faces} faces); footage in "
            "which the head turns and the person talks helps more than more of the same."
        )
    if len(facts.blurred) > 0.1 * facts.faces:
        yield f"{len(facts.blurred)} faces in {where} are much more blurred than the rest; delete or replace them."
    if facts.size < _SMALL:
        times = f"{1 / facts.size:.1f} times"
        yield f"The faces in {where} are small and were enlarged {times}; no swap will be sharper than they are."
    if facts.strangers:
        yield f"{_names(facts.strangers)} in {where} may show somebody else; delete what does not belong."


def _unseen(one: FacesetFacts, other: FacesetFacts) -> Iterator[str]:
    """What one person shows and the other never does."""
    missing: Gap = gap(one.poses, other.poses)
    if missing.share > 0.03:
        directions = " and ".join(missing.directions) or "in poses"
        yield (
            f"{100 * missing.share:.0f} % of the faces in {one.folder} look further {directions} than any in "
            f"{other.folder}; put on them, that person's face is a guess. Footage of it would help."
        )


def _names(files: list[str]) -> str:
    shown = ", ".join(files[:4])
    return shown if len(files) <= 4 else f"{shown} and {len(files) - 4} more"
