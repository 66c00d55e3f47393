"""Evaluate: the truth scores perfectly, and each known fault moves its own score the right way.

The clips are tracked once; a spoiled clip is read from the sampled frames, spoiled, and scored against their reference.
Three evaluations go from files to files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import clearswap
from clearswap.api.evaluate import EvaluateConfig, EvaluateResult
from clearswap.core.blend import hull
from clearswap.disclosure.stamp import LabelConfig, make_stamp
from clearswap.evaluation.motion import FEATURES
from clearswap.evaluation.sampling import (
    ClipReader,
    SampledFrame,
    Sampler,
    chosen_frames,
    mark_of_result,
    sampled_frames,
    unlabelled,
    whole_frame,
)
from clearswap.evaluation.scores import (
    BASELINE,
    METRICS,
    ORACLE,
    RESULT,
    TRUTH,
    UNSWAPPED,
    ClipScores,
    Samples,
    score,
    score_clip,
)
from clearswap.faces.tracker import TrackConfig
from makers import Picture, Ran, head_of_clip, left_behind, pictures_of
from spoiled import (
    Change,
    blurred,
    changed_outside,
    flickering,
    lossless,
    mixed,
    noised,
    seamed,
    shifted,
    tinted,
    unchanged,
)

FRAMES = 45


@dataclass(frozen=True)
class Judge:
    """Clips that were read once, and a way to score what becomes of the reference's frames."""

    samples: Samples
    frames: list[SampledFrame]
    sampler: Sampler

    def __call__(self, change: Change) -> ClipScores:
        clip = ClipReader(self.sampler.reader)
        for frame in self.frames:
            clip.add(change(frame.reference, face_of(frame), frame.index), frame)
        return score_clip(clip.samples(), self.samples.reference)


def face_of(frame: SampledFrame) -> Picture:
    """Where the face is: (H, W), 0 or 1."""
    return hull(frame.face.landmarks, *frame.video.shape[:2]) // 255


def judge(video: Path, truth: Path | None, identity: Path | None, samples: int) -> Judge:
    """Read the clips, the reference itself in the place of a swap."""
    sampler = Sampler(TrackConfig(), identity=identity, has_truth=truth is not None)
    chosen = chosen_frames(FRAMES, samples)
    frames = [f for _, f in sampled_frames(video, truth or video, truth, sampler.reader, chosen) if f is not None]
    for frame in frames:
        sampler.add(frame, None)
    return Judge(sampler.samples(without_face=0), frames, sampler)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def video(demo_clips: Path, folder: Path) -> Path:
    return head_of_clip(demo_clips / "person_b.mp4", folder / "video.mp4", FRAMES)


@pytest.fixture(scope="module")
def truth(demo_clips: Path, folder: Path) -> Path:
    return head_of_clip(demo_clips / "truth.mp4", folder / "truth.mp4", FRAMES)


