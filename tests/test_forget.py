"""Consent that ends: refused after the day, once withdrawn, for another purpose; and what is kept of a person found."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import clearswap
from clearswap.disclosure import consent as records
from clearswap.disclosure.consent import in_model, model_consent, read_consent
from clearswap.training import checkpoint
from makers import Ran, left_behind, run

Cli = Callable[..., Ran]
YESTERDAY = (dt.date.today() - dt.timedelta(days=1)).isoformat()
TODAY = dt.date.today().isoformat()

ENDED: dict[str, tuple[dict[str, Any], str, str]] = {  # what is said, with what purpose it is used, and the answer
    "expired": ({"valid_until": YESTERDAY}, "", f"The consent of Jo ended on {YESTERDAY}; ask for another one"),
    "withdrawn": ({"withdrawn": True}, "", f'Jo withdrew the consent on {TODAY}; delete .* clearswap forget "Jo"'),
    "another purpose": (
        {"purpose": "a film"},
        "an advert",
        'Jo agreed to "a film", not to "an advert"; give `purpose`',
    ),
    "no purpose": ({"purpose": "a film"}, "", 'Jo agreed to "a film", and no purpose was given; give `purpose`'),
}


@pytest.fixture
def sets(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> tuple[Path, Path]:
    one, two = shutil.copytree(faces_small_a, tmp_path / "one"), shutil.copytree(faces_small_b, tmp_path / "two")
    clearswap.set_consent(two, basis="agreed", name="Jo")
    return one, two


@pytest.fixture
def known(tiny_model: Path, tmp_path: Path) -> Path:
    """A model whose person b is Jo."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    clearswap.set_consent(model, person="b", basis="agreed", name="Jo")
    return model


@pytest.mark.parametrize("how", list(ENDED))
def test_training_is_refused_from_python_and_the_command_line(
    sets: tuple[Path, Path], tmp_path: Path, cli: Cli, how: str
) -> None:
    said, purpose, words = ENDED[how]
    clearswap.set_consent(sets[1], **said)
    before = left_behind(tmp_path)
    with pytest.raises(clearswap.ConsentError, match=words):
        clearswap.train(*sets, tmp_path / "new", purpose=purpose, training=clearswap.TrainConfig(iterations=1))
    ran = cli("train", *sets, "-o", tmp_path / "new", "--iterations", "1", "--purpose", purpose)
    assert ran.sentence().startswith("clearswap: ")
    assert "Jo" in ran.sentence()
    assert left_behind(tmp_path) == before


@pytest.mark.parametrize("how", list(ENDED))
def test_conversion_is_refused_from_python_and_the_command_line(
    known: Path, demo_clips: Path, tmp_path: Path, cli: Cli, how: str
) -> None:
    said, purpose, words = ENDED[how]
    clearswap.set_consent(known, person="b", **said)
    before, clip = left_behind(tmp_path), demo_clips / "person_b.mp4"
    for name in ("out.mp4", "sheet.png"):
        verb: Callable[..., Any] = clearswap.convert if name == "out.mp4" else clearswap.preview
        with pytest.raises(clearswap.ConsentError, match=words):
            verb(known, clip, tmp_path / name, to="a", purpose=purpose)
    ran = cli("convert", known, clip, "-o", tmp_path / "out.mp4", "--to", "a", "--purpose", purpose)
    assert "Jo" in ran.sentence()
    assert left_behind(tmp_path) == before


@pytest.mark.parametrize("how", list(ENDED))
def test_swap_is_refused_before_any_work(
    sets: tuple[Path, Path], demo_clips: Path, tmp_path: Path, cli: Cli, how: str
) -> None:
    said, purpose, words = ENDED[how]
    work, clip = tmp_path / "work", demo_clips / "person_b.mp4"
    work.mkdir()
    sets[0].rename(work / "faces_a")
    sets[1].rename(work / "faces_b")
    clearswap.set_consent(work / "faces_b", **said)
    before = left_behind(tmp_path)
    with pytest.raises(clearswap.ConsentError, match=words):
        clearswap.swap(clip, clip, tmp_path / "out.mp4", work=work, purpose=purpose)
    ran = cli("swap", clip, clip, "-o", tmp_path / "out.mp4", "--work", work, "--purpose", purpose)
    assert "Jo" in ran.sentence()
    assert left_behind(tmp_path) == before


