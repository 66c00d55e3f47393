"""Read Content Credentials (C2PA): ours and other tools', inside a file or in a `.c2pa` file next to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import c2pa

from clearswap.disclosure.credentials import OFFLINE, OTHER, SOFT_BINDING, SWAP, kind_of, read_sidecar, sidecar_of

State: TypeAlias = Literal["trusted", "valid", "expired", "altered", "broken", "none"]
_MADE_BY_AI = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic")
_SOUND: Mapping[str, State] = {"Trusted": "trusted", "Valid": "valid"}  # C2PA's own verdicts; the third is Invalid
_SAID = ("model", "mark", "earlier_mark", "terms")
_UNTRUSTED = "signingCredential.untrusted"
_EXPIRED = frozenset({"signingCredential.expired", "claimSignature.outsideValidity"})
_NEVER_THERE = frozenset({"assertion.required.missing", "claim.hardBindings.missing"})  # signed like that


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
        bindings: The marks that the picture is said to carry (C2PA's soft bindings), by algorithm.
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
    bindings: Mapping[str, str] = field(default_factory=dict[str, str])
    parents: tuple[Parent, ...] = ()
    sidecar: Path | None = None


def read(path: Path, roots: str = "") -> Provenance:
    """Read the credentials of a file. `roots`: certificates (PEM) of the signers who are known; "" for none.

    Damaged credentials are no error: `state` says so. Raises `OSError` for a file that cannot be opened.
    """
    context = c2pa.Context.from_dict(OFFLINE | ({"trust": {"user_anchors": roots}} if roots else {}))
    # first, because C2PA's reader takes a JPEG of 300 MB into 800 MB of memory to see that it holds none
    if _holds_credentials(path) and (found := _report(path, None, context)) is not None:
        return found
    try:
        manifest = read_sidecar(path)
    except OSError as error:
        found = Provenance("broken", (f"{sidecar_of(path).name}: {error.strerror}",), sidecar=sidecar_of(path))
    else:
        if manifest is None:
            return Provenance("none")
        found = _report(path, manifest, context)
    # one that does not fit a file that could carry its own is another's: bob.c2pa is bob.mkv's, not bob.mp4's
    if found is None or (kind_of(path) != OTHER and found.state not in ("trusted", "valid", "expired")):
        return Provenance("none")
    return found


def _report(path: Path, manifest: bytes | None, context: c2pa.Context) -> Provenance | None:
    """What C2PA's reader says of a file and of a manifest: its sidecar's or, where None, that inside; None for none."""
    sidecar = None if manifest is None else sidecar_of(path)
    try:
        with path.open("rb") as stream:
            reader: Any = c2pa.Reader.try_create(kind_of(path), stream, manifest, context)
            if reader is None:
                return None
            with reader:
                return _provenance(json.loads(reader.json()), sidecar)
    except (c2pa.C2paError, ValueError, RecursionError) as error:  # the last two: JSON that Python cannot take
        return Provenance("broken", (_plain(str(error)),), sidecar=sidecar)


def _provenance(report: Any, sidecar: Path | None) -> Provenance:
    """C2PA's report in our words. What others signed can be of any form, so nothing in it is taken to be there."""
    store = _dict(report)
    verdict, faults = _text(store.get("validation_state")), _faults(store.get("validation_results"))
    state = _SOUND.get(verdict) or _unsound(faults) or "broken"
    manifests = _dict(store.get("manifests"))
    manifest = _dict(manifests.get(_text(store.get("active_manifest"))))
    if not manifest:  # so much was changed that it cannot be shown
        return Provenance("altered" if verdict == "Invalid" else "broken", faults, sidecar=sidecar)
    said = {_text(entry.get("label")): entry.get("data") for entry in _dicts(manifest.get("assertions"))}
    lists = [_dict(data).get("actions") for label, data in said.items() if label.startswith("c2pa.actions")]
    actions = [action for listed in lists for action in _dicts(listed)]
    signed = _dict(manifest.get("signature_info"))
    sources = [_plain(action.get("digitalSourceType")).rsplit("/", 1)[-1] for action in actions]
    return Provenance(
        state=state,
        why=faults,
        signer=", ".join(filter(None, (_plain(signed.get("issuer")), _plain(signed.get("common_name"))))),
        tool=_tool(manifest),
        when=_plain(signed.get("time")) or max((_plain(one.get("when")) for one in actions), default=""),
        actions=tuple(_plain(action.get("action")) for action in actions),
        generated=any(source in _MADE_BY_AI for source in sources),
        swap=_swap(said.get(SWAP)),
        bindings=dict(_binding(data) for label, data in said.items() if label.startswith(SOFT_BINDING)),
        parents=tuple(_parent(made, manifests) for made in _dicts(manifest.get("ingredients"))),
        sidecar=sidecar,
    )


