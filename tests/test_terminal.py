"""What is printed steers no terminal, fits every encoding, and may be cut off, closed or full without a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clearswap.cli.terminal import visible
from makers import Ran, command, head_of_clip, left_behind, run, save_picture, scene
from test_train import Terminal

Cli = Callable[..., Ran]
HOSTILE = "a\x1b[31m\n\x07\r\t\x7f\x85\x9b\u061c\u200e\u200f\u202e\u2028\u2066:smile:[red]"
SHOWN = r"a\x1b[31m\n\x07\r\t\x7f\x85\x9b\u061c\u200e\u200f\u202e\u2028\u2066:smile:[red]"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


def test_every_control_character_becomes_an_escape_and_no_other_character_does() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible(os.fsdecode(b"caf\xe9")) == "caf\\udce9"
    assert all(visible(chr(code)).isascii() for code in (*range(32), *range(127, 160), *range(0xD800, 0xE000)))
    assert visible("größe 图片 рис 👩‍🦰.png") == "größe 图片 рис 👩‍🦰.png"


def test_hostile_names_are_escaped_wherever_they_are_printed(
    cli: Cli, faces_small_a: Path, demo_clips: Path, tmp_path: Path
) -> None:
    picture, home = save_picture(tmp_path / f"{HOSTILE}.png", scene(0, 64, 48)), tmp_path / HOSTILE
    assert cli("check", picture).out.splitlines()[0] == f"{tmp_path}/{SHOWN}.png"
    assert cli("check", tmp_path / HOSTILE).err == f"clearswap: {tmp_path}/{SHOWN} does not exist; check the name.\n"
    assert SHOWN in cli("extract", picture, "-o", tmp_path / "set").sentence()
    assert SHOWN in cli("extract", picture, "-o", "x", "--every", HOSTILE).sentence()
    assert SHOWN in cli(HOSTILE).sentence()
    home.mkdir()
    (home / f"{HOSTILE}.txt").touch()
    head_of_clip(demo_clips / "person_a.mp4", home / f"{HOSTILE}.mp4", 3)
    done = cli("extract", home, "-o", home / "set")
    notes, first, last, result = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert notes.startswith(f"not taken: {SHOWN}.txt (")
    assert first.startswith(f"extract {SHOWN}.mp4: 1/")
    assert last.startswith(f"extract {SHOWN}.mp4: ")
    assert result.startswith(f"{tmp_path}/{SHOWN}/set: ")
    stated = cli("consent", home / "set", "--basis", "me", "--name", HOSTILE, "--note", HOSTILE).out.splitlines()
    assert stated[1:] == [f"name: {SHOWN}", f"note: {SHOWN}"]
    reviewed = cli("review", home / "set", faces_small_a).out
    assert "\x1b" not in reviewed
    assert f"{tmp_path}/{SHOWN}/set: " in reviewed


def test_bars_at_a_terminal_escape_stages_and_notes(demo_clips: Path, tmp_path: Path) -> None:
    clip = head_of_clip(demo_clips / "person_a.mp4", tmp_path / "a\x1b]0;title\x07\u202e.mp4", 8)
    (tmp_path / "b\x1b]0;title\x07.txt").touch()
    terminal = Terminal("extract", tmp_path, "-o", tmp_path / "set")
    assert terminal.code() == 0, terminal.seen
    assert r"extract a\x1b]0;title\x07\u202e.mp4" in terminal.seen
    assert r"not taken: b\x1b]0;title\x07.txt" in " ".join(terminal.seen.split())
    assert "\x1b]0;title" not in terminal.seen
    assert clip.exists()


def test_json_is_json_on_every_terminal_and_steers_none(tmp_path: Path) -> None:
    for name in (HOSTILE, "größe 图片", os.fsdecode(b"caf\xe9")):
        picture = save_picture(tmp_path / f"{name}.png", scene(0, 64, 48))
        done = run("check", "--json", picture, **ASCII)
        assert done.code == 1, done
        assert done.out.replace("\n", "").isprintable()
        assert [os.fsencode(one["file"]) for one in json.loads(done.out)] == [os.fsencode(picture.name)]


def test_help_and_errors_are_printed_in_ascii(tmp_path: Path) -> None:
    for arguments, code in (([], 0), (["convert", "--help-all"], 0), (["check", tmp_path / "größe 图片.png"], 2)):
        done = run(*arguments, **ASCII)
        assert done.code == code, done
        assert (done.out + done.err).isascii()
        assert "Traceback" not in done.err


def test_a_table_and_a_report_of_clips_with_any_name_are_made_in_ascii(demo_clips: Path, tmp_path: Path) -> None:
    clip = head_of_clip(demo_clips / "person_b.mp4", tmp_path / os.fsdecode(b"gr\xc3\xb6\xdfe \x1b[31m.mp4"), 12)
    done = run("evaluate", clip, clip, "--truth", clip, "-o", tmp_path / "größe", "--samples", "3", **ASCII)
    assert done.code == 0, done
    assert done.out.isascii()
    assert "How good is this swap?" in done.out
    assert done.out.splitlines()[-1].startswith(rf"report         {tmp_path}/gr\udcc3")  # names are ASCII, too
    assert "\\udcdfe" in (tmp_path / "größe" / "report.html").read_text("utf-8")


# --- output that cannot be written -----------------------------------------------------------------------


def ends(shell: str, *arguments: str | Path) -> Ran:
    """Run a command with what a shell does to its streams; the code is the command's own, not `head`'s."""
    script = f'"$@" {shell}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", script, "bash", *command(*arguments)], capture_output=True, text=True)
    return Ran(done.returncode, done.stdout, done.stderr)


def without_a_reader(*arguments: str | Path) -> Ran:
    """Run a command whose output goes into a pipe that its reader left before the first line."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command(*arguments), stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    return Ran(done.returncode, "", done.stderr)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return save_picture(tmp_path / "a.png", scene(0, 64, 48))


