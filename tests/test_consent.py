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
from clearswap import Consent, TrainConfig
from clearswap.disclosure.consent import FILE, MEANINGS, OLD_FILE, model_consent, public, read_consent, write_consent
from clearswap.training import checkpoint
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
def sets(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> tuple[Path, Path]:
    return unsaid(faces_small_a, tmp_path / "alice"), unsaid(faces_small_b, tmp_path / "bob")


# --- the file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "consent",
    [
        Consent("me"),
        Consent("agreed", "Alice", "signed release 2026-11-03", datetime.date(2026, 11, 3)),
        Consent("licensed", 'Zoë "Z" O\\Neill', "two\nlines\tand a bell \a and \x7f, 名前", TODAY),
    ],
)
def test_what_is_written_is_read(sets: tuple[Path, Path], consent: Consent) -> None:
    write_consent(sets[0], consent)
    assert read_consent(sets[0]) == consent
    text = (sets[0] / FILE).read_text("utf-8")
    assert all(f"#   {basis:12}{meaning}" in text for basis, meaning in MEANINGS.items())
    assert "partial" not in " ".join(left_behind(sets[0]))


def test_the_record_can_be_edited_by_hand_in_any_editor(sets: tuple[Path, Path]) -> None:
    write_consent(sets[0], Consent("agreed", date=TODAY))
    text = (sets[0] / FILE).read_text("utf-8").replace('"agreed"\n', '"me"\r\nname = "Bö"\r\n', 1)
    assert text.count("me") > 1
    (sets[0] / FILE).write_text('basis = "me"\r\nname = \'Bö\'\r\ndate = "2026-11-03"  # by hand\r\n', "utf-8-sig")
    assert read_consent(sets[0]) == Consent("me", "Bö", "", datetime.date(2026, 11, 3))
    (sets[0] / FILE).write_text('basis = "research"\n')
    assert read_consent(sets[0]) == Consent("research")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("basis = agreed", "is not valid TOML (invalid value (at line 1, column 9))"),
        ('basis = "agred"', "gives 'agred' as basis, which is none of agreed, me, synthetic, licensed, research"),
        ("basis = 3", "gives 3 as basis"),
        ('basis = ["me"]', "as basis, which is none of"),
        ('name = "Alice"', "does not say on what basis the footage is used"),
        (
            'basis = "me"\nnaem = "Alice"',
            "has an entry 'naem', which is none of basis, name, purpose, project, note, contact, date",
        ),
        ('basis = "me"\nname = 3', "has a name that is not a text in quotes"),
        ('basis = "me"\ndate = "3.11.2026"', "gives '3.11.2026' as date, which is no day; write it like 2026-11-03"),
        ('basis = "me"\ndate = 3', "gives 3 as date"),
        (b'basis = "me"\nname = "\xff"', "is not a text in UTF-8"),
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
        ("consent", alice),
        ("consent", alice, "--basis", "me"),
        ("train", alice, bob, "-o", tmp_path / "model", *SYNTHETIC),
    ):
        said = cli(*arguments).sentence()
        assert words in said
        assert f"{alice / FILE} " in said
        assert f"mend it, or delete it and run: clearswap consent {alice} --basis agreed" in said
    assert text is None or (alice / FILE).read_bytes() == (text if isinstance(text, bytes) else text.encode())
    assert not (tmp_path / "model").exists()
    assert not (bob / FILE).exists()


