"""Content Credentials (C2PA): every output says, signed, that a face in it was generated.

Signing comes last, after the file is complete: any later change of a byte shows. A kind of file that cannot carry
credentials gets them in a `.c2pa` file beside it.
"""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import c2pa

from clearswap.disclosure.consent import of_model, public
from clearswap.disclosure.credentials_reader import OFFLINE, OTHER, SWAP, kind_of, sidecar_of
from clearswap.disclosure.signer import Signer
from clearswap.errors import OutputError
from clearswap.media.atomic import atomic_files, output_errors
from clearswap.training import checkpoint

COMPOSITE_WITH_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
# c2pa hashes in pieces of 256 MB and holds what it writes in memory up to 512 MB: signing a video of 225 MB took 436 MB
# more. With a hash tree over pictures and sound it reads 4 MB at a time, in checking too: 9 MB. Proofs
# beside the tree are for those who get a file in parts; without them signing takes 2.3 s for 7. Only MP4s have trees.
_MEMORY = {
    "backing_store_memory_threshold_in_mb": 16,
    "merkle_tree_chunk_size_in_kb": 4096,
    "merkle_tree_max_proofs": 0,
}
_BUFFER = 1 << 18  # c2pa copies 8 kB at a time; with this much it took 0.6 s of CPU for 225 MB, 0.8 without
_KINDS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".avi": "video/avi",
    ".mkv": OTHER,
    ".webm": OTHER,
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}


