"""The signing identity: made, kept, renewed, one's own, and every way in which it can be of no use."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import clearswap
from clearswap.disclosure import credentials, credentials_reader
from clearswap.disclosure.credentials import Statement, known_roots, load_or_make
from makers import Ran, left_behind, write_clip

NOW = dt.datetime.now(dt.UTC)
YEAR = dt.timedelta(days=365)
SAID = Statement("0" * 64, 0)


def at(monkeypatch: pytest.MonkeyPatch, time: dt.datetime) -> None:
    """Let it be another time; the certificates that are made are real ones of that time."""
    monkeypatch.setattr(credentials, "_now", lambda: time)


def leaf_of(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem.encode())[0]


def pem_of(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes | None = None) -> str:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock).decode()


def bring(folder: Path, start: dt.datetime = NOW - YEAR, end: dt.datetime = NOW + YEAR, usage: bool = True) -> Path:
    """A key of one's own under an authority, as a certificate shop would sell it; returns its folder."""
    own, ca_key, key = folder / "own", ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
    ca, me = named("A Certificate Shop"), named("Studio Example")
    root = certificate(ca, ca, ca_key, ca_key, NOW - 2 * YEAR, NOW + 9 * YEAR, authority=True)
    leaf = certificate(me, ca, key, ca_key, start, end, usage=usage)
    own.mkdir(parents=True, mode=0o700)
    put(own / "key.pem", pem_of(key))
    put(own / "chain.pem", text_of(leaf) + text_of(root))
    return own


def certificate(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    start: dt.datetime,
    end: dt.datetime,
    *,
    authority: bool = False,
    usage: bool = True,
) -> x509.Certificate:
    build = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
    build = build.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
    build = build.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    build = build.add_extension(credentials._key_usage(signs_certificates=authority), critical=True)
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    build = build.add_extension(authority_key, critical=False)
    if not authority and usage:
        build = build.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return build.sign(issuer_key, hashes.SHA384())


def named(common: str) -> x509.Name:
    names = [(NameOID.ORGANIZATION_NAME, common), (NameOID.COMMON_NAME, f"{common}'s signer")]
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in names])


def text_of(one: x509.Certificate) -> str:
    return one.public_bytes(serialization.Encoding.PEM).decode()


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def sign(folder: Path, me: credentials.Signer, name: str = "out.mp4") -> Path:
    clip = write_clip(folder / "clip.mp4", 6)
    credentials.sign(clip, folder / name, clip, me, SAID)
    return folder / name


def test_it_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    place = tmp_path / "config" / "identity"
    first = load_or_make(place)
    assert load_or_make(place) == first
    assert left_behind(place) == ["chain.pem", "key.pem", "root-key.pem", "root.pem"]
    if os.name == "posix":
        assert place.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    assert known_roots(place) == first.root


def test_it_names_nobody(tmp_path: Path) -> None:
    made = load_or_make(tmp_path / "identity")
    names = {part.value for one in x509.load_pem_x509_certificates(made.chain.encode()) for part in one.subject}
    assert names == {"Clearswap, self-signed", "Clearswap local signer", "Clearswap local root"}


def test_it_is_renewed_every_year_under_the_same_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "identity"
    at(monkeypatch, NOW - 2 * YEAR)
    old = load_or_make(place)
    before = sign(tmp_path, old, "before.mp4")
    at(monkeypatch, NOW - 2 * YEAR + dt.timedelta(days=300))
    assert load_or_make(place) == old
    at(monkeypatch, NOW)
    new = load_or_make(place)
    assert new.key != old.key
    assert new.root == old.root
    assert leaf_of(new.chain).not_valid_after_utc > NOW + 9 * YEAR
    assert credentials_reader.read(before, new.root).state == "trusted"
    assert credentials_reader.read(sign(tmp_path, new), old.root).state == "trusted"


