"""Demo: the whole way on two synthetic people who never existed, and how near the result is to the right answer.

Both heads are rendered from one track of motion and light, so for each frame of person b's clip there is the
very same frame with person a's head: `truth.mp4`, which training never sees.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from clearswap.core.align import Frame, Matrix, Points, align, face_matrix, zoomed
from clearswap.core.mask import hull
from clearswap.core.metrics import Placement, best_placement, psnr, ssim
from clearswap.core.model import ModelConfig
from clearswap.core.swap import BlendConfig, Swapper, drawer
from clearswap.machinery import checkpoint
from clearswap.machinery.device import used_device
from clearswap.machinery.faceset import read_faces
from clearswap.machinery.pictures import encode_picture
from clearswap.machinery.plots import animate_previews, plot_losses
from clearswap.machinery.tracker import TrackConfig, make_tracker, track
from clearswap.machinery.video import read_frames
from clearswap.machinery.whole import whole_file
from clearswap.progress import Progress, Report, silent
from clearswap.verbs.convert import Converted
from clearswap.verbs.swap import Work, swap
from clearswap.verbs.train import TrainConfig

_EVERY = 4  # every n-th frame is measured
_FINE = 256  # the lines to compare with are not held back by the model's own size
_OWN_COLOURS = BlendConfig(colour=0.0)


@dataclass(frozen=True)
class Line:
    """One line of the table: how near some frames are to the truth, in its face area."""

    name: str
    psnr: float  # dB, as they are
    ssim: float
    placed_psnr: float  # after the clip's best constant zoom and shift
    placed_ssim: float


@dataclass(frozen=True)
class Demo:
    """The demo's outcome: the table and where everything lies."""

    lines: list[Line]
    converted: Converted
    video: Path
    sheet: Path
    losses: Path
    animation: Path
    seconds: float


