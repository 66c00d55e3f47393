"""Files that others have made: whatever stands in them, the end is work that is right or one sentence."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import clearswap
from clearswap.checks import decode, stored
from clearswap.disclosure.consent import model_consent, read_consent
from clearswap.errors import ClearswapError, FacesetError, ModelError
from clearswap.faces.faceset import Occluders, read_face, read_index
from clearswap.media.writer import workdir
from clearswap.training import checkpoint
from clearswap.training.detail_store import read_store
from clearswap.training.log import HISTORY_FILE, TrainingLog, read_history
from makers import Ran, left_behind, run

EXAMPLES = settings(max_examples=int(os.environ.get("CLEARSWAP_EXAMPLES", "100")))  # all 2,000: by hand
Cli = Callable[..., Ran]

# --- anything at all, and what is right but for one place ------------------------------------------------

WORDS = st.sampled_from(["", "a", "../../x", "\0", "\x1b[31m", "größe", "\ud800", "x" * 2000, "agreed", "modern"])
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**64), 10**400, 1e308, math.nan, math.inf, -math.inf, 0.5])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | NUMBERS | WORDS | st.text(max_size=5)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value of any kind has values in it, long lists by their ends only."""
    keys = list(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = sorted({0, len(value) - 1} & set(range(len(value))))
    return [path] * bool(path) + [place for key in keys for place in places(value[key], (*path, key))]


@st.composite
def spoilt(draw: st.DrawFn, right: Any) -> Any:
    """What is right, but in one to three places: another value there, none, or one more beside it."""
    value = copy.deepcopy(right)
    for _ in range(draw(st.integers(1, 3))):
        if not (there := places(value)):
            break
        *above, last = draw(st.sampled_from(there))
        holder = value
        for key in above:
            holder = holder[key]
        how = draw(st.sampled_from(["other", "none", "more"]))
        if how == "none":
            del holder[last]
        elif how == "more" and isinstance(holder, list):
            holder.append(draw(ANYTHING))
        else:
            holder["more" if how == "more" else last] = draw(ANYTHING)
    return value


def texts(right: Any) -> st.SearchStrategy[bytes]:
    """JSON of anything, JSON that is nearly right, and bytes that are no JSON."""
    values = spoilt(right) | ANYTHING
    deep = st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"", b"{}", b"null", b"\xff\xfe{", b"1" * 5000])
    return values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40) | deep


