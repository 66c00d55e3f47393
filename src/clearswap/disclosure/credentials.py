"""Content Credentials (C2PA): every output says, signed, that a face in it was generated.

This file writes the statement into a file and signs it (`signer.py` says who). Signing comes last, when the file is
complete, because any later change of a byte shows. A kind of file that cannot carry credentials gets them in a `.c2pa`
file next to it.
"""

from __future__ import annotations

import datetime as dt
import errno
import io
import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import c2pa

from clearswap.disclosure.consent import TERMS, consent_of, public
from clearswap.disclosure.signer import Signer, known_roots
from clearswap.errors import OutputError
from clearswap.media.files import atomic_file, clear, fresh, output_errors

if TYPE_CHECKING:
    from clearswap.training.checkpoint import SavedModel

# What C2PA's library may fetch: nothing, neither manifests, nor states of certificates, nor what a file names (did:web)
# about people. Who they say they are (CAWG) is not read: unverified, it would make sound credentials look unsound.
OFFLINE: dict[str, Any] = {
    "core": {"allowed_network_hosts": list[str](), "decode_identity_assertions": False},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
SWAP = "org.clearswap.swap"  # the label of what Clearswap says of its own
SOFT_BINDING = "c2pa.soft-binding"  # names a mark in the picture by which a file without credentials is found again
MARK_ALGORITHM = "org.clearswap.mark.1"  # `mark.py`; docs/disclosure.md has the entry for C2PA's list of algorithms
_MINING = ("cawg.data_mining", "cawg.ai_inference", "cawg.ai_training", "cawg.ai_generative_training")
OTHER = "application/octet-stream"  # a kind that carries no credentials inside
COMPOSITE_WITH_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
# c2pa hashes in pieces of 256 MB and holds what it writes in memory up to 512 MB: signing a video of 225 MB took 436 MB
# more. With a hash tree over pictures and sound (MP4 only) it reads 4 MB at a time, in checking too: 9 MB. Proofs for
# those who get a file in parts are left out: signing takes 2.3 s without them, 7 s with them.
_MEMORY = {
    "backing_store_memory_threshold_in_mb": 16,
    "merkle_tree_chunk_size_in_kb": 4096,
    "merkle_tree_max_proofs": 0,
}
_BUFFER = 1 << 18  # c2pa copies 8 kB at a time; with this much it took 0.6 s of CPU for 225 MB, 0.8 without
_EMBED = (".mp4", ".m4v", ".mov", ".avi", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif")
_SIDECAR = (".mkv", ".webm")
_LARGEST = 64 << 20  # bytes of a sidecar
_NOTES = 1 << 20  # bytes at a file's beginning and end in which tools write what it is


@dataclass(frozen=True)
class Statement:
    """What the credentials say about the swap, besides the tool, its version and the time.

    Attributes:
        model: The model's fingerprint (`SavedModel.fingerprint`), 64 hexadecimal digits.
        mark: The 16 bits that the invisible mark in the picture carries.
        consent: The public part of both persons' consent records, by side ("a", "b").
        earlier_mark: The bits of the mark that the original carried already.
        also: "model" and "consent" of further models, whose faces replaced further people.
        frames: How many frames carry the mark, from the first.
    """

    model: str
    mark: int
    consent: Mapping[str, Any] = field(default_factory=dict[str, Any])
    earlier_mark: int | None = None
    also: tuple[Mapping[str, Any], ...] = ()
    frames: int = 1

    def to_json(self) -> dict[str, Any]:
        """The statement as it is written: bits as four hexadecimal digits, without what is not known."""
        said: dict[str, Any] = {"model": self.model, "mark": f"{self.mark:04x}", "consent": dict(self.consent)}
        said["terms"] = TERMS
        if self.also:
            said["also"] = [dict(one) for one in self.also]
        if self.earlier_mark is not None:
            said["earlier_mark"] = f"{self.earlier_mark:04x}"
        return said

    def assertions(self, *, mining: bool) -> list[dict[str, Any]]:
        """What is asserted besides what was done: the statement, what mark the picture carries in which frames, and
        whether others may mine it and train on it (CAWG's training and data mining assertion 1.1).
        """
        frames = {"type": "frame", "frame": {"start": 0, "end": self.frames - 1}}
        block = {"scope": {"region": {"region": [frames]}}, "value": f"{self.mark:04x}"}
        use = {name: {"use": "allowed" if mining else "notAllowed"} for name in _MINING}
        return [
            {"label": SWAP, "kind": "Json", "data": self.to_json()},
            {"label": SOFT_BINDING, "data": {"alg": MARK_ALGORITHM, "blocks": [block]}},
            {"label": "cawg.training-mining", "data": {"entries": use}},
        ]


def statement_of(models: Sequence[SavedModel], *, names: bool = False) -> Statement:
    """The statement about swaps by these models, with the mark of the first.

    The persons' names are left out unless `names` is set. Raises `ModelError`.
    """
    from clearswap.training import checkpoint  # it imports torch, which takes `check` 300 MB

    shown = [{side: public(one, name=names) for side, one in consent_of(model).items()} for model in models]
    prints = [model.fingerprint() for model in models]
    also = tuple({"model": model, "consent": consent} for model, consent in zip(prints[1:], shown[1:], strict=True))
    return Statement(prints[0], checkpoint.mark_of(prints[0]), shown[0], also=also)


def sidecar_of(path: Path) -> Path:
    """The file for the credentials of a file that cannot carry any: where C2PA's own tools look, too."""
    return path.with_suffix(".c2pa")


def read_sidecar(path: Path) -> bytes | None:
    """The credentials that lie next to a file, None where there are none. Raises `OSError` for what cannot be read."""
    sidecar = sidecar_of(path)
    try:
        there = sidecar.is_file()  # no folder, and no pipe on which one would wait
    except OSError:  # a name that is longer than any can be
        return None
    if there and sidecar.stat().st_size > _LARGEST:
        raise OSError(errno.EFBIG, "too large for credentials", str(sidecar))
    return sidecar.read_bytes() if there else None


def kind_of(path: Path) -> str:
    """The media type of a file by its first bytes, whatever its name; `OTHER` for what cannot carry credentials."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":  # the same boxes as QuickTime's
        pictures = {b"avif": "image/avif", b"avis": "image/avif", b"mif1": "image/heif", b"heic": "image/heic"}
        return pictures.get(head[8:12], "video/mp4")
    riff = {b"AVI ": "video/avi", b"WEBP": "image/webp"}
    if head[:4] == b"RIFF":
        return riff.get(head[8:12], OTHER)
    kinds = {b"GIF8": "image/gif", b"\x89PNG": "image/png", b"II*\0": "image/tiff", b"MM\0*": "image/tiff"}
    return "image/jpeg" if head[:3] == b"\xff\xd8\xff" else kinds.get(head[:4], OTHER)


def require_signable(output: Path) -> None:
    """Raise `OutputError`, before any work is done, for a kind of file that cannot have credentials, and where another
    file's credentials lie in the place where its own would.
    """
    if output.suffix.lower() not in (*_EMBED, *_SIDECAR):
        kinds = "a video as .mp4, .mov or .mkv, a picture as .png or .jpg"
        raise OutputError(f"{output} cannot carry Content Credentials, which every output must have; write {kinds}.")
    sidecar = sidecar_of(output)
    with output_errors(output):  # a name that leaves no room for the sidecar's
        taken = has_sidecar(output) and sidecar.exists() and not output.exists()
    if taken:
        raise OutputError(f"{sidecar} is there already and belongs to another file; choose another name for {output}.")


def has_sidecar(output: Path) -> bool:
    """Whether the credentials of a file of this name lie next to it."""
    return output.suffix.lower() in _SIDECAR


@contextmanager
def signed_file(output: Path) -> Generator[Path]:
    """Like `atomic_file`, for a file that `sign` writes: its sidecar, if there is one, appears just before it."""
    with atomic_file(output) as partial:
        sidecar = sidecar_of(partial)
        clear(sidecar)
        try:
            yield partial
            if sidecar.exists():
                sidecar.replace(sidecar_of(output))
        finally:
            sidecar.unlink(missing_ok=True)


def sign(unsigned: Path, signed: Path, original: Path, signer: Signer, statement: Statement) -> None:
    """Copy `unsigned` to `signed` with a manifest that says: made from `original`, a face in it was replaced by a
    trained model, and `statement`.

    The credentials of `original` are kept in it. For a kind of file that cannot carry a manifest it goes into
    `sidecar_of(signed)`. Raises `OutputError`.
    """
    tool: dict[str, Any] = {"name": "Clearswap", "version": version("clearswap")}
    settings = {
        "core": OFFLINE["core"] | _MEMORY,
        "builder": {"claim_generator_info": tool, "thumbnail": {"enabled": False}},
        "trust": {"user_anchors": signer.root + known_roots()},
        "verify": OFFLINE["verify"],
    }
    edited = {
        "action": "c2pa.edited",
        "description": "A face in this file was replaced with one generated by a trained model.",
        "digitalSourceType": COMPOSITE_WITH_AI,
        "softwareAgent": tool,
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    about = {"title": "face swap", "assertions": statement.assertions(mining=signer.mining)}
    context = c2pa.Context.from_dict(settings)
    kind = OTHER if has_sidecar(signed) else signed.suffix.lower()[1:]  # C2PA knows kinds by their suffix, too
    try:
        with signer.open() as signing, c2pa.Builder(about, context) as builder:
            builder.add_action(edited)
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            _add_original(builder, original, context)
            if kind == OTHER:
                builder.set_no_embed()
            with output_errors(signed), unsigned.open("rb", _BUFFER) as source, signed.open("w+b", _BUFFER) as target:
                manifest = builder.sign(signing, kind, source, target)
            if kind == OTHER:
                with output_errors(signed):
                    fresh(sidecar_of(signed)).write_bytes(manifest)
    except c2pa.C2paError as error:
        check = "the disk's free space" + " and the time-stamp authority" * (signer.timestamp is not None)
        raise OutputError(f"{signed} could not be signed ({error}); check {check}.") from error


def write_picture(output: Path, data: bytes, original: Path, signer: Signer, statement: Statement) -> None:
    """Write an encoded picture, signed; it appears whole or not at all. Raises `OutputError`."""
    with signed_file(output) as signed:
        unsigned = signed.with_name(f"{signed.stem}-unsigned{signed.suffix}")
        try:
            fresh(unsigned).write_bytes(data)
            sign(unsigned, signed, original, signer, statement)
        finally:
            unsigned.unlink(missing_ok=True)


def marks_of_others(original: Path) -> list[str]:
    """What a file says of itself by others' marks, in words: soft bindings in its credentials, and the notes on its
    artificial origin that tools write next to the picture (IPTC's digital source type in XMP; China's AIGC, GB 45438).
    Nothing is looked for in the pixels. Raises nothing for what cannot be read.
    """
    found: dict[str, None] = {}
    with suppress(OSError, c2pa.C2paError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        context, manifest = c2pa.Context.from_dict(OFFLINE), read_sidecar(original)
        with original.open("rb") as stream, c2pa.Reader(kind_of(original), stream, manifest, context) as reader:
            for one in json.loads(reader.json())["manifests"].values():
                for said in one.get("assertions", []):
                    if said["label"].startswith(SOFT_BINDING) and said["data"]["alg"] != MARK_ALGORITHM:
                        found[f"the mark {str(said['data']['alg'])[:80]}"] = None
    with suppress(OSError), original.open("rb") as file:
        text = file.read(_NOTES)
        file.seek(max(_NOTES, original.stat().st_size - _NOTES))
        text += file.read(_NOTES)
        for source in re.findall(rb"DigitalSourceType\W[^<]{0,80}?digitalsourcetype/(\w{1,60})", text):
            found[f"the digital source type {source.decode()}"] = None
        if re.search(rb"\bAIGC\b.{0,40}Label", text, re.DOTALL):
            found["China's label AIGC"] = None
    return list(found)


def _add_original(builder: c2pa.Builder, original: Path, context: c2pa.Context) -> None:
    """Name the original as what the file was made from, with the credentials that lie inside it or next to it."""
    parent: dict[str, Any] = {"title": "original", "relationship": "parentOf"}
    with suppress(OSError, c2pa.C2paError, ValueError, KeyError, RecursionError):  # a stranger may have written it
        manifest = read_sidecar(original) or b""
        with original.open("rb") as stream, c2pa.Reader(kind_of(original), stream, manifest, context) as reader:
            report = json.loads(reader.json())
            if report["validation_state"] != "Invalid":  # else it is about another file
                builder.add_resource("original", io.BytesIO(manifest))
                parent |= {key: report[key] for key in ("active_manifest", "validation_results")}
                parent["manifest_data"] = {"format": "application/c2pa", "identifier": "original"}
    with original.open("rb") as stream:
        try:
            builder.add_ingredient(parent, kind_of(original), stream)
        except c2pa.C2paError:  # its structure is beyond C2PA's reader: named still, but as a file without credentials
            stream.seek(0)
            builder.add_ingredient(parent, OTHER, stream)
