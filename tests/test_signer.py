"""Who signs: the pair that Clearswap makes, people's own, and every way in which a pair can be of no use."""

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
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import clearswap
from clearswap.disclosure import credentials, credentials_reader
from clearswap.disclosure.credentials import Statement
from clearswap.disclosure.signer import SignConfig, Signer, known_roots, load_signer, make_pair
from clearswap.media.files import encode_picture
from makers import left_behind, scene

NOW = dt.datetime.now(dt.UTC)
DAY, YEAR = dt.timedelta(days=1), dt.timedelta(days=365)
SAID = Statement("0" * 64, 0)
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions")


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def pem_of(key: PrivateKeyTypes, password: bytes | None = None) -> str:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock).decode()


def text_of(*chain: x509.Certificate) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in chain)


def leaf_of(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem.encode())[0]


def named(common: str) -> x509.Name:
    names = [(NameOID.ORGANIZATION_NAME, common), (NameOID.COMMON_NAME, f"{common}'s signer")]
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in names])


def bring(
    folder: Path,
    key: PrivateKeyTypes | None = None,
    start: dt.datetime = NOW - YEAR,
    end: dt.datetime = NOW + YEAR,
    usage: bool = True,
) -> SignConfig:
    """A key of one's own under an authority, as a certificate shop would sell it."""
    shop_key, mine = ec.generate_private_key(ec.SECP384R1()), key or ec.generate_private_key(ec.SECP256R1())

    def certificate(name: x509.Name, public: PrivateKeyTypes, start: dt.datetime, end: dt.datetime) -> x509.Certificate:
        authority = public is shop_key
        build = x509.CertificateBuilder(named("A Certificate Shop"), name, public.public_key())  # pyright: ignore
        build = build.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        build = build.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        may = [not authority, False, False, False, False, authority, authority, False, False]
        build = build.add_extension(x509.KeyUsage(*may), critical=True)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(shop_key.public_key())
        build = build.add_extension(issuer, critical=False)
        if usage and not authority:
            build = build.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        return build.sign(shop_key, hashes.SHA384())

    root = certificate(named("A Certificate Shop"), shop_key, NOW - 2 * YEAR, NOW + 9 * YEAR)
    leaf = certificate(named("Studio Example"), mine, start, end)
    chain = put(folder / "chain.pem", text_of(leaf, root))
    return SignConfig(put(folder / "key.pem", pem_of(mine)), chain)


def signed(folder: Path, me: Signer, name: str = "out.png") -> Path:
    picture = folder / "picture.png"
    picture.write_bytes(encode_picture(scene(0, 64, 48), ".png"))
    credentials.sign(picture, folder / name, picture, me, SAID)
    return folder / name


def state(path: Path, roots: str) -> str:
    return credentials_reader.read(path, roots).state


# --- the pair that Clearswap makes -----------------------------------------------------------------------


def test_it_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    place = tmp_path / "config" / "identity"
    first = load_signer(folder=place)
    assert load_signer(folder=place) == first
    assert left_behind(place) == [".lock", "chain.pem", "key.pem", "root.pem"]  # not the root's key
    if os.name == "posix":
        assert place.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    assert leaf_of(first.chain).not_valid_after_utc > NOW + 29 * YEAR
    said = credentials_reader.read(signed(tmp_path, first), known_roots(place))
    assert (said.state, said.signer) == ("trusted", "Clearswap, self-signed, Clearswap local signer")


def test_it_names_nobody(tmp_path: Path) -> None:
    made = load_signer(folder=tmp_path / "identity")
    names = {part.value for one in x509.load_pem_x509_certificates(made.chain.encode()) for part in one.subject}
    assert names == {"Clearswap, self-signed", "Clearswap local signer", "Clearswap local root"}


def earlier(place: Path, lifetime: dt.timedelta, *, key_of_root: bool = True) -> str:
    """A pair that an earlier version made, good for so long; returns its root."""
    key, (leaf, root) = make_pair(lifetime)
    put(place / "key.pem", key)
    put(place / "chain.pem", text_of(leaf, root))
    put(place / "root.pem", text_of(root))
    if key_of_root:
        put(place / "root-key.pem", pem_of(ec.generate_private_key(ec.SECP256R1())))
    return text_of(root)


def test_one_of_an_earlier_version_is_used_as_it_is(tmp_path: Path) -> None:
    root = earlier(tmp_path, 10 * YEAR)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    me = load_signer(folder=tmp_path)
    assert me.chain.encode() == before["chain.pem"]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert state(signed(tmp_path, me), known_roots(tmp_path)) == state(tmp_path / "out.png", root) == "trusted"


