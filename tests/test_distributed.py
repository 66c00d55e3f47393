"""Two processes (gloo) that train one model: the training that one process would have done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import clearswap
from clearswap.core.network import PRESETS
from clearswap.training import checkpoint
from clearswap.training.device import Team
from clearswap.training.log import read_history

STEPS = 6


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`torchrun --nproc-per-node 2 -m clearswap train ...`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "-m", "clearswap", "train", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def weights(model: Path) -> Tensor:
    """All that the network has learned, as one vector."""
    tensors = load_file(model / "model.safetensors")
    return torch.cat([v.flatten().float() for n, v in sorted(tensors.items()) if n.startswith("network.")])


def test_two_processes_train_as_one_does_and_go_on_where_it_stopped(
    faces_a: Path, faces_b: Path, tmp_path: Path
) -> None:
    models = {name: tmp_path / name for name in ("start", "one", "two")}
    common = ["--batch", "4", "--precision", "float32"]
    for name, steps in (("start", 0), ("one", STEPS)):
        config = clearswap.TrainConfig(batch=4, precision="float32", iterations=steps)
        clearswap.train(faces_a, faces_b, models[name], training=config)
    first = torchrun(faces_a, faces_b, "-o", models["two"], *common, "--iterations", STEPS // 2)
    assert first.returncode == 0, first.stderr
    second = torchrun(faces_a, faces_b, "-o", models["two"], *common, "--iterations", STEPS)
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
    faces_a: Path, faces_b: Path, tmp_path: Path
) -> None:
    refused = torchrun(faces_a, faces_b, "-o", tmp_path / "model", "--batch", "5", "--iterations", "2")
    assert refused.returncode != 0
    assert "A batch of 5 faces cannot be shared by 2 processes; give --batch 4." in refused.stderr
    assert not (tmp_path / "model").exists()


def test_a_team_asks_nobody_and_its_first_process_keeps_what_was_said(
    faces_a: Path, faces_b: Path, tmp_path: Path
) -> None:
    sets = [Path(shutil.copytree(faces, tmp_path / faces.name)) for faces in (faces_a, faces_b)]
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
    assert {s: who.basis for s, who in checkpoint.stored_consent(tmp_path / "model").items()} == {
        "a": "me",
        "b": "licensed",
    }


def test_first_batches_can_be_shared_too() -> None:
    for size in (2, 4, 8, 16):
        team = Team(size - 1, size)
        model = team.shareable(PRESETS["lite"])
        shares = [team.share(model.batch_at(iteration)) for iteration in (0, 150, 300, 10_000)]
        assert all(share.stop - share.start >= 1 for share in shares)
        assert shares[-1].stop == 16


def test_alone_a_team_does_nothing() -> None:
    team, net, own = Team(), torch.nn.Linear(2, 2), torch.ones(3)
    assert team.parallel(net) is net
    assert team.mean(own) is own
    assert team.share(5) == slice(0, 5)
    assert team.shareable(PRESETS["lite"]) == PRESETS["lite"]
    assert team.together(lambda: 7) == 7
