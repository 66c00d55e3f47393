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
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from msgspec import Meta, Struct, field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from clearswap.checks import decode
from clearswap.core.modern import build, to_device
from clearswap.core.network import Counters, ModelConfig, Side, SwapNet
from clearswap.errors import ModelError, OptionError
from clearswap.media.files import atomic_file, clear, fresh, locked, output_errors, partial_of

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
_MEMORY = {"step", "exp_avg", "exp_avg_sq"}  # what Adam keeps of each parameter
_Said = Annotated[str, Meta(max_length=1000)]


@dataclass(frozen=True)
class _Format:
    """The number that says how the rest of a file's metadata is to be read."""

    format: int


# --- what a file says of itself --------------------------------------------------------------------------


def exists(folder: Path) -> bool:
    """Whether there is a model in `folder`. Raises `OutputError` for a place where none could be."""
    with output_errors(folder):
        return (folder / FILE).is_file()


def read_about(folder: Path) -> tuple[ModelConfig, Counters]:
    """The config and counters of the model in `folder`. Raises `ModelError`."""
    saved = open_model(folder)
    return saved.config, saved.counters


class _About(Struct):
    """What a model's file says of itself, as JSON."""

    format: int
    config: ModelConfig
    counters: Counters
    consent: dict[Side, dict[_Said, _Said]] = {}
    # what `consent` was called until 0.2
    earlier: dict[Side, dict[_Said, _Said]] = field(name="subjects", default_factory=dict[Side, dict[str, str]])


@dataclass(frozen=True)
class SavedModel:
    """A model's file, opened once: all that is read of it is of one moment, also while a training saves the next.

    Attributes:
        path: The file.
        config: The shape of the network.
        counters: How far its training is.
        consent: On what basis footage of its persons was used, by side, without notes; empty for a model that was made
            before this was asked.
    """

    path: Path
    config: ModelConfig
    counters: Counters
    consent: Mapping[Side, Mapping[str, str]]
    _file: Any

    def tensors(self, start: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `start`, without it. Raises `ModelError` where they are no numbers."""
        with _damaged(self.path):
            return _read(self._file, start, self.path)

    def persons(self) -> dict[str, Tensor]:
        """The persons by side: embeddings (128,), as far as they could be told. Raises `ModelError`."""
        persons = self.tensors("person.")
        for side, person in persons.items():
            if side not in ("a", "b") or person.shape != (128,) or person.dtype != torch.float32:
                raise _misfit(self.path)
        return {side: person.clone() for side, person in persons.items()}  # or the file stays mapped

    def network(self, device: torch.device) -> SwapNet:
        """The network that converts, without what only training needs. Raises `ModelError`."""
        with _damaged(self.path):
            net = build(self.config)
        _fill(net, self.tensors("average."), self.path)
        net.eval()
        return to_device(net, device)

    def fingerprint(self) -> str:
        """The SHA-256 of the network that converts, in hexadecimal: it depends on the weights, not on how they lie in
        the file. 0.03 s for `lite`. Raises `ModelError`.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors("average.").items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
            digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def open_model(folder: Path) -> SavedModel:
    """Open the model in `folder`. Raises `ModelError` where there is none, or one that is damaged."""
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"{folder} holds no model; train one with: clearswap train FACES_A FACES_B -o {folder}")
    return _open(path)


def _open(path: Path) -> SavedModel:
    """Open a model's file, and look at what it says of itself. Raises `ModelError`."""
    with _damaged(path):
        file: Any = safe_open(path, "pt")  # maps it: only what is asked for is read
        about = _about(said_of_itself(file), path)
        if (about.config.preset == "classic") != (about.config.network == "classic"):
            raise ValueError("another network than its preset's")
        return SavedModel(path, about.config, about.counters, about.consent or about.earlier, file)


def said_of_itself(file: Any) -> str:
    """What an opened file of ours says of itself, as JSON. Raises KeyError where it says nothing."""
    metadata: dict[str, str] = file.metadata() or {}
    return metadata["clearswap"]


def _about(text: str, path: Path) -> _About:
    """What a model's file says of itself, also one of some time ago. Raises `ModelError` for one of another format."""
    said = decode(_Format, text).format
    if said == FORMAT:
        return decode(_About, text)
    old = decode(dict[str, Any], text)
    if not _CLASSIC_FORMAT <= said < FORMAT or old["config"]["network"] != "classic":
        cure = "update Clearswap" if said > FORMAT else "train the model anew"
        raise ModelError(f"{path} is of format {said}, this Clearswap reads {FORMAT}; {cure}.")
    old["config"]["seen"] = old["config"]["size"]
    return decode(_About, json.dumps(old))


