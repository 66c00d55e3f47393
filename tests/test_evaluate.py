"""Evaluate: the truth scores perfectly, and each known fault moves its own figure the right way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import clearswap
from clearswap.api.evaluate import CEILING, RESULT, STILL, TRUTH, UNSWAPPED, EvaluateConfig, EvaluateResult
from clearswap.evaluation.motion import FEATURES
from clearswap.evaluation.scores import FIGURES
from makers import Ran, head_of_clip, left_behind
from spoiled import (
    Clip,
    blurred,
    changed_outside,
    flickering,
    lossless,
    mixed,
    noised,
    read_clip,
    seamed,
    shifted,
    tinted,
)

FEW = EvaluateConfig(samples=9, worst=2)
FEWEST = EvaluateConfig(samples=6, worst=2)
MANY = EvaluateConfig(samples=30, worst=2)
FRAMES = 45
Judge = Callable[..., EvaluateResult]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def source(demo_clips: Path, folder: Path) -> Clip:
    return read_clip(head_of_clip(demo_clips / "person_b.mp4", folder / "source.mp4", FRAMES))


@pytest.fixture(scope="module")
def truth(demo_clips: Path, folder: Path) -> Clip:
    return read_clip(head_of_clip(demo_clips / "truth.mp4", folder / "truth.mp4", FRAMES))


@pytest.fixture(scope="module")
def target(faces_a: Path, folder: Path) -> Path:
    """Twelve faces of person a."""
    small = folder / "faces"
    small.mkdir()
    for file in [*sorted(faces_a.glob("*.jpg"))[::9], faces_a / "index.jsonl"]:
        (small / file.name).write_bytes(file.read_bytes())
    return small


@pytest.fixture(scope="module")
def with_truth(source: Clip, truth: Clip, folder: Path) -> Judge:
    """Measure a swap of the source clip against the truth."""

    def judge(result: Path, labels: Path | None = None) -> EvaluateResult:
        output = folder / f"{result.stem} against truth"
        return clearswap.evaluate(result, source.path, output, truth=truth.path, labels=labels, config=FEWEST)

    return judge


@pytest.fixture(scope="module")
def without(truth: Clip, target: Path, folder: Path) -> Judge:
    """Measure what became of the truth clip, as if that were the original."""

    def judge(result: Path, config: EvaluateConfig = FEW) -> EvaluateResult:
        return clearswap.evaluate(result, truth.path, folder / f"{result.stem} alone", identity=target, config=config)

    return judge


@pytest.fixture(scope="module")
def perfect(source: Clip, truth: Clip, target: Path, folder: Path) -> EvaluateResult:
    output = folder / "perfect"
    return clearswap.evaluate(truth.path, source.path, output, truth=truth.path, identity=target, config=MANY)


@pytest.fixture(scope="module")
def unchanged(without: Judge, truth: Clip) -> EvaluateResult:
    return without(truth.path, MANY)


# --- against the truth -----------------------------------------------------------------------------------

PERFECT = {
    **dict.fromkeys(("frame_psnr", "face_psnr", "placed_psnr", "fitted_psnr"), 100),
    **dict.fromkeys(("frame_ssim", "face_ssim", "placed_ssim", "fitted_ssim"), 1),
    **dict.fromkeys(("edge", "pose", "expression", "identity_truth"), 0),
    **dict.fromkeys(("border", "followed", "flicker", "sharpness"), 1),
}


def test_the_truth_itself_is_perfect_in_every_figure(perfect: EvaluateResult) -> None:
    for name in (RESULT, TRUTH):
        assert {key: perfect.lines[name].scores[key] for key in PERFECT} == pytest.approx(PERFECT, abs=0.02), name
    assert perfect.lines[RESULT].scores == pytest.approx(perfect.lines[TRUTH].scores, abs=0.02)
    assert perfect["identity_target"] < 0.6 < perfect["identity_source"]
    assert perfect.frames == sorted(set(perfect.frames))
    assert (len(perfect.frames), perfect.without_face) == (30, 0)


def test_the_lines_stand_in_the_order_of_how_good_they_are(perfect: EvaluateResult) -> None:
    assert list(perfect.lines) == [UNSWAPPED, STILL, RESULT, CEILING, TRUTH]
    lines = {name: line.scores for name, line in perfect.lines.items()}
    for figure in ("fitted_psnr", "fitted_ssim", "followed", "face_psnr"):
        assert lines[STILL][figure] < lines[CEILING][figure] < lines[TRUTH][figure], figure
        assert lines[UNSWAPPED][figure] < lines[CEILING][figure], figure
    for figure in ("identity_truth", "identity_target"):
        assert lines[TRUTH][figure] < lines[CEILING][figure] < lines[UNSWAPPED][figure], figure
    assert lines[UNSWAPPED]["identity_source"] < lines[CEILING]["identity_source"]
    assert lines[UNSWAPPED]["identity_truth"] > 0.6
    assert lines[STILL]["followed"] < 0.3


def test_a_shift_is_taken_out_by_placing(with_truth: Judge, truth: Clip, folder: Path) -> None:
    done = with_truth(truth.spoil(folder / "shifted.mkv", shifted))
    assert done["face_psnr"] < 30
    assert done["placed_psnr"] > done["face_psnr"] + 8
    assert done["fitted_psnr"] == pytest.approx(done["placed_psnr"], abs=1)
    assert done["placed_ssim"] > done["face_ssim"]
    assert done.lines[RESULT].placement.right > 0 > done.lines[RESULT].placement.down  # moves it back


def test_a_tint_is_taken_out_by_colouring(with_truth: Judge, truth: Clip, folder: Path) -> None:
    done = with_truth(truth.spoil(folder / "tinted.mkv", tinted))
    assert done["face_psnr"] < 28
    assert done["placed_psnr"] == pytest.approx(done["face_psnr"], abs=1.5)
    assert done["fitted_psnr"] > done["placed_psnr"] + 12
    assert done.lines[RESULT].colours.gain == pytest.approx((1 / 0.8, 1 / 0.95, 1 / 1.05), abs=0.03)


def test_a_blur_is_not_taken_out_by_anything(with_truth: Judge, truth: Clip, folder: Path) -> None:
    done = with_truth(truth.spoil(folder / "blurred.mkv", blurred))
    assert done["sharpness"] < 0.6
    assert done["face_psnr"] < 40
    assert done["fitted_psnr"] == pytest.approx(done["face_psnr"], abs=1.5)
    assert done["fitted_ssim"] < 0.97
    assert done["identity_truth"] > 0.02


def covered_by(clip: Clip) -> np.ndarray:
    """A bar over the left half of the face (N, H, W)."""
    masks = np.stack(clip.faces)
    columns = np.where(masks.any(1), np.arange(masks.shape[2]), -1).max(1)
    masks[:, :, : int(columns.mean()) - 60] = 0
    return masks


def test_what_something_covers_is_left_out(with_truth: Judge, truth: Clip, folder: Path) -> None:
    covered = covered_by(truth)
    result = truth.spoil(folder / "covered.mkv", lambda f, _m, i: mixed(f, covered[i], 255.0 - f))
    labels = folder / "some.labels.npz"
    np.savez_compressed(labels, occluder=np.packbits(covered), mask_shape=np.array(covered.shape))
    done = with_truth(result, labels)
    assert done["frame_psnr"] < 25  # the whole frame counts everything
    assert (done["face_psnr"], done["face_ssim"]) == pytest.approx((100, 1), abs=0.05)


# --- without a truth -------------------------------------------------------------------------------------


def test_unchanged_frames_have_nothing_to_find_fault_with(unchanged: EvaluateResult) -> None:
    expected = {"edge": 0, "followed": 1, "pose": 0, "expression": 0, "flicker": 1, "sharpness": 1, "outside": 100}
    for name in (RESULT, UNSWAPPED):
        assert {key: unchanged.lines[name].scores[key] for key in expected} == pytest.approx(expected, abs=0.02)
    assert list(unchanged.lines) == [UNSWAPPED, STILL, RESULT]
    assert {figure.key for figure in unchanged.figures} == {f.key for f in FIGURES if not f.needs_truth}


def test_a_still_face_follows_nothing(unchanged: EvaluateResult) -> None:
    still = unchanged.lines[STILL]
    assert still.scores["followed"] < 0.3
    assert still.scores["expression"] > 1
    assert still.scores["outside"] > 45  # only the face was touched


def test_frozen_frames_follow_nothing(without: Judge, truth: Clip, folder: Path) -> None:
    done = without(lossless(folder / "frozen.mkv", [truth.frames[0]] * len(truth.frames)), MANY)
    assert abs(done["followed"]) < 0.15
    follows = dict(zip(FEATURES, done.lines[RESULT].follows, strict=True))
    for name in ("eye opening", "mouth opening", "gaze across", "gaze down"):  # the brows hardly move in this clip
        assert abs(follows[name].followed) < 0.3, follows[name]
    assert done["pose"] > 1
    assert done["expression"] > 1


def test_late_motion_is_not_followed(unchanged: EvaluateResult, without: Judge, truth: Clip, folder: Path) -> None:
    late = [truth.frames[max(0, i - 3)] for i in range(len(truth.frames))]
    done = without(lossless(folder / "late.mkv", late), MANY)
    assert done["followed"] < 0.75 * unchanged["followed"]
    assert done["pose"] > 0.3


def test_noise_sharpens_and_flickers(without: Judge, truth: Clip, folder: Path) -> None:
    done = without(truth.spoil(folder / "noised.mkv", noised))
    assert done["sharpness"] > 1.5
    assert done["flicker"] > 1.5
    assert done["outside"] > 45


def test_flicker_is_seen(without: Judge, truth: Clip, folder: Path) -> None:
    done = without(truth.spoil(folder / "flickering.mkv", flickering))
    assert done["flicker"] > 2
    assert done["sharpness"] == pytest.approx(1, abs=0.1)


def test_a_seam_is_an_edge(without: Judge, truth: Clip, folder: Path) -> None:
    done = without(truth.spoil(folder / "seamed.mkv", seamed))
    assert done["edge"] > 0.4
    assert done["border"] > 1.02
    assert done["followed"] > 0.8
    assert done["flicker"] == pytest.approx(1, abs=0.25)


def test_what_changes_outside_the_face_is_seen(without: Judge, truth: Clip, folder: Path) -> None:
    done = without(truth.spoil(folder / "outside.mkv", changed_outside))
    assert done["outside"] < 30
    assert done["followed"] > 0.7
    assert done["sharpness"] == pytest.approx(1, abs=0.01)


def test_another_persons_face_is_another_identity(unchanged: EvaluateResult, without: Judge, source: Clip) -> None:
    """The clip of person b, taken for a swap that should show person a."""
    done = without(source.path)
    assert done["identity_target"] > unchanged["identity_target"] + 0.15
    assert done["identity_target"] > 0.6 > unchanged["identity_target"]
    assert done["identity_source"] > 0.6 > unchanged["identity_source"]


# --- what is written -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["perfect", "unchanged"])
def test_the_files_hold_the_same_figures_and_need_nothing_else(kind: str, request: pytest.FixtureRequest) -> None:
    done: EvaluateResult = request.getfixturevalue(kind)
    data = json.loads(done.json.read_text())
    assert data["frames"] == done.frames
    assert list(data["lines"]) == list(done.lines)
    for name, line in done.lines.items():
        assert data["lines"][name]["scores"] == pytest.approx(line.scores)
        assert list(data["lines"][name]["motion"]) == list(FEATURES)
        assert np.shape(data["motion"][name]) == (len(done.frames), len(FEATURES))
    page = done.report.read_text()
    assert re.findall(r"https?://|//[a-z]", re.sub(r"base64,[^\"]*", "", page)) == []
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page)
    assert len(sources) == 4  # two plots and the two worst frames
    assert all(source.startswith("data:image/") for source in sources)
    assert "@import" not in page and "url(" not in page and "<script" not in page
    for figure in done.figures:
        assert figure.title in page
    assert all(name in page for name in done.lines)
    assert set(left_behind(done.json.parent)) == {"evaluation.json", "report.html"}


def test_the_command_says_the_same(
    without: Judge, truth: Clip, source: Clip, target: Path, folder: Path, cli: Callable[..., Ran]
) -> None:
    done = without(source.path, FEW)
    arguments = ["--identity", target, "--samples", "9", "--worst", "2"]
    said = cli("evaluate", source.path, truth.path, "-o", folder / "by command", *arguments)
    assert said.code == 0, said
    assert said.err == ""
    words = re.sub(r"[\s│┃]+", " ", said.out)
    for figure in done.figures:
        assert figure.title.split(",")[0].split(":")[0] in words
    for key in ("identity_target", "followed", "sharpness"):
        assert f"{done[key]:.3f}" in words
    assert "9 frames measured." in words
    assert str(folder / "by command" / "report.html") in said.out
    data = json.loads((folder / "by command" / "evaluation.json").read_text())
    assert data["lines"][RESULT]["scores"] == pytest.approx(done.lines[RESULT].scores)
