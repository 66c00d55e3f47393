"""The signing identity: a key and certificate of one's own, made at first use, readable by its owner only.

A self-made certificate proves that a file is as Clearswap wrote it, not who ran Clearswap.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from pathlib import Path

import platformdirs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clearswap.errors import OutputError
from clearswap.machinery.whole import output_errors, whole_file

_C2PA_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")  # the key usage that C2PA readers look for


@dataclass(frozen=True)
class Identity:
    """An ES256 key, its certificate chain (leaf first) and the root that vouches for it, all PEM."""

    key: str
    chain: str
    root: str


def load_or_make(folder: Path | None = None) -> Identity:
    """The identity in `folder` (default: the user's configuration folder), made there when there is none.

    Raises `OutputError` when it can be neither read nor made.
    """
    place = folder or Path(platformdirs.user_config_dir("clearswap")) / "identity"
    paths = {field.name: place / f"{field.name}.pem" for field in fields(Identity)}
    with output_errors(place):
        if not all(path.is_file() for path in paths.values()):
            made = _make()
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, path in paths.items():
                with whole_file(path) as partial:
                    partial.chmod(0o600)
                    partial.write_text(getattr(made, name))
        identity = Identity(**{name: path.read_text() for name, path in paths.items()})
    expires = x509.load_pem_x509_certificate(identity.chain.encode()).not_valid_after_utc
    if expires < dt.datetime.now(dt.UTC):
        raise OutputError(
            f"The signing certificate in {place} expired on {expires:%Y-%m-%d}; delete the folder to make a new one."
        )
    return identity


def _make() -> Identity:
    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, leaf_name = _name("Clearswap local root"), _name("Clearswap local signer")
    root = _root_builder(root_name, root_key).sign(root_key, hashes.SHA256())
    leaf = _leaf_builder(leaf_name, leaf_key, root_name, root_key).sign(root_key, hashes.SHA256())
    private = leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(key=private.decode(), chain=_pem(leaf) + _pem(root), root=_pem(root))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(common: str) -> x509.Name:
    # Readers show the organisation, so it must be there. It names no one.
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Clearswap, self-signed")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _root_builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    signs = _key_usage(signs_certificates=True)
    builder = _builder(name, name, key.public_key(), key.public_key(), years=20)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.add_extension(signs, critical=True)


def _leaf_builder(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    builder = _builder(name, issuer, key.public_key(), issuer_key.public_key(), years=10)
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
    now = dt.datetime.now(dt.UTC)
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
