"""Training: it learns, stops when asked, goes on exactly where it stopped, and says how far it is."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import clearswap
from clearswap import TrainConfig
from clearswap.core.network import PRESETS, Counters
from clearswap.faces.faceset import read_index
from clearswap.media.files import locked, read_picture
from clearswap.training import checkpoint
from clearswap.training.log import COLUMNS, TrainingLog, read_history
from makers import Ran, command, left_behind


def contents(model: Path) -> dict[str, torch.Tensor]:
    with safe_open(model / checkpoint.FILE, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def iterations(model: Path) -> int:
    return checkpoint.read_about(model)[1].iteration


def test_a_run_leaves_a_model_a_preview_and_a_history(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    config = TrainConfig(iterations=7, batch=2, save_every=3, preview_seconds=0)
    done = clearswap.train(faces_small_a, faces_small_b, tmp_path / "new" / "model", training=config)
    model = tmp_path / "new" / "model"
    assert (done.iterations, done.images) == (7, 7 * 2 * 2)
    assert done.seconds > 0
    about, counters = checkpoint.read_about(model)
    assert (about.preset, counters.iteration, counters.images) == ("lite", 7, 28)
    preview = read_picture(model / "preview.jpg")
    assert preview.shape[0] == 512
    assert preview.std() > 20
    kept = [name for name in left_behind(model) if name.startswith("history/")]
    assert kept
    rows = read_history(model)
    assert rows[-1].iteration == 7
    assert (rows[-1].held_a, rows[-1].held_b) == pytest.approx((done.held_a, done.held_b), rel=1e-5)
    assert (model / "history.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert set(left_behind(model)) == {
        *("model.safetensors", "preview.jpg", "history.csv", "poses.png", "history", *kept),
        *("snapshots", "snapshots/best.safetensors", "detail_a.safetensors", "detail_b.safetensors"),
    }


def test_the_same_seed_gives_the_same_model_and_another_does_not(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        config = TrainConfig(iterations=2, batch=2, seed=seed)
        clearswap.train(faces_small_a, faces_small_b, tmp_path / name, training=config)
    one, again, other = (contents(tmp_path / name) for name in ("one", "again", "other"))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_twenty_iterations_are_ten_and_ten_bit_for_bit(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    """Nothing that training depends on is missing from the file: weights, averages, moments, random numbers."""
    config = TrainConfig(iterations=20, batch=2, finish=0)
    clearswap.train(faces_small_a, faces_small_b, tmp_path / "once", training=config)
    clearswap.train(faces_small_a, faces_small_b, tmp_path / "twice", training=replace(config, iterations=10))
    torch.manual_seed(999)  # as another process would have it
    clearswap.train(faces_small_a, faces_small_b, tmp_path / "twice", training=replace(config, seed=5))
    once, twice = contents(tmp_path / "once"), contents(tmp_path / "twice")
    assert once.keys() == twice.keys()
    assert [name for name in once if not torch.equal(once[name], twice[name])] == []


def test_a_model_goes_on_after_a_restart_and_its_counters_add_up(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    first = clearswap.train(faces_small_a, faces_small_b, tmp_path, training=TrainConfig(iterations=3, batch=2))
    second = clearswap.train(
        faces_small_a,
        faces_small_b,
        tmp_path,
        training=TrainConfig(iterations=5, batch=2),
        on_progress=lambda p: notes.append(p.note),
    )
    assert (first.iterations, second.iterations, second.images) == (3, 5, 20)
    assert second.seconds > first.seconds
    assert any("going on with" in note and "after 3 iterations" in note for note in notes)
    rows = [moment.iteration for moment in read_history(tmp_path)]
    assert rows == sorted(rows)
    assert rows[-1] == 5


def test_enough_iterations_already_trains_no_further(
    model: Path, faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    (tmp_path / checkpoint.FILE).write_bytes((model / checkpoint.FILE).read_bytes())
    done = clearswap.train(faces_small_a, faces_small_b, tmp_path, training=TrainConfig(iterations=60, batch=8))
    before, after = contents(model), contents(tmp_path)
    assert done.iterations == 60
    assert all(torch.equal(value, before[name]) for name, value in after.items() if "shown" not in name)


def test_a_lite_model_learns_the_two_synthetic_people(model: Path) -> None:
    losses = [(moment.loss_a, moment.loss_b) for moment in read_history(model)]
    assert len(losses) >= 3
    assert losses[-1][0] < 0.7 * losses[0][0]
    assert losses[-1][1] < 0.7 * losses[0][1]


def test_batches_grow_unless_one_is_asked_for(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    def batches() -> tuple[int, int | None]:
        model = checkpoint.read_about(tmp_path)[0]
        return model.batch, model.first_batch

    assert clearswap.train(faces_small_a, faces_small_b, tmp_path, training=TrainConfig(iterations=1)).images == 2 * 4
    assert batches() == (16, 4)
    assert clearswap.train(
        faces_small_a, faces_small_b, tmp_path, training=TrainConfig(iterations=2, batch=3)
    ).images == 2 * (4 + 3)
    assert batches() == (3, None)
    assert clearswap.train(faces_small_a, faces_small_b, tmp_path, training=TrainConfig(iterations=3)).images == 2 * (
        4 + 3 + 3
    )


def test_a_classic_model_learns_too(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    config = TrainConfig(preset="classic", iterations=8, batch=2, preview_seconds=1e9)
    done = clearswap.train(faces_small_a, faces_small_b, tmp_path, training=config)
    assert checkpoint.read_about(tmp_path)[0].network == "classic"
    assert done.iterations == 8
    losses = [moment.loss_a + moment.loss_b for moment in read_history(tmp_path)]
    assert losses[-1] < losses[0]


def test_another_preset_is_refused_and_none_keeps_the_models_own(
    model: Path, faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    (tmp_path / checkpoint.FILE).write_bytes((model / checkpoint.FILE).read_bytes())
    with pytest.raises(clearswap.ModelError, match="holds a lite model, not classic"):
        clearswap.train(faces_small_a, faces_small_b, tmp_path, training=TrainConfig(preset="classic", iterations=61))
    done = clearswap.train(
        faces_small_a, faces_small_b, tmp_path, training=TrainConfig(preset=None, iterations=61, batch=2)
    )
    assert done.iterations == 61


def test_stop_ends_the_training_and_saves(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    done = clearswap.train(faces_small_a, faces_small_b, tmp_path, training=TrainConfig(batch=2), stop=stop)
    assert done.iterations == 4 == iterations(tmp_path)


def test_minutes_end_the_training(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    done = clearswap.train(faces_small_a, faces_small_b, tmp_path, training=TrainConfig(minutes=0.02, batch=2))
    assert done.iterations >= 1
    assert done.seconds >= 1.2


def test_progress_goes_up_to_the_iterations_asked_for(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    seen: list[clearswap.Progress] = []
    config = TrainConfig(iterations=6, batch=2)
    clearswap.train(faces_small_a, faces_small_b, tmp_path, training=config, on_progress=seen.append)
    steps = [event for event in seen if not event.note and event.stage == "train"]
    assert [event.done for event in steps] == sorted(event.done for event in steps)
    assert {(event.stage, event.total, event.unit) for event in steps} == {("train", 6, "iterations")}
    assert steps[-1].done == 6
    assert list(steps[-1].values) == ["iteration", "held-out a", "held-out b", "images/s"]
    for event in steps:  # the held-out errors come as soon as they are measured, at the latest at the end
        assert {"iteration", "images/s"} <= set(event.values)
        assert all(0 < value < 1 for name, value in event.values.items() if name.startswith("held-out"))
    assert any("training on the" in event.note for event in seen)


def test_bfloat16_learns_the_same_and_keeps_float32_weights(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    held: dict[str, float] = {}
    for precision in ("float32", "bfloat16"):
        seen: list[clearswap.Progress] = []
        config = TrainConfig(iterations=4, batch=2, precision=precision)
        done = clearswap.train(
            faces_small_a, faces_small_b, tmp_path / precision, training=config, on_progress=seen.append
        )
        held[precision] = done.held_a
        assert any(f" in {precision}" in event.note for event in seen)
        weights = contents(tmp_path / precision)
        assert {value.dtype for name, value in weights.items() if name.startswith("network.")} <= {
            torch.float32,
            torch.int64,  # the level's count of batches
        }
    assert held["bfloat16"] != held["float32"]  # or it would not have been used
    assert held["bfloat16"] == pytest.approx(held["float32"], rel=0.1)


def test_a_face_set_of_two_is_enough_and_bigger_pictures_are_taken(faces_small_a: Path, tmp_path: Path) -> None:
    small = tmp_path / "two"
    small.mkdir()
    for file in [
        *sorted(faces_small_a.glob("*.jpg"))[:2],
        faces_small_a / "index.jsonl",
        faces_small_a / "consent.toml",
    ]:
        (small / file.name).write_bytes(file.read_bytes())
    assert len(read_index(small)) == 2
    done = clearswap.train(small, faces_small_a, tmp_path / "model", training=TrainConfig(iterations=1, batch=3))
    assert done.iterations == 1


def test_kept_previews_come_ever_more_rarely(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0)
    kept = [step for step in range(100_000) if log.keeps_preview(step)]
    gaps = np.diff(kept)
    assert 60 < len(kept) < 120
    assert (gaps[5:] >= gaps[4:-1]).all()


def test_all_presets_are_offered_by_name() -> None:
    assert set(PRESETS) == {"lite", "hd", "xl", "classic"}
    assert all(name == config.preset for name, config in PRESETS.items())


# --- at a real terminal ----------------------------------------------------------------------------------


class Terminal:
    """A `clearswap` process that believes it sits at a terminal."""

    def __init__(self, *arguments: str | Path, line: list[str] | None = None) -> None:
        """Run `clearswap` with these arguments, or the command line `line`."""
        self.master, inner = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            line or command(*arguments),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
        )
        os.close(inner)

    def read_until(self, done: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError:  # the other side is closed
                    break

    def code(self) -> int:
        self.read_until(lambda: self.process.poll() is not None)
        code = self.process.wait(30)
        os.close(self.master)
        return code


@pytest.mark.parametrize("how", ["q", "Q", "SIGINT", "SIGTERM", "SIGHUP"])
def test_a_key_or_a_signal_saves_and_ends_well(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path, how: str
) -> None:
    model = tmp_path / "model"
    arguments: Sequence[str | Path] = (
        "train",
        faces_small_a,
        faces_small_b,
        "-o",
        model,
        "--batch",
        "2",
        "--save-every",
        "100000",
    )
    terminal = Terminal(*arguments)
    terminal.read_until(lambda: "iteration " in terminal.seen)  # the first losses stand there
    assert "iteration " in terminal.seen, terminal.seen
    if how.startswith("SIG"):
        terminal.process.send_signal(getattr(signal, how))
        if how == "SIGHUP":  # the system sends one, and the shell another
            time.sleep(0.1)
            terminal.process.send_signal(signal.SIGHUP)
    else:
        os.write(terminal.master, how.encode())
    assert terminal.code() == 0, terminal.seen
    assert "iterations," in terminal.seen
    assert iterations(model) >= 1
    assert "Traceback" not in terminal.seen


def test_p_pauses_and_goes_on(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    terminal = Terminal("train", faces_small_a, faces_small_b, "-o", tmp_path / "model", "--batch", "2")
    for key, answer in ((b"", "iteration "), (b"p", "paused after"), (b"P", "going on")):
        os.write(terminal.master, key)
        terminal.read_until(lambda answer=answer: answer in terminal.seen)
        assert answer in terminal.seen, terminal.seen
    os.write(terminal.master, b"q")
    assert terminal.code() == 0, terminal.seen


def test_a_terminal_that_is_closed_saves_and_ends(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    """Then nothing can be printed or read any more, either."""
    script = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
    )
    arguments = command("train", faces_small_a, faces_small_b, "-o", tmp_path, "--batch", "2", "--save-every", "100000")
    terminal = Terminal(line=[sys.executable, "-c", script, *arguments])
    terminal.read_until(lambda: "iteration " in terminal.seen)
    os.close(terminal.master)
    assert terminal.process.wait(60) in (0, 128 + signal.SIGHUP)
    assert iterations(tmp_path) >= 1


@pytest.mark.parametrize(("number", "between"), [("SIGINT", 0.2), ("SIGTERM", 0.2), ("SIGHUP", 1.2)])
def test_a_second_signal_ends_at_once_with_the_last_saved_model(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path, number: str, between: float
) -> None:
    model = tmp_path / "model"
    process = subprocess.Popen(
        command("train", faces_small_a, faces_small_b, "-o", model, "--batch", "4", "--preset", "classic"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (model / checkpoint.FILE).is_file():  # saved once before the first step
        assert process.poll() is None
        time.sleep(0.02)
    for _ in range(2):  # while the poses are drawn: Python sees both
        process.send_signal(getattr(signal, number))
        time.sleep(between)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + getattr(signal, number)
    assert said.strip() == "clearswap: stopped; nothing half-written was left behind."
    assert iterations(model) == 0


def test_without_a_terminal_training_needs_no_keys(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    done = cli("train", faces_small_a, faces_small_b, "-o", tmp_path, "--iterations", "2", "--batch", "2")
    assert done.code == 0, done
    assert f"{tmp_path}: 2 iterations, 8 faces in " in done.out
    assert done.err == ""


def test_of_models_of_before_classic_is_read_and_the_others_are_refused_in_a_sentence(tmp_path: Path) -> None:
    for preset in ("classic", "lite"):
        config = {key: value for key, value in asdict(PRESETS[preset]).items() if key not in ("seen", "forget")}
        about = {"format": 3, "config": config, "counters": asdict(Counters()), "consent": {}}
        (tmp_path / preset).mkdir()
        save_file({"x": torch.zeros(1)}, tmp_path / preset / checkpoint.FILE, {"clearswap": json.dumps(about)})
    assert checkpoint.read_about(tmp_path / "classic")[0].seen == 64
    with pytest.raises(clearswap.ModelError, match="is of format 3, this Clearswap reads 5; train the model anew"):
        checkpoint.read_about(tmp_path / "lite")


def test_a_folder_that_another_run_writes_is_refused(demo_clips: Path, tmp_path: Path) -> None:
    clips = demo_clips / "person_a.mp4", demo_clips / "person_b.mp4"
    calls = {
        "model": lambda place: clearswap.train("a", "b", place),
        "report": lambda place: clearswap.evaluate(*clips, place, identity="a"),
        "work": lambda place: clearswap.swap(
            *clips, tmp_path / "out.mp4", basis_a="synthetic", basis_b="synthetic", work=place
        ),
    }
    for name, call in calls.items():
        refused = pytest.raises(clearswap.OutputError, match=f"{name} is being written by another run")
        with locked(tmp_path / name, inside=True), ThreadPoolExecutor(1) as other, refused:
            other.submit(call, tmp_path / name).result()
    assert left_behind(tmp_path) == []


def test_pictures_that_the_index_does_not_know_are_said(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    renamed, seen = Path(shutil.copytree(faces_small_a, tmp_path / "set")), list[clearswap.Progress]()
    record = read_index(renamed)[0]
    (renamed / record.file).rename(renamed / "best smile.jpg")
    training = clearswap.TrainConfig(iterations=0, batch=2)
    clearswap.train(renamed, faces_small_b, tmp_path / "model", training=training, on_progress=seen.append)
    assert sum("does not know best smile.jpg: not used" in event.note for event in seen) == 1
