"""A model on disk: one folder, in it one file, `model.safetensors`, with all that is needed to go on.

The file holds the network ("network.*"), the averaged network that converts ("average.*"), the optimiser's state
("optimizer.*"), the random generator, and who the two persons are ("person.a", "person.b": embeddings, where they could
be told); its metadata hold as JSON the config, the counters, and on what basis footage of the two persons was used
(`disclosure/consent.py`; models of before have no such record). It is replaced whole, so a kill at any moment leaves
the last saved state; it is never read through pickle.

Snapshots: earlier states of a model to go back to, in the folder `snapshots` beside it.

Every half hour of training (`TrainConfig.snapshot_minutes`) one is kept, `00012300.safetensors` after 12,300
iterations, the latest four of them, and always `best.safetensors`, the one with the least held-out error. Each is as
large as the model: 17 MB for `lite`, 1.3 GB for `classic`. A snapshot is a second name for the file that was just saved
(a hard link), which takes no time; the next save makes a new file and leaves the snapshot alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from clearswap.core.network import ModelConfig, SwapNet, build, to_device
from clearswap.core.train_step import Counters, TrainingState
from clearswap.errors import ModelError
from clearswap.media.atomic import atomic_file, output_errors, partial_of

FILE = "model.safetensors"
FORMAT = 3


def exists(folder: Path) -> bool:
    """Whether there is a model in `folder`. Raises `OutputError` for a place where none could be."""
    with output_errors(folder):
        return (folder / FILE).is_file()


def save(folder: Path, state: TrainingState) -> None:
    """Write the model, whole or not at all. Raises `OutputError` (disk full, no permission)."""
    tensors = {f"network.{name}": tensor for name, tensor in state.net.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for name, parameter in state.net.named_parameters():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = value
    tensors["generator"] = state.generator.get_state()
    tensors |= {f"person.{side}": person for side, person in state.persons.items()}
    about = {"format": FORMAT, "config": asdict(state.config), "counters": asdict(state.counters)}
    about["consent"] = state.consent
    with atomic_file(folder / FILE) as partial:
        try:
            save_file(
                {k: v.detach().contiguous() for k, v in tensors.items()}, partial, {"clearswap": json.dumps(about)}
            )
        except SafetensorError as error:
            raise _os_error(error) from error


def _os_error(error: SafetensorError) -> Exception:
    """Safetensors hides a failed write ("... (os error 28)") in an error of its own; this is the real one."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else error


def read_about(folder: Path) -> tuple[ModelConfig, Counters]:
    """The config and counters of the model in `folder`. Raises `ModelError`."""
    return read_about_file(_file_of(folder))


def read_about_file(path: Path) -> tuple[ModelConfig, Counters]:
    """The same of a model's file, wherever it lies. Raises `ModelError`."""
    return _about(path)[:2]


def stored_consent(folder: Path) -> dict[str, dict[str, str]]:
    """On what basis footage of the persons of the model in `folder` was used, by side ("a", "b"), without notes.
    Empty for a model from before that was asked. Raises `ModelError`.
    """
    return _about(_file_of(folder))[2]


def _file_of(folder: Path) -> Path:
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"{folder} holds no model; train one with: clearswap train FACES_A FACES_B -o {folder}")
    return path


def _about(path: Path) -> tuple[ModelConfig, Counters, dict[str, dict[str, str]]]:
    """What the metadata say. Raises `ModelError`."""
    try:
        reader: Any = safe_open(path, "pt")
        with reader as file:
            metadata: dict[str, str] = file.metadata() or {}
            about: dict[str, Any] = json.loads(metadata["clearswap"])
        if about["format"] != FORMAT:
            raise ModelError(f"{path} is of format {about['format']}, this Clearswap reads {FORMAT}; update Clearswap.")
        said: dict[str, dict[str, str]] = about.get("consent", about.get("subjects", {}))
        return ModelConfig(**about["config"]), Counters(**about["counters"]), said
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is not a model of Clearswap or is damaged; train it anew or restore a copy."
        ) from error


def load_network(folder: Path, device: torch.device) -> tuple[ModelConfig, SwapNet]:
    """The network that converts, without what only training needs. Raises `ModelError`."""
    config, _ = read_about(folder)
    net = build(config)
    _fill(net, _read(folder, "average."), folder)
    net.eval()
    return config, to_device(net, device)


