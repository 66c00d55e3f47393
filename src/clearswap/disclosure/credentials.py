"""The signing identity: a key and a certificate, made at first use and renewed, or one's own.

A self-made certificate proves that a file is as Clearswap wrote it, not who ran Clearswap. Those who have a certificate
that others trust put it into the folder `own` as `key.pem` and `chain.pem`.

Content Credentials (C2PA): every output says, signed, that a face in it was generated.

Signing comes last, after the file is complete: any later change of a byte shows. A kind of file that cannot carry
credentials gets them in a `.c2pa` file beside it.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import c2pa
import platformdirs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clearswap.disclosure.consent import of_model, public
from clearswap.disclosure.credentials_reader import OFFLINE, OTHER, SWAP, kind_of, sidecar_of
from clearswap.errors import OutputError
from clearswap.media.atomic import atomic_file, output_errors
from clearswap.training import checkpoint

_C2PA_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")  # the key usage that C2PA readers look for
# Nobody is asked for a time stamp, so readers judge a certificate by the day of reading, not of signing: what is signed
# shall be good for nine years at least. So a certificate is for ten years, and renewed after one.
_YEARS, _GOOD_FOR, _ROOT_YEARS = 10, dt.timedelta(days=9 * 365), 30
_ONE_PIXEL = bytes.fromhex(  # a PNG, to try a signature on
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154081d6360000000020001cfc835e50000000049454e44ae426082"
)


@dataclass(frozen=True)
class Signer:
    """An ES256 key, its certificate chain (leaf first) and the roots that are known here, all PEM."""

    key: str
    chain: str
    root: str


def folder_of() -> Path:
    """Where the identity lies: in the user's configuration folder."""
    return Path(platformdirs.user_config_dir("clearswap")) / "identity"


def load_or_make(folder: Path | None = None) -> Signer:
    """The identity to sign with: one's own in `folder`/own, else the one in `folder` (default: `folder_of`), which is
    made when there is none and renewed in good time.

    A renewed certificate is under the same root, so that all outputs of one person stay known as theirs. For that the
    root's key is kept: whoever could read it could read the signing key beside it as well.
    Raises `OutputError` when it can be neither read nor made, or is of no use.
    """
    place = folder or folder_of()
    with output_errors(place):
        if (place / "own").exists():
            return _load_own(place / "own")
        if not all((place / f"{name}.pem").is_file() for name in ("key", "chain", "root")):
            _renew(place)
        advice = f"delete {place} to make a new one"
        key, chain = _load(place, advice)
        if chain[0].not_valid_after_utc - _now() < _GOOD_FOR:
            # a place that became read-only does not matter while the certificate is good
            with suppress(OSError, OutputError):
                _renew(place)
            key, chain = _load(place, advice)
        _require_valid(chain[0], place, advice)
        return Signer(key, "".join(map(_pem, chain)), (place / "root.pem").read_text())


def known_roots(folder: Path | None = None) -> str:
    """The roots (PEM) of all that is signed here, as far as they can be read; makes nothing."""
    place, roots = folder or folder_of(), ""
    with suppress(OSError):
        roots += (place / "root.pem").read_text()
    with suppress(OSError, ValueError):
        roots += _pem(_certificates((place / "own" / "chain.pem").read_text())[-1])
    return roots


def _load_own(place: Path) -> Signer:
    """A key and certificates that somebody brought, tried on a picture: C2PA has rules of its own for them."""
    for name in ("key.pem", "chain.pem"):
        if not (place / name).is_file():
            raise OutputError(
                f"{place} has no {name}; put your key there as key.pem and its certificates as chain.pem, "
                "the signer's first, or delete the folder."
            )
    advice = "replace it, or delete the folder to sign with a certificate that Clearswap makes"
    key, chain = _load(place, advice)
    for one, issuer in pairwise(chain):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise OutputError(
                f"The certificates in {place / 'chain.pem'} do not follow on each other: put the signer's first, then "
                "the one that signed it, up to the root."
            ) from error
    _require_valid(chain[0], place, advice)
    identity = Signer(key, "".join(map(_pem, chain)), _pem(chain[-1]))
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, identity.chain.encode(), identity.key.encode(), None)
    try:
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder({"title": "trial"}) as builder:
            builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CREATION)
            builder.sign(signer, "image/png", io.BytesIO(_ONE_PIXEL), io.BytesIO())
    except c2pa.C2paError as error:
        raise OutputError(f"C2PA does not take the certificate in {place} ({error}); {advice}.") from error
    return identity


