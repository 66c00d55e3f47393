"""Two processes (gloo) that train one model: the training that one process would have done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import clearswap
from clearswap.core.network import PRESETS
from clearswap.training import checkpoint
from clearswap.training.device import World, join_world
from clearswap.training.log import read_history

STEPS = 6
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`torchrun --nproc-per-node 2 -m clearswap train ...`."""
    return subprocess.run(
        [*TORCHRUN, "-m", "clearswap", "train", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=ENVIRONMENT,
        check=False,
    )


def weights(model: Path) -> Tensor:
    """All that the network has learned, as one vector."""
    tensors = load_file(model / "model.safetensors")
    return torch.cat([v.flatten().float() for n, v in sorted(tensors.items()) if n.startswith("network.")])


def test_two_processes_train_as_one_does_and_go_on_where_it_stopped(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    models = {name: tmp_path / name for name in ("start", "one", "two")}
    common = ["--batch", "4", "--precision", "float32"]
    for name, steps in (("start", 0), ("one", STEPS)):
        config = clearswap.TrainConfig(batch=4, precision="float32", iterations=steps)
        clearswap.train(faces_small_a, faces_small_b, models[name], training=config)
    first = torchrun(faces_small_a, faces_small_b, "-o", models["two"], *common, "--iterations", STEPS // 2)
    assert first.returncode == 0, first.stderr
    second = torchrun(faces_small_a, faces_small_b, "-o", models["two"], *common, "--iterations", STEPS)
    assert second.returncode == 0, second.stderr
    assert "going on" in second.stdout
    assert second.stdout.count(f"{STEPS} iterations, {2 * 4 * STEPS} faces") == 1  # only one process speaks
    start, one, two = (weights(model) for model in models.values())
    # Adam divides each step by its gradient's size: where that is next to nothing, rounding decides where it goes
    apart = float((two - one).norm() / (one - start).norm())
    assert apart < 0.1  # 0.04 here
    ends = [read_history(models[name])[-1] for name in ("one", "two")]
    assert ends[1].held == pytest.approx(ends[0].held, rel=0.01)


def test_a_batch_that_cannot_be_shared_is_refused_in_one_sentence_each(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    refused = torchrun(faces_small_a, faces_small_b, "-o", tmp_path / "model", "--batch", "5", "--iterations", "2")
    assert refused.returncode != 0
    assert "A batch of 5 faces cannot be shared by 2 processes; give a batch of 4." in refused.stderr
    assert not (tmp_path / "model").exists()


def test_several_processes_ask_nobody_and_the_first_keeps_what_was_said(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    sets = [Path(shutil.copytree(faces, tmp_path / faces.name)) for faces in (faces_small_a, faces_small_b)]
    for folder in sets:
        (folder / "consent.toml").unlink()
    start = (*sets, "-o", tmp_path / "model", "--batch", "4", "--iterations", "1")
    refused = torchrun(*start)
    assert refused.returncode != 0
    assert "Nobody has said yet who" in refused.stderr
    assert not (tmp_path / "model").exists()
    done = torchrun(*start, "--basis-a", "me", "--basis-b", "licensed")
    assert done.returncode == 0, done.stderr
    assert [said.basis for folder in sets if (said := clearswap.set_consent(folder))] == ["me", "licensed"]
    assert {s: who["basis"] for s, who in checkpoint.open_model(tmp_path / "model").consent.items()} == {
        "a": "me",
        "b": "licensed",
    }


def test_an_error_in_the_first_process_ends_the_others(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    """The model's file turns into a folder in the middle of training: the first process cannot save, and says so."""
    model = tmp_path / "model"
    start = (faces_small_a, faces_small_b, "-o", model, "--batch", "4", "--save-every", "5")
    command = [*TORCHRUN, "-m", "clearswap", "train", *map(str, start)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    while not (model / "history.csv").is_file():
        assert running.poll() is None
        time.sleep(0.05)
    while not (model / "model.safetensors").is_dir():
        (model / "model.safetensors").unlink(missing_ok=True)
        with suppress(FileExistsError):  # saved again in between
            (model / "model.safetensors").mkdir()
    _, said = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "there is a folder of that name" in said
    assert "[rank0]: Traceback" not in said
    assert "[rank1]: Traceback" not in said


def test_first_batches_can_be_shared_too() -> None:
    for size in (2, 4, 8, 16):
        world = World(size - 1, size)
        model = world.shareable(PRESETS["lite"])
        shares = [world.share(model.batch_at(iteration)) for iteration in (0, 150, 300, 10_000)]
        assert all(share.stop - share.start >= 1 for share in shares)
        assert shares[-1].stop == 16


def test_one_process_alone_does_nothing_special() -> None:
    net, own = torch.nn.Linear(2, 2), torch.ones(3)
    with join_world() as world:
        assert (world.rank, world.size) == (0, 1)
        assert world.parallel(net) is net
        assert world.mean(own) is own
        assert world.share(5) == slice(0, 5)
        assert world.shareable(PRESETS["lite"]) == PRESETS["lite"]
        assert world.from_first(7, 8) == [7, 8]