def test_an_old_root_is_replaced_and_still_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that would end before the new certificate; and an identity of before roots' keys were kept."""
    place = tmp_path / "identity"
    at(monkeypatch, NOW - 2 * YEAR)
    old = load_or_make(place)
    before = sign(tmp_path, old, "before.mp4")
    (place / "root-key.pem").unlink()
    at(monkeypatch, NOW)
    new = load_or_make(place)
    assert len(x509.load_pem_x509_certificates(new.root.encode())) == 2
    assert credentials_reader.read(before, new.root).state == "trusted"
    assert credentials_reader.read(sign(tmp_path, new), new.root).state == "trusted"
    assert credentials_reader.read(sign(tmp_path, new), old.root).state == "valid"
    at(monkeypatch, NOW + 25 * YEAR)
    assert len(x509.load_pem_x509_certificates(load_or_make(place).root.encode())) == 3


def test_ones_own_key_signs(tmp_path: Path) -> None:
    place = tmp_path / "identity"
    made = load_or_make(place)
    bring(place)
    mine = load_or_make(place)
    assert mine.key != made.key
    output = sign(tmp_path, mine)
    said = credentials_reader.read(output, known_roots(place))
    assert (said.state, said.signer) == ("trusted", "Studio Example, Studio Example's signer")
    assert credentials_reader.read(output, made.root).state == "valid"
    assert (
        credentials_reader.read(sign(tmp_path, made), known_roots(place)).state == "trusted"
    )  # what was signed before


def test_a_key_in_the_older_form_is_taken(tmp_path: Path) -> None:
    own = bring(tmp_path)
    key = serialization.load_pem_private_key((own / "key.pem").read_bytes(), None)
    older = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    put(own / "key.pem", older.decode())
    assert "BEGIN EC PRIVATE KEY" in (own / "key.pem").read_text()
    assert credentials_reader.read(sign(tmp_path, load_or_make(tmp_path))).state == "valid"


def swap_chain(own: Path) -> None:
    first, second = x509.load_pem_x509_certificates((own / "chain.pem").read_bytes())
    stranger = load_or_make(own.parent / "other")
    put(own / "chain.pem", text_of(first) + stranger.root)
    assert first.issuer == second.subject


TROUBLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no chain": (lambda own: (own / "chain.pem").unlink(), "has no chain.pem; put your key there as key.pem"),
    "no key": (lambda own: (own / "key.pem").unlink(), "has no key.pem"),
    "not PEM": (lambda own: put(own / "key.pem", "no key"), "is not a key in PEM form without a password"),
    "password": (
        lambda own: put(own / "key.pem", pem_of(ec.generate_private_key(ec.SECP256R1()), b"secret")),
        "is not a key in PEM form without a password",
    ),
    "P-384": (
        lambda own: put(own / "key.pem", pem_of(ec.generate_private_key(ec.SECP384R1()))),
        "is not an elliptic-curve key of P-256",
    ),
    "Ed25519": (
        lambda own: put(own / "key.pem", pem_of(ed25519.Ed25519PrivateKey.generate())),
        "is not an elliptic-curve key of P-256",
    ),
    "another's key": (
        lambda own: put(own / "key.pem", pem_of(ec.generate_private_key(ec.SECP256R1()))),
        "does not belong to the first certificate",
    ),
    "no certificate": (lambda own: put(own / "chain.pem", "nothing"), "holds no certificates in PEM form"),
    "another's root": (swap_chain, "do not follow on each other"),
}
if os.name == "posix":
    TROUBLES["readable"] = (lambda own: (own / "key.pem").chmod(0o640), "Others can read the key")


@pytest.mark.parametrize("name", list(TROUBLES))
def test_each_trouble_with_ones_own_key_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spoil, reason = TROUBLES[name]
    own = bring(tmp_path / "clearswap" / "identity")
    spoil(own)
    said = refusal(tmp_path, monkeypatch)
    assert reason in said
    assert str(own) in said
    assert "\n" not in said
    if name == "readable":
        assert said.endswith(f"with: chmod 600 {own / 'key.pem'}")