def _load(place: Path, advice: str) -> tuple[str, list[x509.Certificate]]:
    """The key (PEM) and the certificates in a folder, which must belong together. Raises `OutputError`."""
    key_file, chain_file = place / "key.pem", place / "chain.pem"
    for path in (key_file, place / "root-key.pem"):
        if os.name == "posix" and path.exists() and path.stat().st_mode & 0o077:
            raise OutputError(f"Others can read the key {path}; make it yours alone with: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        raise OutputError(f"{key_file} is not a key in PEM form without a password; {advice}.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise OutputError(f"{key_file} is not an elliptic-curve key of P-256, which signs here; {advice}.")
    try:
        chain = _certificates(chain_file.read_text(errors="replace"))
    except ValueError as error:
        raise OutputError(f"{chain_file} holds no certificates in PEM form; {advice}.") from error
    if chain[0].public_key() != key.public_key():
        raise OutputError(f"The key {key_file} does not belong to the first certificate in {chain_file}; {advice}.")
    return _private(key), chain


def _require_valid(certificate: x509.Certificate, place: Path, advice: str) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end < _now():
        raise OutputError(f"The certificate in {place} expired on {end:%Y-%m-%d}; {advice}.")
    if start > _now():
        raise OutputError(
            f"The certificate in {place} begins on {start:%Y-%m-%d} and this computer's clock says "
            f"{_now():%Y-%m-%d}; set the clock."
        )


def _renew(place: Path) -> None:
    """Make a signing key with a certificate, under the root that is there while it outlives that certificate."""
    key, root, known = _root(place)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = _leaf_builder(_name("Clearswap local signer"), leaf_key, root.subject, key).sign(key, hashes.SHA256())
    texts = {
        "root-key": _private(key),
        "root": known,
        "key": _private(leaf_key),
        "chain": _pem(leaf) + _pem(root),
    }
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as files:  # all are written before the first appears
        for name, text in texts.items():
            partial = files.enter_context(atomic_file(place / f"{name}.pem"))
            partial.chmod(0o600)
            partial.write_text(text)


def _root(place: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate, str]:
    """The key and certificate of the root to sign with, and all roots (PEM) there ever were, this one first."""
    key_file, file, known = place / "root-key.pem", place / "root.pem", ""
    if file.is_file():
        known = file.read_text()
    if known and key_file.is_file():
        try:
            kept, root = serialization.load_pem_private_key(key_file.read_bytes(), None), _certificates(known)[0]
        except (ValueError, TypeError) as error:
            raise OutputError(f"{key_file} or {file} is damaged; delete {place} to make new ones.") from error
        lasts = root.not_valid_after_utc - _now() > dt.timedelta(days=365 * _YEARS)
        if isinstance(kept, ec.EllipticCurvePrivateKey) and kept.public_key() == root.public_key() and lasts:
            return kept, root, known
    key = ec.generate_private_key(ec.SECP256R1())
    root = _root_builder(_name("Clearswap local root"), key).sign(key, hashes.SHA256())
    return key, root, _pem(root) + known


def _certificates(text: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(text.encode())


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _private(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(common: str) -> x509.Name:
    # Readers show the organisation, so it must be there. It names no one.
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Clearswap, self-signed")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _root_builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    signs = _key_usage(signs_certificates=True)
    builder = _builder(name, name, key.public_key(), key.public_key(), years=_ROOT_YEARS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.add_extension(signs, critical=True)


def _leaf_builder(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    builder = _builder(name, issuer, key.public_key(), issuer_key.public_key(), years=_YEARS)
    usages = x509.ExtendedKeyUsage([_C2PA_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION])
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    return builder.add_extension(usages, critical=False)


def _builder(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    years: int,
) -> x509.CertificateBuilder:
    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365 * years))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


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
    """Like `atomic_file`, for a file that `sign` writes: its sidecar, if there is one, appears just before it."""
    with atomic_file(output) as partial:
        sidecar = sidecar_of(partial)
        try:
            yield partial
            if sidecar.exists():
                sidecar.replace(sidecar_of(output))
        finally:
            sidecar.unlink(missing_ok=True)


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