def test_within_its_bounds_a_consent_holds(sets: tuple[Path, Path], demo_clips: Path, tmp_path: Path) -> None:
    """On its last day, for its purpose however that is written; and the model knows them, but not how to reach Jo."""
    consent = clearswap.set_consent(
        sets[1], purpose="The film  Dawn", project="Dawn", valid_until=TODAY, contact="jo@example.org"
    )
    assert read_consent(sets[1]) == consent
    one = clearswap.TrainConfig(iterations=1, batch=2, base=False)
    clearswap.train(*sets, tmp_path / "model", purpose="the film dawn", training=one)
    kept = model_consent(tmp_path / "model")["b"]
    assert in_model(kept) == in_model(consent)
    assert kept.contact == kept.note == ""
    picture = next(sets[1].glob("*.jpg"))
    everyone = clearswap.SelectConfig(faces="all")
    for purpose, works in (("THE FILM DAWN", True), ("the film dusk", False)):
        try:
            clearswap.convert(
                tmp_path / "model", picture, tmp_path / "out.png", to="a", purpose=purpose, select=everyone
            )
        except clearswap.ConsentError:
            assert not works
        else:
            assert works
    assert (demo_clips / "person_b.mp4").is_file()


def test_what_was_withdrawn_can_be_given_again(sets: tuple[Path, Path], cli: Cli) -> None:
    assert cli("consent", sets[1], "--withdrawn").code == 0
    assert f"withdrawn: {TODAY}" in cli("consent", sets[1]).out
    assert f"withdrawn = {TODAY}" in (sets[1] / "consent.toml").read_text()
    assert cli("consent", sets[1], "--no-withdrawn", "--valid-until", "2040-02-29").code == 0
    assert read_consent(sets[1]) == records.Consent(
        "agreed", "Jo", date=dt.date.today(), valid_until=dt.date(2040, 2, 29)
    )
    assert cli("consent", sets[1], "--valid-until", "").code == 0
    assert read_consent(sets[1]) == records.Consent("agreed", "Jo", date=dt.date.today())


@pytest.mark.parametrize("day", ["2026-02-30", "tomorrow", "1", "2026-11-27T10:00"])
def test_a_day_that_is_none_is_refused(sets: tuple[Path, Path], cli: Cli, day: str) -> None:
    assert "is no day; give one like 2027-01-31" in cli("consent", sets[1], "--valid-until", day).sentence()


def test_a_model_and_its_snapshots_say_it(known: Path, cli: Cli) -> None:
    checkpoint.keep_snapshot(known, 5)
    before = checkpoint.open_model(known).fingerprint()
    assert cli("consent", known, "--person", "b", "--withdrawn").code == 0
    assert f"withdrawn: {TODAY}" in cli("consent", known).out
    assert "person a: a synthetic person" in cli("consent", known).out
    saved = checkpoint.open_model(known)
    assert saved.fingerprint() == before
    assert saved.network(torch.device("cpu")) is not None
    checkpoint.go_back(known, 5)
    assert model_consent(known)["b"].withdrawn == dt.date.today()
    assert "person" in cli("consent", known, "--person", "c", "--withdrawn").sentence()


def test_records_of_before_are_read(sets: tuple[Path, Path]) -> None:
    (sets[1] / "consent.toml").write_text('basis = "agreed"\nname = "Jo"\nnote = "x"\ndate = 2026-11-03\n')
    assert read_consent(sets[1]) == records.Consent("agreed", "Jo", "x", dt.date(2026, 11, 3))


# --- forget ----------------------------------------------------------------------------------------------


