"""What goes wrong in hours of training, provoked and survived; and what people do meanwhile: pause, go back, look."""

from __future__ import annotations

import math
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import clearswap
from clearswap import TrainConfig
from clearswap.api import train as api_train
from clearswap.core.augment import AugmentConfig
from clearswap.core.network import PRESETS, Counters
from clearswap.core.train_step import TrainingState, start_training, train_step
from clearswap.media.files import read_picture
from clearswap.training import checkpoint, loop
from clearswap.training.dataset import load_faces
from clearswap.training.device import MemoryGuard, World, used_device
from clearswap.training.log import LogRow, TrainingLog, read_history
from clearswap.training.loop import Clock, DivergenceGuard, Job
from makers import Ran, command, left_behind

SMALL = replace(PRESETS["lite"], batch=2)


class Training:
    """A real training of two face sets, whose steps a test may spoil."""

    def __init__(self, folder: Path, faces_a: Path, faces_b: Path, config: TrainConfig) -> None:
        world = World()
        self.state = start_training(SMALL, 0, world.device)
        loaded = [load_faces(faces, SMALL, world.device) for faces in (faces_a, faces_b)]
        data, held = [data for data, _ in loaded], [held for _, held in loaded]
        self.notes: list[str] = []
        checkpoint.save(folder, self.state)
        self.job = Job(folder, SMALL, data, held, config, AugmentConfig(), False, world, self.note)

    def note(self, progress: clearswap.Progress) -> None:
        """What training says."""
        self.notes.append(progress.note)

    def run(self, spoil: Callable[[TrainingState], None]) -> None:
        """Train, calling `spoil` after each step."""

        def step(state: TrainingState, *arguments: Any, **options: Any) -> Tensor:
            losses = train_step(state, *arguments, **options)
            spoil(state)
            return losses

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "train_step", step)
            loop.run(self.job, self.state)


def finite(state: TrainingState) -> bool:
    return all(bool(value.isfinite().all()) for value in state.net.state_dict().values())


@pytest.mark.parametrize(("when", "back"), [(12, 10), (10, 5), (30, 25)], ids=["between", "at a save", "at the end"])
def test_weights_that_are_no_numbers_are_left_behind(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path, when: int, back: int
) -> None:
    training = Training(tmp_path, faces_small_a, faces_small_b, TrainConfig(iterations=30, save_every=5))
    spoiled = False

    def spoil(state: TrainingState) -> None:
        nonlocal spoiled
        if state.counters.iteration == when and not spoiled:
            spoiled = True
            next(state.net.encoder.parameters()).data.fill_(math.nan)

    training.run(spoil)
    said = [note for note in training.notes if "losses or weights were no longer numbers after" in note]
    assert len(said) == 1
    assert f"went back to {back} with half the learning rate" in said[0]
    assert training.state.counters.iteration == 30
    assert finite(training.state)
    config, counters = checkpoint.read_about(tmp_path)
    assert (counters.iteration, config.learning_rate) == (30, SMALL.learning_rate / 2)
    rows = [moment.iteration for moment in read_history(tmp_path)]
    assert rows == sorted(rows)


