"""The consent record: who a face set shows, on what basis the footage is used, for what, and until when.

It lies in the face set's folder as `consent.toml`, small enough to be read and edited by hand, and travels with every
model that is trained on the set (`training/checkpoint.py`). Training begins only when it is there for both persons, and
neither training nor conversion goes on where consent has ended, was withdrawn, or was given for another purpose. It is
a statement by whoever uses the footage and proves nothing: it makes them say it, once, where it can be found.

    clearswap.set_consent("faces_a", basis="agreed", name="Alice", note="signed release 2026-11-03")
"""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from clearswap.checks import stored
from clearswap.errors import ConsentError, FacesetError, ModelError, OptionError
from clearswap.faces.faceset import require_faceset
from clearswap.media.files import atomic_file

if TYPE_CHECKING:
    from clearswap.training.checkpoint import SavedModel

TERMS = "1"  # which version of TERMS.md holds
SHORT_TERMS = (
    "For footage of people who agreed, of yourself, or of synthetic people; when consent ends, delete what is kept.",
    "No sexual content. No deceit: say that it is generated. No live impersonation. The marks in outputs stay.",
)
FILE = "consent.toml"
OLD_FILE = "subject.toml"  # its name before version 0.2, when the basis was called `footing`
Basis: TypeAlias = Literal["agreed", "me", "synthetic", "licensed", "research"]
MEANINGS: dict[Basis, str] = {
    "agreed": "the person agreed to this use",
    "me": "it is me",
    "synthetic": "a synthetic person, who never existed",
    "licensed": "licensed footage, and the licence allows this use",
    "research": "a research corpus, and its terms allow this use",
}
_OTHERS = "or " + ", ".join(basis for basis in MEANINGS if basis != "agreed")
_CHOICES = "".join(f"#   {basis:12}{meaning}\n" for basis, meaning in MEANINGS.items())
_HEAD = f"""# Who this face set shows, and on what basis the footage is used. Clearswap reads it when it trains.
#
# basis is one of:
{_CHOICES}#
# All else may be left out. name says who it is, purpose for what, and valid_until how long it may be used: training and
# conversion ask for the same purpose, and refuse after that day, or once withdrawn gives one. These and project are
# kept in models that are trained on this set; note and contact are not. Nothing but the basis and its date is
# published unless you ask for it.

"""
_TEXTS = ("basis", "name", "purpose", "project", "note", "contact")
_DATES = ("date", "valid_until", "withdrawn")
_OWN = ("note", "contact")  # what stays in the face set


@dataclass(frozen=True)
class Consent:
    """On what basis footage of a person is used, and within what bounds.

    Attributes:
        basis: One of `MEANINGS`.
        name: Who it is.
        note: For whoever uses the footage, such as where an agreement lies.
        date: When the basis was stated.
        purpose: For what it may be used; "" for anything.
        project: What it is used in.
        valid_until: The last day on which it may be used.
        withdrawn: The day on which the person withdrew the consent.
        contact: How to reach the person.
    """

    basis: Basis
    name: str = ""
    note: str = ""
    date: datetime.date | None = None
    purpose: str = ""
    project: str = ""
    valid_until: datetime.date | None = None
    withdrawn: datetime.date | None = None
    contact: str = ""

    def to_text(self) -> dict[str, str]:
        """What is known, by the names of the fields, as text."""
        dates = {key: day.isoformat() for key in _DATES if (day := getattr(self, key)) is not None}
        return {key: text for key in _TEXTS if (text := getattr(self, key))} | dates


def read_consent(folder: Path) -> Consent | None:
    """Read the record of the face set in `folder`; None when nobody has stated one. Raises `FacesetError`."""
    path = folder / FILE
    if not path.exists() and (folder / OLD_FILE).is_file():
        path = folder / OLD_FILE
    try:
        return _parse(tomllib.loads(stored(path).decode("utf-8-sig")))  # Windows' editor may begin with a mark
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # the latter where brackets stand in brackets
        trouble = f"is not valid TOML ({str(error)[:1].lower()}{str(error)[1:]})"
    except UnicodeDecodeError:
        trouble = "is not a text in UTF-8"
    except OSError as error:
        trouble = f"cannot be read ({error.strerror})"
    except ValueError as error:
        trouble = str(error)
    raise FacesetError(
        f"{path} {trouble}; mend it, or delete it and run: clearswap consent {folder} --basis agreed ({_OTHERS})."
    )


