"""A model on disk: one folder, in it one file, `model.safetensors`, with all that is needed to go on.

The file holds the network ("network.*"), the averaged network that converts ("average.*"), the optimiser's state
("optimizer.*"), the random generator, and who the two persons are ("person.a", "person.b": embeddings, where they could
be told). Its metadata hold, as JSON, the config, the counters, and on what basis footage of the two persons was used
(`disclosure/consent.py`; older models have no such record). The file is replaced atomically, so a kill at any moment
leaves the last saved state, and it is never read through pickle.

Snapshots are earlier states of a model to go back to, in its folder `snapshots`. Every half hour of training
(`TrainConfig.snapshot_minutes`) one is kept, `00012300.safetensors` after 12,300 iterations, the latest four of them,
and always `best.safetensors`, the one with the least held-out error. Each is as large as the model: 22 MB for `lite`,
1.3 GB for `classic`. A snapshot is a second name for the file that was just saved (a hard link), which takes no time;
the next save makes a new file and leaves the snapshot alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from clearswap.core.modern import build, to_device
from clearswap.core.network import Counters, ModelConfig, SwapNet
from clearswap.errors import ModelError
from clearswap.media.files import atomic_file, clear, fresh, output_errors, partial_of

if TYPE_CHECKING:  # a conversion reads models and needs nothing of training
    from clearswap.core.train_step import TrainingState

FILE = "model.safetensors"
_COMMON = ("encoder", "common", "mask")  # parts of a network that know nobody in particular
BASES = Path(__file__).parent / "bases"  # what comes with Clearswap, by preset
FORMAT = 5
_CLASSIC_FORMAT = 3  # since when `classic` is what it is
SNAPSHOTS = "snapshots"
BEST = "best"
_KEPT_SNAPSHOTS = 4


# --- what a file says of itself --------------------------------------------------------------------------


def exists(folder: Path) -> bool:
    """Whether there is a model in `folder`. Raises `OutputError` for a place where none could be."""
    with output_errors(folder):
        return (folder / FILE).is_file()


def read_about(folder: Path) -> tuple[ModelConfig, Counters]:
    """The config and counters of the model in `folder`. Raises `ModelError`."""
    config, counters, _ = _read_metadata(_file_of(folder))
    return config, counters


def stored_consent(folder: Path) -> dict[str, dict[str, str]]:
    """On what basis footage of the persons of the model in `folder` was used, by side ("a", "b"), without notes.

    Empty for a model that was made before this was asked. Raises `ModelError`.
    """
    return _read_metadata(_file_of(folder))[2]


def _file_of(folder: Path) -> Path:
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"{folder} holds no model; train one with: clearswap train FACES_A FACES_B -o {folder}")
    return path


def _read_metadata(path: Path) -> tuple[ModelConfig, Counters, dict[str, dict[str, str]]]:
    """Config, counters and consent of a model's file. Raises `ModelError`."""
    try:
        about = said_of_itself(path)
        if _CLASSIC_FORMAT <= about["format"] < FORMAT and about["config"]["network"] == "classic":
            about["format"], about["config"]["seen"] = FORMAT, about["config"]["size"]
        if about["format"] != FORMAT:
            cure = "update Clearswap" if about["format"] > FORMAT else "train the model anew"
            raise ModelError(f"{path} is of format {about['format']}, this Clearswap reads {FORMAT}; {cure}.")
        consent: dict[str, dict[str, str]] = about.get("consent", about.get("subjects", {}))  # its name until 0.2
        return ModelConfig(**about["config"]), Counters(**about["counters"]), consent
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is not a model of Clearswap or is damaged; train it anew or restore a copy."
        ) from error


def said_of_itself(path: Path) -> dict[str, Any]:
    """What a file of ours says of itself in its metadata, not yet checked.

    Raises `SafetensorError`, OSError, ValueError or KeyError where it says nothing that can be read.
    """
    reader: Any = safe_open(path, "pt")
    with reader as file:
        metadata: dict[str, str] = file.metadata() or {}
    return json.loads(metadata["clearswap"])


# --- save and resume -------------------------------------------------------------------------------------