@dataclass(frozen=True)
class Statement:
    """What the credentials say of how a face came in, beside the tool, its version and the time.

    Attributes:
        model: The model's fingerprint (`checkpoint.fingerprint`), 64 hexadecimal digits.
        also: The same of further models that replaced further people: "model" and "consent".
        mark: The 16 bits that the invisible mark in the picture carries.
        subjects: The consent record, as JSON: on what basis both persons are there. No names unless asked for.
        earlier_mark: The bits of the mark that the original carried already.
    """

    model: str
    mark: int
    subjects: Mapping[str, Any] = field(default_factory=dict[str, Any])
    earlier_mark: int | None = None
    also: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is written: bits as four hexadecimal digits, what is not known left out."""
        said = {"model": self.model, "mark": f"{self.mark:04x}", "consent": dict(self.subjects)}
        said |= {"also": [dict(one) for one in self.also]} if self.also else {}
        return said if self.earlier_mark is None else said | {"earlier_mark": f"{self.earlier_mark:04x}"}


def statement_of(models: Sequence[Path], *, names: bool = False) -> Statement:
    """What there is to say of the models in some folders; the mark is the first one's. The subjects' names are left
    out unless asked for. Raises `ModelError`.
    """
    shown = [{side: public(who, name=names) for side, who in of_model(m).items()} for m in models]
    made_by, *others = (checkpoint.fingerprint(model) for model in models)
    also = tuple({"model": m, "consent": said} for m, said in zip(others, shown[1:], strict=True))
    return Statement(made_by, checkpoint.mark_of(made_by), shown[0], also=also)


def require_signable(output: Path) -> None:
    """Raise `OutputError`, before any work is done, for a kind of file that cannot have credentials, and where the
    credentials of another file lie in the place of its own.
    """
    if output.suffix.lower() not in _KINDS:
        kinds = "a video as .mp4, .mov or .mkv, a picture as .png or .jpg"
        raise OutputError(f"{output} cannot carry Content Credentials, which every output must have; write {kinds}.")
    sidecar = sidecar_of(output)
    if has_sidecar(output) and sidecar.exists() and not output.exists():
        raise OutputError(f"{sidecar} is there already and belongs to another file; choose another name for {output}.")


def has_sidecar(output: Path) -> bool:
    """Whether the credentials of a file of this name lie beside it."""
    return _KINDS[output.suffix.lower()] == OTHER


@contextmanager
def signed_file(output: Path) -> Generator[Path]:
    """Like `atomic_file`, for a file that `sign` writes: it appears with what lies beside it, or neither does."""
    with atomic_files(*[sidecar_of(output)] * has_sidecar(output), output) as partials:
        yield partials[-1]


def sign(unsigned: Path, signed: Path, original: Path, signer: Signer, statement: Statement) -> None:
    """Copy `unsigned` to `signed` with a manifest: made from `original` (whose own credentials are kept), a face
    in it replaced by a trained model, and what `statement` says. For a kind of file that cannot carry it, the manifest
    goes into `sidecar_of(signed)`. Raises `OutputError`.
    """
    tool: dict[str, Any] = {"name": "Clearswap", "version": version("clearswap")}
    settings = {
        "core": _MEMORY,
        "builder": {"claim_generator_info": tool, "thumbnail": {"enabled": False}},
        "trust": {"user_anchors": signer.root},
        "verify": OFFLINE,
    }
    about = {"title": "face swap", "assertions": [{"label": SWAP, "kind": "Json", "data": statement.to_json()}]}
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, signer.chain.encode(), signer.key.encode(), None)
    context = c2pa.Context.from_dict(settings)
    kind = _KINDS[signed.suffix.lower()]
    try:
        with c2pa.Signer.from_info(info) as signing, c2pa.Builder(about, context) as builder:
            builder.add_action(_edited(tool))
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            _add_original(builder, original, context)
            if kind == OTHER:
                builder.set_no_embed()
            with output_errors(signed), unsigned.open("rb", _BUFFER) as source, signed.open("w+b", _BUFFER) as target:
                manifest = builder.sign(signing, kind, source, target)
            if kind == OTHER:
                with output_errors(signed):
                    sidecar_of(signed).write_bytes(manifest)
    except c2pa.C2paError as error:
        raise OutputError(f"{signed} could not be signed ({error}); check the disk's free space.") from error


def write_picture(output: Path, data: bytes, original: Path, signer: Signer, statement: Statement) -> None:
    """Write an encoded picture, signed; it appears whole or not at all. Raises `OutputError`."""
    with signed_file(output) as signed:
        unsigned = signed.with_name(f"{signed.stem}-unsigned{signed.suffix}")
        try:
            unsigned.write_bytes(data)
            sign(unsigned, signed, original, signer, statement)
        finally:
            unsigned.unlink(missing_ok=True)


def _edited(tool: dict[str, Any]) -> dict[str, Any]:
    return {
        "action": "c2pa.edited",
        "description": "A face in this file was replaced with one generated by a trained model.",
        "digitalSourceType": COMPOSITE_WITH_AI,
        "softwareAgent": tool,
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def _add_original(builder: c2pa.Builder, original: Path, context: c2pa.Context) -> None:
    """Name the original as what the file was made from, with the credentials inside it or beside it."""
    parent: dict[str, Any] = {"title": "original", "relationship": "parentOf"}
    if beside := _beside(original, context):
        manifest, store = beside
        builder.add_resource("original", io.BytesIO(manifest))
        kept = {key: store[key] for key in ("active_manifest", "validation_results")}
        parent |= kept | {"manifest_data": {"format": "application/c2pa", "identifier": "original"}}
    with original.open("rb") as stream:
        try:
            builder.add_ingredient(parent, kind_of(original), stream)
        except c2pa.C2paError:  # its structure is beyond C2PA's reader: named still, but as a file without credentials
            stream.seek(0)
            builder.add_ingredient(parent, OTHER, stream)


def _beside(original: Path, context: c2pa.Context) -> tuple[bytes, dict[str, Any]] | None:
    """The manifest in the file beside an original, and C2PA's report of it, if it is about that original."""
    sidecar = sidecar_of(original)
    if not sidecar.is_file():
        return None
    manifest = sidecar.read_bytes()
    try:
        with original.open("rb") as stream, c2pa.Reader(kind_of(original), stream, manifest, context) as reader:
            about = reader.get_validation_state() != "Invalid"
            return (manifest, json.loads(reader.json())) if about else None
    except c2pa.C2paError:
        return None