@contextmanager
def _damaged(path: Path) -> Generator[None]:
    """Turn whatever reading a model's file raises into a `ModelError`."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, OptionError) as error:
        raise ModelError(
            f"{path} is not a model of Clearswap or is damaged; train it anew or restore a copy."
        ) from error


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


def rewrite_consent(folder: Path, side: Side, record: Mapping[str, str]) -> None:
    """Give a person of the model in `folder`, and of its snapshots, another consent record, as text.

    Raises `ModelError` and `OutputError`.
    """
    open_model(folder)
    with locked(folder, inside=True):
        for path in [folder / FILE, *sorted((folder / SNAPSHOTS).glob("*.safetensors"))]:
            with _damaged(path):
                file: Any = safe_open(path, "pt")
                about = json.loads(said_of_itself(file))
                about["consent"] = {**about.pop("subjects", {}), **about.get("consent", {}), side: dict(record)}
                tensors = _read(file, "", path)
            with atomic_file(path) as partial, write_errors():
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
    saved = open_model(folder)
    _fill(state.net, saved.tensors("network."), saved.path)
    _fill(state.average, saved.tensors("average."), saved.path)
    memory = saved.tensors("optimizer.")
    for name, parameter in state.net.named_parameters():
        kept: dict[str, Tensor] = {}
        for key, value in memory.items():
            if not key.startswith(f"{name}."):
                continue
            if value.shape not in ((), parameter.shape):
                raise _misfit(saved.path)
            # all live on their parameter's device (the fused step wants its counter there, too), and the moments are
            # laid out like it, for the fused step walks both in the order of memory
            alike = value.clone().to(parameter.device) if value.dim() == 0 else torch.empty_like(parameter).copy_(value)
            kept[key.removeprefix(f"{name}.")] = alike
        if kept and kept.keys() != _MEMORY:
            raise _misfit(saved.path)
        state.optimizer.state[parameter] = kept
    numbers = saved.tensors("generator").get("")
    if numbers is not None and len(numbers) == len(state.generator.get_state()):  # else of another kind of device
        with _damaged(saved.path):
            _set_generator(state.generator, numbers)
    state.counters = saved.counters
    state.persons = saved.persons()


def _set_generator(generator: torch.Generator, numbers: Tensor) -> None:
    """Let a generator go on where it was saved. Raises `ValueError` for numbers that are none of its."""
    try:
        generator.set_state(numbers)
    except (RuntimeError, TypeError) as error:
        raise ValueError("numbers of another generator") from error


def require_alike(folder: Path, config: ModelConfig) -> None:
    """Raise `ModelError` unless a new model of `config` can begin with the one in `folder`."""
    known = open_model(folder).config
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
    file: Any = safe_open(path, "pt")
    common = {f"{part}.{n}": tensor for part in _COMMON for n, tensor in _read(file, f"{part}.", path).items()}
    decoder = _read(file, "decoder.", path)
    common |= {f"decoder_{side}.{n}": tensor for side in "ab" for n, tensor in decoder.items()}
    for net in (state.net, state.average):
        _fill(net, net.state_dict() | common, path)  # from half precision


def init_from(folder: Path, state: TrainingState, same: float) -> list[str]:
    """Let a new training begin with the encoder of the model in `folder`, and for each person that both know (their
    embeddings lie nearer than `same`) with all that is that person's. Returns the sides whose decoders were kept.

    Another person's decoder is not taken, although it would learn faster than a new one: nobody's face is to end up in
    the model of two others. Raises `ModelError` when the networks differ (see `require_alike`).
    """
    saved = open_model(folder)
    known, average = saved.persons(), saved.tensors("average.")
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
        _fill(net, net.state_dict() | taken, saved.path)
    return kept


def _read(file: Any, start: str, path: Path) -> dict[str, Tensor]:
    """The tensors whose names begin with `start`, without it. Raises `ModelError` where one holds NaN or infinity."""
    names: list[str] = [name for name in file.keys() if name.startswith(start)]  # noqa: SIM118 - it has no iterator
    tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
    wrong = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if wrong:
        raise ModelError(
            f"{path} holds weights that are no numbers ({wrong[0]}); go back to an earlier snapshot (`back_to`), "
            "restore a copy or train it anew."
        )
    return {name.removeprefix(start): tensor for name, tensor in tensors.items()}


def _fill(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise _misfit(path) from error


def _misfit(path: Path) -> ModelError:
    return ModelError(f"{path} does not fit its own description; restore a copy or train anew.")


# --- what converts ---------------------------------------------------------------------------------------


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
    return sorted(int(path.stem) for path in (folder / SNAPSHOTS).glob("[0-9]*.safetensors") if path.stem.isdecimal())


def best_error(folder: Path) -> float:
    """The held-out error of the best snapshot; infinite when there is none that can be read."""
    place = _snapshot(folder, BEST)
    try:
        held = _open(place).counters.held if place.is_file() else None
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
    _open(place).tensors("")  # raises what is wrong with it before it takes the model's place
    left = read_about(folder)[1].iteration
    with atomic_file(folder / FILE) as partial:
        shutil.copyfile(place, partial)  # read before `keep_snapshot` may drop it
        keep_snapshot(folder, left)
    return left


def _snapshot(folder: Path, name: int | str) -> Path:
    stem = f"{name:08d}" if isinstance(name, int) else name
    return folder / SNAPSHOTS / f"{stem}.safetensors"
