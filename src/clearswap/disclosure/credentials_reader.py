"""Read Content Credentials (C2PA): ours and other tools', inside a file or in a `.c2pa` file next to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import c2pa

from clearswap.disclosure.credentials import OFFLINE, OTHER, SWAP, kind_of, sidecar_of

State: TypeAlias = Literal["trusted", "valid", "expired", "altered", "broken", "none"]
_MADE_BY_AI = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic")
_UNTRUSTED = "signingCredential.untrusted"
_EXPIRED = frozenset({"signingCredential.expired", "claimSignature.outsideValidity"})


@dataclass(frozen=True)
class Parent:
    """A file from which another was made, and the state of its own credentials at that time."""

    title: str
    state: State
    tool: str


@dataclass(frozen=True)
class Provenance:
    """What a file's credentials say about it.

    Attributes:
        state: "trusted" (unaltered, signed under a root that is known here), "valid" (unaltered, by an unknown signer),
            "expired" (unaltered, but the certificate is no longer or not yet valid), "altered" since it was signed,
            "broken" (cannot be verified for another reason), "none".
        why: The faults that the reader found, in C2PA's words.
        signer: Organisation and name in the certificate. Anyone can write any name into one of their own.
        tool: The program that signed, with its version.
        when: The time of signing, by the signer's own clock.
        actions: What was done, such as "c2pa.edited".
        generated: Whether it is declared that a model made the picture, or a part of it.
        swap: Clearswap's own statement (`credentials.Statement`, as JSON); None in other tools' files.
        parents: The files it was made from.
        sidecar: The `.c2pa` file that holds all this, if it is not inside.
    """

    state: State
    why: tuple[str, ...] = ()
    signer: str = ""
    tool: str = ""
    when: str = ""
    actions: tuple[str, ...] = ()
    generated: bool = False
    swap: Mapping[str, Any] | None = None
    parents: tuple[Parent, ...] = ()
    sidecar: Path | None = None


def read(path: Path, roots: str = "") -> Provenance:
    """Read the credentials of a file. `roots`: certificates (PEM) of the signers who are known; "" for none.

    Damaged credentials are no error: `state` says so. Raises `OSError` for a file that cannot be opened.
    """
    settings: dict[str, Any] = OFFLINE | ({"trust": {"user_anchors": roots}} if roots else {})
    context, kind, sidecar = c2pa.Context.from_dict(settings), kind_of(path), sidecar_of(path)
    try:
        with path.open("rb") as stream:
            reader: Any = c2pa.Reader.try_create(kind, stream, context=context)
            if reader is not None:
                with reader:
                    return _provenance(json.loads(reader.json()), None)
    except c2pa.C2paError as error:
        if _holds_credentials(path):
            return Provenance("broken", (str(error),))
    if not sidecar.is_file():
        return Provenance("none")
    try:
        with path.open("rb") as stream, c2pa.Reader(kind, stream, sidecar.read_bytes(), context) as reader:
            found = _provenance(json.loads(reader.json()), sidecar)
    except c2pa.C2paError as error:
        found = Provenance("broken", (str(error),), sidecar=sidecar)
    # one that does not fit a file that could carry its own is another's: bob.c2pa is bob.mkv's, not bob.mp4's
    return found if kind == OTHER or found.state in ("trusted", "valid", "expired") else Provenance("none")


def _provenance(store: Mapping[str, Any], sidecar: Path | None) -> Provenance:
    """C2PA's report in our words."""
    state, why = _state(store.get("validation_results", {}))
    manifest = store.get("manifests", {}).get(store.get("active_manifest"))
    if manifest is None:  # so much was changed that it cannot be shown
        return Provenance("altered" if state != "none" else "broken", why, sidecar=sidecar)
    said = {entry["label"]: entry["data"] for entry in manifest.get("assertions", []) if "data" in entry}
    actions: list[Any] = [
        action for label, data in said.items() if label.startswith("c2pa.actions") for action in data["actions"]
    ]
    signed = manifest.get("signature_info", {})
    sources = [str(action.get("digitalSourceType", "")).rsplit("/", 1)[-1] for action in actions]
    return Provenance(
        state=state,
        why=why,
        signer=_plain(", ".join(filter(None, (signed.get("issuer"), signed.get("common_name"))))),
        tool=_tool(manifest),
        when=_plain(signed.get("time") or max((str(one["when"]) for one in actions if "when" in one), default="")),
        actions=tuple(_plain(action["action"]) for action in actions),
        generated=any(source in _MADE_BY_AI for source in sources),
        swap=_swap(said.get(SWAP)),
        parents=tuple(_parent(made, store) for made in manifest.get("ingredients", [])),
        sidecar=sidecar,
    )


def _swap(said: Any, *, first: bool = True) -> Mapping[str, Any] | None:
    """Clearswap's statement about a swap. Anybody can sign anything under its label: only what has the right form."""
    if not isinstance(said, dict):
        return None
    given = cast("dict[str, Any]", said)
    fields: dict[str, Any] = {key: _plain(given[key]) for key in ("model", "mark", "earlier_mark") if key in given}
    also = given.get("also")
    if first and isinstance(also, list):  # further models; those name none again
        others = [_swap(one, first=False) for one in cast("list[Any]", also)]
        fields["also"] = [other for other in others if other is not None]
    people = given.get("consent", given.get("subjects"))  # before version 0.2: subjects, with footing for basis
    fields["consent"] = {}
    for side, record in cast("dict[str, Any]", people).items() if isinstance(people, dict) else ():
        if isinstance(record, dict):
            entries = cast("dict[str, Any]", record).items()
            fields["consent"][_plain(side)] = {
                "basis" if key == "footing" else _plain(key): _plain(value) for key, value in entries
            }
    return fields


def _state(results: Mapping[str, Any]) -> tuple[State, tuple[str, ...]]:
    """The state of a manifest by C2PA's list of checks, and the codes of those that failed."""
    active = results.get("activeManifest", {})
    failures: list[str] = [str(failure["code"]) for failure in active.get("failure", [])]
    codes = set(failures) - {_UNTRUSTED}
    known = any(success["code"] == "signingCredential.trusted" for success in active.get("success", []))
    if any(code.endswith(("mismatch", ".missing")) for code in codes):
        return "altered", tuple(failures)
    if codes:
        return ("expired" if codes <= _EXPIRED else "broken"), tuple(failures)
    return ("trusted" if known else "valid"), tuple(failures)


def _parent(made: Mapping[str, Any], store: Mapping[str, Any]) -> Parent:
    own = store.get("manifests", {}).get(made.get("active_manifest"))
    state = _state(made.get("validation_results", {}))[0] if made.get("active_manifest") else "none"
    return Parent(_plain(made.get("title", "")), state, _tool(own) if own else "")


def _tool(manifest: Mapping[str, Any]) -> str:
    """Name and version of the program that made a manifest."""
    about: list[Any] = manifest.get("claim_generator_info") or []
    if not about:
        return _plain(str(manifest.get("claim_generator", "")).split(" ")[0].replace("/", " "))
    return _plain(" ".join(filter(None, (about[0].get("name"), about[0].get("version")))))


def _plain(text: object) -> str:
    """A text by somebody else, made fit for a terminal: no control characters, and not endless."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:200]).strip()


def _holds_credentials(path: Path) -> bool:
    """Whether there are credentials in a file whose structure is too damaged for C2PA's reader."""
    mark = b"jumdc2pa"
    with path.open("rb") as file:
        before = b""
        while piece := file.read(1 << 20):
            if mark in before + piece:
                return True
            before = piece[-len(mark) :]
    return False