def test_a_record_of_before_is_read_and_replaced(sets: tuple[Path, Path]) -> None:
    alice, _ = sets
    old = alice / OLD_FILE
    old.write_text('footing = "agreed"\nname = "Alice"\ndate = 2026-11-03\n')
    kept = Consent("agreed", "Alice", "", datetime.date(2026, 11, 3))
    assert read_consent(alice) == kept
    assert clearswap.set_consent(alice, basis="agreed") == kept
    assert old.exists()  # nothing new was said
    clearswap.set_consent(alice, basis="licensed")
    assert not old.exists()
    assert read_consent(alice) == Consent("licensed", "Alice", "", TODAY)
    (alice / FILE).unlink()
    old.write_text('footing = "agred"')
    with pytest.raises(clearswap.FacesetError, match="gives 'agred' as footing, which is none of agreed, me") as said:
        read_consent(alice)
    assert str(said.value).startswith(f"{old} ")
    (alice / FILE).write_text('basis = "me"')
    assert read_consent(alice) == Consent("me")  # the new one counts


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_says_and_shows(sets: tuple[Path, Path], cli: Cli) -> None:
    alice = sets[0]
    before = cli("consent", alice)
    assert before.code == 0
    assert "nobody has said yet" in before.out
    assert all(f"clearswap consent {alice} --basis {basis}" in before.out for basis in MEANINGS)
    assert not (alice / FILE).exists()
    stated = cli("consent", alice, "--basis", "agreed", "--name", "Alice", "--note", "signed release 2026-11-03")
    assert stated.code == 0, stated
    assert stated.out == cli("consent", alice).out
    assert f"{alice}: the person agreed to this use (agreed, stated on {TODAY})\nname: Alice\n" in stated.out
    assert tomllib.loads((alice / FILE).read_text("utf-8")) == {
        "basis": "agreed",
        "name": "Alice",
        "note": "signed release 2026-11-03",
        "date": TODAY,
    }


def test_what_is_not_given_stays_and_only_another_basis_has_another_date(sets: tuple[Path, Path]) -> None:
    alice, then = sets[0], datetime.date(2020, 2, 3)
    write_consent(alice, Consent("agreed", "Alice", "paper", then))
    assert clearswap.set_consent(alice, basis="agreed") == Consent("agreed", "Alice", "paper", then)
    assert clearswap.set_consent(alice, name="", note="drawer 3") == Consent("agreed", "", "drawer 3", then)
    assert clearswap.set_consent(alice, basis="licensed") == Consent("licensed", "", "drawer 3", TODAY)
    assert clearswap.set_consent(alice) == read_consent(alice) == Consent("licensed", "", "drawer 3", TODAY)


def test_what_makes_no_sense_is_refused(sets: tuple[Path, Path], tmp_path: Path, cli: Cli) -> None:
    assert "is not a face set" in cli("consent", tmp_path / "none", "--basis", "me").sentence()
    assert "give a basis, too" in cli("consent", sets[0], "--name", "Alice").sentence()
    with pytest.raises(clearswap.OptionError, match="'yes' is no basis; give one of agreed, me"):
        clearswap.set_consent(sets[0], basis="yes")  # pyright: ignore[reportArgumentType]
    with pytest.raises(clearswap.OptionError, match="'yes' is no basis"):
        clearswap.train(*sets, tmp_path / "model", basis_a="yes", basis_b="me")  # pyright: ignore[reportArgumentType]
    assert not any((folder / FILE).exists() for folder in sets)


# --- training --------------------------------------------------------------------------------------------


def test_nobody_said_anything_no_model(sets: tuple[Path, Path], tmp_path: Path) -> None:
    alice, bob = sets
    start = ("train", alice, bob, "-o", tmp_path / "model", "--iterations", "1", "--batch", "2")
    assert run(*start).sentence() == (
        f"clearswap: Nobody has said yet who {alice} and {bob} show and on what basis; give basis_a and "
        f"basis_b as agreed (or me, synthetic, licensed, research), or run: clearswap consent {alice} --basis "
        f"agreed and clearswap consent {bob} --basis agreed."
    )
    assert run(*start, "--basis-b", "me").sentence() == (
        f"clearswap: Nobody has said yet who {alice} shows and on what basis; give basis_a as agreed (or me, "
        f"synthetic, licensed, research), or run: clearswap consent {alice} --basis agreed."
    )
    assert not any((folder / FILE).exists() for folder in sets)
    assert not (tmp_path / "model").exists()


