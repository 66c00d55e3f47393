"""The held-out error: which faces are kept apart, what the figure says, and when training is told to have flattened."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import clearswap
from clearswap import TrainConfig
from clearswap.core.augment import framed
from clearswap.core.expression import MEASURES
from clearswap.core.network import PRESETS, Drawn, ModelConfig, Side
from clearswap.core.train_step import start_training
from clearswap.faces.faceset import FaceRecord
from clearswap.training import checkpoint
from clearswap.training.dataset import HeldOut, held_out, held_out_error, load_faces, minutes_without_gain
from clearswap.training.device import used_device
from clearswap.training.log import LogRow, TrainingLog, read_history
from makers import Ran, left_behind

CPU = torch.device("cpu")


def records(*sources: tuple[str, int]) -> list[FaceRecord]:
    """So many faces of each source, one after the other."""
    return [
        FaceRecord(f"{source}_{i}.jpg", source, i, i / 25, [0, 0, 1, 1], [], 1.0, 1.0, 256, [], [])
        for source, count in sources
        for i in range(count)
    ]


# --- which faces -----------------------------------------------------------------------------------------


def test_the_end_of_each_clip_is_held_out() -> None:
    given_ = records(("one.mp4", 40), ("two.mp4", 20))
    assert held_out(given_, 0.1) == {36, 37, 38, 39, 58, 59}
    assert held_out(given_, 0.5) == {*range(20, 40), *range(50, 60)}


def test_pictures_and_short_clips_count_as_one() -> None:
    pictures = records(*((f"{i}.jpg", 1) for i in range(20)))
    assert held_out(pictures, 0.1) == {18, 19}
    mixed = records(("one.jpg", 1), ("clip.mp4", 30), ("short.mp4", 9))
    assert held_out(mixed, 0.2) == {*range(25, 31), 38, 39}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.floats(0.01, 0.5))
@settings(max_examples=60)
def test_at_least_one_is_held_out_and_never_all(counts: list[int], share: float) -> None:
    faces = records(*((f"{i}.mp4", count) for i, count in enumerate(counts)))
    if len(faces) < 2:  # no training takes such a set
        return
    held = held_out(faces, share)
    assert 1 <= len(held) < len(faces)
    assert held <= set(range(len(faces)))
    assert len(held) <= share * len(faces) + len(counts)  # each clip is rounded for itself
    for source in {face.source for face in faces}:
        own = [i for i, face in enumerate(faces) if face.source == source]
        if len(own) >= 10:
            kept = [i in held for i in own]
            assert kept == sorted(kept)  # first those that are trained on, then those held out


def test_no_held_out_face_is_trained_on(faces_a: Path) -> None:
    model = replace(PRESETS["classic"], hold_out=0.2)  # sees all of a face, also its surroundings
    data, held = load_faces(faces_a, model, CPU)
    total = len(data.faces) + len(held.inputs)  # two turned ones differ so much that they seem to be covered
    assert 95 <= total <= 100
    assert len(held.inputs) == round(total / 5)
    trained = framed(data.faces[:, :3].float() / 255, model)
    gaps = torch.stack([(trained - one).abs().mean((1, 2, 3)).min() for one in held.inputs])
    assert float(gaps.min()) > 1e-3
    again = torch.stack([(trained - one).abs().mean((1, 2, 3)).min() for one in trained[:5]])
    assert float(again.max()) == 0  # a face that was trained on would have been found


def test_a_set_of_two_trains_on_one_and_holds_out_the_other(faces_small_a: Path, tmp_path: Path) -> None:
    for file in [*sorted(faces_small_a.glob("*.jpg"))[:2], faces_small_a / "index.jsonl"]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data, held = load_faces(tmp_path, PRESETS["lite"], CPU)
    assert (len(data.faces), len(held.inputs), len(held.truth), len(held.area)) == (1, 1, 1, 1)


# --- the figure ------------------------------------------------------------------------------------------


class Draws(nn.Module):
    """In a network's place: draws what it is shown, changed by `change`."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.change = change

    def forward(self, aligned: Tensor, expression: Tensor, seen: Side, drawn: Side) -> Drawn:
        assert expression.shape == (len(aligned), MEASURES)
        assert seen == drawn
        return Drawn(self.change(aligned))


def shown_to(size: int, coverage: float = 0.7, drop: float = 0.055) -> ModelConfig:
    return replace(PRESETS["lite"], size=size, seen=size, coverage=coverage, drop=drop, only_face=False)


@pytest.fixture(scope="module")
def held(faces_small_a: Path) -> Callable[[ModelConfig], HeldOut]:
    return lambda model: load_faces(faces_small_a, model, CPU)[1]