@pytest.mark.parametrize("left", [8 * YEAR, -DAY / 2], ids=["eight years", "expired"])
def test_one_that_is_too_old_is_made_anew_and_its_root_stays_known(tmp_path: Path, left: dt.timedelta) -> None:
    """What is signed shall be good for nine years."""
    root = earlier(tmp_path, left)
    old = (tmp_path / "chain.pem").read_text()
    me = load_signer(folder=tmp_path)
    assert me.chain != old
    assert leaf_of(me.chain).not_valid_after_utc > NOW + 29 * YEAR
    assert not (tmp_path / "root-key.pem").exists()
    assert root in known_roots(tmp_path)
    assert state(signed(tmp_path, me), known_roots(tmp_path)) == "trusted"
    assert state(tmp_path / "out.png", root) == "valid"
    assert load_signer(folder=tmp_path) == me


def test_what_was_signed_before_it_was_made_anew_is_still_known(tmp_path: Path) -> None:
    root = earlier(tmp_path, 8 * YEAR)
    key, chain = (tmp_path / "key.pem").read_text(), (tmp_path / "chain.pem").read_text()
    me = load_signer(folder=tmp_path)
    old = Signer(key, chain, me.algorithm, root)
    assert state(signed(tmp_path, old), known_roots(tmp_path)) == "trusted"


@pytest.mark.parametrize("name", ["key.pem", "chain.pem"])
def test_a_damaged_one_is_refused_and_one_that_lacks_a_half_is_made_anew(tmp_path: Path, name: str) -> None:
    first = load_signer(folder=tmp_path)
    put(tmp_path / name, "rubbish")
    with pytest.raises(clearswap.OutputError, match=f"in PEM form; delete {tmp_path / 'key.pem'} to have a new pair"):
        load_signer(folder=tmp_path)
    assert (tmp_path / name).read_text() == "rubbish"
    (tmp_path / "key.pem").unlink()
    assert load_signer(folder=tmp_path).chain != first.chain
    assert first.root in known_roots(tmp_path)


@POSIX
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    load_signer(folder=tmp_path)
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(clearswap.OutputError, match=r"Others can read the key .*chmod 600 .*key.pem"):
        load_signer(folder=tmp_path)


def test_two_processes_at_once_sign_with_one_pair(tmp_path: Path) -> None:
    code = "import sys, pathlib; from clearswap.disclosure.signer import load_signer\n"
    code += "print(load_signer(folder=pathlib.Path(sys.argv[1])).chain)"
    command = [sys.executable, "-c", code, str(tmp_path / "identity")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=100)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert said[0] == said[1]
    assert said[0].strip() == (tmp_path / "identity" / "chain.pem").read_text().strip()


@POSIX
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """With a pair that is getting old all goes on; without one it is one sentence."""
    place, empty = tmp_path / "clearswap" / "identity", tmp_path / "empty"
    earlier(place, 5 * YEAR)
    empty.mkdir()
    old, none = as_nobody(tmp_path, place, empty / "identity")
    assert old == f"True {leaf_of((place / 'chain.pem').read_text()).serial_number}"
    assert none == f"OutputError {empty / 'identity'} cannot be written: you may not write there; choose another place."


def as_nobody(folder: Path, *places: Path) -> list[str]:
    """Ask for the signers in some places as somebody who may read everything in `folder` and write nothing."""
    lines = [
        "import os, sys; from pathlib import Path",
        "from cryptography.x509 import load_pem_x509_certificates as certificates",
        "from clearswap.disclosure import signer",
        "import clearswap.errors",
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)",
        "for place in map(Path, sys.argv[1:]):",
        "    try: me = signer.load_signer(folder=place)",
        "    except clearswap.errors.ClearswapError as error: print(type(error).__name__, error)",
        "    else: print(not os.access(place, os.W_OK), certificates(me.chain.encode())[0].serial_number)",
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
        code = [sys.executable, "-c", "\n".join(lines), *map(str, places)]
        done = subprocess.run(code, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()
    finally:
        for path in paths:
            path.chmod(0o700 if path.is_dir() else 0o600)
        if os.getuid() == 0:
            for path in paths:
                os.chown(path, 0, 0)


# --- a pair of one's own ---------------------------------------------------------------------------------


def test_ones_own_pair_signs_and_is_known_from_then_on(tmp_path: Path) -> None:
    place = tmp_path / "identity"
    made = load_signer(folder=place)
    before = signed(tmp_path, made, "before.png")
    mine = load_signer(bring(tmp_path / "mine"), folder=place)
    said = credentials_reader.read(signed(tmp_path, mine), known_roots(place))
    assert (said.state, said.signer) == ("trusted", "Studio Example, Studio Example's signer")
    assert state(tmp_path / "out.png", made.root) == "valid"
    assert state(before, known_roots(place)) == "trusted"
    assert load_signer(folder=place).chain == made.chain  # it is asked for each time


def test_where_it_lay_before_it_is_still_found(tmp_path: Path) -> None:
    own = bring(tmp_path / "own")
    assert load_signer(folder=tmp_path) == load_signer(own, folder=tmp_path)
    assert not (tmp_path / "key.pem").exists()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "P-521", "Ed25519", "RSA"],
)
def test_all_kinds_of_keys_that_c2pa_knows_sign(tmp_path: Path, key: PrivateKeyTypes) -> None:
    me = load_signer(bring(tmp_path / "mine", key), folder=tmp_path)
    assert state(signed(tmp_path, me), known_roots(tmp_path)) == "trusted"


