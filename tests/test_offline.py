"""What a run reaches for, as the kernel sees it: no address of any kind, and no file but those that people named."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from makers import SYNTHETIC, command, head_of_clip, left_behind, pictures_of, save_picture

STRACE = shutil.which("strace")
NETWORK = "socket,connect,sendto,sendmsg,bind,listen"
WRITES = "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,truncate"
OPENED = re.compile(r'(?:openat|open|creat)\((?:AT_FDCWD, )?"([^"]*)"[^,]*, ([A-Z_|0-9]+)')
NAMED = re.compile(r'(?:mkdir|mkdirat|rename|renameat|renameat2|link|linkat|symlink|symlinkat|truncate)\(.*"([^"]*)"')
SYSTEM = ("/dev/", "/proc/self/", "/proc/thread-self/", "/sys/fs/cgroup")
TRAINING = ("--iterations", "1", "--batch", "2", "--no-base")


@pytest.fixture(scope="module")
def clip(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return head_of_clip(demo_clips / "person_b.mp4", tmp_path_factory.mktemp("clip") / "clip.mp4", 12)


@pytest.fixture(scope="module")
def verbs(
    clip: Path,
    faces_small_a: Path,
    faces_small_b: Path,
    model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[str | Path]]:
    """Every verb, as people run it; what is written goes to the working folder."""
    picture = save_picture(tmp_path_factory.mktemp("picture") / "picture.png", pictures_of(clip)[0])
    sets = [faces_small_a, faces_small_b]
    return {
        "help": ["--help"],
        "models": ["models", "install"],
        "extract": ["extract", clip, "-o", "set"],
        "consent": ["consent", faces_small_a],
        "review": ["review", *sets, "-o", "poses.png"],
        "train": ["train", *sets, "-o", "model", *TRAINING],
        "plot": ["plot", model, "-o", "plots"],
        "convert a video": ["convert", model, clip, "--to", "a", "-o", "out.mp4", "--faces", "largest"],
        "convert a picture": ["convert", model, picture, "--to", "a", "-o", "out.png", "--faces", "largest"],
        "preview": ["convert", model, clip, "--to", "a", "-o", "sheet.jpg", "--preview"],
        "check": ["check", clip, picture],
        "evaluate": ["evaluate", clip, clip, "--truth", clip, "--samples", "3", "-o", "report"],
        "swap": ["swap", clip, clip, "-o", "swap.mp4", *TRAINING, *SYNTHETIC, "--faces", "largest"],
    }  # fmt: skip


NAMES = ["help", "models", "extract", "consent", "review", "train", "plot", "convert a video", "convert a picture",
         "preview", "check", "evaluate", "swap"]  # fmt: skip


def written(log: str) -> set[str]:
    """The places that a run wrote to, or tried to, by the record of its calls."""
    opened = {path for path, flags in OPENED.findall(log) if re.search("O_WRONLY|O_RDWR|O_CREAT", flags)}
    return {path for path in opened | set(NAMED.findall(log)) if not path.startswith(SYSTEM)}


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_no_verb_connects_or_writes_elsewhere(verbs: dict[str, list[str | Path]], tmp_path: Path, name: str) -> None:
    log = tmp_path / "calls"
    work, home, temporary = (tmp_path / name for name in ("work", "home", "temporary"))
    for folder in (work, home, temporary):
        folder.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
    env = kept | {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("ORT_DISABLE_TELEMETRY", None)
    traced = [str(STRACE), "-f", "-qq", "--seccomp-bpf", "-e", f"trace={NETWORK},{WRITES}", "-e", "signal=none"]
    done = subprocess.run(
        [*traced, "-o", str(log), *command(*verbs[name])], cwd=work, env=env, capture_output=True, text=True
    )
    assert done.returncode == (1 if name == "check" else 0), done  # 1: neither marked nor signed
    calls = log.read_text(errors="replace")
    reached = [line for line in calls.splitlines() if re.search(rf"\b({NETWORK.replace(',', '|')})\(", line)]
    assert reached == []
    elsewhere = {path for path in written(calls) if not Path(work, path).is_relative_to(work)}
    elsewhere -= {path for path in elsewhere if Path(path).is_relative_to(temporary)}
    own = [home / ".config" / "clearswap", home / ".cache" / "clearswap"]  # who signs; the list of fonts
    above = {str(folder) for place in own for folder in place.parents}
    assert {path for path in elsewhere - above if not any(Path(path).is_relative_to(folder) for folder in own)} == set()
    assert not left_behind(temporary)


def test_the_record_shows_what_is_done(tmp_path: Path) -> None:
    """The test above would see a connection and a file, were there any."""
    if STRACE is None:
        pytest.skip("strace is not installed")
    code = "import socket, pathlib; pathlib.Path('x').write_text(''); socket.socket().connect_ex(('127.0.0.1', 9))"
    log = tmp_path / "calls"
    traced = [STRACE, "-f", "-qq", "--seccomp-bpf", "-e", f"trace={NETWORK},{WRITES}", "-o", str(log)]
    subprocess.run([*traced, command()[0], "-c", code], cwd=tmp_path, check=True)
    assert "connect(" in log.read_text()
    assert "x" in written(log.read_text())
