"""The consent record: who a face set shows, and on what basis the footage is used.

It lies in the face set's folder as `consent.toml`, small enough to be read and edited by hand, and travels with every
model that is trained on the set (`training/checkpoint.py`). Training begins only when it is there for both persons.
It is a statement by whoever uses the footage, and proves nothing; it makes them say it, once, where it can be found.

Subjects: who a face set shows, and on what basis the footage is used.

    clearswap.set_consent("faces_a", basis="agreed", name="Alice", note="signed release 2026-11-03")

What the bases mean, and how they are kept, stands in `disclosure/consent.py`.
"""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from clearswap.errors import FacesetError, ModelError, OptionError
from clearswap.faces.faceset import require_faceset
from clearswap.media.atomic import atomic_file
from clearswap.training import checkpoint

FILE = "consent.toml"
_BEFORE = "subject.toml"  # its name before version 0.2, when it said `footing` instead of `basis`
Basis: TypeAlias = Literal["agreed", "me", "synthetic", "licensed", "research"]
MEANINGS: dict[Basis, str] = {
    "agreed": "the person agreed to this use",
    "me": "it is me",
    "synthetic": "a synthetic person, who never existed",
    "licensed": "licensed footage, and the licence allows this use",
    "research": "a research corpus, and its terms allow this use",
}
_CHOICES = "".join(f"#   {basis:12}{meaning}\n" for basis, meaning in MEANINGS.items())
_HEAD = f"""# Who this face set shows, and on what basis the footage is used. Clearswap reads it when it trains.
#
# basis is one of:
{_CHOICES}#
# name and note are for you and may be left out. The name is kept in models that are trained on this set, the note is
# not, and neither is published unless you ask for it.

"""


@dataclass(frozen=True)
class Consent:
    """A person, and on what basis footage of them is used; `date` is when that was stated."""

    basis: Basis
    name: str = ""
    note: str = ""
    date: datetime.date | None = None


def read_consent(folder: Path) -> Consent | None:
    """The record of the face set in `folder`; None when nobody has said yet. Raises `FacesetError`."""
    path = folder / FILE
    if not path.is_file() and (folder / _BEFORE).is_file():
        path = folder / _BEFORE
    try:
        return from_fields(tomllib.loads(path.read_text("utf-8-sig")))  # Windows' editor may begin with a mark
    except (FileNotFoundError, NotADirectoryError):
        return None
    except tomllib.TOMLDecodeError as error:
        trouble = f"is not valid TOML ({str(error)[:1].lower()}{str(error)[1:]})"
    except UnicodeDecodeError:
        trouble = "is not a text in UTF-8"
    except OSError as error:
        trouble = f"cannot be read ({error.strerror})"
    except ValueError as error:
        trouble = str(error)
    raise FacesetError(
        f"{path} {trouble}; mend it, or delete it and run: clearswap consent {folder} --basis agreed "
        f"(or {_others('agreed')})."
    )


def write_consent(folder: Path, subject: Consent) -> None:
    """Write the record of the face set in `folder`, whole, with what the choices mean.

    Raises `FacesetError` where there is no face set, and `OutputError`.
    """
    require_faceset(folder)
    texts = {"basis": subject.basis, "name": subject.name, "note": subject.note}
    lines = [f"{key} = {_quoted(text)}\n" for key, text in texts.items() if text]
    if subject.date is not None:
        lines.append(f"date = {subject.date.isoformat()}\n")
    with atomic_file(folder / FILE) as partial:
        partial.write_text(_HEAD + "".join(lines), "utf-8", errors="replace")


def public(subject: Consent, *, name: bool = False, note: bool = False) -> dict[str, str]:
    """What may be said of a person where everybody can read it: the basis and when it was stated. The `name` and the
    `note` only where asked for. All as text; what was not stated is left out.
    """
    fields = {
        "basis": subject.basis,
        "name": subject.name if name else "",
        "note": subject.note if note else "",
        "date": subject.date.isoformat() if subject.date is not None else "",
    }
    return {key: text for key, text in fields.items() if text}