def error(held: Callable[[ModelConfig], HeldOut], model: ModelConfig, net: nn.Module) -> float:
    return held_out_error(net, model, held(model), "a")  # type: ignore[arg-type]


def test_a_perfect_drawing_of_the_common_square_has_no_error(held: Callable[[ModelConfig], HeldOut]) -> None:
    assert error(held, shown_to(128), Draws()) < 0.006  # but for sampling the picture twice


def test_perfect_drawers_of_every_preset_differ_by_their_blur_alone(held: Callable[[ModelConfig], HeldOut]) -> None:
    """A drawing at another place would cost far more: each preset's square is laid where it belongs."""
    sizes = [error(held, shown_to(size), Draws()) for size in (48, 64, 96, 128)]
    assert sizes == sorted(sizes, reverse=True)
    views = [(0.7, 0.055), (0.75, 0.05), (0.8, 0.05), (0.9, 0.0), (0.75, -0.05)]
    errors = [error(held, shown_to(round(128 * view[0] / 0.7), *view), Draws()) for view in views]
    assert max(errors) < 0.01
    misplaced = replace(shown_to(128), drop=0.0)
    assert held_out_error(Draws(), misplaced, held(shown_to(128)), "a") > 3 * max(errors)  # type: ignore[arg-type]
    for config in PRESETS.values():
        assert error(held, replace(config, only_face=False), Draws()) < 0.03