@pytest.fixture
def three(sets: tuple[Path, Path], tiny_model: Path, tmp_path: Path) -> Path:
    """A working folder with three persons: Ann (a), Jo (b), and Cid, who shares Jo's face but not the name."""
    work = tmp_path / "work"
    (work / "sets").mkdir(parents=True)
    ann, jo = sets[0].rename(work / "sets" / "ann"), sets[1].rename(work / "sets" / "jo")
    cid = shutil.copytree(jo, work / "sets" / "cid")
    nameless = shutil.copytree(ann, work / "nameless")
    clearswap.set_consent(ann, basis="agreed", name="Ann", note="kept")
    clearswap.set_consent(cid, name="Cid")
    clearswap.set_consent(nameless, basis="synthetic")
    for name, (one, two) in {"ann_jo": ("Ann", "Jo"), "cid_jo": ("", "Cid")}.items():
        model = shutil.copytree(tiny_model, work / name)
        checkpoint.keep_snapshot(model, 5)
        (model / "preview.jpg").write_bytes(b"x")
        (model / "history").mkdir()
        (model / "history" / "00000001.jpg").write_bytes(b"x")
        if one:
            clearswap.set_consent(model, person="a", basis="agreed", name=one)
        clearswap.set_consent(model, person="b", basis="agreed", name=two)
    (work / "cid_jo" / "mine.txt").write_text("another's")
    everyone = clearswap.SelectConfig(faces="all")
    picture = min(jo.glob("*.jpg"))
    clearswap.convert(work / "ann_jo", picture, work / "out" / "swap.png", to="a", select=everyone)
    shutil.copy(picture, work / "out" / "other.jpg")
    return work


def test_exactly_one_of_three_persons_is_gone(three: Path, cli: Cli) -> None:
    before = left_behind(three)
    looked = clearswap.forget("ann", three)
    assert left_behind(three) == before
    rows = {one.place.relative_to(three).as_posix(): (one.kind, one.why, len(one.files) > 0) for one in looked.found}
    assert set(rows) == {"sets/ann", "nameless", "ann_jo", "cid_jo", "out/swap.png"}
    assert rows["sets/ann"] == ("face set", "by its consent record", True)
    assert rows["ann_jo"] == ("model", "its person a, by its consent record", True)
    assert rows["nameless"][1].startswith("no name, but the same face (0.")
    assert rows["cid_jo"][1].startswith("no name, but the same face (0.")  # whose person a nobody named
    assert rows["out/swap.png"][0] == "swap"
    assert not rows["out/swap.png"][2]
    refused = cli("forget", "Ann", three)
    assert refused.code == 2
    assert "give --delete" in refused.err
    assert left_behind(three) == before
    done = cli("forget", "Ann", three, "--delete")
    assert done.code == 0, done
    assert "deleted  model" in done.out
    assert "Not looked for: the footage itself" in done.out
    assert "cid_jo is not empty" in " ".join(done.out.split())
    assert not (three / "sets" / "ann").exists()
    assert not (three / "nameless").exists()
    assert not (three / "ann_jo").exists()
    assert left_behind(three / "cid_jo") == ["mine.txt"]
    assert {path.name for path in (three / "sets").iterdir()} == {"jo", "cid"}
    assert {path.name for path in (three / "out").iterdir()} == {"swap.png", "other.jpg"}
    assert len(list((three / "sets" / "jo").glob("*.jpg"))) == 24


def test_who_shares_a_face_but_not_the_name_is_left_and_said(three: Path) -> None:
    found = clearswap.forget("Jo", three)
    places = {one.place.relative_to(three).as_posix() for one in found.found}
    assert places == {"sets/jo", "ann_jo", "out/swap.png"}
    assert any("cid_jo is left: it shows somebody very much alike, whose name is Cid" in note for note in found.notes)


def test_nobody_of_that_name_and_what_cannot_be_read(three: Path, cli: Cli) -> None:
    (three / "sets" / "cid" / "consent.toml").write_text("basis = ")
    said = cli("forget", "Eve", three)
    assert said.code == 0
    assert "Nothing was found." in said.out
    assert "not looked at" in said.out
    assert "cid" in said.out
    assert "is no folder" in cli("forget", "Eve", three / "none").sentence()
    assert "has no name" in cli("forget", " ", three).sentence()


def test_what_is_in_use_is_not_deleted(three: Path) -> None:
    from clearswap.media.files import locked

    before = left_behind(three / "ann_jo")
    with locked(three / "ann_jo", inside=True):
        done = run("forget", "Ann", three / "ann_jo", "--delete")
        assert "is being written by another run" in done.err.splitlines()[-1]
        assert done.code == 2
    assert left_behind(three / "ann_jo") == before