def fingerprint(folder: Path) -> str:
    """The SHA-256 of the network that converts, in hexadecimal: the same for the same weights, however they lie in the
    file. Raises `ModelError`.
    """
    read_about(folder)
    about = (folder / FILE).stat()
    return _digest(folder, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(folder: Path, _size: int, _time: int) -> str:
    """Reckoned once as long as the file stays as it is: 0.03 s for `lite`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_read(folder, "average.").items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def mark_of(fingerprint: str) -> int:
    """The 16 bits by which the invisible mark in a picture says which model made it."""
    return int(fingerprint[:4], 16)


def resume(folder: Path, state: TrainingState) -> None:
    """Fill `state` with what was saved in `folder`. Raises `ModelError`."""
    _, counters = read_about(folder)
    _fill(state.net, _read(folder, "network."), folder)
    _fill(state.average, _read(folder, "average."), folder)
    saved = _read(folder, "optimizer.")
    for name, parameter in state.net.named_parameters():
        start = f"{name}."
        own = {key.removeprefix(start): value for key, value in saved.items() if key.startswith(start)}
        # all live beside their parameter (the fused step wants its counter there, too), and the moments are laid out
        # like it, for the fused step walks both in the order of memory
        state.optimizer.state[parameter] = {
            k: v.clone().to(parameter.device) if v.dim() == 0 else torch.empty_like(parameter).copy_(v)
            for k, v in own.items()
        }
    numbers = _read(folder, "generator")[""]
    if len(numbers) == len(state.generator.get_state()):  # else it was saved on another kind of device
        state.generator.set_state(numbers)
    state.counters, state.persons = counters, read_persons(folder)


def read_persons(folder: Path) -> dict[str, Tensor]:
    """The persons of the model in `folder` by side, as far as they could be told."""
    return {side: person.clone() for side, person in _read(folder, "person.").items()}  # or the file stays mapped


def require_alike(folder: Path, config: ModelConfig) -> None:
    """Raise `ModelError` unless a new model of `config` can begin with the one in `folder`."""
    known, _ = read_about(folder)
    if any(
        getattr(known, name) != getattr(config, name) for name in ("network", "size", "coverage", "width", "latent")
    ):
        raise ModelError(f"{folder} holds a {known.preset} model; a {config.preset} model cannot begin with it.")


def warm_start(folder: Path, state: TrainingState, same: float) -> list[str]:
    """Let a new training begin with the encoder of the model in `folder`, and for each person that both know (their
    embeddings lie nearer than `same`) with that person's level and decoder. Returns the sides whose decoders were kept.

    Another person's decoder is not taken, although it would learn faster than a new one: nobody's face is to end up in
    the model of two others. Raises `ModelError` when the networks differ (see `require_alike`).
    """
    known, kept = read_persons(folder), list[str]()
    average = _read(folder, "average.")
    shared = ("encoder.", "common.", "mask.")
    for net in (state.net, state.average):
        own = net.state_dict()
        _fill(net, own | {n: t for n, t in average.items() if n.startswith(shared)}, folder)
    for side, person in state.persons.items():
        distances = {other: float((person - embedding).square().sum().sqrt()) for other, embedding in known.items()}
        nearest = min(distances, key=lambda other: distances[other], default=None)
        if nearest is not None and distances[nearest] < same:
            for net in (state.net, state.average):
                tensors = net.state_dict()
                for part in ("level", "decoder"):
                    new, old = f"{part}_{side}.", f"{part}_{nearest}."
                    tensors |= {n: average[n.replace(new, old, 1)] for n in tensors if n.startswith(new)}
                _fill(net, tensors, folder)
            kept.append(side)
    return kept


def _read(folder: Path, start: str) -> dict[str, Tensor]:
    reader: Any = safe_open(folder / FILE, "pt")  # maps the file: only what is asked for is read
    with reader as file:
        names: list[str] = list(file.keys())
        return {name.removeprefix(start): file.get_tensor(name) for name in names if name.startswith(start)}


def _fill(net: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{folder / FILE} does not fit its own description; restore a copy or train anew.") from error


SNAPSHOTS = "snapshots"
BEST = "best"
_KEPT = 4


def keep_snapshot(folder: Path, name: int | str) -> None:
    """Keep the saved model in `folder` under the number of its iterations, or as `BEST`. Raises `OutputError`."""
    place = folder / SNAPSHOTS / _snapshot(name)
    with output_errors(place):
        place.parent.mkdir(exist_ok=True)
        beside = partial_of(place)
        beside.unlink(missing_ok=True)
        try:
            os.link(folder / FILE, beside)
        except OSError:  # a file system without links
            shutil.copyfile(folder / FILE, beside)
        beside.replace(place)
        beside.unlink(missing_ok=True)  # renaming a file over itself does nothing
        latest = sorted(
            snapshots(folder), key=lambda number: (folder / SNAPSHOTS / _snapshot(number)).stat().st_mtime_ns
        )
        for old in latest[:-_KEPT]:
            (folder / SNAPSHOTS / _snapshot(old)).unlink()


def snapshots(folder: Path) -> list[int]:
    """The iterations of which there are snapshots, in order."""
    return sorted(int(path.stem) for path in (folder / SNAPSHOTS).glob("[0-9]*.safetensors") if path.stem.isdigit())


def best_error(folder: Path) -> float:
    """The held-out error of the best snapshot; infinite when there is none that can be read."""
    place = folder / SNAPSHOTS / _snapshot(BEST)
    try:
        held = read_about_file(place)[1].held if place.is_file() else None
    except ModelError:
        held = None
    return math.inf if held is None else held


def go_back(folder: Path, name: int | str) -> int:
    """Make a snapshot the model again, and keep what was the model as a snapshot; returns the latter's iterations.

    Raises `ModelError` when there is no such snapshot, and `OutputError`.
    """
    place = folder / SNAPSHOTS / _snapshot(name)
    if not place.is_file():
        best = [BEST] if (folder / SNAPSHOTS / _snapshot(BEST)).is_file() else []
        there = ", ".join([*best, *map(str, snapshots(folder))])
        raise ModelError(f"{folder} has no snapshot {name}; " + (f"there are: {there}." if there else "it has none."))
    left = read_about(folder)[1].iteration
    with atomic_file(folder / FILE) as partial:
        shutil.copyfile(place, partial)  # read before `keep_snapshot` may drop it
        keep_snapshot(folder, left)
    return left


def _snapshot(name: int | str) -> str:
    return f"{name:08d}.safetensors" if isinstance(name, int) else f"{name}.safetensors"
