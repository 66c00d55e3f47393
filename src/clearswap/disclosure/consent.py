"""The consent record: who a face set shows, and on what basis the footage is used.

It lies in the face set's folder as `consent.toml`, small enough to be read and edited by hand, and travels with every
model that is trained on the set (`training/checkpoint.py`). Training begins only when it is there for both persons. It
is a statement by whoever uses the footage and proves nothing: it makes them say it, once, where it can be found.

    clearswap.set_consent("faces_a", basis="agreed", name="Alice", note="signed release 2026-11-03")
"""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from clearswap.checks import stored
from clearswap.errors import FacesetError, ModelError, OptionError
from clearswap.faces.faceset import require_faceset
from clearswap.media.files import atomic_file

if TYPE_CHECKING:
    from clearswap.training.checkpoint import SavedModel

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
# name and note are for you and may be left out. The name is kept in models that are trained on this set, the note is
# not, and neither is published unless you ask for it.

"""


@dataclass(frozen=True)
class Consent:
    """On what basis footage of a person is used, who that is, and when the basis was stated."""

    basis: Basis
    name: str = ""
    note: str = ""
    date: datetime.date | None = None


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
    texts = {"basis": consent.basis, "name": consent.name, "note": consent.note}
    # a text in quotes as TOML wants it is JSON's but for one more character
    quoted = {key: json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f") for key, text in texts.items()}
    lines = [f"{key} = {quoted[key]}\n" for key, text in texts.items() if text]
    if consent.date is not None:
        lines.append(f"date = {consent.date.isoformat()}\n")
    with atomic_file(folder / FILE) as partial:
        partial.write_text(_HEAD + "".join(lines), "utf-8", errors="replace")
    (folder / OLD_FILE).unlink(missing_ok=True)


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
    consent = _with_basis(read_consent(folder), basis)
    if consent is None:
        raise OptionError(f"Nobody has said yet on what basis {folder} is used; give a basis, too, such as agreed.")
    consent = replace(
        consent,
        name=consent.name if name is None else name,
        note=consent.note if note is None else note,
    )
    keep_consent({"": folder}, {"": consent})
    return consent


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


def public(consent: Consent, *, name: bool = False) -> dict[str, str]:
    """The part of a record that everybody may read, as text: the basis, its date, and the `name` if asked for."""
    date = consent.date.isoformat() if consent.date is not None else ""
    fields = {"basis": consent.basis, "name": consent.name if name else "", "date": date}
    return {key: text for key, text in fields.items() if text}


def _with_basis(known: Consent | None, basis: Basis | None) -> Consent | None:
    """The record with another basis, stated today; without another one it stays as it is. Raises `OptionError`."""
    if basis is None or (known is not None and known.basis == basis):
        return known
    if basis not in MEANINGS:
        raise OptionError(f"{basis!r} is no basis; give one of {', '.join(MEANINGS)}.")
    return replace(known or Consent(basis), basis=basis, date=datetime.date.today())


def _parse(fields: Mapping[str, Any]) -> Consent:
    """A record from the entries of a file. Raises `ValueError` with words that go on after the file's name."""
    known = ("basis", "name", "note", "date")
    if strange := [key for key in fields if key not in (*known, "footing")]:
        raise ValueError(f"has an entry {strange[0]!r}, which is none of {', '.join(known)}")
    key = "footing" if "footing" in fields and "basis" not in fields else "basis"
    if key not in fields:
        raise ValueError("does not say on what basis the footage is used")
    basis, name, note = fields[key], fields.get("name", ""), fields.get("note", "")
    if not isinstance(basis, str) or basis not in MEANINGS:
        raise ValueError(f"gives {basis!r} as {key}, which is none of {', '.join(MEANINGS)}")
    if not isinstance(name, str) or not isinstance(note, str):
        raise ValueError("has a name or note that is not a text in quotes")
    date = fields.get("date")
    if isinstance(date, datetime.datetime):
        date = date.date()
    try:
        date = datetime.date.fromisoformat(date) if isinstance(date, str) else date
    except ValueError:
        date = fields["date"]
    if date is not None and not isinstance(date, datetime.date):
        raise ValueError(f"gives {date!r} as date, which is none; write it like 2026-11-03")
    return Consent(basis, name, note, date)