def test_a_key_in_the_older_form_is_taken(tmp_path: Path) -> None:
    config = bring(tmp_path)
    assert config.key is not None
    key = serialization.load_pem_private_key(config.key.read_bytes(), None)
    form, lock = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    put(config.key, key.private_bytes(serialization.Encoding.PEM, form, lock).decode())
    assert "BEGIN EC PRIVATE KEY" in config.key.read_text()
    assert state(signed(tmp_path, load_signer(config, folder=tmp_path)), known_roots(tmp_path)) == "trusted"


def another_root(own: Path) -> None:
    first = leaf_of((own / "chain.pem").read_text())
    put(own / "chain.pem", text_of(first, make_pair()[1][-1]))


FRESH = ec.generate_private_key(ec.SECP256R1())
TROUBLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no chain": (lambda own: (own / "chain.pem").unlink(), "chain.pem cannot be read (No such file or directory)"),
    "no key": (lambda own: (own / "key.pem").unlink(), "key.pem cannot be read (No such file or directory)"),
    "not PEM": (lambda own: put(own / "key.pem", "no key"), "must be a key without a password"),
    "password": (lambda own: put(own / "key.pem", pem_of(FRESH, b"secret")), "must be a key without a password"),
    "another kind": (
        lambda own: put(own / "key.pem", pem_of(dsa.generate_private_key(2048))),
        "is a kind of key with which C2PA does not sign",
    ),
    "another's key": (lambda own: put(own / "key.pem", pem_of(FRESH)), "C2PA does not take the key"),
    "no certificate": (lambda own: put(own / "chain.pem", "nothing"), "its certificates, in PEM form"),
    "another's root": (another_root, "do not follow on each other"),
    "expired": (lambda own: bring(own, end=NOW - 3 * DAY), f"to {NOW - 3 * DAY:%Y-%m-%d} (Signature: the certificate"),
    "not begun": (lambda own: bring(own, start=NOW + 3 * DAY), f"good from {NOW + 3 * DAY:%Y-%m-%d} to"),
    "no usage": (lambda own: bring(own, usage=False), "(Signature: the certificate is invalid)"),
}
if os.name == "posix":
    TROUBLES["readable"] = (lambda own: (own / "key.pem").chmod(0o640), "Others can read the key")


@pytest.mark.parametrize("name", list(TROUBLES))
def test_each_trouble_with_ones_own_pair_is_one_sentence(tmp_path: Path, name: str) -> None:
    spoil, reason = TROUBLES[name]
    config = bring(tmp_path / "mine")
    spoil(tmp_path / "mine")
    with pytest.raises(clearswap.OutputError) as refused:
        load_signer(config, folder=tmp_path / "identity")
    said = str(refused.value)
    assert reason in said
    assert str(tmp_path / "mine") in said
    assert "\n" not in said
    if name == "readable":
        assert said.endswith(f"with: chmod 600 {config.key}")
    assert not (tmp_path / "identity" / "key.pem").exists()


def test_a_key_without_certificates_is_refused(tmp_path: Path) -> None:
    for half in (SignConfig, lambda path: SignConfig(chain=path)):
        with pytest.raises(clearswap.OptionError, match="give `key` and `chain`, or neither"):
            half(tmp_path / "one.pem")


def test_convert_says_it_before_any_work(model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(encode_picture(scene(0, 64, 48), ".png"))
    config = bring(tmp_path / "mine", end=NOW - 3 * DAY)
    with pytest.raises(clearswap.OutputError, match="C2PA does not take the key"):
        clearswap.convert(model, picture, tmp_path / "out" / "out.png", to="a", signing=config)
    assert not (tmp_path / "out").exists()