@pytest.mark.parametrize("arguments", [["check"], ["check", "--json"], ["--help"], ["--version"]])
def test_a_full_disk_and_a_reader_that_goes_away(picture: Path, arguments: list[str]) -> None:
    names = [] if arguments[0].startswith("-") else [picture]
    full = ends("> /dev/full", *arguments, *names).sentence()
    assert full.startswith("clearswap: Standard output cannot be written: the disk is full; ")
    gone = without_a_reader(*arguments, *names)
    assert (gone.code, gone.err) == (128 + signal.SIGPIPE, "")


def test_a_file_that_may_not_grow_is_a_full_disk(picture: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(
            ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", *command("check", picture)],
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert "no file may become that large here" in Ran(done.returncode, "", done.stderr).sentence()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_closed_streams_are_no_trouble_and_no_file_gets_what_libraries_print(demo_clips: Path, tmp_path: Path) -> None:
    clip = head_of_clip(demo_clips / "person_a.mp4", tmp_path / "a.mp4", 4)
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        assert ends(closed, "extract", clip, "-o", tmp_path / closed).code == 0
    usual = run("extract", clip, "-o", tmp_path / "usual")
    assert usual.code == 0, usual
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        assert contents(tmp_path / closed) == contents(tmp_path / "usual")
    missing = ends(">&-", "check", tmp_path / "none.png")
    assert "does not exist" in missing.sentence()
    assert ends("2>&-", "check", tmp_path / "none.png").code == 2
    assert ends("2> /dev/full", "check", tmp_path / "none.png").code == 2


def test_a_conversion_whose_output_nobody_reads_is_made_all_the_same(demo_clips: Path, tmp_path: Path) -> None:
    clip = head_of_clip(demo_clips / "person_a.mp4", tmp_path / "a.mp4", 4)
    done = without_a_reader("extract", clip, "-o", tmp_path / "set")
    assert (done.code, done.err) == (128 + signal.SIGPIPE, "")
    assert (tmp_path / "set" / "index.jsonl").is_file()
    assert left_behind(tmp_path)[:2] == ["a.mp4", "set"]


# --- names that cannot be --------------------------------------------------------------------------------


def test_zero_bytes_are_refused_in_a_sentence(cli: Cli) -> None:
    for arguments in (["check", "a\0b"], ["extract", "a.mp4", "-o", "a\0b"], ["convert", "--to", "a\0"], ["\0"]):
        assert "holds a zero byte" in cli(*arguments).sentence()


def test_arguments_that_are_no_text_are_refused_in_a_sentence(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    for arguments in (
        [odd],
        ["check", f"--{odd}"],
        ["extract", odd, "-o", "x"],
        ["extract", "a", "-o", "x", "--every", odd],
    ):
        assert "caf\\udce9" in run(*arguments, cwd=tmp_path, PYTHONIOENCODING="ascii:strict").sentence()


def test_a_program_that_prints_itself_keeps_its_streams(picture: Path) -> None:
    code = (
        f"from clearswap.cli.main import main\ntry: main(['check', {str(picture)!r}])\nexcept SystemExit: print('on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "on"