def refusal(config: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said when the identity in a configuration folder is asked for."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    with pytest.raises(clearswap.OutputError) as refused:
        load_or_make()
    return str(refused.value)


def test_ones_own_certificate_that_expired_or_has_not_begun(tmp_path: Path) -> None:
    bring(tmp_path / "old", end=NOW - dt.timedelta(days=3))
    with pytest.raises(clearswap.OutputError, match=f"expired on {NOW - dt.timedelta(days=3):%Y-%m-%d}; replace it"):
        load_or_make(tmp_path / "old")
    bring(tmp_path / "new", start=NOW + dt.timedelta(days=3))
    with pytest.raises(clearswap.OutputError, match=r"begins on .* this computer's clock says .*; set the clock"):
        load_or_make(tmp_path / "new")


def test_a_certificate_that_c2pa_does_not_take_is_refused_before_the_work(tmp_path: Path) -> None:
    bring(tmp_path, usage=False)
    with pytest.raises(clearswap.OutputError, match="C2PA does not take the certificate"):
        load_or_make(tmp_path)


def test_a_clock_in_the_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_or_make(tmp_path)
    at(monkeypatch, NOW - 5 * YEAR)
    with pytest.raises(clearswap.OutputError, match=r"begins on .* clock says .*; set the clock"):
        load_or_make(tmp_path)


@pytest.mark.parametrize("name", ["key", "chain", "root-key"])
def test_a_damaged_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    load_or_make(tmp_path)
    put(tmp_path / f"{name}.pem", "rubbish")
    if name == "root-key":  # matters when it is needed
        load_or_make(tmp_path)
        at(monkeypatch, NOW + 15 * YEAR)
    with pytest.raises(clearswap.OutputError, match=f"delete {tmp_path} to make"):
        load_or_make(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions")
@pytest.mark.parametrize("name", ["key", "root-key"])
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, name: str) -> None:
    load_or_make(tmp_path)
    (tmp_path / f"{name}.pem").chmod(0o644)
    with pytest.raises(clearswap.OutputError, match=f"Others can read the key .*chmod 600 .*{name}.pem"):
        load_or_make(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions")
def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an identity that is getting old, all goes on; without one, or when it expired, one sentence."""
    place = tmp_path / "clearswap" / "identity"
    at(monkeypatch, NOW - 2 * YEAR)
    old = load_or_make(place)
    monkeypatch.undo()
    assert as_nobody(place, tmp_path) == f"True {leaf_of(old.chain).serial_number}"
    empty = tmp_path / "empty"
    empty.mkdir()
    said = as_nobody(empty / "identity", tmp_path)
    assert said == f"OutputError {empty / 'identity'} cannot be written: you may not write there; choose another place."


def as_nobody(place: Path, folder: Path) -> str:
    """Ask for the identity as somebody who may read everything in `folder` and write nothing."""
    lines = [
        "import os, sys; from pathlib import Path",
        "from clearswap.disclosure import signer",
        "import clearswap.errors",
        "place = Path(sys.argv[1])",
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)",
        "try: me = credentials.load_or_make(place)",
        "except clearswap.errors.ClearswapError as error: print(type(error).__name__, error)",
        "else: print(not os.access(place, os.W_OK), credentials._certificates(me.chain)[0].serial_number)",
    ]
    paths = [folder, *folder.rglob("*")]
    if os.getuid() == 0:  # root may do everything, so it becomes nobody; its folders have to be passable
        for above in list(folder.parents)[:-2]:
            above.chmod(above.stat().st_mode | 0o011)
        for path in paths:
            os.chown(path, 65534, 65534)
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        code = [sys.executable, "-c", "\n".join(lines), str(place)]
        done = subprocess.run(code, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
    finally:
        for path in paths:
            path.chmod(0o700 if path.is_dir() else 0o600)
        if os.getuid() == 0:
            for path in paths:
                os.chown(path, 0, 0)


def test_convert_says_it_in_one_sentence_before_any_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Ran]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    clip, output = write_clip(tmp_path / "clip.mp4", 6), tmp_path / "out" / "out.mp4"
    for number, (spoil, reason) in enumerate(TROUBLES.values()):
        own = tmp_path / "clearswap" / "identity" / "own"
        if own.exists():
            own.rename(tmp_path / f"before {number}")
        spoil(bring(own.parent))
        assert reason in cli("convert", model, clip, "-o", output, "--to", "a").sentence()
    assert not output.parent.exists()