def test_a_training_that_diverges_goes_back_too(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    """The optimiser takes a leap, between two saves: the losses rise, as numbers."""
    training = Training(tmp_path, faces_small_a, faces_small_b, TrainConfig(iterations=80, save_every=40, finish=0))
    raised = False

    def spoil(state: TrainingState) -> None:
        nonlocal raised
        if state.counters.iteration == 44 and not raised:
            raised = True
            for weights in state.net.parameters():
                weights.data.mul_(10)

    training.run(spoil)
    assert any("went back to" in note for note in training.notes)
    assert training.state.counters.iteration == 80
    assert finite(training.state)
    assert read_history(tmp_path)[-1].loss_a < 0.2
    assert read_history(tmp_path)[-1].loss_b < 0.2


def test_a_training_that_always_diverges_ends_in_a_sentence(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    training = Training(tmp_path, faces_small_a, faces_small_b, TrainConfig(iterations=60, save_every=5))

    def spoil(state: TrainingState) -> None:
        if state.counters.iteration == 8:
            next(state.net.encoder.parameters()).data.fill_(math.nan)

    with pytest.raises(
        clearswap.ModelError, match="diverged 5 times in a row; it is left as it was after 5 iterations"
    ):
        training.run(spoil)
    state = start_training(SMALL, 0, used_device())
    checkpoint.resume(tmp_path, state)
    assert state.counters.iteration == 5
    assert finite(state)


# --- clock, guard and log, each by itself ----------------------------------------------------------------


def test_a_clock_counts_earlier_runs_and_no_pauses() -> None:
    clock = Clock(Counters(10, 100.0, 40), snapshot_minutes=1)
    assert 100 <= clock.now() < 101
    clock.pause()
    paused = clock.now()
    time.sleep(0.02)
    assert clock.now() == paused
    clock.go_on()
    time.sleep(0.02)
    assert paused + 0.02 <= clock.now() < paused + 0.5
    assert clock.speed(Counters(20, 102.0, 140)) == pytest.approx(50)
    assert clock.next_snapshot == 120  # whole minutes of training, wherever the run began


def test_a_guard_takes_losses_that_waver_and_none_that_rise_or_are_no_numbers() -> None:
    guard = DivergenceGuard()
    for loss in (0.20, 0.15, 0.22, 0.10, 0.18):
        guard.add(torch.tensor([loss, loss]))
        assert guard.trouble() is None
    assert guard.losses == pytest.approx((0.18, 0.18))
    for _ in range(30):
        guard.add(torch.tensor([1.0, 1.0]))
    assert guard.trouble() == "the losses rose steeply"
    assert DivergenceGuard(guard.least_loss).trouble() is None
    guard = DivergenceGuard()
    guard.add(torch.tensor([math.nan, 0.1]))
    assert guard.trouble() == "losses or weights were no longer numbers"
    net = torch.nn.Linear(2, 2)
    guard = DivergenceGuard()
    assert guard.trouble(net) is None
    net.weight.data[0, 0] = math.inf
    assert guard.trouble() is None  # weights are looked at only when asked
    assert guard.trouble(net) == "losses or weights were no longer numbers"


def rows(*iterations: int) -> list[LogRow]:
    return [LogRow(i, i / 10, 50.0, 0.1, 0.2, 0.03, 0.04) for i in iterations]


def test_a_log_forgets_what_lies_past_the_model_it_goes_on_from(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0)
    for row in rows(1, 12, 14):
        log.report(row)
        log.show(np.zeros((64, 64, 3), np.uint8), row.iteration)
    assert read_history(tmp_path) == []  # nothing is written before the model is
    log.write()
    assert read_history(tmp_path) == rows(1, 12, 14)
    TrainingLog(tmp_path, 12)
    assert read_history(tmp_path) == rows(1, 12)
    assert [path.stem for path in sorted((tmp_path / "history").iterdir())] == ["00000001", "00000012"]


def test_a_log_that_cannot_be_written_is_said_once_and_loses_nothing(tmp_path: Path) -> None:
    notes: list[str] = []
    log = TrainingLog(tmp_path, 0, lambda p: notes.append(p.note))
    (tmp_path / "history.csv").mkdir()
    for row in rows(1, 2):
        log.report(row)
        log.write()
    said = [note for note in notes if note]
    assert len(said) == 1
    assert "history.csv cannot be written" in said[0]
    assert said[0].endswith("Training goes on without it.")
    (tmp_path / "history.csv").rmdir()
    log.write()
    assert read_history(tmp_path) == rows(1, 2)


# --- memory ----------------------------------------------------------------------------------------------


def limited(*arguments: str | Path) -> Ran:
    """Run a command that may use 2.4 GB of addresses, of which it needs 1.2 to start."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2_400_000_000, 2_400_000_000)),
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.skipif(torch.version.cuda is not None, reason="CUDA takes more addresses than the limit before it starts")
def test_too_large_a_batch_names_one_that_fits_and_auto_takes_it(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    start = ("train", faces_small_a, faces_small_b, "-o", tmp_path / "model", "--iterations", "1")
    said = limited(*start, "--batch", "256").sentence()  # 64 fit, within a factor of two
    assert "Batches of 256 faces of each person do not fit into memory, " in said
    fits = int(said.split("do not fit into memory, ")[1].split(" ")[0])
    assert 2 <= fits <= 128
    assert limited(*start, "--batch", str(fits)).code == 0
    assert checkpoint.read_about(tmp_path / "model")[0].batch == fits
    done = limited(
        "train", faces_small_a, faces_small_b, "-o", tmp_path / "other", "--iterations", "2", "--batch", "auto"
    )
    assert done.code == 0, done
    assert "batches of 16 faces of each person fit into memory" in " ".join(done.out.split())


def test_only_memory_counts_as_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"), MemoryGuard():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with MemoryGuard():
        raise MemoryError
    done = False
    with MemoryGuard():
        torch.empty(2**50, dtype=torch.uint8)
        done = True
    assert not done


def test_batches_are_halved_until_they_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried: list[int] = []

    def step(state: TrainingState, *_: object, **__: object) -> Tensor:
        tried.append(state.config.batch)
        if state.config.batch > 5:
            raise MemoryError
        return torch.zeros(2)

    monkeypatch.setattr(api_train, "train_step", step)
    job = Job(tmp_path, SMALL, [], [], TrainConfig(), AugmentConfig(), False, World())
    assert api_train.find_batch_size(job, 40) == 5
    assert tried == [40, 20, 10, 5, 5]
    with pytest.raises(clearswap.OptionError, match="Not even two faces"):
        api_train.find_batch_size(job, 1)


def test_a_batch_of_words_is_refused(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    ended = cli("train", faces_small_a, faces_small_b, "-o", tmp_path / "model", "--batch", "many")
    assert ended.code != 0
    assert "many" in ended.out + ended.err
    assert "Traceback" not in ended.out + ended.err
    assert not (tmp_path / "model").exists()


# --- pausing, and what changes under way ---------------------------------------------------------------------


def test_while_paused_nothing_is_trained_all_is_saved_and_the_clock_stands(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    asked, saved = 0, list[int]()

    def pause() -> bool:
        nonlocal asked
        asked += 1
        if 4 <= asked < 24:  # a second of 50 ms each
            saved.append(checkpoint.read_about(tmp_path)[1].iteration)
            return True
        return False

    notes: list[str] = []
    config = TrainConfig(iterations=6, batch=2, save_every=1000)
    begun = time.monotonic()
    done = clearswap.train(
        faces_small_a, faces_small_b, tmp_path, training=config, pause=pause, on_progress=lambda p: notes.append(p.note)
    )
    assert done.iterations == 6
    assert done.seconds < time.monotonic() - begun - 19 * 0.05
    assert saved[0] == 0  # before the pause
    assert set(saved[1:]) == {3}
    assert "paused after 3 iterations, all saved" in notes
    assert notes.index("going on") > notes.index("paused after 3 iterations, all saved")
    resumed = clearswap.train(faces_small_a, faces_small_b, tmp_path, training=replace(config, iterations=7))
    assert resumed.iterations == 7


def test_a_face_set_that_vanishes_under_way_harms_nothing(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    own = tmp_path / "faces"
    shutil.copytree(faces_small_a, own)

    def report(progress: clearswap.Progress) -> None:
        if progress.stage == "train" and progress.done and own.exists():
            shutil.rmtree(own)

    done = clearswap.train(
        own,
        faces_small_b,
        tmp_path / "model",
        training=TrainConfig(iterations=8, batch=2, save_every=2),
        on_progress=report,
    )
    assert done.iterations == 8
    assert not own.exists()
    with pytest.raises(clearswap.FacesetError, match="is not a face set"):
        clearswap.train(own, faces_small_b, tmp_path / "model", training=TrainConfig(iterations=9, batch=2))
    assert checkpoint.read_about(tmp_path / "model")[1].iteration == 8


# --- snapshots -----------------------------------------------------------------------------------------------


def test_the_latest_four_snapshots_and_the_best_are_kept_and_can_be_gone_back_to(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    config = TrainConfig(iterations=12, batch=2, save_every=2, snapshot_minutes=0)
    clearswap.train(faces_small_a, faces_small_b, tmp_path, training=config)
    assert checkpoint.snapshots(tmp_path) == [6, 8, 10, 12]
    measured = [moment.held for moment in read_history(tmp_path) if moment.held is not None]
    assert checkpoint.best_error(tmp_path) <= min(measured) + 1e-6
    back = clearswap.train(faces_small_a, faces_small_b, tmp_path, training=replace(config, back_to=8, iterations=8))
    assert back.iterations == 8
    assert torch.equal(weights(tmp_path / checkpoint.FILE), weights(tmp_path / "snapshots" / "00000008.safetensors"))
    assert max(moment.iteration for moment in read_history(tmp_path)) <= 8
    clearswap.train(faces_small_a, faces_small_b, tmp_path, training=replace(config, iterations=11))
    assert checkpoint.snapshots(tmp_path) == [8, 10, 11, 12]  # what was left is kept, but what is new, too
    assert all(int(path.stem) <= 11 for path in (tmp_path / "history").glob("*.jpg"))
    clearswap.train(faces_small_a, faces_small_b, tmp_path, training=replace(config, back_to="best", iterations=9))
    rows = [moment.iteration for moment in read_history(tmp_path)]
    assert rows == sorted(rows)


def weights(file: Path) -> Tensor:

    return torch.cat(
        [value.flatten() for name, value in sorted(load_file(file).items()) if name.startswith("network.")]
    )


def test_a_snapshot_that_is_not_there_is_one_sentence(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    clearswap.train(
        faces_small_a, faces_small_b, tmp_path, training=TrainConfig(iterations=3, batch=2, snapshot_minutes=0)
    )
    start = ("train", faces_small_a, faces_small_b, "-o", tmp_path, "--iterations", "4", "--batch", "2", "--back-to")
    assert "has no snapshot 77; there are: best, 3." in cli(*start, "77").sentence()
    assert cli(*start, "best").code == 0
    nothing = ("train", faces_small_a, faces_small_b, "-o", tmp_path / "new", "--back-to", "best")
    assert "holds no model, so there is no snapshot to go back to" in cli(*nothing).sentence()
    newest = checkpoint.read_about(tmp_path)[1].iteration
    lost = ("train", tmp_path / "typo", faces_small_b, "-o", tmp_path, "--back-to", "3")
    assert "is not a face set" in cli(*lost).sentence()
    assert checkpoint.read_about(tmp_path)[1].iteration == newest  # nothing was given up for a typing error


# --- beginning with another model --------------------------------------------------------------------------------


def test_a_new_model_begins_with_the_encoder_and_the_decoders_of_whom_it_knows(
    model: Path, faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    one = TrainConfig(iterations=1, batch=2)
    cold = clearswap.train(faces_small_a, faces_small_b, tmp_path / "cold", training=one)
    warm = clearswap.train(
        *(faces_small_b, faces_small_a, tmp_path / "warm"),  # the other way round: persons count, not sides
        init_from=model,
        training=one,
        on_progress=lambda p: notes.append(p.note),
    )
    assert any(f"beginning with what {model} knows of faces and of person a and b" in note for note in notes)
    assert warm.held_a + warm.held_b < 0.7 * (cold.held_a + cold.held_b)


def test_a_strangers_decoder_is_not_taken(model: Path) -> None:
    state = start_training(PRESETS["lite"].with_base(), 5, used_device())
    fresh = {name: value.clone() for name, value in state.net.decoder_a.state_dict().items()}
    state.persons = {"a": torch.ones(128)}
    assert checkpoint.init_from(model, state, 0.36) == []
    assert all(torch.equal(value, fresh[name]) for name, value in state.net.decoder_a.state_dict().items())
    old = start_training(PRESETS["lite"].with_base(), 0, used_device())
    checkpoint.resume(model, old)
    for part in ("encoder", "common", "mask"):
        pairs = zip(getattr(state.net, part).parameters(), getattr(old.average, part).parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_a_model_of_another_preset_is_no_beginning(
    model: Path, faces_small_a: Path, faces_small_b: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    start = ("train", faces_small_a, faces_small_b, "-o", tmp_path / "new", "--preset", "classic", "--iterations", "1")
    said = cli(*start, "--from", model).sentence()
    assert f"{model} holds a lite model; a classic model cannot begin with it." in said
    assert f"{tmp_path / 'none'} holds no model" in cli(*start, "--from", tmp_path / "none").sentence()
    assert left_behind(tmp_path) == []


# --- plots -----------------------------------------------------------------------------------------------------


def test_plot_draws_the_curves_and_joins_the_previews(model: Path, tmp_path: Path, cli: Callable[..., Ran]) -> None:
    done = cli("plot", model, "-o", tmp_path / "plots")
    assert done.code == 0, done
    assert left_behind(tmp_path) == ["plots", "plots/losses.png", "plots/training.gif"]
    picture = read_picture(tmp_path / "plots" / "losses.png")
    assert picture.std() > 5


def test_plot_of_nothing_is_one_sentence(tmp_path: Path, cli: Callable[..., Ran]) -> None:
    assert "has no history of a training" in cli("plot", tmp_path).sentence()
