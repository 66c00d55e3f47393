"""What many tests share: real clips, face sets and one small model, each made once."""

from __future__ import annotations

import os
import shutil
import signal

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch: its idle threads must sleep
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

import clearswap
from clearswap.cli.main import main
from clearswap.core.network import PRESETS
from clearswap.core.train_step import start_training
from clearswap.faces.faceset import read_index, spread, write_index
from clearswap.faces.selection import Embedding, average, embeddings
from clearswap.training import checkpoint
from makers import Ran

# A shell starts what runs in the background with Ctrl-C ignored, nohup with a hang-up ignored, and commands that tests
# start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
settings.register_profile("clearswap", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("clearswap")


Shared = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """`shared(name, make)`: a folder that `make` fills once, for all of pytest-xdist's processes. Not to be changed."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="session", autouse=True)
def own_configuration(shared: Shared) -> Iterator[Path]:
    """Tests sign with an identity of their own and never see the user's; commands they start inherit this."""
    folder = shared("config", Path.mkdir)
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_CONFIG_HOME"]
    else:
        os.environ["XDG_CONFIG_HOME"] = before


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """What tests draw at random is the same in every run, and whatever ran before."""
    torch.manual_seed(0)


class Footage:
    """Real clips, found by their file name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Path:
        found = sorted(self.folder.glob(f"*/**/{name}"))
        assert found, f"{name} is not in {self.folder}; fetch it with: make footage"
        return found[0]


@pytest.fixture(scope="session")
def footage() -> Footage:
    """The clips that `make footage` fetches. Missing footage fails: a test that is skipped proves nothing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Footage(Path(os.environ.get("CLEARSWAP_FOOTAGE") or cache / "clearswap-footage"))


@pytest.fixture(scope="session")
def demo_clips() -> Path:
    """The folder of the two synthetic people's clips, which ships with Clearswap."""
    folder = Path(str(resources.files("clearswap") / "demo_clips"))
    for name in ("person_a.mp4", "person_b.mp4", "truth.mp4"):
        assert (folder / name).is_file(), f"{name} is missing"
    return folder


def extract_every_third(clip: Path, folder: Path) -> None:
    """A face set of a synthetic person, with its consent record."""
    clearswap.extract([clip], folder, config=clearswap.ExtractConfig(every=3))
    clearswap.set_consent(folder, basis="synthetic")


@pytest.fixture(scope="session")
def faces_a(demo_clips: Path, shared: Shared) -> Path:
    """Every third face of the first synthetic person: 100 of them."""
    return shared("faces_a", partial(extract_every_third, demo_clips / "person_a.mp4"))


@pytest.fixture(scope="session")
def faces_b(demo_clips: Path, shared: Shared) -> Path:
    """Every third face of the second synthetic person: 67 of them."""
    return shared("faces_b", partial(extract_every_third, demo_clips / "person_b.mp4"))


def copy_few(faces: Path, folder: Path) -> None:
    """24 faces of a set, evenly spread, with its consent record."""
    folder.mkdir()
    records = spread(read_index(faces), 24)
    for name in [*(record.file for record in records), "consent.toml"]:
        shutil.copy(faces / name, folder / name)
    with (folder / "index.jsonl").open("w") as file:
        write_index(file, records)


@pytest.fixture(scope="session")
def faces_small_a(faces_a: Path, shared: Shared) -> Path:
    """24 faces of the first synthetic person, for all that is not about learning. Not to be changed."""
    return shared("faces_small_a", partial(copy_few, faces_a))


@pytest.fixture(scope="session")
def faces_small_b(faces_b: Path, shared: Shared) -> Path:
    """24 faces of the second synthetic person, for all that is not about learning. Not to be changed."""
    return shared("faces_small_b", partial(copy_few, faces_b))


@pytest.fixture(scope="session")
def model(faces_a: Path, faces_b: Path, shared: Shared) -> Path:
    """A lite model that was trained for 60 small steps: far from good, but a model. Not to be changed."""
    training = clearswap.TrainConfig(iterations=60, batch=8)
    return shared("model", lambda folder: clearswap.train(faces_a, faces_b, folder, training=training))


@pytest.fixture(scope="session")
def tiny_model(faces_a: Path, faces_b: Path, shared: Shared) -> Path:
    """A small lite model that was never trained but knows its persons, for all that is not about learning."""

    def make(folder: Path) -> None:
        state = start_training(replace(PRESETS["lite"], size=48, seen=48, width=0.25), 1, torch.device("cpu"))
        for side, faces in (("a", faces_a), ("b", faces_b)):
            some = embeddings(faces, spread(read_index(faces), 24), Embedding())
            state.persons[side] = torch.from_numpy(average(some))
            state.consent[side] = {"basis": "synthetic"}
        checkpoint.save(folder, state)

    return shared("tiny_model", make)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command in this process: all that it prints, also from C code, and its exit code."""

    def run_here(*arguments: str | Path) -> Ran:
        capfd.readouterr()
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        printed = capfd.readouterr()
        return Ran(code, printed.out, printed.err)

    return run_here


# Fixtures that train or extract, and files whose tests start processes or convert whole clips.
_SLOW_FIXTURES = {"model", "tiny_model", "faces_a", "faces_b", "faces_small_a", "faces_small_b"}
_SLOW_FILES = {"test_bad_input", "test_check", "test_consent", "test_credentials", "test_distributed", "test_evaluate"}
_SLOW_FILES |= {"test_evaluate_refuses", "test_kill", "test_occluders", "test_remux", "test_signer", "test_window"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses real footage, and what takes long: `make check` leaves both out."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "footage" in fixtures:
            item.add_marker("footage")
        if fixtures & _SLOW_FIXTURES or item.path.stem in _SLOW_FILES:
            item.add_marker("slow")