# --- models ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def about(tiny_model: Path) -> dict[str, Any]:
    with safe_open(tiny_model / checkpoint.FILE, "pt") as file:
        return json.loads(file.metadata()["clearswap"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stranger")


def test_a_model_that_says_anything_of_itself(about: dict[str, Any], place: Path) -> None:
    tensor = {"network.x": torch.zeros(1), "average.x": torch.zeros(1), "person.a": torch.zeros(128)}

    @EXAMPLES
    @given(text=texts(about))
    def looks(text: bytes) -> None:
        save_file(tensor, place / checkpoint.FILE, {"clearswap": text.decode("utf-8", "replace")})
        try:
            saved = checkpoint.open_model(place)
            model_consent(place)
            saved.persons()
            assert 1 <= saved.config.batch <= 10**6
            assert 16 <= saved.config.size <= 2048
            assert 0 <= saved.counters.iteration <= 10**9
            assert 0 <= saved.counters.seconds < math.inf
        except ModelError as error:
            assert str(place) in str(error)

    looks()


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "coverage=100": lambda said: said["config"].update(coverage=100),
    "width=1e9": lambda said: said["config"].update(width=1e9),
    "size=-1": lambda said: said["config"].update(size=-1),
    "size=2^40": lambda said: said["config"].update(size=2**40),
    "seen=0": lambda said: said["config"].update(seen=0),
    "latent=[]": lambda said: said["config"].update(latent=[]),
    "batch=text": lambda said: said["config"].update(batch="8"),
    "network=other": lambda said: said["config"].update(network="/bin/sh"),
    "preset=other": lambda said: said["config"].update(preset="__import__"),
    "learning rate is no number": lambda said: said["config"].update(learning_rate=math.nan),
    "iteration=-5": lambda said: said["counters"].update(iteration=-5),
    "iteration=1e300": lambda said: said["counters"].update(iteration=1e300),
    "seconds=inf": lambda said: said["counters"].update(seconds=math.inf),
    "no counters": lambda said: said.pop("counters"),
    "no config": lambda said: said.pop("config"),
    "config=list": lambda said: said.update(config=[]),
    "consent=list": lambda said: said.update(consent=[]),
    "consent of c": lambda said: said.update(consent={"c": {"basis": "me"}}),
    "consent nested": lambda said: said.update(consent={"a": {"basis": {"basis": "me"}}}),
    "format=text": lambda said: said.update(format="5"),
    "format=[]": lambda said: said.update(format=[]),
    "format=2^70": lambda said: said.update(format=2**70),
    "format=null": lambda said: said.update(format=None),
}


@pytest.fixture
def copied(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


@pytest.fixture
def trained(model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model, tmp_path / "model")


def rewrite(model: Path, change: Callable[[dict[str, Any]], Any], tensors: Callable[[dict[str, Any]], Any]) -> None:
    """Save a model again with other metadata and other tensors."""
    path = model / checkpoint.FILE
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["clearswap"])
    held = load_file(path)
    change(said)
    tensors(held)
    save_file(held, path, {"clearswap": json.dumps(said)})


def same(_: dict[str, Any]) -> None:
    """No change."""


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_model_with(
    copied: Path, faces_small_a: Path, faces_small_b: Path, demo_clips: Path, tmp_path: Path, cli: Cli, name: str
) -> None:
    rewrite(copied, HOSTILE[name], same)
    before, output = left_behind(tmp_path), tmp_path / "out.mp4"
    said = cli("convert", copied, demo_clips / "person_b.mp4", "-o", output, "--to", "a").sentence()
    assert checkpoint.FILE in said
    said = cli("train", faces_small_a, faces_small_b, "-o", copied, "--iterations", "9").sentence()
    assert checkpoint.FILE in said
    assert left_behind(tmp_path) == before


def first(tensors: dict[str, Any], start: str) -> str:
    return next(name for name, tensor in tensors.items() if name.startswith(start) and tensor.dim() > 1)


def nan_in(start: str, value: float = math.nan) -> Callable[[dict[str, Any]], Any]:
    return lambda tensors: tensors[first(tensors, start)].view(-1)[:1].fill_(value)


def other(start: str, tensor: torch.Tensor) -> Callable[[dict[str, Any]], Any]:
    return lambda tensors: tensors.update({first(tensors, start): tensor})


TENSORS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "NaN where it converts": (nan_in("average."), "weights that are no numbers"),
    "infinity where it converts": (nan_in("average.", math.inf), "weights that are no numbers"),
    "another shape": (other("average.", torch.zeros(3, 3)), "does not fit its own description"),
    "no weights": (lambda tensors: [tensors.pop(n) for n in list(tensors) if n[0] == "a"], "does not fit its own"),
    "a person of words": (lambda tensors: tensors.update({"person.b": torch.zeros(3)}), "does not fit its own"),
    "a third person": (lambda tensors: tensors.update({"person.c": torch.zeros(128)}), "does not fit its own"),
    "a person of NaN": (lambda tensors: tensors.update({"person.b": torch.full((128,), math.nan)}), "no numbers"),
}


@pytest.mark.parametrize("name", list(TENSORS))
def test_a_conversion_by_a_model_with(copied: Path, demo_clips: Path, tmp_path: Path, cli: Cli, name: str) -> None:
    change, words = TENSORS[name]
    rewrite(copied, same, change)
    said = cli("convert", copied, demo_clips / "person_b.mp4", "-o", tmp_path / "out.mp4", "--to", "a").sentence()
    assert checkpoint.FILE in said
    assert words in said
    assert left_behind(tmp_path)[0] == "model"


TRAINED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "NaN in what is trained": nan_in("network."),
    "NaN in the optimiser": nan_in("optimizer."),
    "an optimiser of another shape": other("optimizer.", torch.zeros(3, 3)),
    "a generator of nothing": lambda tensors: tensors.update(generator=torch.zeros_like(tensors["generator"]) + 255),
}


@pytest.mark.parametrize("name", list(TRAINED))
def test_a_training_goes_on_with_no_model_with(
    trained: Path, faces_small_a: Path, faces_small_b: Path, cli: Cli, name: str
) -> None:
    rewrite(trained, same, TRAINED[name])
    before = (trained / checkpoint.FILE).read_bytes()
    said = cli("train", faces_small_a, faces_small_b, "-o", trained, "--iterations", "9").sentence()
    assert checkpoint.FILE in said
    assert (trained / checkpoint.FILE).read_bytes() == before


