"""One step of training, of every preset: what is drawn, what is asked for, and that it is learned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clearswap.core.augment import AugmentConfig
from clearswap.core.expression import MEASURES
from clearswap.core.network import PRESETS, ModelConfig
from clearswap.core.train_step import draw_batches, start_training, train_step
from clearswap.training.dataset import FaceData, load_faces

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def few(faces_small_a: Path, faces_small_b: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both face sets, six faces of each: pictures of 512 px of more would fill a test machine."""
    sets: list[Path] = []
    for faces in (faces_small_a, faces_small_b):
        folder = tmp_path_factory.mktemp("few") / faces.name
        shutil.copytree(faces, folder)
        for picture in sorted(folder.glob("*.jpg"))[6:]:
            picture.unlink()
        sets.append(folder)
    return sets


@pytest.fixture(scope="module")
def lite(few: list[Path]) -> list[FaceData]:
    """The six faces of both persons as `lite` sees them."""
    return [load_faces(folder, PRESETS["lite"], CPU)[0] for folder in few]


def small(name: str) -> ModelConfig:
    """A preset that a test can afford: as deep and as large, but narrow."""
    return replace(PRESETS[name], batch=2, width=0.25)


@pytest.mark.parametrize("name", ["lite", "hd", "xl"])
def test_every_preset_learns_faces_masks_and_expressions(few: list[Path], name: str) -> None:
    config = small(name)
    data = [load_faces(folder, config, CPU)[0] for folder in few]
    state = start_training(config, 0, CPU)
    drawn = state.net(torch.rand(1, 3, config.size, config.size), torch.zeros(1, MEASURES), "b", "a")
    assert drawn.patch.shape == (1, 3, config.size, config.size)
    assert drawn.mask is not None
    losses = [train_step(state, data, AugmentConfig(), bfloat16=name == "hd") for _ in range(3)]
    state.generator.manual_seed(0)  # the first batch again
    losses.append(train_step(state, data, AugmentConfig(), bfloat16=name == "hd"))
    assert torch.stack(losses).isfinite().all()
    assert losses[-1].sum() < losses[0].sum()
    assert state.counters.iteration == 4
    assert state.counters.images == 16


def test_the_work_of_a_step_can_be_repeated_as_it_was_recorded(lite: list[FaceData]) -> None:
    """A GPU repeats the tasks of one step for all that follow, so none may depend on a number that only Python knows:
    the work of the first step of each size, done again and again, is the training that fresh work would be.
    """
    config = replace(PRESETS["lite"], width=0.25, first_batch=2, batch=4, doubling=3)
    recorded: dict[int, Callable[[], Tensor]] = {}
    fresh, repeated = (start_training(config, 0, CPU) for _ in range(2))
    for step in range(6):
        finish = max(0.0, (step - 1) / 5)
        own = train_step(fresh, lite, AugmentConfig(), finish=finish)
        run = lambda size, work: recorded.setdefault(size, work)()  # noqa: E731
        assert torch.equal(own, train_step(repeated, lite, AugmentConfig(), finish=finish, run=run))
    assert list(recorded) == [2, 4]
    for net, other in ((fresh.net, repeated.net), (fresh.average, repeated.average)):
        assert all(
            torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True)
        )
    assert fresh.counters == repeated.counters


def test_batches_begin_small_and_double(lite: list[FaceData]) -> None:
    config = replace(PRESETS["lite"], width=0.25, first_batch=2, batch=7, doubling=2)
    state, sizes = start_training(config, 0, CPU), list[int]()
    for _ in range(6):
        before = state.counters.images
        train_step(state, lite, AugmentConfig())
        sizes.append((state.counters.images - before) // 2)
    assert sizes == [2, 2, 4, 4, 7, 7]
    assert [config.with_batch(5).batch_at(iteration) for iteration in (0, 2, 10**6)] == [5, 5, 5]


def batches_of(data: list[FaceData], augmentation: AugmentConfig, count: int = 32) -> list[torch.Tensor]:
    """Targets and inputs of person a, without chance in their geometry."""
    state = start_training(PRESETS["lite"], 0, CPU)
    batch = draw_batches(state, data, augmentation, count)[0]
    assert batch.expressions.shape == (count, MEASURES)
    assert batch.told.noise.shape == (count, PRESETS["lite"].latent)
    return [F.interpolate(batch.inputs, batch.targets.shape[-2:], mode="bilinear"), batch.targets]


def test_covers_are_in_the_input_and_out_of_the_mask_and_never_in_the_face_to_draw(lite: list[FaceData]) -> None:
    still = AugmentConfig(warp=0, mix_light=0, occlude=0)
    inputs, targets = batches_of(lite, still)
    covered_inputs, covered_targets = batches_of(lite, replace(still, occlude=1.0))
    assert (inputs - targets[:, :3]).abs().mean() < 0.01
    assert torch.equal(targets[:, :4], covered_targets[:, :4])
    hidden = (targets[:, 4] - covered_targets[:, 4]) > 0.5
    assert 0.02 < hidden.float().mean() < 0.4
    changed = (covered_inputs - inputs).abs().amax(1)
    assert changed[hidden].mean() > 5 * changed[(covered_targets[:, 4] > 0.99)].mean()


def test_mixed_light_is_in_input_and_target_alike(lite: list[FaceData]) -> None:
    still = AugmentConfig(warp=0, mix_light=0, occlude=0)
    _, plain = batches_of(lite, still)
    inputs, targets = batches_of(lite, replace(still, mix_light=1.0))
    assert (inputs - targets[:, :3]).abs().mean() < 0.01
    assert torch.equal(plain[:, 3:], targets[:, 3:])
    assert (plain[:, :3] - targets[:, :3]).abs().mean() > 0.005


def test_expressions_are_mirrored_with_their_faces(lite: list[FaceData]) -> None:
    state = start_training(PRESETS["lite"], 0, CPU)
    straight = draw_batches(state, lite, AugmentConfig(mirror=0), 40)[0].expressions
    state.generator.manual_seed(0)
    turned = draw_batches(state, lite, AugmentConfig(mirror=1), 40)[0].expressions
    assert torch.allclose(straight[:, -2], -turned[:, -2], atol=1e-4)
    assert torch.equal(straight[:, -1], turned[:, -1])
