"""The gate for values from outside: options that people give, and what stands in files.

The fields of a config, or of a record in a file, say in their types what they may hold: a kind, and a range. A config
looks at its own fields when it is made (`check_fields`), so that the command line and Python get one answer. What
stands in a file becomes a record through `decode`, which believes nothing: neither kinds, nor ranges, nor depth. NaN
lies in no range.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from clearswap.errors import OptionError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Stored = TypeVar("Stored")
Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Count = Annotated[int, Meta(ge=0, le=10**9)]
_KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def check_fields(config: DataclassInstance) -> None:
    """Compare a config's values with what its fields may hold. Raises `OptionError`, which says what they may be."""
    hints = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        value = getattr(config, field.name)
        try:
            msgspec.convert(value, hints[field.name])
        except (msgspec.ValidationError, UnicodeError) as error:
            given = repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:40]}..."
            name = field.name.replace("_", " ")
            raise OptionError(f"{given} is not possible for {name}; give {wanted(hints[field.name])}.") from error


def wanted(hint: Any) -> str:
    """What a field may hold, in words: "a whole number, at least 0 and at most 51"."""
    kind, arguments = get_origin(hint), get_args(hint)
    if kind is Annotated:
        limits = {word: getattr(arguments[1], key) for key, word in _BOUNDS.items()}
        bounds = [f"{word} {_number(limit)}" for word, limit in limits.items() if limit is not None]
        return f"{wanted(arguments[0])}, {' and '.join(bounds)}"
    if kind is Literal:
        return " or ".join(map(repr, arguments))
    if kind in (Union, UnionType):
        return " or ".join(wanted(each) for each in arguments if each is not NoneType)
    return _KINDS.get(hint, f"a {getattr(hint, '__name__', hint)}")


def _number(limit: float) -> str:
    return f"{int(limit):,}" if limit == int(limit) else f"{limit:g}"


def paths_of(given: Sequence[Path | str] | Path | str) -> list[Path]:
    """One file or several, as a list. Raises `OptionError` for what is neither a path nor a list of paths."""
    try:
        return [Path(one) for one in ([given] if isinstance(given, str | os.PathLike) else given)]
    except TypeError as error:
        raise OptionError(f"{str(given)[:80]} names no file; give a path, or a list of paths.") from error


def stored(path: Path, most: int = 10**8) -> bytes:
    """What a file holds that lies where others may have put it. Raises `OSError` where it is none: reading a pipe or a
    device would never end. Raises `ValueError` where it has more than `most` bytes.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no file", str(path))
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"is larger than {most:,} bytes")
    return data


def decode(kind: type[Stored], text: bytes | str) -> Stored:
    """What a JSON text holds, as a record of a kind. Raises `ValueError`, which says what should not be so."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OptionError) as error:
        raise ValueError(str(error)) from error