def test_what_is_said_when_training_is_kept_with_the_faces_and_in_the_model(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    alice, bob = sets
    note = "only she may know where it lies"
    write_consent(bob, Consent("agreed", "Bob", note, datetime.date(2020, 2, 3)))
    model = tmp_path / "model"
    start = ("train", alice, bob, "-o", model, "--batch", "2")
    done = run(*start, "--iterations", "1", "--basis-a", "me", "--basis-b", "licensed")
    assert done.code == 0, done
    assert done.err == ""
    assert read_consent(alice) == Consent("me", date=TODAY)
    assert read_consent(bob) == Consent("licensed", "Bob", note, TODAY)
    kept = {"a": Consent("me", date=TODAY), "b": Consent("licensed", "Bob", "", TODAY)}
    assert model_consent(model) == kept
    assert note.encode() not in (model / checkpoint.FILE).read_bytes()
    clearswap.set_consent(alice, name="Alice")  # the latest record counts, also when nothing more is trained
    clearswap.train(alice, bob, model, training=BRIEF)
    assert model_consent(model) == kept | {"a": Consent("me", "Alice", "", TODAY)}
    clearswap.train(alice, bob, model, basis_b="agreed", training=TrainConfig(iterations=2, batch=2))
    assert model_consent(model)["b"] == Consent("agreed", "Bob", "", TODAY)


def test_a_model_of_before_is_read_and_trained_further(
    model: Path, faces_a: Path, faces_b: Path, tmp_path: Path
) -> None:
    with safe_open(model / checkpoint.FILE, "pt") as file:
        about = json.loads(file.metadata()["clearswap"])
    assert about.pop("consent") == {side: {"basis": "synthetic", "date": str(TODAY)} for side in "ab"}
    save_file(load_file(model / checkpoint.FILE), tmp_path / checkpoint.FILE, {"clearswap": json.dumps(about)})
    assert model_consent(tmp_path) == {}
    done = clearswap.train(faces_a, faces_b, tmp_path, training=TrainConfig(iterations=61, batch=2))
    assert done.iterations == 61
    assert set(model_consent(tmp_path)) == {"a", "b"}


@pytest.mark.parametrize("said", [{"a": {"basis": "who knows"}}, {"a": 3}, [3]])
def test_a_model_with_a_damaged_record_is_damaged(model: Path, tmp_path: Path, said: object) -> None:
    with safe_open(model / checkpoint.FILE, "pt") as file:
        about = json.loads(file.metadata()["clearswap"]) | {"consent": said}
    save_file(load_file(model / checkpoint.FILE), tmp_path / checkpoint.FILE, {"clearswap": json.dumps(about)})
    with pytest.raises(clearswap.ModelError, match="is damaged"):
        model_consent(tmp_path)


def test_names_are_public_only_where_asked_for_and_notes_never() -> None:
    consent = Consent("agreed", "Alice", "release in drawer 3", datetime.date(2026, 11, 3))
    open_to_all = {"basis": "agreed", "date": "2026-11-03"}
    assert public(consent) == open_to_all
    assert public(consent, name=True) == open_to_all | {"name": "Alice"}
    assert public(Consent("me"), name=True) == {"basis": "me"}


# --- swap ------------------------------------------------------------------------------------------------


def test_swap_asks_before_any_work_and_keeps_the_answer(demo_clips: Path, tmp_path: Path) -> None:
    a, b = (head_of_clip(demo_clips / f"person_{side}.mp4", tmp_path / f"{side}.mp4", 8) for side in "ab")
    start = ("swap", a, b, "-o", tmp_path / "out.mp4", "--iterations", "1", "--batch", "2")
    assert run(*start, "--basis-b", "synthetic").sentence() == (
        f"clearswap: Nobody has said yet who {a} shows and on what basis; give basis_a as agreed (or me, synthetic, "
        "licensed, research)."
    )
    assert left_behind(tmp_path) == ["a.mp4", "b.mp4"]
    done = run(*start, *SYNTHETIC)
    assert done.code == 0, done
    work = tmp_path / "out-work"
    assert read_consent(work / "faces_a") == read_consent(work / "faces_b") == Consent("synthetic", date=TODAY)
    assert model_consent(work / "model") == {side: Consent("synthetic", date=TODAY) for side in "ab"}
    again = run(*start, "--basis-a", "licensed")  # b's basis is known by now
    assert again.code == 0, again
    assert model_consent(work / "model")["a"].basis == "licensed"
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
    assert read_consent(alice) == Consent("agreed", date=TODAY)
    assert read_consent(bob) == Consent("me", date=TODAY)
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
