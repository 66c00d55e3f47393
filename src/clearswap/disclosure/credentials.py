"""Content Credentials (C2PA): every output says, signed, that a face in it was generated.

The first half of this file is about who signs: a key and a certificate that Clearswap makes at first use, or people's
own. A self-made certificate proves that a file is as Clearswap wrote it, not who ran Clearswap. The second half writes
the statement into a file and signs it. Signing comes last, when the file is complete, because any later change of a
byte shows. A kind of file that cannot carry credentials gets them in a `.c2pa` file next to it.
"""

from __future__ import annotations

import datetime as dt
import errno
import io
import json
import os
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import c2pa
import numpy as np
import platformdirs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from filelock import FileLock

from clearswap.checks import check_fields
from clearswap.disclosure.consent import consent_of, public
from clearswap.errors import OptionError, OutputError
from clearswap.media.files import atomic_file, clear, encode_picture, fresh, output_errors

if TYPE_CHECKING:
    from clearswap.training.checkpoint import SavedModel

# What C2PA's library may fetch: nothing, neither manifests, nor states of certificates, nor what a file names (did:web)
# about people. Who they say they are (CAWG) is not read: unverified, it would make sound credentials look unsound.
OFFLINE: dict[str, Any] = {
    "core": {"allowed_network_hosts": list[str](), "decode_identity_assertions": False},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
SWAP = "org.clearswap.swap"  # the label of what Clearswap says of its own
OTHER = "application/octet-stream"  # a kind that carries no credentials inside
_C2PA_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")  # the key usage that C2PA readers look for
# No time stamp is asked for, so readers judge a certificate by the day of reading, not of signing. What is signed shall
# be good for nine years at least: a certificate lasts 30 years and is replaced nine years before its end.
_LIFETIME, _GOOD_FOR = dt.timedelta(days=30 * 365), dt.timedelta(days=9 * 365)
_ALGORITHMS = {  # by the key's curve or class
    "secp256r1": c2pa.C2paSigningAlg.ES256,
    "secp384r1": c2pa.C2paSigningAlg.ES384,
    "secp521r1": c2pa.C2paSigningAlg.ES512,
    "Ed25519PrivateKey": c2pa.C2paSigningAlg.ED25519,
    "RSAPrivateKey": c2pa.C2paSigningAlg.PS256,
}


@dataclass(frozen=True)
class SignConfig:
    """With which key outputs are signed.

    Attributes:
        key: Your own private key (PEM, without a password), instead of the one that Clearswap makes for itself.
        chain: The certificates that belong to the key (PEM): the signer's first, then the one that signed it, and so
            on up to the root.
    """

    key: Path | None = None
    chain: Path | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.key is None) != (self.chain is None):
            raise OptionError("A key signs with its certificates; give `key` and `chain`, or neither.")


@dataclass(frozen=True)
class Signer:
    """A private key (PEM), its certificates (PEM, the signer's first) and the kind of signature they make."""

    key: str
    chain: str
    algorithm: c2pa.C2paSigningAlg
    root: str  # PEM: the last of the certificates

    def open(self) -> c2pa.Signer:
        """C2PA's own signer, to be closed after use. Raises `c2pa.C2paError`."""
        info = c2pa.C2paSignerInfo(self.algorithm, self.chain.encode(), self.key.encode(), None)
        return c2pa.Signer.from_info(info)


def signer_folder() -> Path:
    """The folder in the user's configuration that holds the key and certificates that Clearswap made."""
    return Path(platformdirs.user_config_dir("clearswap")) / "identity"


