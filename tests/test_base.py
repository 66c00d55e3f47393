"""The base that a training begins with: what is in it, what stays as it is, and that it can be left out."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import clearswap
from clearswap.core.expression import COEFFICIENTS, MEASURES
from clearswap.core.modern import ModernNet
from clearswap.core.network import PRESETS
from clearswap.core.train_step import start_training
from clearswap.training import checkpoint
from clearswap.training.device import used_device
from clearswap.training.loop import TrainConfig
from makers import Ran, left_behind

REPOSITORY = Path(__file__).parents[1]
ONE = TrainConfig(iterations=1, batch=2)
THREE = TrainConfig(iterations=3, batch=2)


def common_of(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a training with a base leaves alone."""
    return {name: value for name, value in net.state_dict().items() if name.startswith(("encoder.", "mask."))}


def test_the_base_is_small_finite_and_says_what_it_was_made_from() -> None:
    path = checkpoint.base_of("lite")
    assert path is not None
    assert path.stat().st_size <= 6e6
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["clearswap-base"])
        names = list(file.keys())
        assert all(bool(file.get_tensor(name).isfinite().all()) for name in names)
    assert {name.split(".")[0] for name in names} == {"encoder", "common", "mask", "decoder"}  # and nobody's code
    assert said["preset"] == "lite"
    assert len(set(said["seeds"])) == said["people"]


@pytest.fixture(scope="module")
def based(faces_small_a: Path, faces_small_b: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that began with the base, after three steps."""
    folder, notes = tmp_path_factory.mktemp("based") / "model", list[str]()
    sets = faces_small_a, faces_small_b
    clearswap.train(*sets, folder, training=THREE, on_progress=lambda p: notes.append(p.note))
    assert "beginning with a base that has seen many people who never lived" in notes
    return folder


def with_base() -> ModernNet:
    """A network that begins with the base, before the first step."""
    state = start_training(PRESETS["lite"].with_base(), 0, used_device())
    checkpoint.begin_with_base(state)
    assert isinstance(state.net, ModernNet)
    return state.net


def test_what_the_base_sees_stays_and_what_draws_is_learned(based: Path) -> None:
    saved = checkpoint.open_model(based)
    config, net = saved.config, saved.network(used_device())
    assert config.base
    fresh = with_base()
    seen = common_of(fresh)
    assert all(torch.equal(value, seen[name]) for name, value in common_of(net).items())
    assert isinstance(net, ModernNet)
    for part in ("persons", "common", "decoder_a", "decoder_b"):
        pairs = zip(getattr(net, part).named_parameters(), getattr(fresh, part).named_parameters(), strict=True)
        assert not [n for (n, one), (_, other) in pairs if torch.equal(one, other)]
    again = start_training(config, 1, used_device())  # goes on with what was learned, the optimiser's memory included
    checkpoint.resume(based, again)
    assert all(again.optimizer.state[p] for p in again.net.parameters() if p.requires_grad)


def test_without_the_base_a_training_begins_with_nothing(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    clearswap.train(faces_small_a, faces_small_b, tmp_path, training=TrainConfig(iterations=1, batch=2, base=False))
    saved = checkpoint.open_model(tmp_path)
    config, net = saved.config, saved.network(used_device())
    assert not config.base
    seen = common_of(with_base())
    assert not any(torch.equal(value, seen[name]) for name, value in common_of(net).items())


def test_with_a_base_a_training_is_further_after_a_few_steps(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    held = {}
    for base in (True, False):
        training = TrainConfig(iterations=60, batch=4, base=base)
        done = clearswap.train(faces_small_a, faces_small_b, tmp_path / str(base), training=training)
        held[base] = done.held_a + done.held_b
    assert held[True] < 0.8 * held[False]


@pytest.mark.parametrize("base", [True, False])
def test_with_a_base_a_person_does_also_what_their_footage_never_shows(base: bool) -> None:
    net = (with_base() if base else start_training(PRESETS["lite"], 0, used_device()).net).eval()
    assert isinstance(net, ModernNet)
    for seed, shown in enumerate((net.shown_a, net.shown_b)):
        shown.learn(0.1 * torch.rand(50, 2, MEASURES, generator=torch.Generator().manual_seed(seed)))
    face = torch.full((1, 3, 192, 192), 0.5)

    def drawn(**numbers: float) -> torch.Tensor:
        expression = torch.full((1, MEASURES), 0.2)  # beyond the range
        for name, number in numbers.items():
            expression[0, COEFFICIENTS.index(name)] = number
        with torch.inference_mode():
            return net(face, expression, "b", "a").patch

    for name in ("jawOpen", "eyeLookInLeft", "mouthSmileLeft", "browDownLeft"):
        assert torch.equal(drawn(), drawn(**{name: 3.0})) != base, name


def test_a_model_that_begins_with_one_that_had_a_base_has_it_too(
    based: Path, faces_small_a: Path, faces_small_b: Path, tmp_path: Path
) -> None:
    clearswap.train(faces_small_a, faces_small_b, tmp_path, init_from=based, training=ONE)
    saved = checkpoint.open_model(tmp_path)
    config, net = saved.config, saved.network(used_device())
    assert config.base
    seen = common_of(checkpoint.open_model(based).network(used_device()))
    assert all(torch.equal(value, seen[name]) for name, value in common_of(net).items())


def test_a_model_that_has_a_base_cannot_go_on_without(
    based: Path, faces_small_a: Path, faces_small_b: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    ask = ("train", faces_small_a, faces_small_b, "--iterations", "4", "--no-base", "-o", based)
    assert f"{based} began with a base" in cli(*ask).sentence()
    assert left_behind(tmp_path) == []


def test_what_has_no_base_begins_without() -> None:
    assert checkpoint.base_of("classic") is None
    assert checkpoint.base_of("hd") is None


def test_a_base_is_made_from_nothing_but_what_was_rendered(tmp_path: Path) -> None:
    pretrain = runpy.run_path(str(REPOSITORY / "tools" / "pretrain.py"), run_name="pretrain")
    person = tmp_path / "000007"
    person.mkdir()
    for number in range(3):
        (person / f"{number:02d}.jpg").write_bytes(bytes([number]))
    pictures = b"".join(picture.read_bytes() for picture in sorted(person.glob("*.jpg")))
    (person / "person.json").write_text(json.dumps({"seed": 7, "sha256": sha256(pictures).hexdigest()}))
    assert pretrain["seed_of"](person) == 7
    (person / "03.jpg").write_bytes(b"one more, of somebody")
    with pytest.raises(clearswap.InputError, match=f"{person} is not as it was rendered; delete it and run: make cast"):
        pretrain["load_cast"](tmp_path, 10, PRESETS["lite"])
