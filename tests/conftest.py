"""What many tests share: real clips, face sets and one small model, each made once."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch: its idle threads must sleep
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest

import clearswap
from clearswap.cli.main import main
from makers import Ran

# A shell starts what runs in the background with Ctrl-C ignored, and commands that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests sign with an identity of their own and never see the user's; commands they start inherit this."""
    folder = tmp_path_factory.mktemp("config")
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_CONFIG_HOME"]
    else:
        os.environ["XDG_CONFIG_HOME"] = before


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


@pytest.fixture(scope="session")
def faces_a(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third face of the first synthetic person."""
    folder = tmp_path_factory.mktemp("sets") / "faces_a"
    clearswap.extract([demo_clips / "person_a.mp4"], folder, config=clearswap.ExtractConfig(every=3))
    clearswap.set_consent(folder, basis="synthetic")
    return folder


@pytest.fixture(scope="session")
def faces_b(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third face of the second synthetic person."""
    folder = tmp_path_factory.mktemp("sets") / "faces_b"
    clearswap.extract([demo_clips / "person_b.mp4"], folder, config=clearswap.ExtractConfig(every=3))
    clearswap.set_consent(folder, basis="synthetic")
    return folder


@pytest.fixture(scope="session")
def model(faces_a: Path, faces_b: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lite model that was trained for 60 small steps: far from good, but a model. Not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "model"
    clearswap.train(faces_a, faces_b, folder, training=clearswap.TrainConfig(iterations=60, batch=8))
    return folder


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