def write_consent(folder: Path, consent: Consent) -> None:
    """Write the record of the face set in `folder`, with what the bases mean, in place of any that is there.

    Raises `FacesetError` where there is no face set, and `OutputError`.
    """
    require_faceset(folder)
    lines: list[str] = []
    for key, text in consent.to_text().items():
        # a text in quotes as TOML wants it is JSON's but for one more character
        quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
        lines.append(f"{key} = {text if key in _DATES else quoted}\n")
    with atomic_file(folder / FILE) as partial:
        partial.write_text(_HEAD + "".join(lines), "utf-8", errors="replace")
    (folder / OLD_FILE).unlink(missing_ok=True)


def set_consent(
    faces: Path | str,
    *,
    basis: Basis | None = None,
    name: str | None = None,
    purpose: str | None = None,
    project: str | None = None,
    valid_until: str | None = None,
    withdrawn: bool | None = None,
    note: str | None = None,
    contact: str | None = None,
    person: Literal["a", "b"] | None = None,
) -> Consent:
    """Say, or show, who a face set shows, on what basis the footage is used, for what, and until when.

    Training needs it of both persons. It is kept as consent.toml in the face set, which you can edit, and travels with
    the model. Nothing but the basis and its date is published unless you ask for it. What is not given stays as it was;
    "" takes it away.

    Args:
        faces: A face set; or a model, with `person`, where a consent ends after the training.
        basis: On what basis the footage is used: the person "agreed" to it, it is "me", a "synthetic" person,
            "licensed" footage, or a "research" corpus.
        name: Who it is. Kept in the face set and in models.
        purpose: For what it may be used. Training and conversion then have to name the same purpose.
        project: What it is used in. Kept in models, too.
        valid_until: The last day on which it may be used, like 2027-01-31. Training and conversion refuse afterwards.
        withdrawn: The person has withdrawn the consent, today. Training and conversion refuse from now on; `forget`
            deletes what shows them.
        note: For yourself, such as where the agreement lies. Kept in the face set only.
        contact: How to reach the person. Kept in the face set only.
        person: Which of a model's persons, a or b.

    Returns:
        The record as it is now.

    Raises:
        FacesetError: There is no face set.
        ModelError: There is no model, or it has no record of that person.
        OptionError: Nobody has said on what basis, or a date is none.
        OutputError: The face set or model cannot be written to.
    """
    folder = Path(faces)
    if person is None:
        require_faceset(folder)
        known = read_consent(folder)
    else:
        known = model_consent(folder).get(person)
    consent = _with_basis(known, basis)
    if consent is None:
        raise OptionError(f"Nobody has said yet on what basis {folder} is used; give a basis, too, such as agreed.")
    given: dict[str, Any] = {"name": name, "purpose": purpose, "project": project, "note": note, "contact": contact}
    consent = replace(consent, **{key: text for key, text in given.items() if text is not None})
    if valid_until is not None:
        consent = replace(consent, valid_until=_day_given(valid_until) if valid_until else None)
    if withdrawn is not None and withdrawn != (consent.withdrawn is not None):
        consent = replace(consent, withdrawn=datetime.date.today() if withdrawn else None)
    if person is None:
        keep_consent({"": folder}, {"": consent})
    else:
        from clearswap.training import checkpoint

        checkpoint.rewrite_consent(folder, person, in_model(consent))
    return consent


def _day_given(text: str) -> datetime.date:
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError as error:
        raise OptionError(f"{text!r} is no day; give one like 2027-01-31.") from error


def require_consent(
    sets: Mapping[str, Path], given: Mapping[str, Basis | None], shown: Mapping[str, Path]
) -> dict[str, Consent]:
    """The records of both persons by side ("a", "b"): those of the face sets, with the bases that are `given` now.

    Writes nothing, and the face sets need not be there yet; `shown` are the names of the footage in messages. Raises
    `OptionError` when nobody has stated a basis for one, and `FacesetError` for a record that cannot be read.
    """
    found = {side: _with_basis(read_consent(folder), given[side]) for side, folder in sets.items()}
    records = {side: consent for side, consent in found.items() if consent is not None}
    missing = [side for side in sets if side not in records]
    if missing:
        names = " and ".join(str(shown[side]) for side in missing)
        options = " and ".join(f"basis_{side}" for side in missing)
        commands = [f"clearswap consent {sets[side]} --basis agreed" for side in missing if sets[side].is_dir()]
        run = f", or run: {' and '.join(commands)}" if len(commands) == len(missing) else ""
        show = "shows" if len(missing) == 1 else "show"
        raise OptionError(
            f"Nobody has said yet who {names} {show} and on what basis; give {options} as agreed ({_OTHERS}){run}."
        )
    return records


