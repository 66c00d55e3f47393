"""Who signs: a key and a certificate that Clearswap makes at first use, or people's own.

A self-made certificate proves that a file is as Clearswap wrote it, not who ran Clearswap.
"""

from __future__ import annotations

import datetime as dt
import io
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

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
from clearswap.errors import OptionError, OutputError
from clearswap.media.files import atomic_file, encode_picture, output_errors

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
        timestamp: The address (http or https) of an authority that says when outputs were signed (RFC 3161). It is
            connected to, once before the work and once for each output, and gets a digest; without it nothing is.
        mining: Allow others to mine outputs for data and to train on them. Without it the credentials say that it is
            not allowed.
    """

    key: Path | None = None
    chain: Path | None = None
    timestamp: str | None = None
    mining: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.key is None) != (self.chain is None):
            raise OptionError("A key signs with its certificates; give `key` and `chain`, or neither.")
        if self.timestamp is not None and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", self.timestamp, re.ASCII):
            raise OptionError(
                f"{self.timestamp!r} is no address of a time-stamp authority; give one like http://host/."
            )


@dataclass(frozen=True)
class Signer:
    """A private key (PEM), its certificates (PEM, the signer's first) and the kind of signature they make."""

    key: str
    chain: str
    algorithm: c2pa.C2paSigningAlg
    root: str  # PEM: the last of the certificates
    timestamp: str | None = None  # see `SignConfig`, as the next
    mining: bool = False

    def open(self) -> c2pa.Signer:
        """C2PA's own signer, to be closed after use. Raises `c2pa.C2paError`."""
        authority = None if self.timestamp is None else self.timestamp.encode()
        info = c2pa.C2paSignerInfo(self.algorithm, self.chain.encode(), self.key.encode(), authority)
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
    signer = Signer(private, "".join(map(_pem, certificates)), algorithm, _pem(certificates[-1]), mining=config.mining)
    try:
        _try(signer)
    except c2pa.C2paError as error:
        start, end = certificates[0].not_valid_before_utc, certificates[0].not_valid_after_utc
        raise OutputError(
            f"C2PA does not take the key {key} with the certificates in {chain}, which are good from "
            f"{start:%Y-%m-%d} to {end:%Y-%m-%d} ({error}); {advice}."
        ) from error
    if signer.root not in known_roots(place):
        with suppress(OSError, OutputError), _locked(place):  # where it is read-only, `check` will not know the signer
            _write(place, {"root.pem": signer.root + known_roots(place)})
    return signer if config.timestamp is None else _with_time(replace(signer, timestamp=config.timestamp))


def _try(signer: Signer) -> None:
    """Sign a picture of one pixel. Raises `c2pa.C2paError` where that does not work."""
    pixel = encode_picture(np.zeros((1, 1, 3), np.uint8), ".png")
    with signer.open() as signing, c2pa.Builder({"title": "trial"}) as builder:
        builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CREATION)
        builder.sign(signing, "image/png", io.BytesIO(pixel), io.BytesIO())


def _with_time(signer: Signer) -> Signer:
    """A signer whose time-stamp authority answers. Raises `OutputError` where it does not."""
    try:
        _try(signer)
    except c2pa.C2paError as error:
        raise OutputError(
            f"The time-stamp authority {signer.timestamp} does not answer as one ({error}); give another one, or "
            "leave `timestamp` out."
        ) from error
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
