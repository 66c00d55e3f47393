"""Forget: find and delete what is kept of a person, whose consent has ended or who has asked for it.

found = clearswap.forget("Alice", ["."])            # only looks
clearswap.forget("Alice", ["."], delete=True)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clearswap.checks import paths_of
from clearswap.disclosure import credentials_reader
from clearswap.disclosure.consent import FILE as CONSENT
from clearswap.disclosure.consent import OLD_FILE, consent_of, read_consent
from clearswap.errors import ClearswapError, InputError, OptionError
from clearswap.faces.faceset import INDEX, read_index, spread
from clearswap.faces.selection import SAME, Embedding, average, embeddings
from clearswap.media.files import PICTURE_SUFFIXES, VIDEO_SUFFIXES, clear, locked
from clearswap.progress import OnProgress, Progress, silent
from clearswap.training import checkpoint
from clearswap.training.detail_store import store_path
from clearswap.training.log import HISTORY_FILE, PREVIEW, PREVIEWS

Person = NDArray[np.float32]  # an embedding (128,)
_LOOKED_AT = 24  # faces of a set by which its person is told
_NOT_LOOKED_FOR = (
    "Not looked for: the footage itself, copies in other places, swaps whose credentials are gone, unfinished "
    "conversions (hidden folders that end in .work), and whatever others were given."
)


@dataclass(frozen=True)
class Found:
    """Something that is kept of the person.

    Attributes:
        place: A folder or file.
        kind: "face set", "model" or "swap".
        why: How it is known to be of the person.
        files: What is deleted; nothing of a swap, which is an output.
    """

    place: Path
    kind: str
    why: str
    files: tuple[Path, ...] = ()


@dataclass
class ForgetResult:
    """What was found of a person.

    Attributes:
        found: What is deleted, and the swaps that were made with it.
        deleted: Whether it was deleted.
        notes: What was not looked at, or left.
    """

    found: list[Found] = field(default_factory=list[Found])
    deleted: bool = False
    notes: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """A line for each thing that was found, and one for each note."""
        done = {True: "deleted", False: "found"}
        rows = [
            f"{done[self.deleted] if one.files else 'left':8} {one.kind:9} {one.place}: {one.why}" for one in self.found
        ]
        return [*(rows or ["Nothing was found."]), *self.notes]

    def delete(self) -> None:
        """Delete what was found; the swaps stay. Raises `OutputError`."""
        for one in self.found:
            _delete(one)
        self.deleted = True
        left = [one.place for one in self.found if one.files and one.place.exists()]
        self.notes[-1:-1] = [f"{place} is not empty: other files in it were left" for place in left]


def forget(
    name: str,
    places: Sequence[Path | str] | Path | str = ".",
    *,
    delete: bool = False,
    on_progress: OnProgress = silent,
) -> ForgetResult:
    """Find what is kept of a person, and delete it: face sets, and models that know them, with snapshots, previews and
    pictures of fine detail.

    A face set or model is the person's by the name in its consent record; one without a name by its faces, if another
    one here is known by name. Swaps that say, signed, that one of these models made them are listed, not deleted.

    Args:
        name: Who it is, as in the consent records.
        places: Folders to look through, with all in them.
        delete: Delete what is found. Without it nothing is changed; at a terminal you are asked.
        on_progress: Called for each folder that is looked at.

    Returns:
        What was found, and what was not looked at.

    Raises:
        InputError: A place is no folder.
        OptionError: The name is empty.
        OutputError: Something cannot be deleted, or is in use.
    """
    if not name.strip():
        raise OptionError("Nobody has no name; give it as it stands in the consent record.")
    folders = paths_of(places)
    if wrong := [folder for folder in folders if not folder.is_dir()]:
        raise InputError(f"{wrong[0]} is no folder; give the folders to look through.")
    search = _Search(name)
    for folder in _folders(folders):
        on_progress(Progress("forget", note=f"looking through {folder}"))
        search.look(folder)
    result = ForgetResult([*search.by_name, *search.by_face()], notes=search.notes)
    result.found += _swaps(folders, result.found, search.prints)
    result.notes.append(_NOT_LOOKED_FOR)
    if delete:
        result.delete()
    return result


class _Search:
    """Looks at folders, one after the other.

    Attributes:
        by_name: What is the person's by its consent record.
        prints: The fingerprint of each model, by its folder.
        notes: What could not be read.
    """

    def __init__(self, name: str) -> None:
        self.by_name: list[Found] = []
        self.prints: dict[Path, str] = {}
        self.notes: list[str] = []
        self._name = name
        self._persons: list[Person] = []  # the person, as far as known by name
        self._unnamed: list[tuple[Found, Person | None]] = []  # None: a face set, whose person is told when needed
        self._others: list[tuple[Path, str, Person]] = []  # of models: who has another name

    def look(self, folder: Path) -> None:
        """Look at what lies in a folder itself."""
        try:
            if (folder / INDEX).is_file():
                self._faceset(folder)
            if (folder / checkpoint.FILE).is_file():
                self._model(folder)
        except ClearswapError as error:
            self.notes.append(f"not looked at: {error}")

    def by_face(self) -> list[Found]:
        """What has no name and shows the person by the faces in it; notes what looks alike and has another name."""
        if self._unnamed and not self._persons:
            self._persons = [self._person_of(one.place) for one in self.by_name if one.kind == "face set"]
        found: list[Found] = []
        for one, person in self._unnamed if self._persons else []:
            away = self._away(self._person_of(one.place) if person is None else person)
            if away < SAME:
                found.append(Found(one.place, one.kind, f"no name, but the same face ({away:.2f} away)", one.files))
        for place, other, person in self._others if self._persons else []:
            if self._away(person) < SAME:
                self.notes.append(f"{place} is left: it shows somebody very much alike, whose name is {other}")
        return found

    @cached_property
    def _embedding(self) -> Embedding:
        return Embedding()

    def _person_of(self, folder: Path) -> Person:
        """The embedding (128,) of the person that a face set shows. Raises `FacesetError`."""
        return average(embeddings(folder, spread(read_index(folder), _LOOKED_AT), self._embedding))

    def _away(self, person: Person) -> float:
        return min(float(np.linalg.norm(person - known)) for known in self._persons)

    def _is(self, name: str) -> bool:
        return name.casefold().split() == self._name.casefold().split()

    def _faceset(self, folder: Path) -> None:
        consent = read_consent(folder)
        pictures = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURE_SUFFIXES]
        files = [path for path in (folder / INDEX, folder / CONSENT, folder / OLD_FILE) if path.exists()]
        found = Found(folder, "face set", "by its consent record", (*pictures, *files))
        if consent is not None and consent.name:
            if self._is(consent.name):
                self.by_name.append(found)
        else:
            self._unnamed.append((found, None))

    def _model(self, folder: Path) -> None:
        saved = checkpoint.open_model(folder)
        names = {side: record.name for side, record in consent_of(saved).items()}
        persons: Mapping[str, Person] = {side: person.numpy() for side, person in saved.persons().items()}
        self.prints[folder] = saved.fingerprint()
        parts = [folder / checkpoint.FILE, folder / checkpoint.SNAPSHOTS, folder / PREVIEWS, folder / PREVIEW]
        parts += [folder / HISTORY_FILE, store_path(folder, "a"), store_path(folder, "b")]
        parts += [folder / "losses.png", folder / "training.gif"]
        files = tuple(path for path in parts if path.exists())
        if mine := [side for side, known in names.items() if self._is(known)]:
            self._persons += [persons[side] for side in mine if side in persons]
            why = f"its person {' and '.join(mine)}, by its consent record"
            self.by_name.append(Found(folder, "model", why, files))
            return
        for side, person in persons.items():
            if names.get(side):
                self._others.append((folder, names[side], person))
            else:
                self._unnamed.append((Found(folder, "model", "", files), person))


def _folders(places: Sequence[Path]) -> Iterator[Path]:
    """All folders in some folders, these too; no links are followed."""
    for place in places:
        for folder, below, _ in os.walk(place):
            below.sort()
            yield Path(folder)


def _swaps(places: Sequence[Path], found: Sequence[Found], prints: Mapping[Path, str]) -> list[Found]:
    """The pictures and videos that say, signed, that one of the models that were found made them."""
    models = {prints[one.place]: one.place for one in found if one.kind == "model"}
    inside = {one.place for one in found if one.kind == "face set"}
    swaps: list[Found] = []
    for folder in _folders(places) if models else ():
        if folder in inside:
            continue
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES and path.is_file():
                with suppress(OSError):
                    said = credentials_reader.read(path).swap or {}
                    made_by = [said.get("model"), *(other.get("model") for other in said.get("also", ()))]
                    named = [str(models[print_]) for print_ in made_by if print_ in models]
                    if named:
                        swaps.append(Found(path, "swap", f"made by {' and '.join(named)}; delete it if it has to go"))
    return swaps


def _delete(found: Found) -> None:
    """Delete what is kept; the folder, too, where nothing else lies in it. Raises `OutputError`."""
    if not found.files:
        return
    with locked(found.place, inside=found.kind == "model"):
        for path in found.files:
            clear(path)
    with suppress(OSError):
        found.place.rmdir()