def test_a_model_is_read_at_one_moment(copied: Path, tmp_path: Path) -> None:
    """A training saves while a conversion has the model open: weights, persons and fingerprint are those of before."""
    saved = checkpoint.open_model(copied)
    before = checkpoint.open_model(copied).fingerprint()
    weights = saved.network(torch.device("cpu")).state_dict()
    newer = tmp_path / "newer.safetensors"
    held = load_file(copied / checkpoint.FILE)
    with safe_open(copied / checkpoint.FILE, "pt") as file:
        save_file({name: tensor * 2 if tensor.is_floating_point() else tensor for name, tensor in held.items()}, newer,
                  file.metadata())  # fmt: skip
    newer.replace(copied / checkpoint.FILE)
    assert checkpoint.open_model(copied).fingerprint() != before
    assert saved.fingerprint() == before
    again = saved.network(torch.device("cpu")).state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_faces_of_real_detail_that_say_anything(model: Path, place: Path) -> None:
    source = model / "detail_a.safetensors"
    with safe_open(source, "pt") as file:
        right = json.loads(file.metadata()["clearswap"])
    held, config = load_file(source), checkpoint.open_model(model).config

    @settings(EXAMPLES, max_examples=EXAMPLES.max_examples // 4)
    @given(text=texts(right), name=st.sampled_from(["", *held]), tensor=st.sampled_from([
        torch.zeros(0), torch.full((2, 478, 2), math.nan), torch.zeros(10, dtype=torch.int64),
        torch.arange(9, dtype=torch.uint8), torch.tensor([5, 2, 2**62]),
    ]))  # fmt: skip
    @example(text=json.dumps(right).encode(), name="ends", tensor=torch.tensor([5, 2, 2**62]))
    @example(text=json.dumps(right).encode(), name="pictures", tensor=torch.zeros(10, dtype=torch.uint8))
    def looks(text: bytes, name: str, tensor: torch.Tensor) -> None:
        tensors = held | ({name: tensor} if name else {})
        save_file(tensors, place / "detail_a.safetensors", {"clearswap": text.decode("utf-8", "replace")})
        try:
            store = read_store(place, "a", config)
        except ModelError as error:
            assert "detail_a.safetensors" in str(error)
        else:
            assert store is not None
            assert np.isfinite(store.landmarks).all()

    looks()


# --- face sets -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_face(faces_small_a: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A face set of one face, and its line."""
    folder = tmp_path_factory.mktemp("set")
    line = json.loads((faces_small_a / "index.jsonl").read_text().splitlines()[0])
    shutil.copy(faces_small_a / line["file"], folder)
    return folder, line


def test_an_index_of_anything(one_face: tuple[Path, dict[str, Any]]) -> None:
    folder, right = one_face

    @EXAMPLES
    @given(text=texts(right))
    @example(text=json.dumps(right | {"file": []}).encode())
    @example(text=json.dumps(right | {"matrix": [["a", 0, 0], [0, 1, 0]]}).encode())
    @example(text=json.dumps(right | {"landmarks": [[math.nan, 0]] * 478}).encode())
    @example(text=json.dumps(right | {"file": "../../etc/passwd"}).encode())
    def looks(text: bytes) -> None:
        (folder / "index.jsonl").write_bytes(text + b"\n")
        try:
            records = read_index(folder)
        except FacesetError as error:
            assert str(folder) in str(error)
            return
        for record in records:
            assert (folder / record.file).parent == folder
            assert np.isfinite(record.aligned_landmarks()).all()
            assert np.isfinite(record.expression()).all()
            assert read_face(folder, record).shape == (record.size, record.size, 3)

    looks()


RIGHT = {"basis": "agreed", "name": "Jo", "note": "", "date": "2026-11-03"}


def test_a_consent_record_of_anything(one_face: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = one_face
    value = st.sampled_from(
        ["1", "1e400", "nan", "[]", "{}", "[[1],2]", "2026-01-01", "2026-13-01", "1979-05-27T07:32:00Z"]
    )
    value |= LEAVES.map(json.dumps) | WORDS.map(json.dumps)
    lines = st.lists(st.tuples(st.sampled_from([*RIGHT, "footing", "[x]", "a.b"]), value), max_size=5)
    text = lines.map(lambda pairs: "".join(f"{key} = {said}\n" for key, said in pairs).encode("utf-8", "replace"))

    @EXAMPLES
    @given(text=text | st.binary(max_size=60))
    @example(text=b"basis = " + b"[" * 100_000)
    @example(text=b"a" + b".a" * 5000 + b" = 1")
    @example(text=b"basis = " + b"9" * 5000)
    def looks(text: bytes) -> None:
        (folder / "consent.toml").write_bytes(text)
        try:
            consent = read_consent(folder)
        except FacesetError as error:
            assert "consent.toml" in str(error)
        else:
            assert consent is not None

    looks()


@pytest.mark.parametrize("name", ["consent.toml", "index.jsonl"])
def test_a_face_set_with_a_pipe_or_a_device_is_not_waited_for(
    faces_small_a: Path, faces_small_b: Path, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(faces_small_a, tmp_path / "set")
    (folder / name).unlink()
    if name == "consent.toml":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    said = run("train", folder, faces_small_b, "-o", tmp_path / "model", "--iterations", "1").sentence()
    assert name in said


def test_labels_of_anything(tmp_path: Path) -> None:
    path = tmp_path / "clip.labels.npz"
    right = {"occluder": np.zeros(6, np.uint8), "mask_shape": np.array([1, 6, 8])}
    np.savez_compressed(path, **right)
    Occluders([tmp_path / "clip.mp4"], None)(0, 6, 8)
    whole = path.read_bytes()
    for changes in (
        {"mask_shape": np.array([2**62, 4, 4])},
        {"mask_shape": np.array([-1, -1, 2])},
        {"mask_shape": np.array(["a"])},
        {"occluder": np.zeros(5, np.uint8)},
        {"occluder": np.array([{}], object)},
    ):
        np.savez_compressed(path, **(right | changes))
        with pytest.raises(clearswap.InputError, match="holds no labels"):
            Occluders([tmp_path / "clip.mp4"], None)
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            Occluders([tmp_path / "clip.mp4"], None)(0, 6, 8)
        except clearswap.InputError as error:
            assert "labels" in str(error)


# --- what our own runs have left -------------------------------------------------------------------------


def test_a_history_of_anything_is_read_as_far_as_it_goes(model: Path, tmp_path: Path) -> None:
    lines = (model / HISTORY_FILE).read_text().splitlines()
    assert len(read_history(model)) == len(lines) - 1 >= 1
    cell = st.sampled_from(["", "0", "1", "-1", "nan", "inf", "1e400", "x", "\0", "9" * 5000])
    row = st.lists(cell, max_size=12).map(",".join) | st.sampled_from(lines) | st.text(max_size=20)

    @EXAMPLES
    @given(rows=st.lists(row, max_size=4))
    @example(rows=[lines[0], lines[1], lines[1][:7]])
    def looks(rows: list[str]) -> None:
        (tmp_path / HISTORY_FILE).write_text("\n".join(rows), errors="replace")
        for moment in read_history(tmp_path):
            assert moment.iteration >= 0
            assert all(value is None or math.isfinite(value) for value in vars(moment).values())
        TrainingLog(tmp_path, 10**6)
        assert (tmp_path / HISTORY_FILE).read_text().count("\n") == len(read_history(tmp_path)) + 1

    looks()


def test_a_torn_history_stops_neither_training_nor_plot(
    trained: Path, faces_small_a: Path, faces_small_b: Path, cli: Cli
) -> None:
    with (trained / HISTORY_FILE).open("a") as file:
        file.write("12,0.3")
    assert cli("plot", trained).code == 0
    iterations = checkpoint.read_about(trained)[1].iteration + 1
    assert cli("train", faces_small_a, faces_small_b, "-o", trained, "--iterations", str(iterations)).code == 0
    assert "12,0.3\n" not in (trained / HISTORY_FILE).read_text()
    assert cli("plot", trained).code == 0


def test_a_preview_that_is_none_is_named(trained: Path, cli: Cli) -> None:
    for lay in (lambda path: path.write_bytes(b"no picture"), lambda path: (path.unlink(), os.mkfifo(path))):
        preview = min((trained / "history").glob("*.jpg"))
        lay(preview)
        assert str(preview) in cli("plot", trained).sentence()


def test_a_working_folder_of_anything_is_begun_anew_or_gone_on_with(tmp_path: Path) -> None:
    about = {"files": ["a", 1, 2.5], "options": {"crf": 20}}
    folder = tmp_path / "work"

    @EXAMPLES
    @given(text=texts(about))
    def looks(text: bytes) -> None:
        folder.mkdir()
        (folder / "run.json").write_bytes(text)
        with workdir(folder, about, resume=True, worth_keeping=Path.is_file) as going_on:
            assert not going_on or json.loads(text) == about

    looks()


# --- the reader ------------------------------------------------------------------------------------------


def test_only_files_are_read_and_only_so_much_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert stored(path, 5) == b"12345"
    with pytest.raises(ValueError, match="is larger than 4 bytes"):
        stored(path, 4)
    for place in (tmp_path, Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(OSError, match=r"no file|No such file"):
            stored(place)


@EXAMPLES
@given(text=texts({"a": 1}))
def test_decode_raises_value_errors_only(text: bytes) -> None:
    for kind in (dict[str, Any], int, list[str]):
        try:
            decode(kind, text)
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize("name", [name for name in clearswap.__all__ if name.endswith("Config")])
def test_a_config_takes_what_is_possible_and_refuses_the_rest_in_a_sentence(name: str) -> None:
    config: type[Any] = getattr(clearswap, name)
    names = list(config.__dataclass_fields__)

    @EXAMPLES
    @given(values=st.dictionaries(st.sampled_from(names), ANYTHING, min_size=1, max_size=3))
    def makes(values: dict[str, Any]) -> None:
        try:
            made = config(**values)
        except ClearswapError as error:
            assert "give" in str(error)
        else:
            numbers = [value for value in vars(made).values() if isinstance(value, float)]
            assert all(math.isfinite(number) for number in numbers)

    makes()