def demo(
    folder: Path | str = "demo",
    *,
    training: TrainConfig = TrainConfig(minutes=7),
    report: Report = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Demo:
    """Run the demo into `folder`; a second call goes on where the first was stopped."""
    begun, home = time.monotonic(), Path(folder)
    clips = Path(str(resources.files("clearswap") / "demo_clips"))
    video = home / "person_b_with_face_of_a.mp4"
    converted = swap(
        clips / "person_a.mp4",
        clips / "person_b.mp4",
        video,
        work=home / "work",
        training=training,
        report=report,
        stop=stop,
    )
    work = Work(home / "work")
    measured = _Measured.read(clips / "person_b.mp4", video, clips / "truth.mp4", report)
    lines = _table(measured, work)
    outcome = Demo(
        lines=lines,
        converted=converted,
        video=video,
        sheet=home / "contact_sheet.png",
        losses=home / "losses.png",
        animation=home / "training.gif",
        seconds=time.monotonic() - begun,
    )
    _write(outcome.sheet, encode_picture(_contact_sheet(measured), ".png"))
    plot_losses(work.model, outcome.losses)
    animate_previews(work.model, outcome.animation)
    _write(home / "figures.json", json.dumps([asdict(line) for line in lines], indent=2).encode())
    return outcome


@dataclass(frozen=True)
class _Measured:
    """The frames that are compared, with the faces in them."""

    frames: list[Frame]  # of person b
    swapped: list[Frame]
    truth: list[Frame]
    landmarks: list[Points]  # in `frames`
    truth_landmarks: list[Points]

    @classmethod
    def read(cls, source: Path, swapped: Path, truth: Path, report: Report) -> _Measured:
        """Every fourth frame in which both heads were found."""
        report(Progress("measure", 0, 3, "clips"))
        frames, landmarks = _track(source)
        report(Progress("measure", 1, 3, "clips"))
        truths, truth_landmarks = _track(truth)
        report(Progress("measure", 2, 3, "clips"))
        results = [frame.picture for frame in read_frames(swapped)]
        chosen = [
            i for i in range(0, len(frames), _EVERY) if landmarks[i] is not None and truth_landmarks[i] is not None
        ]
        found = [(landmarks[i], truth_landmarks[i]) for i in chosen]
        both = [(first, second) for first, second in found if first is not None and second is not None]
        report(Progress("measure", 3, 3, "clips"))
        return cls(
            [frames[i] for i in chosen],
            [results[i] for i in chosen],
            [truths[i] for i in chosen],
            [first for first, _ in both],
            [second for _, second in both],
        )

    def areas(self) -> Tensor:
        """The part of the truth's face that every candidate replaces (B, 1, H, W), 0 or 1: inside the truth's
        landmarks, and inside person b's drawn in by a sixth, where no mask is soft.
        """
        height = self.truth[0].shape[0]
        areas: list[Frame] = []
        for points, true in zip(self.landmarks, self.truth_landmarks, strict=True):
            inner = points.mean(0) + (points - points.mean(0)) * np.float32(5 / 6)
            areas.append(np.minimum(hull(inner, height), hull(true, height)))
        return torch.from_numpy(np.stack(areas))[:, None].float() / 255


def _track(clip: Path) -> tuple[list[Frame], list[Points | None]]:
    tracked = list(track(read_frames(clip), make_tracker(TrackConfig())))
    return [frame.picture for frame, _ in tracked], [found[0].landmarks if found else None for _, found in tracked]


def _table(measured: _Measured, work: Work) -> list[Line]:
    """The swap beside three lines whose meaning is known.

    All but the video are measured without colour matching: the truth has person a's own skin, which a swap into
    person b's head gives up on purpose.
    """
    device = used_device()
    model, net = checkpoint.load_network(work.model, device)
    swapped = Swapper(drawer(net, "a"), model, device, blend=_OWN_COLOURS)
    candidates = {
        "unswapped frame": measured.frames,
        "a's average face, still": _stills(measured, work, model),
        "this swap": swapped(measured.frames, [[points] for points in measured.landmarks]),
        "this swap, in b's colours": measured.swapped,
        "a's own frame (ceiling)": _ceiling(measured, model),
    }
    return [_line(name, frames, measured) for name, frames in candidates.items()]


def _line(name: str, frames: list[Frame], measured: _Measured) -> Line:
    result, truth, area = _tensor(frames), _tensor(measured.truth), measured.areas()
    some = slice(None, None, 4)  # the placement has three numbers: a quarter of the frames is plenty
    placement = best_placement(result[some], truth[some], area[some])
    scores: list[float] = []
    for placed in (Placement(), placement):
        moved = result if placed == Placement() else placed.apply(result)
        scores += [float(psnr(moved, truth, area).mean()), float(ssim(moved, truth, area).mean())]
    return Line(name, *scores)


def _stills(measured: _Measured, work: Work, model: ModelConfig) -> list[Frame]:
    """Person a's average aligned face in each frame: what a swap that follows nothing would be."""
    fine = replace(model, size=_FINE)
    squares = [
        align(picture, _seen(np.eye(2, 3), len(picture), fine), _FINE) for _, picture in read_faces(work.faces_a)
    ]
    mean = _tensor([np.mean(squares, 0).astype(np.uint8)])
    swapper = Swapper(lambda aligned: mean.expand_as(aligned), fine, torch.device("cpu"), blend=_OWN_COLOURS)
    return swapper(measured.frames, [[points] for points in measured.landmarks])


def _ceiling(measured: _Measured, model: ModelConfig) -> list[Frame]:
    """Person a's own face of the same moment, put where the swap would go: all that a perfect network could do."""
    fine = replace(model, size=_FINE)
    results: list[Frame] = []
    for frame, points, truth, truth_points in zip(
        measured.frames, measured.landmarks, measured.truth, measured.truth_landmarks, strict=True
    ):
        own = _tensor([align(truth, _seen(face_matrix(truth_points, _FINE), _FINE, fine), _FINE)])
        swapper = Swapper(lambda _, own=own: own, fine, torch.device("cpu"), blend=_OWN_COLOURS)
        results += swapper([frame], [[points]])
    return results


def _seen(matrix: Matrix, size: int, model: ModelConfig) -> Matrix:
    """The part of a `whole_face` square of side `size` that the model sees."""
    return zoomed(matrix, size, model.size, model.coverage, model.drop)


def _tensor(frames: list[Frame]) -> Tensor:
    """(B, 3, H, W) in 0..1."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def _contact_sheet(measured: _Measured, columns: int = 6) -> Frame:
    """Rows of frame, swap and truth at moments spread over the clip."""
    moments = np.linspace(0, len(measured.frames) - 1, columns).astype(int)
    named = {"frame": measured.frames, "swap": measured.swapped, "truth": measured.truth}
    rows: list[Frame] = []
    for name, frames in named.items():
        chosen: list[Frame] = [frames[int(i)] for i in moments]
        row: Frame = np.concatenate(chosen, 1)
        rows.append(_captioned(row, name))
    return np.concatenate(rows)


def _captioned(row: Frame, text: str) -> Frame:
    for thickness, colour in ((4, (0, 0, 0)), (1, (255, 255, 255))):
        cv2.putText(row, text, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.9, colour, thickness, cv2.LINE_AA)
    return row


def _write(path: Path, data: bytes) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(data)