def load_signer(config: SignConfig = SignConfig(), *, folder: Path | None = None) -> Signer:
    """Read the key and certificates to sign with, and try them on a picture of one pixel.

    Without a key in `config` it is the pair in `folder` (default: `signer_folder`), which is made at first use. The
    root of the certificates becomes known on this machine. Raises `OutputError` for what cannot be read or made, and
    for a key or certificate that does not fit.
    """
    place = folder or signer_folder()
    key, chain = config.key, config.chain
    if key is None and (place / "own").is_dir():  # where people's own pair lay before version 0.2
        key, chain = place / "own" / "key.pem", place / "own" / "chain.pem"
    advice = "give others, or leave `key` and `chain` out to sign with a pair that Clearswap makes"
    if key is None or chain is None:
        _make_in_time(place)
        key, chain = place / "key.pem", place / "chain.pem"
        advice = f"delete {key} to have a new pair made"
    private, algorithm, certificates = _read_pair(key, chain, advice)
    signer = Signer(private, "".join(map(_pem, certificates)), algorithm, _pem(certificates[-1]))
    pixel = encode_picture(np.zeros((1, 1, 3), np.uint8), ".png")
    try:
        with signer.open() as signing, c2pa.Builder({"title": "trial"}) as builder:
            builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CREATION)
            builder.sign(signing, "image/png", io.BytesIO(pixel), io.BytesIO())
    except c2pa.C2paError as error:
        start, end = certificates[0].not_valid_before_utc, certificates[0].not_valid_after_utc
        raise OutputError(
            f"C2PA does not take the key {key} with the certificates in {chain}, which are good from "
            f"{start:%Y-%m-%d} to {end:%Y-%m-%d} ({error}); {advice}."
        ) from error
    if signer.root not in known_roots(place):
        with suppress(OSError, OutputError), _locked(place):  # where it is read-only, `check` will not know the signer
            _write(place, {"root.pem": signer.root + known_roots(place)})
    return signer


def known_roots(folder: Path | None = None) -> str:
    """The roots (PEM) of all that was signed on this machine, as far as they can be read; makes nothing."""
    try:
        text = ((folder or signer_folder()) / "root.pem").read_text(errors="replace")
    except OSError:
        return ""
    return "".join(re.findall(r"-----BEGIN CERTIFICATE-----[\w+/=\s]*-----END CERTIFICATE-----\n?", text, re.ASCII))


def _make_in_time(place: Path) -> None:
    """Make a key with certificates in `place` where there is none, or where it will soon be too old to sign."""
    key_file, chain_file = place / "key.pem", place / "chain.pem"
    try:
        with _locked(place):
            if key_file.is_file() and chain_file.is_file():
                leaf = _read_pair(key_file, chain_file, f"delete {key_file} to have a new pair made")[2][0]
                if leaf.not_valid_after_utc - dt.datetime.now(dt.UTC) > _GOOD_FOR:
                    return
            key, certificates = make_pair()
            known = _pem(certificates[-1]) + known_roots(place)
            _write(place, {"root.pem": known, "key.pem": key, "chain.pem": "".join(map(_pem, certificates))})
            (place / "root-key.pem").unlink(missing_ok=True)  # versions before 0.2 signed certificates with it
    except OutputError:  # a folder that became read-only does not matter while the certificate is good
        if not chain_file.is_file():
            raise


def make_pair(lifetime: dt.timedelta = _LIFETIME) -> tuple[str, list[x509.Certificate]]:
    """A new key (PEM) and its certificates: the signer's, and a root's whose key is thrown away.

    The root is there because C2PA does not want certificates that are signed by themselves.
    """
    key, root_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    return _private(key), [_certificate(one, root_key, lifetime) for one in (key, root_key)]