def save(folder: Path, state: TrainingState) -> None:
    """Write the model atomically. Raises `OutputError` (disk full, no permission)."""
    tensors = {f"network.{name}": tensor for name, tensor in state.net.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for name, parameter in state.net.named_parameters():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = value
    tensors["generator"] = state.generator.get_state()
    tensors |= {f"person.{side}": person for side, person in state.persons.items()}
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    about = {
        "format": FORMAT,
        "config": asdict(state.config),
        "counters": asdict(state.counters),
        "consent": state.consent,
    }
    with atomic_file(folder / FILE) as partial, write_errors():
        save_file(tensors, partial, {"clearswap": json.dumps(about)})


@contextmanager
def write_errors() -> Generator[None]:
    """Turn a failed write, which safetensors hides in an error of its own ("... (os error 28)"), into an `OSError`."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def resume(folder: Path, state: TrainingState) -> None:
    """Fill `state` with what was saved in `folder`. Raises `ModelError`."""
    _, counters = read_about(folder)
    _fill(state.net, _read(folder / FILE, "network."), folder / FILE)
    _fill(state.average, _read(folder / FILE, "average."), folder / FILE)
    saved = _read(folder / FILE, "optimizer.")
    for name, parameter in state.net.named_parameters():
        kept: dict[str, Tensor] = {}
        for key, value in saved.items():
            if not key.startswith(f"{name}."):
                continue
            # all live on their parameter's device (the fused step wants its counter there, too), and the moments are
            # laid out like it, for the fused step walks both in the order of memory
            alike = value.clone().to(parameter.device) if value.dim() == 0 else torch.empty_like(parameter).copy_(value)
            kept[key.removeprefix(f"{name}.")] = alike
        state.optimizer.state[parameter] = kept
    numbers = _read(folder / FILE, "generator")[""]
    if len(numbers) == len(state.generator.get_state()):  # else it was saved on another kind of device
        state.generator.set_state(numbers)
    state.counters = counters
    state.persons = read_persons(folder)


def read_persons(folder: Path) -> dict[str, Tensor]:
    """The persons of the model in `folder` by side: embeddings (128,), as far as they could be told."""
    persons = _read(folder / FILE, "person.")
    return {side: person.clone() for side, person in persons.items()}  # or the file stays mapped


def require_alike(folder: Path, config: ModelConfig) -> None:
    """Raise `ModelError` unless a new model of `config` can begin with the one in `folder`."""
    known, _ = read_about(folder)
    shape = ("network", "size", "seen", "coverage", "width", "latent")
    if any(getattr(known, name) != getattr(config, name) for name in shape):
        raise ModelError(f"{folder} holds a {known.preset} model; a {config.preset} model cannot begin with it.")


def base_of(preset: str) -> Path | None:
    """The base that comes with Clearswap for a preset, if there is one.

    It holds, in half precision, an encoder, common layers, a mask, and one decoder, of nobody in particular, that have
    seen many people who never lived (`tools/pretrain.py` makes it, docs/base.md says of what).
    """
    path = BASES / f"{preset}.safetensors"
    return path if path.is_file() else None


def begin_with_base(state: TrainingState) -> None:
    """Let a new model begin with the base of its preset; both persons get its decoder. Raises `ModelError`."""
    path = base_of(state.config.preset)
    if path is None:
        raise ModelError(f"There is no base for {state.config.preset}.")
    common = {f"{part}.{n}": tensor for part in _COMMON for n, tensor in _read(path, f"{part}.").items()}
    decoder = _read(path, "decoder.")
    common |= {f"decoder_{side}.{n}": tensor for side in "ab" for n, tensor in decoder.items()}
    for net in (state.net, state.average):
        _fill(net, net.state_dict() | common, path)  # from half precision


def init_from(folder: Path, state: TrainingState, same: float) -> list[str]:
    """Let a new training begin with the encoder of the model in `folder`, and for each person that both know (their
    embeddings lie nearer than `same`) with all that is that person's. Returns the sides whose decoders were kept.

    Another person's decoder is not taken, although it would learn faster than a new one: nobody's face is to end up in
    the model of two others. Raises `ModelError` when the networks differ (see `require_alike`).
    """
    known = read_persons(folder)
    average = _read(folder / FILE, "average.")
    taken = {n: tensor for n, tensor in average.items() if n.split(".")[0] in _COMMON}
    kept: list[str] = []
    for side, person in state.persons.items():
        distances = {other: float((person - embedding).square().sum().sqrt()) for other, embedding in known.items()}
        nearest = min(distances, key=lambda other: distances[other], default=None)
        if nearest is None or distances[nearest] >= same:
            continue
        for part in ("norm_{}.", "decoder_{}.", "persons.{}."):
            old, new = part.format(nearest), part.format(side)
            taken |= {n.replace(old, new, 1): tensor for n, tensor in average.items() if n.startswith(old)}
        kept.append(side)
    for net in (state.net, state.average):
        _fill(net, net.state_dict() | taken, folder / FILE)
    return kept


def _read(path: Path, start: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `start`, without it."""
    reader: Any = safe_open(path, "pt")  # maps the file: only what is asked for is read
    with reader as file:
        names: list[str] = list(file.keys())
        return {name.removeprefix(start): file.get_tensor(name) for name in names if name.startswith(start)}


def _fill(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit its own description; restore a copy or train anew.") from error


# --- what converts ---------------------------------------------------------------------------------------


def load_network(folder: Path, device: torch.device) -> tuple[ModelConfig, SwapNet]:
    """The network that converts, without what only training needs. Raises `ModelError`."""
    config, _ = read_about(folder)
    net = build(config)
    _fill(net, _read(folder / FILE, "average."), folder / FILE)
    net.eval()
    return config, to_device(net, device)


def fingerprint(folder: Path) -> str:
    """The SHA-256 of the network that converts, in hexadecimal: it depends on the weights, not on how they lie in the
    file. Raises `ModelError`.
    """
    read_about(folder)
    about = (folder / FILE).stat()
    return _digest(folder, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(folder: Path, _size: int, _time: int) -> str:
    """Cached by size and time of change; 0.03 s for `lite`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_read(folder / FILE, "average.").items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def mark_of(fingerprint: str) -> int:
    """The 16 bits by which the invisible mark in a picture says which model made it."""
    return int(fingerprint[:4], 16)


# --- snapshots -------------------------------------------------------------------------------------------


def keep_snapshot(folder: Path, name: int | str) -> None:
    """Keep the saved model in `folder` under the number of its iterations, or as `BEST`. Raises `OutputError`."""
    place = _snapshot(folder, name)
    with output_errors(place):
        place.parent.mkdir(exist_ok=True)
        partial = partial_of(place)
        clear(partial)
        try:
            os.link(folder / FILE, partial)
        except OSError:  # a file system without links
            shutil.copyfile(folder / FILE, fresh(partial))
        partial.replace(place)
        partial.unlink(missing_ok=True)  # renaming a file over itself does nothing
        numbered = [_snapshot(folder, number) for number in snapshots(folder)]
        for old in sorted(numbered, key=lambda path: path.stat().st_mtime_ns)[:-_KEPT_SNAPSHOTS]:
            old.unlink()


def snapshots(folder: Path) -> list[int]:
    """The iterations of which there are snapshots, in order."""
    return sorted(int(path.stem) for path in (folder / SNAPSHOTS).glob("[0-9]*.safetensors") if path.stem.isdigit())


def best_error(folder: Path) -> float:
    """The held-out error of the best snapshot; infinite when there is none that can be read."""
    place = _snapshot(folder, BEST)
    try:
        held = _read_metadata(place)[1].held if place.is_file() else None
    except ModelError:
        held = None
    return math.inf if held is None else held


def go_back(folder: Path, name: int | str) -> int:
    """Make a snapshot the model again, and keep what was the model as a snapshot; returns the latter's iterations.

    Raises `ModelError` when there is no such snapshot, and `OutputError`.
    """
    place = _snapshot(folder, name)
    if not place.is_file():
        best = [BEST] if _snapshot(folder, BEST).is_file() else []
        there = ", ".join([*best, *map(str, snapshots(folder))])
        raise ModelError(f"{folder} has no snapshot {name}; " + (f"there are: {there}." if there else "it has none."))
    left = read_about(folder)[1].iteration
    with atomic_file(folder / FILE) as partial:
        shutil.copyfile(place, partial)  # read before `keep_snapshot` may drop it
        keep_snapshot(folder, left)
    return left


def _snapshot(folder: Path, name: int | str) -> Path:
    stem = f"{name:08d}" if isinstance(name, int) else name
    return folder / SNAPSHOTS / f"{stem}.safetensors"