@pytest.fixture(scope="module")
def identity(faces_a: Path, folder: Path) -> Path:
    """About twelve faces of person a."""
    small = folder / "faces"
    small.mkdir()
    files = sorted(faces_a.glob("*.jpg"))
    for file in [*files[:: max(1, len(files) // 12)], faces_a / "index.jsonl"]:
        (small / file.name).write_bytes(file.read_bytes())
    return small


@pytest.fixture(scope="module")
def with_truth(video: Path, truth: Path) -> Judge:
    """Six frames of the truth, spoiled, against the truth."""
    return judge(video, truth, None, 6)


@pytest.fixture(scope="module")
def alone(truth: Path, identity: Path) -> Judge:
    """Thirty frames of the truth clip, spoiled, against themselves, as if that clip were the original."""
    return judge(truth, None, identity, 30)


@pytest.fixture(scope="module")
def lines(alone: Judge) -> dict[str, ClipScores]:
    """The whole table where nothing was changed."""
    return score(alone.samples)


@pytest.fixture(scope="module")
def perfect(video: Path, truth: Path, identity: Path, folder: Path) -> EvaluateResult:
    """From files to files: the truth itself, taken for a swap."""
    config = EvaluateConfig(samples=30, worst=2)
    return clearswap.evaluate(truth, video, folder / "perfect", truth=truth, identity=identity, config=config)


@pytest.fixture(scope="module")
def without_truth(truth: Path, identity: Path, folder: Path) -> EvaluateResult:
    """From files to files: a clip that was not changed."""
    config = EvaluateConfig(samples=9, worst=2)
    return clearswap.evaluate(truth, truth, folder / "without truth", identity=identity, config=config)


# --- against the truth -----------------------------------------------------------------------------------

PERFECT = {
    **dict.fromkeys(("frame_psnr", "face_psnr", "placed_psnr", "fitted_psnr"), 100),
    **dict.fromkeys(("frame_ssim", "face_ssim", "placed_ssim", "fitted_ssim"), 1),
    **dict.fromkeys(("edge", "pose", "expression", "identity_truth", "perceptual"), 0),
    **dict.fromkeys(("border", "followed", "flicker", "sharpness", "grain"), 1),
    **dict.fromkeys(("lids", "jaw", "gaze", "closed", "closed_lids"), 1),
}


def test_the_truth_itself_is_perfect_in_every_metric(perfect: EvaluateResult) -> None:
    for name in (RESULT, TRUTH):
        assert {key: perfect.lines[name].scores[key] for key in PERFECT} == pytest.approx(PERFECT, abs=0.02), name
    assert perfect.lines[RESULT].scores == pytest.approx(perfect.lines[TRUTH].scores, abs=0.02)
    assert perfect["identity_wanted"] < 0.6 < perfect["identity_video"]
    assert perfect.frames == sorted(set(perfect.frames))
    assert (len(perfect.frames), perfect.without_face) == (30, 0)


def test_the_lines_stand_in_the_order_of_how_good_they_are(perfect: EvaluateResult) -> None:
    assert list(perfect.lines) == [UNSWAPPED, BASELINE, RESULT, ORACLE, TRUTH]
    lines = {name: line.scores for name, line in perfect.lines.items()}
    for key in ("score", "fitted_psnr", "fitted_ssim", "followed", "face_psnr", "lids"):
        assert lines[BASELINE][key] < lines[ORACLE][key] < lines[TRUTH][key], key
        assert lines[UNSWAPPED][key] < lines[ORACLE][key], key
    for key in ("identity_truth", "identity_wanted", "perceptual"):
        assert lines[TRUTH][key] < lines[ORACLE][key] < lines[UNSWAPPED][key], key
    assert lines[UNSWAPPED]["identity_video"] < lines[ORACLE]["identity_video"]
    assert lines[UNSWAPPED]["identity_truth"] > 0.6
    assert lines[BASELINE]["followed"] < 0.3


def test_a_shift_is_taken_out_by_placing(with_truth: Judge) -> None:
    done = with_truth(shifted)
    assert done.scores["face_psnr"] < 30
    assert done.scores["placed_psnr"] > done.scores["face_psnr"] + 8
    assert done.scores["fitted_psnr"] == pytest.approx(done.scores["placed_psnr"], abs=1)
    assert done.scores["placed_ssim"] > done.scores["face_ssim"]
    assert done.placement.right > 0 > done.placement.down  # moves it back


def test_a_tint_is_taken_out_by_colouring(with_truth: Judge) -> None:
    done = with_truth(tinted)
    assert done.scores["face_psnr"] < 28
    assert done.scores["placed_psnr"] == pytest.approx(done.scores["face_psnr"], abs=1.5)
    assert done.scores["fitted_psnr"] > done.scores["placed_psnr"] + 12
    assert done.colours.gain == pytest.approx((1 / 0.8, 1 / 0.95, 1 / 1.05), abs=0.03)


def test_a_blur_is_not_taken_out_by_anything(with_truth: Judge) -> None:
    done = with_truth(blurred).scores
    assert done["sharpness"] < 0.7
    assert done["perceptual"] > 0.15
    assert done["score"] < 80
    assert done["face_psnr"] < 40
    assert done["fitted_psnr"] == pytest.approx(done["face_psnr"], abs=1.5)
    assert done["fitted_ssim"] < 0.97
    assert done["identity_truth"] > 0.02


def covered_by(frames: list[SampledFrame]) -> dict[int, Picture]:
    """A bar over the left half of the face in each frame, (H, W)."""
    masks = np.stack([face_of(frame) for frame in frames])
    columns = np.where(masks.any(1), np.arange(masks.shape[2]), -1).max(1)
    masks[:, :, : int(columns.mean()) - 60] = 0
    return {frame.index: mask for frame, mask in zip(frames, masks, strict=True)}


def test_what_something_covers_is_left_out(with_truth: Judge, video: Path, truth: Path, folder: Path) -> None:
    """From files to files, with labels."""
    pictures, covered = pictures_of(truth), covered_by(with_truth.frames)
    masks = np.zeros((len(pictures), *pictures[0].shape[:2]), np.uint8)
    for index, mask in covered.items():
        masks[index] = mask
        pictures[index] = mixed(pictures[index], mask, 255.0 - pictures[index])
    labels = folder / "some.labels.npz"
    np.savez_compressed(labels, occluder=np.packbits(masks), mask_shape=np.array(masks.shape))
    done = clearswap.evaluate(
        lossless(folder / "covered.mkv", pictures),
        video,
        folder / "covered",
        truth=truth,
        labels=labels,
        config=EvaluateConfig(samples=6, worst=1),
    )
    assert done.frames == sorted(covered)
    assert done["frame_psnr"] < 25  # the whole frame counts everything
    assert (done["face_psnr"], done["face_ssim"]) == pytest.approx((100, 1), abs=0.05)


# --- without a truth -------------------------------------------------------------------------------------


def test_unchanged_frames_have_nothing_to_find_fault_with(lines: dict[str, ClipScores]) -> None:
    expected = {"edge": 0, "pose": 0, "expression": 0, "outside": 100}
    expected |= dict.fromkeys(("followed", "flicker", "sharpness", "grain", "lids", "jaw", "gaze"), 1)
    for name in (RESULT, UNSWAPPED):
        assert {key: lines[name].scores[key] for key in expected} == pytest.approx(expected, abs=0.02)
    assert list(lines) == [UNSWAPPED, BASELINE, RESULT]
    for line in lines.values():
        more = {"score", "border", "identity_wanted", "identity_video", "closed", "closed_lids"}
        assert set(line.scores) == set(expected) | more


def test_every_score_has_its_metric(without_truth: EvaluateResult, perfect: EvaluateResult) -> None:
    for done in (without_truth, perfect):
        assert {metric.key for metric in done.metrics} == set(done.lines[RESULT].scores)
    assert set(without_truth.metrics) | set(perfect.metrics) == set(METRICS)


def test_a_clip_is_scored_alike_wherever_it_is_read(alone: Judge, lines: dict[str, ClipScores]) -> None:
    """So what the tests below say of spoiled frames holds for files, too."""
    assert alone(unchanged).scores == pytest.approx(lines[RESULT].scores, abs=0.02)


def test_a_still_face_follows_nothing(lines: dict[str, ClipScores]) -> None:
    still = lines[BASELINE].scores
    assert still["followed"] < 0.3
    assert still["expression"] > 1
    assert still["outside"] > 45  # only the face was touched


def test_frozen_frames_follow_nothing(alone: Judge) -> None:
    first = alone.frames[0].video
    done = alone(lambda _f, _m, _i: first)
    assert abs(done.scores["followed"]) < 0.15
    agreements = dict(zip(FEATURES, done.agreements, strict=True))
    for name in ("eye opening", "mouth opening", "gaze across", "gaze down"):  # the brows hardly move in this clip
        assert abs(agreements[name].followed) < 0.3, agreements[name]
    assert done.scores["pose"] > 1
    assert done.scores["expression"] > 1


def test_late_motion_is_not_followed(alone: Judge, truth: Path) -> None:
    pictures = pictures_of(truth)
    done = alone(lambda _f, _m, index: pictures[max(0, index - 3)])
    assert done.scores["followed"] < 0.75
    assert done.scores["pose"] > 0.3


def test_noise_is_grain_and_flickers_but_sharpens_nothing(alone: Judge) -> None:
    done = alone(noised).scores
    assert done["sharpness"] == pytest.approx(1, abs=0.05)
    assert done["grain"] > 1.3
    assert done["flicker"] > 1.5
    assert done["outside"] > 45


def test_flicker_is_seen(alone: Judge) -> None:
    done = alone(flickering).scores
    assert done["flicker"] > 2
    assert done["sharpness"] == pytest.approx(1, abs=0.1)


def test_a_seam_is_an_edge(alone: Judge) -> None:
    done = alone(seamed).scores
    assert done["edge"] > 0.4
    assert done["border"] > 1.02
    assert done["followed"] > 0.8
    assert done["flicker"] == pytest.approx(1, abs=0.25)


def test_what_changes_outside_the_face_is_seen(alone: Judge) -> None:
    done = alone(changed_outside).scores
    assert done["outside"] < 30
    assert done["followed"] > 0.7
    assert done["sharpness"] == pytest.approx(1, abs=0.01)


def test_every_fault_lowers_the_score(alone: Judge, lines: dict[str, ClipScores], video: Path) -> None:
    best = lines[RESULT].scores["score"]
    frozen, other = alone.frames[0].video, pictures_of(video)
    changes: dict[str, Change] = {
        "blurred": blurred,
        "seamed": seamed,
        "flickering": flickering,
        "frozen": lambda _f, _m, _i: frozen,
        "another person": lambda _f, _m, index: other[index],
    }
    found = {name: alone(change).scores["score"] for name, change in changes.items()}
    assert max(found.values()) < best, found
    assert max(found[name] for name in ("frozen", "another person")) < best - 30, found


def test_our_own_label_and_mark_are_no_damage(alone: Judge) -> None:
    frame = alone.frames[3]
    shape = (frame.video.shape[0], frame.video.shape[1])
    for label in (True, False):
        stamp = make_stamp(shape, 4711, label=LabelConfig(label=label))
        stamped = stamp(frame.video, frame.video)
        assert whole_frame(stamped, frame, stamp.pattern)["outside"] == pytest.approx(100)
        assert 38 < whole_frame(stamped, frame, None)["outside"] < 52  # the mark counts, the label does not
    spoiled = stamp(frame.video // 2, frame.video)
    assert whole_frame(spoiled, frame, stamp.pattern)["outside"] < 20
    assert 0.8 < unlabelled(*shape).mean() < 1


def test_the_mark_is_found_in_a_file(truth: Path, folder: Path) -> None:
    pictures = pictures_of(truth)
    stamp = make_stamp(pictures[0].shape[:2], 4711)
    marked = lossless(folder / "marked.mkv", [stamp(picture, picture) for picture in pictures[:30]])
    assert np.array_equal(mark_of_result(truth, marked), stamp.pattern)
    assert mark_of_result(truth, truth) is None
    assert mark_of_result(marked, marked) is None  # was there before


def test_another_persons_face_is_another_identity(alone: Judge, lines: dict[str, ClipScores], video: Path) -> None:
    """The clip of person b, taken for a swap that should show person a."""
    pictures = pictures_of(video)
    other = alone(lambda _f, _m, index: pictures[index]).scores
    same = lines[RESULT].scores
    assert other["identity_wanted"] > same["identity_wanted"] + 0.15
    assert other["identity_wanted"] > 0.6 > same["identity_wanted"]
    assert other["identity_video"] > 0.6 > same["identity_video"]


# --- what is written -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["perfect", "without_truth"])
def test_the_files_hold_the_same_figures_and_need_nothing_else(kind: str, request: pytest.FixtureRequest) -> None:
    done: EvaluateResult = request.getfixturevalue(kind)
    data = json.loads(done.json.read_text())
    assert data["frames"] == done.frames
    assert list(data["lines"]) == list(done.lines)
    for name, line in done.lines.items():
        assert data["lines"][name]["scores"] == pytest.approx(line.scores)
        assert list(data["lines"][name]["motion"]) == list(FEATURES)
        assert list(data["lines"][name]["meaning"]) == list(line.meaning.numbers)
        assert np.shape(data["motion"][name]) == (len(done.frames), len(FEATURES))
    page = done.report.read_text()
    assert re.findall(r"https?://|//[a-z]", re.sub(r"base64,[^\"]*", "", page)) == []
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page)
    assert len(sources) == 4  # two plots and the two worst frames
    assert all(source.startswith("data:image/") for source in sources)
    assert "@import" not in page and "url(" not in page and "<script" not in page
    for metric in done.metrics:
        assert metric.title in page
    assert all(name in page for name in done.lines)
    assert set(left_behind(done.json.parent)) == {"evaluation.json", "report.html"}
    assert not any("/" in name for name in data["clips"].values())  # both can be passed on: names, not where they lie
    assert all(name in page for name in data["clips"].values())
    assert str(done.json.parents[1]) not in done.json.read_text() + page


def test_the_command_says_the_same(
    without_truth: EvaluateResult, truth: Path, identity: Path, folder: Path, cli: Callable[..., Ran]
) -> None:
    arguments = ["--identity", identity, "--samples", "9", "--worst", "2"]
    said = cli("evaluate", truth, truth, "-o", folder / "by command", *arguments)
    assert said.code == 0, said
    assert said.err == ""
    words = re.sub(r"[\s│┃]+", " ", said.out)
    for metric in without_truth.metrics:
        assert metric.title.split(",")[0].split(":")[0] in words
    for key in ("identity_wanted", "followed", "sharpness"):
        assert f"{without_truth[key]:.3f}" in words
    assert "9 frames measured." in words
    assert str(folder / "by command" / "report.html") in said.out
    data = json.loads((folder / "by command" / "evaluation.json").read_text())
    assert data["lines"][RESULT]["scores"] == pytest.approx(without_truth.lines[RESULT].scores)