def _certificate(
    key: ec.EllipticCurvePrivateKey, root_key: ec.EllipticCurvePrivateKey, lifetime: dt.timedelta
) -> x509.Certificate:
    """A certificate for `key`, signed by the root; it is the root's own where both keys are one."""
    is_root, now = key is root_key, dt.datetime.now(dt.UTC)
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    never = dict.fromkeys((*others, "decipher_only"), False)
    usage = x509.KeyUsage(digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **never)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    builder = (
        x509.CertificateBuilder(_name("root"), _name("root" if is_root else "signer"), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer, critical=False)
    )
    if not is_root:
        signing = x509.ExtendedKeyUsage([_C2PA_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(signing, critical=False)
    return builder.sign(root_key, hashes.SHA256())


def _name(role: str) -> x509.Name:
    # Readers show the organisation, so it must be there. It names no one.
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Clearswap, self-signed")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, f"Clearswap local {role}")])


def _read_pair(
    key_file: Path, chain_file: Path, advice: str
) -> tuple[str, c2pa.C2paSigningAlg, list[x509.Certificate]]:
    """A private key (PEM), the kind of its signatures and its certificates. Raises `OutputError`."""
    try:
        if os.name == "posix" and key_file.stat().st_mode & 0o077:
            raise OutputError(f"Others can read the key {key_file}; make it yours alone with: chmod 600 {key_file}")
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        chain = x509.load_pem_x509_certificates(chain_file.read_bytes())
    except OSError as error:
        raise OutputError(f"{error.filename} cannot be read ({error.strerror}); {advice}.") from error
    except (ValueError, TypeError) as error:  # TypeError: the key has a password
        raise OutputError(
            f"{key_file} must be a key without a password and {chain_file} its certificates, in PEM form; {advice}."
        ) from error
    algorithm = _ALGORITHMS.get(key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else type(key).__name__)
    if algorithm is None:
        raise OutputError(f"{key_file} is a kind of key with which C2PA does not sign; {advice}.")
    for certificate, issuer in pairwise(chain):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise OutputError(
                f"The certificates in {chain_file} do not follow on each other: put the signer's first, then the one "
                "that signed it, up to the root."
            ) from error
    return _private(key), algorithm, chain


@contextmanager
def _locked(place: Path) -> Generator[None]:
    """Keep other processes out of `place` while something is made there. Raises `OutputError`."""
    with output_errors(place):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(place / ".lock", mode=0o600):
            yield


def _write(place: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        with atomic_file(place / name) as partial:
            partial.chmod(0o600)
            partial.write_text(text)


def _private(key: PrivateKeyTypes) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


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


@dataclass(frozen=True)
class Statement:
    """What the credentials say about the swap, besides the tool, its version and the time.

    Attributes:
        model: The model's fingerprint (`SavedModel.fingerprint`), 64 hexadecimal digits.
        mark: The 16 bits that the invisible mark in the picture carries.
        consent: The public part of both persons' consent records, by side ("a", "b").
        earlier_mark: The bits of the mark that the original carried already.
        also: "model" and "consent" of further models, whose faces replaced further people.
    """

    model: str
    mark: int
    consent: Mapping[str, Any] = field(default_factory=dict[str, Any])
    earlier_mark: int | None = None
    also: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The statement as it is written: bits as four hexadecimal digits, without what is not known."""
        said: dict[str, Any] = {"model": self.model, "mark": f"{self.mark:04x}", "consent": dict(self.consent)}
        if self.also:
            said["also"] = [dict(one) for one in self.also]
        if self.earlier_mark is not None:
            said["earlier_mark"] = f"{self.earlier_mark:04x}"
        return said


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
    about = {"title": "face swap", "assertions": [{"label": SWAP, "kind": "Json", "data": statement.to_json()}]}
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
        raise OutputError(f"{signed} could not be signed ({error}); check the disk's free space.") from error


def write_picture(output: Path, data: bytes, original: Path, signer: Signer, statement: Statement) -> None:
    """Write an encoded picture, signed; it appears whole or not at all. Raises `OutputError`."""
    with signed_file(output) as signed:
        unsigned = signed.with_name(f"{signed.stem}-unsigned{signed.suffix}")
        try:
            fresh(unsigned).write_bytes(data)
            sign(unsigned, signed, original, signer, statement)
        finally:
            unsigned.unlink(missing_ok=True)


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
