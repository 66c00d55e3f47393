"""The consent record: said once, kept with the faces, needed before training, carried by the model, never made public
with names unless asked for.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import clearswap
from clearswap import Subject, TrainConfig
from clearswap.machinery import checkpoint
from clearswap.machinery.subjects import FILE, MEANINGS, public, read_subject, write_subject
from makers import SYNTHETIC, Ran, head_of_clip, left_behind, run
from test_train import Terminal

Cli = Callable[..., Ran]
BRIEF = TrainConfig(iterations=1, batch=2)
TODAY = datetime.date.today()


def unsaid(faces: Path, folder: Path) -> Path:
    """A face set of which nobody has said anything yet."""
    shutil.copytree(faces, folder)
    (folder / FILE).unlink()
    return folder


@pytest.fixture
def sets(faces_a: Path, faces_b: Path, tmp_path: Path) -> tuple[Path, Path]:
    return unsaid(faces_a, tmp_path / "alice"), unsaid(faces_b, tmp_path / "bob")


# --- the file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subject",
    [
        Subject("me"),
        Subject("agreed", "Alice", "signed release 2026-11-03", datetime.date(2026, 11, 3)),
        Subject("licensed", 'Zoë "Z" O\\Neill', "two\nlines\tand a bell \a and \x7f, 名前", TODAY),
    ],
)
def test_what_is_written_is_read(sets: tuple[Path, Path], subject: Subject) -> None:
    write_subject(sets[0], subject)
    assert read_subject(sets[0]) == subject
    text = (sets[0] / FILE).read_text("utf-8")
    assert all(f"#   {footing:12}{meaning}" in text for footing, meaning in MEANINGS.items())
    assert "partial" not in " ".join(left_behind(sets[0]))


def test_the_record_can_be_edited_by_hand_in_any_editor(sets: tuple[Path, Path]) -> None:
    write_subject(sets[0], Subject("agreed", date=TODAY))
    text = (sets[0] / FILE).read_text("utf-8").replace('"agreed"\n', '"me"\r\nname = "Bö"\r\n', 1)
    assert text.count("me") > 1
    (sets[0] / FILE).write_text('footing = "me"\r\nname = \'Bö\'\r\ndate = "2026-11-03"  # by hand\r\n', "utf-8-sig")
    assert read_subject(sets[0]) == Subject("me", "Bö", "", datetime.date(2026, 11, 3))
    (sets[0] / FILE).write_text('footing = "research"\n')
    assert read_subject(sets[0]) == Subject("research")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("footing = agreed", "is not valid TOML (invalid value (at line 1, column 11))"),
        ('footing = "agred"', "gives 'agred' as footing, which is none of agreed, me, synthetic, licensed, research"),
        ("footing = 3", "gives 3 as footing"),
        ('footing = ["me"]', "as footing, which is none of"),
        ('name = "Alice"', "does not say on what footing the footage is used"),
        ('footing = "me"\nnaem = "Alice"', "has an entry 'naem', which is none of footing, name, note, date"),
        ('footing = "me"\nname = 3', "has a name or note that is not a text in quotes"),
        ('footing = "me"\ndate = "3.11.2026"', "gives '3.11.2026' as date, which is none; write it like 2026-11-03"),
        ('footing = "me"\ndate = 3', "gives 3 as date"),
        (b'footing = "me"\nname = "\xff"', "is not a text in UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_record_edited_wrong_is_one_sentence_and_stays_as_it_is(
    sets: tuple[Path, Path], tmp_path: Path, cli: Cli, text: str | bytes | None, words: str
) -> None:
    alice, bob = sets
    if text is None:
        (alice / FILE).mkdir()
    else:
        (alice / FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    for arguments in (
        ("subjects", alice),
        ("subjects", alice, "--footing", "me"),
        ("train", alice, bob, "-o", tmp_path / "model", *SYNTHETIC),
    ):
        said = cli(*arguments).sentence()
        assert words in said
        assert f"{alice / FILE} " in said
        assert f"mend it, or delete it and run: clearswap subjects {alice} --footing agreed" in said
    assert text is None or (alice / FILE).read_bytes() == (text if isinstance(text, bytes) else text.encode())
    assert not (tmp_path / "model").exists()
    assert not (bob / FILE).exists()


# --- the verb --------------------------------------------------------------------------------------------


def test_the_command_says_and_shows(sets: tuple[Path, Path], cli: Cli) -> None:
    alice = sets[0]
    before = cli("subjects", alice)
    assert before.code == 0
    assert "nobody has said yet" in before.out
    assert all(f"clearswap subjects {alice} --footing {footing}" in before.out for footing in MEANINGS)
    assert not (alice / FILE).exists()
    stated = cli("subjects", alice, "--footing", "agreed", "--name", "Alice", "--note", "signed release 2026-11-03")
    assert stated.code == 0, stated
    assert stated.out == cli("subjects", alice).out
    assert f"{alice}: the person agreed to this use (agreed, stated on {TODAY})\nname: Alice\n" in stated.out
    assert tomllib.loads((alice / FILE).read_text("utf-8")) == {
        "footing": "agreed",
        "name": "Alice",
        "note": "signed release 2026-11-03",
        "date": TODAY,
    }


def test_what_is_not_given_stays_and_only_another_footing_has_another_date(sets: tuple[Path, Path]) -> None:
    alice, then = sets[0], datetime.date(2020, 2, 3)
    write_subject(alice, Subject("agreed", "Alice", "paper", then))
    assert clearswap.subjects(alice, footing="agreed") == Subject("agreed", "Alice", "paper", then)
    assert clearswap.subjects(alice, name="", note="drawer 3") == Subject("agreed", "", "drawer 3", then)
    assert clearswap.subjects(alice, footing="licensed") == Subject("licensed", "", "drawer 3", TODAY)
    assert clearswap.subjects(alice) == read_subject(alice) == Subject("licensed", "", "drawer 3", TODAY)


def test_what_makes_no_sense_is_refused(sets: tuple[Path, Path], tmp_path: Path, cli: Cli) -> None:
    assert "is not a face set" in cli("subjects", tmp_path / "none", "--footing", "me").sentence()
    assert "give --footing, too" in cli("subjects", sets[0], "--name", "Alice").sentence()
    with pytest.raises(clearswap.OptionError, match="'yes' is no footing; give one of agreed, me"):
        clearswap.subjects(sets[0], footing="yes")  # pyright: ignore[reportArgumentType]
    with pytest.raises(clearswap.OptionError, match="'yes' is no footing"):
        clearswap.train(*sets, tmp_path / "model", subject_a="yes", subject_b="me")  # pyright: ignore[reportArgumentType]
    assert not any((folder / FILE).exists() for folder in sets)


# --- training --------------------------------------------------------------------------------------------


def test_nobody_said_anything_no_model(sets: tuple[Path, Path], tmp_path: Path) -> None:
    alice, bob = sets
    start = ("train", alice, bob, "-o", tmp_path / "model", "--iterations", "1", "--batch", "2")
    assert run(*start).sentence() == (
        f"clearswap: Nobody has said yet who {alice} and {bob} show and on what footing; add --subject-a agreed "
        f"--subject-b agreed (or me, synthetic, licensed, research), or run: clearswap subjects {alice} --footing "
        f"agreed and clearswap subjects {bob} --footing agreed."
    )
    assert run(*start, "--subject-b", "me").sentence() == (
        f"clearswap: Nobody has said yet who {alice} shows and on what footing; add --subject-a agreed (or me, "
        f"synthetic, licensed, research), or run: clearswap subjects {alice} --footing agreed."
    )
    assert not any((folder / FILE).exists() for folder in sets)
    assert not (tmp_path / "model").exists()


def test_what_is_said_when_training_is_kept_with_the_faces_and_in_the_model(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    alice, bob = sets
    note = "only she may know where it lies"
    write_subject(bob, Subject("agreed", "Bob", note, datetime.date(2020, 2, 3)))
    model = tmp_path / "model"
    start = ("train", alice, bob, "-o", model, "--batch", "2")
    done = run(*start, "--iterations", "1", "--subject-a", "me", "--subject-b", "licensed")
    assert done.code == 0, done
    assert done.err == ""
    assert read_subject(alice) == Subject("me", date=TODAY)
    assert read_subject(bob) == Subject("licensed", "Bob", note, TODAY)
    kept = {"a": Subject("me", date=TODAY), "b": Subject("licensed", "Bob", "", TODAY)}
    assert checkpoint.read_subjects(model) == kept
    assert note.encode() not in (model / checkpoint.FILE).read_bytes()
    clearswap.subjects(alice, name="Alice")  # the latest record counts, also when nothing more is trained
    clearswap.train(alice, bob, model, config=BRIEF)
    assert checkpoint.read_subjects(model) == kept | {"a": Subject("me", "Alice", "", TODAY)}
    clearswap.train(alice, bob, model, subject_b="agreed", config=TrainConfig(iterations=2, batch=2))
    assert checkpoint.read_subjects(model)["b"] == Subject("agreed", "Bob", "", TODAY)


def test_a_model_of_before_is_read_and_trained_further(
    model: Path, faces_a: Path, faces_b: Path, tmp_path: Path
) -> None:
    with safe_open(model / checkpoint.FILE, "pt") as file:
        about = json.loads(file.metadata()["clearswap"])
    assert about.pop("subjects") == {side: {"footing": "synthetic", "date": str(TODAY)} for side in "ab"}
    save_file(load_file(model / checkpoint.FILE), tmp_path / checkpoint.FILE, {"clearswap": json.dumps(about)})
    assert checkpoint.read_subjects(tmp_path) == {}
    done = clearswap.train(faces_a, faces_b, tmp_path, config=TrainConfig(iterations=61, batch=2))
    assert done.iterations == 61
    assert set(checkpoint.read_subjects(tmp_path)) == {"a", "b"}


@pytest.mark.parametrize("said", [{"a": {"footing": "who knows"}}, {"a": 3}, [3]])
def test_a_model_with_a_damaged_record_is_damaged(model: Path, tmp_path: Path, said: object) -> None:
    with safe_open(model / checkpoint.FILE, "pt") as file:
        about = json.loads(file.metadata()["clearswap"]) | {"subjects": said}
    save_file(load_file(model / checkpoint.FILE), tmp_path / checkpoint.FILE, {"clearswap": json.dumps(about)})
    with pytest.raises(clearswap.ModelError, match="is damaged"):
        checkpoint.read_subjects(tmp_path)


def test_names_and_notes_are_public_only_where_asked_for() -> None:
    subject = Subject("agreed", "Alice", "release in drawer 3", datetime.date(2026, 11, 3))
    open_to_all = {"footing": "agreed", "date": "2026-11-03"}
    assert public(subject) == open_to_all
    assert public(subject, name=True) == open_to_all | {"name": "Alice"}
    assert public(subject, note=True) == open_to_all | {"note": "release in drawer 3"}
    assert public(Subject("me"), name=True, note=True) == {"footing": "me"}


# --- swap ------------------------------------------------------------------------------------------------


def test_swap_asks_before_any_work_and_keeps_the_answer(demo_clips: Path, tmp_path: Path) -> None:
    a, b = (head_of_clip(demo_clips / f"person_{side}.mp4", tmp_path / f"{side}.mp4", 8) for side in "ab")
    start = ("swap", a, b, "-o", tmp_path / "out.mp4", "--iterations", "1", "--batch", "2")
    assert run(*start, "--subject-b", "synthetic").sentence() == (
        f"clearswap: Nobody has said yet who {a} shows and on what footing; add --subject-a agreed (or me, synthetic, "
        "licensed, research)."
    )
    assert left_behind(tmp_path) == ["a.mp4", "b.mp4"]
    done = run(*start, *SYNTHETIC)
    assert done.code == 0, done
    work = tmp_path / "out-work"
    assert read_subject(work / "faces_a") == read_subject(work / "faces_b") == Subject("synthetic", date=TODAY)
    assert checkpoint.read_subjects(work / "model") == {side: Subject("synthetic", date=TODAY) for side in "ab"}
    again = run(*start, "--subject-a", "licensed")  # b's footing is known by now
    assert again.code == 0, again
    assert checkpoint.read_subjects(work / "model")["a"].footing == "licensed"
    assert checkpoint.read_about(work / "model")[1].iteration == 1


def test_swap_finds_a_mistyped_name_before_any_work(demo_clips: Path, tmp_path: Path, cli: Cli) -> None:
    clips = (demo_clips / "person_a.mp4", tmp_path / "person_bb.mp4")
    assert "person_bb.mp4 does not exist" in cli("swap", *clips, "-o", tmp_path / "o.mp4", *SYNTHETIC).sentence()
    assert left_behind(tmp_path) == []


# --- at a real terminal ----------------------------------------------------------------------------------


def test_at_a_terminal_the_question_is_asked_once(sets: tuple[Path, Path], tmp_path: Path) -> None:
    alice, bob = sets
    arguments = ("train", alice, bob, "-o", tmp_path / "model", "--batch", "2", "--iterations", "2", "--no-window")
    terminal = Terminal(*arguments)
    for answer, question in (("9\n", f"Who does {alice} show"), ("1\n", "select one"), ("2\n", f"Who does {bob} show")):
        terminal.read_until(lambda words=question: words in terminal.seen and terminal.seen.rstrip().endswith(":"))
        assert question in terminal.seen, terminal.seen
        os.write(terminal.master, answer.encode())
    assert terminal.code() == 0, terminal.seen
    assert all(meaning in terminal.seen for meaning in MEANINGS.values())
    assert read_subject(alice) == Subject("agreed", date=TODAY)
    assert read_subject(bob) == Subject("me", date=TODAY)
    again = Terminal(*arguments)
    assert again.code() == 0, again.seen
    assert "Who does" not in again.seen


@pytest.mark.parametrize("how", ["Ctrl-C", "Ctrl-D"])
def test_at_a_terminal_no_answer_is_no(sets: tuple[Path, Path], tmp_path: Path, how: str) -> None:
    terminal = Terminal("train", *sets, "-o", tmp_path / "model", "--batch", "2", "--iterations", "2")
    for folder in sets:
        terminal.read_until(lambda words=f"Who does {folder}": words in terminal.seen and terminal.seen.endswith(": "))
        assert f"Who does {folder} show" in terminal.seen, terminal.seen
        if how == "Ctrl-C":
            terminal.process.send_signal(signal.SIGINT)
            break
        os.write(terminal.master, b"\x04")
    assert terminal.code() == (130 if how == "Ctrl-C" else 2), terminal.seen
    assert "Traceback" not in terminal.seen
    assert not any((folder / FILE).exists() for folder in sets)
    assert not (tmp_path / "model").exists()