def from_fields(fields: Mapping[str, Any]) -> Consent:
    """A record from what a file holds of it. Raises `ValueError` that says what is wrong, to go on after the file's
    name.
    """
    known = ("basis", "name", "note", "date")
    if strange := [key for key in fields if key not in (*known, "footing")]:
        raise ValueError(f"has an entry {strange[0]!r}, which is none of {', '.join(known)}")
    basis, date = fields.get("basis", fields.get("footing")), fields.get("date")
    if basis is None:
        raise ValueError("does not say on what basis the footage is used")
    if not isinstance(basis, str) or basis not in MEANINGS:
        raise ValueError(f"gives {basis!r} as basis, which is none of {', '.join(MEANINGS)}")
    name, note = fields.get("name", ""), fields.get("note", "")
    if not isinstance(name, str) or not isinstance(note, str):
        raise ValueError("has a name or note that is not a text in quotes")
    if isinstance(date, str):
        try:
            date = datetime.date.fromisoformat(date)
        except ValueError:
            raise ValueError(f"gives {date!r} as date, which is none; write it like 2026-11-03") from None
    elif isinstance(date, datetime.datetime):
        date = date.date()
    if date is not None and not isinstance(date, datetime.date):
        raise ValueError(f"gives {date!r} as date, which is none; write it like 2026-11-03")
    return Consent(basis, name, note, date)


def of_model(folder: Path) -> dict[str, Consent]:
    """The records of both persons of a model, by side, without notes. Empty for one from before that was asked.

    Raises `ModelError`.
    """
    try:
        return {side: from_fields(fields) for side, fields in checkpoint.stored_consent(folder).items()}
    except (ValueError, AttributeError) as error:
        raise ModelError(
            f"The consent record in {folder} is damaged; train the model anew or restore a copy."
        ) from error


def restated(known: Consent | None, basis: Basis | None) -> Consent | None:
    """The record with another basis, stated today; name and note stay. Without one, or the same, it stays as it is.

    Raises `OptionError` for what is no basis.
    """
    if basis is None or (known is not None and known.basis == basis):
        return known
    if basis not in MEANINGS:
        raise OptionError(f"{basis!r} is no basis; give one of {', '.join(MEANINGS)}.")
    return replace(known or Consent(basis), basis=basis, date=datetime.date.today())


def require_consent(
    sets: Mapping[str, Path], given: Mapping[str, Basis | None], shown: Mapping[str, Path]
) -> dict[str, Consent]:
    """The records of both persons by side ("a", "b"): those of the face sets, with the bases `given` now.

    Writes nothing, and the face sets need not be there yet; `shown` are the footage's names for people. Raises
    `OptionError` when nobody has said it for one, and `FacesetError` for a record that cannot be read.
    """
    found = {side: restated(read_consent(folder), given[side]) for side, folder in sets.items()}
    subjects = {side: subject for side, subject in found.items() if subject is not None}
    missing = [side for side in sets if side not in subjects]
    if missing:
        names = " and ".join(str(shown[side]) for side in missing)
        options = " ".join(f"--basis-{side} agreed" for side in missing)
        commands = [f"clearswap consent {sets[s]} --basis agreed" for s in missing if sets[s].is_dir()]
        run = f", or run: {' and '.join(commands)}" if len(commands) == len(missing) else ""
        show = "shows" if len(missing) == 1 else "show"
        raise OptionError(
            f"Nobody has said yet who {names} {show} and on what basis; add {options} (or {_others('agreed')}){run}."
        )
    return subjects


def keep_consent(sets: Mapping[str, Path], subjects: Mapping[str, Consent]) -> None:
    """Write the records into their face sets, where they are not there already. Raises `OutputError`."""
    for side, folder in sets.items():
        if read_consent(folder) != subjects[side]:
            write_consent(folder, subjects[side])


def _others(basis: Basis) -> str:
    return ", ".join(other for other in MEANINGS if other != basis)


def _quoted(text: str) -> str:
    """A text in quotes as TOML wants it: JSON's way, but for one more character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def set_consent(
    faces: Path | str, *, basis: Basis | None = None, name: str | None = None, note: str | None = None
) -> Consent:
    """Say, or show, who a face set shows and on what basis the footage is used.

    Training needs it of both persons. It is kept as consent.toml in the face set, which you can edit, and travels with
    the model. Name and note are not published unless you ask for it. What is not given stays as it was.

    Args:
        faces: A face set.
        basis: On what basis the footage is used: the person "agreed" to it, it is "me", a "synthetic" person,
            "licensed" footage, or a "research" corpus.
        name: Who it is. Kept in the face set and in models; "" takes it away.
        note: For yourself, such as where the agreement lies. Kept in the face set only; "" takes it away.

    Returns:
        The record as it is now.

    Raises:
        FacesetError: There is no face set.
        OptionError: A name or note is given, and nobody has said on what basis.
        OutputError: The face set cannot be written to.
    """
    folder = Path(faces)
    require_faceset(folder)
    subject = restated(read_consent(folder), basis)
    if subject is None:
        raise OptionError(f"Nobody has said yet on what basis {folder} is used; give --basis, too, such as agreed.")
    subject = replace(
        subject,
        name=subject.name if name is None else name,
        note=subject.note if note is None else note,
    )
    keep_consent({"": folder}, {"": subject})
    return subject