def _swap(said: Any, *, first: bool = True) -> Mapping[str, Any] | None:
    """Clearswap's statement about a swap. Anybody can sign anything under its label: only what has the right form."""
    if not isinstance(said, dict):
        return None
    given = _dict(said)
    fields: dict[str, Any] = {key: _plain(given[key]) for key in _SAID if key in given}
    if first and "also" in given:  # further models; those name none again
        fields["also"] = [_swap(one, first=False) for one in _dicts(given["also"])]
    people = _dict(given.get("consent", given.get("subjects")))  # before version 0.2: subjects, with footing for basis
    fields["consent"] = {
        _plain(side): {
            "basis" if key == "footing" else _plain(key): _plain(fact) for key, fact in _dict(record).items()
        }
        for side, record in people.items()
        if isinstance(record, dict)
    }
    return fields


def _binding(said: Any) -> tuple[str, str]:
    """Algorithm and value of a soft binding."""
    blocks = _dicts(_dict(said).get("blocks"))
    return _plain(_dict(said).get("alg")), _plain(blocks[0].get("value")) if blocks else ""


def _faults(results: Any) -> tuple[str, ...]:
    """The codes of the checks that failed, of a manifest and of those that it was made from."""
    checked = _dict(results)
    deltas = [delta.get("validationDeltas") for delta in _dicts(checked.get("ingredientDeltas"))]
    lists = [_dict(one).get("failure") for one in (checked.get("activeManifest"), *deltas)]
    return tuple(_plain(failure.get("code")) for listed in lists for failure in _dicts(listed))


def _unsound(faults: Sequence[str]) -> State | None:
    """Why a manifest does not hold, by the checks that failed; None where none of them counts.

    That a signer is not known does not count, nor what is wrong with identities of persons (CAWG).
    """
    codes = {code for code in faults if code != _UNTRUSTED and not code.startswith("cawg.")}
    if any(code.endswith(("mismatch", ".missing")) and code not in _NEVER_THERE for code in codes):
        return "altered"
    return ("expired" if codes <= _EXPIRED else "broken") if codes else None


def _parent(made: Mapping[str, Any], manifests: Mapping[str, Any]) -> Parent:
    """An original and its credentials, as whoever signed found them."""
    label, results = _text(made.get("active_manifest")), _dict(made.get("validation_results"))
    passed = _dicts(_dict(results.get("activeManifest")).get("success"))
    known = any(check.get("code") == "signingCredential.trusted" for check in passed)
    state = (_unsound(_faults(results)) or ("trusted" if known else "valid")) if label else "none"
    return Parent(_plain(made.get("title")), state, _tool(_dict(manifests.get(label))))


def _tool(manifest: Mapping[str, Any]) -> str:
    """Name and version of the program that made a manifest."""
    if about := _dicts(manifest.get("claim_generator_info")):
        return " ".join(filter(None, (_plain(about[0].get("name")), _plain(about[0].get("version")))))
    return _plain(_text(manifest.get("claim_generator")).split(" ")[0].replace("/", " "))


def _dict(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [_dict(one) for one in cast("list[Any]", value) if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _plain(value: Any) -> str:
    """A text by somebody else, made fit for a terminal: no control characters, and not endless."""
    return "".join(letter if letter.isprintable() else " " for letter in _text(value)[:200]).strip()


def _holds_credentials(path: Path) -> bool:
    """Whether credentials begin anywhere in a file, even in one too damaged for C2PA's reader."""
    mark = b"jumdc2pa"
    with path.open("rb") as file:
        before = b""
        while piece := file.read(1 << 20):
            if mark in before + piece:
                return True
            before = piece[-len(mark) :]
    return False