def test_it_grows_with_noise_blur_and_shift(held: Callable[[ModelConfig], HeldOut]) -> None:
    model = shown_to(96)
    clean = error(held, model, Draws())

    def noisy(amount: float) -> float:
        return error(held, model, Draws(lambda x: x + amount * torch.randn_like(x)))

    def blurred(kernel: int) -> float:
        return error(held, model, Draws(lambda x: F.avg_pool2d(x, kernel, 1, kernel // 2, count_include_pad=False)))

    torch.manual_seed(0)
    for spoil, amounts in ((noisy, (0.02, 0.05, 0.1)), (blurred, (3, 7, 15))):
        errors = [clean, *map(spoil, amounts)]
        assert errors == sorted(errors)
        assert errors[-1] > 2 * clean
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        moved = error(held, model, Draws(lambda x, by=shift: torch.roll(x, by, (2, 3))))
        assert moved > 1.1 * clean


def test_only_the_face_counts(held: Callable[[ModelConfig], HeldOut]) -> None:
    model = shown_to(128)
    faces = held(model)
    everywhere = copy.copy(faces.area)

    def around(x: Tensor) -> Tensor:
        far = F.max_pool2d(everywhere, 9, 1, 4) == 0
        return torch.where(far, torch.ones_like(x), x)

    assert held_out_error(Draws(around), model, faces, "a") == pytest.approx(error(held, model, Draws()), rel=1e-3)  # type: ignore[arg-type]


def test_measuring_leaves_the_network_as_it_was(faces_small_a: Path) -> None:
    state = start_training(replace(PRESETS["lite"], batch=2), 0, CPU)
    before = {name: value.clone() for name, value in state.net.state_dict().items()}
    _, held = load_faces(faces_small_a, state.config, CPU)
    for training in (True, False):
        state.net.train(training)
        found = [held_out_error(state.net, state.config, held, "a") for _ in range(2)]
        assert found[0] == found[1]
        assert state.net.training is training
    assert all(torch.equal(before[name], value) for name, value in state.net.state_dict().items())


# --- when it has flattened -------------------------------------------------------------------------------

NOISE = st.integers(0, 1000)


def wobble(seed: int, count: int, reach: float) -> np.ndarray:
    return 1 + reach * np.random.default_rng(seed).uniform(-1, 1, count)


@given(NOISE, st.integers(420, 20_000), st.floats(0.2, 0.7))
@settings(max_examples=60)
def test_an_error_that_still_falls_is_not_flat(seed: int, end: int, power: float) -> None:
    seconds = np.linspace(5, end, max(80, end // 60))
    errors = seconds**-power * wobble(seed, len(seconds), 0.01)
    assert minutes_without_gain(seconds.tolist(), errors.tolist()) is None


@given(NOISE, st.integers(600, 20_000), st.floats(0.02, 0.2))
@settings(max_examples=60)
def test_a_plateau_is_flat_for_a_third_of_the_training(seed: int, end: int, floor: float) -> None:
    seconds = np.linspace(5, end, max(80, end // 60))
    errors = (floor + np.exp(-seconds / end * 20)) * wobble(seed, len(seconds), 0.003)
    assert minutes_without_gain(seconds.tolist(), errors.tolist()) == pytest.approx(max(120, end / 3) / 60)


@given(NOISE, st.integers(600, 20_000), st.floats(0.1, 2.0))
@settings(max_examples=60)
def test_an_error_that_rises_again_is_flat_too(seed: int, end: int, rise: float) -> None:
    """Learned by heart: what was held out is drawn ever worse."""
    seconds = np.linspace(5, end, max(80, end // 60))
    turn = 0.5 * end
    errors = 0.1 * (1 + np.abs(seconds - turn) / turn * rise) * wobble(seed, len(seconds), 0.003)
    assert minutes_without_gain(seconds.tolist(), errors.tolist()) is not None


@given(st.integers(0, 200), st.integers(1, 120))
@settings(max_examples=60)
def test_a_young_training_is_never_flat(count: int, minute: int) -> None:
    seconds = np.linspace(0, minute, count).tolist()  # two minutes at most
    assert minutes_without_gain(seconds, [0.1] * count) is None
    assert minutes_without_gain([1000.0 * i for i in range(9)], [0.1] * 9) is None


def test_one_lucky_measurement_is_no_gain() -> None:
    seconds = [5.0 * i for i in range(200)]
    errors = [0.05] * 200
    errors[-3] = 0.03
    assert minutes_without_gain(seconds, errors) is not None


# --- in a training ---------------------------------------------------------------------------------------


def trained_before(folder: Path, errors: np.ndarray) -> None:
    """A model that has trained for twenty minutes, with that history of held-out errors."""
    state = start_training(replace(PRESETS["lite"], batch=2), 0, used_device())
    state.counters.iteration, state.counters.seconds, state.counters.images = 1000, 1200.0, 4000
    checkpoint.save(folder, state)
    log = TrainingLog(folder, 0)
    for i, value in enumerate(errors):
        part = (i + 1) / len(errors)
        log.report(LogRow(round(1000 * part), 1190 * part, 50.0, 0.1, 0.1, float(value), float(value)))
    log.write()


def test_until_flat_ends_a_training_that_no_longer_gains(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    trained_before(tmp_path, np.full(200, 0.02))
    notes: list[str] = []
    config = TrainConfig(until_flat=True, batch=2, iterations=3000)
    done = clearswap.train(
        faces_small_a, faces_small_b, tmp_path, training=config, on_progress=lambda p: notes.append(p.note)
    )
    assert 1000 < done.iterations < 3000
    assert done.flat_minutes == pytest.approx(done.seconds / 3 / 60, rel=0.01)
    assert sum("no gain over the last 7 minutes" in note for note in notes) == 1  # said once, not at each measurement
    assert read_history(tmp_path)[-1].held == pytest.approx((done.held_a + done.held_b) / 2, rel=1e-4)


def test_without_until_flat_it_is_only_said(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    trained_before(tmp_path, np.full(200, 0.02))
    notes: list[str] = []
    config = TrainConfig(batch=2, iterations=1003)
    done = clearswap.train(
        faces_small_a, faces_small_b, tmp_path, training=config, on_progress=lambda p: notes.append(p.note)
    )
    assert done.iterations == 1003
    assert any("no gain over the last" in note for note in notes)


def test_until_flat_goes_on_while_the_error_falls(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    trained_before(tmp_path, np.linspace(5, 1, 200))
    config = TrainConfig(until_flat=True, batch=2, iterations=1003)
    done = clearswap.train(faces_small_a, faces_small_b, tmp_path, training=config)
    assert (done.iterations, done.flat_minutes) == (1003, None)


def test_a_model_keeps_its_share_and_another_is_refused(
    model: Path, faces_small_a: Path, faces_small_b: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / checkpoint.FILE).write_bytes((model / checkpoint.FILE).read_bytes())
    arguments = ["train", faces_small_a, faces_small_b, "-o", folder, "--iterations", "61", "--batch", "2"]
    said = cli(*arguments, "--hold-out", "0.2").sentence()
    assert f"{folder} was trained with 0.1 of the faces held out, not 0.2; leave the share to hold out away" in said
    assert left_behind(folder) == [checkpoint.FILE]
    assert cli(*arguments, "--hold-out", "0.1").code == 0
    fresh = TrainConfig(hold_out=0.25, iterations=1, batch=2)
    clearswap.train(faces_small_a, faces_small_b, tmp_path / "fresh", training=fresh)
    assert checkpoint.read_about(tmp_path / "fresh")[0].hold_out == 0.25


@pytest.mark.parametrize("share", [0.0, -0.1, 0.51, 1.0])
def test_a_share_that_makes_no_sense_is_refused(share: float) -> None:
    with pytest.raises(clearswap.OptionError, match="is not possible for hold out"):
        TrainConfig(hold_out=share)