def require_lasting(records: Mapping[str, Consent], shown: Mapping[str, str], purpose: str) -> None:
    """Raise `ConsentError` where a consent has ended, was withdrawn, or is for another `purpose` than this one.

    `shown`: in words, whom each of the `records` is about, where it has no name.
    """
    for side, consent in records.items():
        who = consent.name or shown[side]
        if consent.withdrawn is not None:
            raise ConsentError(
                f"{who} withdrew the consent on {consent.withdrawn}; delete what shows this person with: "
                f'clearswap forget "{consent.name or "NAME"}".'
            )
        if consent.valid_until is not None and datetime.date.today() > consent.valid_until:
            raise ConsentError(
                f"The consent of {who} ended on {consent.valid_until}; ask for another one, and state it with: "
                "clearswap consent FACES --valid-until DATE."
            )
        if consent.purpose and consent.purpose.casefold().split() != purpose.casefold().split():
            other = f'not to "{purpose}"' if purpose else "and no purpose was given"
            raise ConsentError(
                f'{who} agreed to "{consent.purpose}", {other}; give `purpose` as it was agreed, or ask for another '
                "consent."
            )


def keep_consent(sets: Mapping[str, Path], records: Mapping[str, Consent]) -> None:
    """Write the records into their face sets, where they are not there already. Raises `OutputError`."""
    for side, folder in sets.items():
        if read_consent(folder) != records[side]:
            write_consent(folder, records[side])


def model_consent(folder: Path) -> dict[str, Consent]:
    """The records of both persons of a model by side, without notes; empty for a model that was made without them.

    Raises `ModelError`.
    """
    from clearswap.training import checkpoint  # it imports torch, which face sets and `check` do without

    return consent_of(checkpoint.open_model(folder))


def consent_of(model: SavedModel) -> dict[str, Consent]:
    """The records of both persons of an opened model; see `model_consent`."""
    try:
        return {side: _parse(fields) for side, fields in model.consent.items()}
    except ValueError as error:
        raise ModelError(
            f"The consent record in {model.path} is damaged; train the model anew or restore a copy."
        ) from error


def in_model(consent: Consent) -> dict[str, str]:
    """The part of a record that models keep, as text."""
    return {key: text for key, text in consent.to_text().items() if key not in _OWN}


def public(consent: Consent, *, name: bool = False) -> dict[str, str]:
    """The part of a record that everybody may read, as text: the basis, its date, and the `name` if asked for."""
    shown = ("basis", "name", "date") if name else ("basis", "date")
    return {key: text for key, text in consent.to_text().items() if key in shown}


def _with_basis(known: Consent | None, basis: Basis | None) -> Consent | None:
    """The record with another basis, stated today; without another one it stays as it is. Raises `OptionError`."""
    if basis is None or (known is not None and known.basis == basis):
        return known
    if basis not in MEANINGS:
        raise OptionError(f"{basis!r} is no basis; give one of {', '.join(MEANINGS)}.")
    return replace(known or Consent(basis), basis=basis, date=datetime.date.today())


def _parse(fields: Mapping[str, Any]) -> Consent:
    """A record from the entries of a file. Raises `ValueError` with words that go on after the file's name."""
    entries = (*_TEXTS, *_DATES)
    if strange := [key for key in fields if key not in (*entries, "footing")]:
        raise ValueError(f"has an entry {strange[0]!r}, which is none of {', '.join(entries)}")
    key = "footing" if "footing" in fields and "basis" not in fields else "basis"
    if key not in fields:
        raise ValueError("does not say on what basis the footage is used")
    basis = fields[key]
    if not isinstance(basis, str) or basis not in MEANINGS:
        raise ValueError(f"gives {basis!r} as {key}, which is none of {', '.join(MEANINGS)}")
    known: dict[str, Any] = {name: fields[name] for name in _TEXTS if name in fields} | {"basis": basis}
    if wrong := [name for name, text in known.items() if not isinstance(text, str)]:
        raise ValueError(f"has a {wrong[0]} that is not a text in quotes")
    known.update((name, _day(name, fields[name])) for name in _DATES if name in fields)
    return Consent(**known)


def _day(name: str, value: Any) -> datetime.date:
    """A day from a file. Raises `ValueError` as `_parse` does."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, str):
        with suppress(ValueError):
            return datetime.date.fromisoformat(value)
    if not isinstance(value, datetime.date):
        raise ValueError(f"gives {value!r} as {name}, which is no day; write it like 2026-11-03")
    return value
