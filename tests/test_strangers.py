"""What strangers signed, altered or made up: `check` judges as C2PA does, and nothing that they write stops it."""

from __future__ import annotations

import copy
import datetime as dt
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import clearswap
from clearswap.api.check import CheckResult
from clearswap.disclosure import credentials, credentials_reader, mark
from clearswap.disclosure.credentials import OFFLINE, Statement
from clearswap.disclosure.credentials_reader import Provenance, sidecar_of
from clearswap.disclosure.signer import Signer, known_roots, load_signer, make_pair
from clearswap.media.files import encode_picture
from makers import Ran, pictures_of, save_picture, scene, write_clip

Cli = Callable[..., Ran]
Manifest = Mapping[str, Any]
SAID = Statement("3fa2" + 60 * "0", 0x3FA2, {"a": {"basis": "me"}, "b": {"basis": "agreed"}})
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return load_signer(folder=tmp_path_factory.mktemp("stranger"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search of the mark at all sizes takes seconds, and nothing here is marked."""
    monkeypatch.setattr("clearswap.api.check.read_mark", mark.read_untouched)


def made_by(
    me: Signer, output: Path, *assertions: Manifest, parent: Path | None = None, known: str = "", **about: Any
) -> Path:
    """A picture that another tool made, from another one where there is a `parent`, and signed."""
    made = io.BytesIO()
    context = c2pa.Context.from_dict(OFFLINE | ({"trust": {"user_anchors": known}} if known else {}))
    with me.open() as signer, c2pa.Builder({"title": "a dream", "assertions": [*assertions], **about}, context) as one:
        if parent is not None:
            one.set_intent(c2pa.C2paBuilderIntent.EDIT)
            one.add_ingredient(
                {"title": "old", "relationship": "parentOf"}, "image/png", io.BytesIO(parent.read_bytes())
            )
        else:
            one.add_action({"action": "c2pa.created", "digitalSourceType": SOURCE, "when": "2026-01-02T03:04:05Z"})
        one.sign(signer, "image/png", io.BytesIO(encode_picture(scene(0, 160, 120), ".png")), made)
    output.write_bytes(made.getvalue())
    return output


def identity(kind: str) -> Manifest:
    """Who somebody says they are (CAWG), with a signature that nobody can verify."""
    payload = {"referenced_assertions": [{"url": "self#jumbf=c2pa.assertions/c2pa.hash.data", "hash": "AAAA"}]}
    return {"label": "cawg.identity", "data": {"signer_payload": payload | {"sig_type": kind}, "signature": "AAAA"}}


IDENTITIES = {
    "certificate": identity("cawg.x509.cose"),
    "aggregator": identity("cawg.identity_claims_aggregation"),  # whose key would be fetched from a host
    "unheard of": identity("org.example.stamp"),
    "no identity": {"label": "cawg.identity", "data": {"name": "me"}},
    "training": {"label": "cawg.training-mining", "data": {"entries": {"cawg.ai_inference": {"use": "notAllowed"}}}},
}


@pytest.mark.parametrize("kind", IDENTITIES)
def test_sound_credentials_with_an_identity_are_sound(tmp_path: Path, stranger: Signer, cli: Cli, kind: str) -> None:
    signed = made_by(stranger, tmp_path / "dream.png", IDENTITIES[kind])
    assert credentials_reader.read(signed, stranger.root).state == "trusted"
    said = credentials_reader.read(signed)
    assert (said.state, said.generated, said.why) == ("valid", True, ("signingCredential.untrusted",))
    ran = cli("check", signed)
    assert ran.code == 0
    assert "A model made it, or a part of it; it is as it was signed." in ran.out
    data = signed.read_bytes()
    signed.write_bytes(data.replace(b"notAllowed", b"yesAllowed").replace(b"cawg.identity", b"cawg.idontity"))
    assert credentials_reader.read(signed, stranger.root).state == "altered"


def test_the_states_are_c2pas_own(tmp_path: Path, stranger: Signer) -> None:
    """Signed, signed by somebody unknown, one byte flipped, removed and added: sound only where C2PA says so."""
    signed = made_by(stranger, tmp_path / "dream.png")
    data = signed.read_bytes()
    middle = data.index(b"IDAT") + 100
    pictures = {
        "as it was": data,
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "removed": data[:middle] + data[middle + 1 :],
        "doubled": data[:middle] + data[middle : middle + 1] + data[middle:],
        "in the manifest": data.replace(b"c2pa.created", b"c2pa.opened\0"),
    }
    for name, picture in pictures.items():
        signed.write_bytes(picture)
        for roots in ("", stranger.root):
            said = credentials_reader.read(signed, roots)
            trust = {"trust": {"user_anchors": roots}} if roots else {}
            try:
                with c2pa.Reader("image/png", io.BytesIO(picture), context=c2pa.Context.from_dict(trust)) as reader:
                    theirs = reader.get_validation_state()
            except c2pa.C2paError:
                theirs = "Invalid"
            assert {"trusted": "Trusted", "valid": "Valid"}.get(said.state, "Invalid") == theirs, (name, said)
            assert (theirs != "Invalid") == (name == "as it was")


def test_an_alteration_in_the_originals_credentials_shows(tmp_path: Path, stranger: Signer) -> None:
    """They lie in the new file, too, and nobody may change there what is said of the original."""
    note = {"label": "org.example.note", "data": {"by": "Alice"}}
    old = made_by(stranger, tmp_path / "old.png", note)
    new = made_by(stranger, tmp_path / "new.png", parent=old, known=stranger.root)
    said = credentials_reader.read(new, stranger.root)
    assert (said.state, [one.state for one in said.parents]) == ("trusted", ["trusted"])
    assert new.read_bytes().count(b"Alice") == 1
    new.write_bytes(new.read_bytes().replace(b"Alice", b"Clara"))
    said = credentials_reader.read(new, stranger.root)
    assert (said.state, "ingredient.manifest.mismatch" in said.why) == ("altered", True)


def test_an_original_that_was_altered_or_has_expired_takes_nothing_from_what_was_made_of_it(
    tmp_path: Path, stranger: Signer
) -> None:
    key, (leaf, root) = make_pair(dt.timedelta(seconds=3))
    pem = [one.public_bytes(serialization.Encoding.PEM).decode() for one in (leaf, root)]
    brief = Signer(key, "".join(pem), c2pa.C2paSigningAlg.ES256, pem[1])
    old, altered = made_by(brief, tmp_path / "old.png"), made_by(stranger, tmp_path / "altered.png")
    data = bytearray(altered.read_bytes())
    data[data.index(b"IDAT") + 100] ^= 1
    altered.write_bytes(data)
    known = stranger.root + brief.root
    made = {one: made_by(stranger, tmp_path / f"from {one.name}", parent=one, known=known) for one in (old, altered)}
    time.sleep(max(0.0, (leaf.not_valid_after_utc - dt.datetime.now(dt.UTC)).total_seconds() + 1))
    assert credentials_reader.read(old, known).state == "expired"
    found = {one: credentials_reader.read(made[one], known) for one in made}
    assert found[old].state in ("trusted", "valid")
    assert [parent.state for parent in found[old].parents] == ["trusted"]  # at that time
    assert (found[altered].state, [one.state for one in found[altered].parents]) == ("trusted", ["altered"])


def test_a_damaged_list_of_roots_spoils_no_file(tmp_path: Path, stranger: Signer) -> None:
    signed = made_by(stranger, tmp_path / "dream.png")
    for before in ("", "\0", "no certificate\n", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"):
        for text in (before, before + stranger.root):
            (tmp_path / "root.pem").write_text(text + "\ufffd")
            said = credentials_reader.read(signed, known_roots(tmp_path))
            assert said.state == ("trusted" if stranger.root in text else "valid")


# --- what stands in a manifest ---------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.just("x" * 100_000)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
CODES = {"success": [{"code": "signingCredential.trusted"}], "failure": [{"code": "assertion.dataHash.mismatch"}]}
RESULTS = {"activeManifest": CODES, "ingredientDeltas": [{"validationDeltas": CODES}]}
ACTIONS = {
    "label": "c2pa.actions.v2",
    "data": {"actions": [{"action": "c2pa.edited", "when": "2026", "digitalSourceType": SOURCE}]},
}
PERSONS = {"a": {"basis": "agreed", "date": "2026-11-20"}, "b": {"footing": "me"}}
OURS = {"model": "ab", "mark": "3fa2", "earlier_mark": "3fa2", "consent": PERSONS, "subjects": PERSONS}
STORE: dict[str, Any] = {
    "active_manifest": "one",
    "validation_state": "Valid",
    "validation_results": RESULTS,
    "manifests": {
        "one": {
            "claim_generator": "Dream/7",
            "claim_generator_info": [{"name": "Dream", "version": "7"}],
            "signature_info": {"issuer": "I", "common_name": "me", "time": "2026"},
            "assertions": [ACTIONS, {"label": "org.clearswap.swap", "data": {**OURS, "also": [OURS]}}],
            "ingredients": [{"title": "old", "active_manifest": "one", "validation_results": RESULTS}],
        }
    },
}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every dictionary and list with each of its keys, the outer ones first."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A report in which some parts are something else."""
    report = copy.deepcopy(STORE)
    for _ in range(draw(st.integers(1, 6))):
        whole, key = draw(st.sampled_from(list(places(report))))
        whole[key] = draw(JSON)
    return report


def deep(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"actions": value}
    return value


def with_all(value: Any) -> Any:
    """A report in which every part of the manifest is `value`."""
    manifest = dict.fromkeys(STORE["manifests"]["one"], value)
    return STORE | {"validation_state": value, "validation_results": value, "manifests": {"one": manifest}}


def tell(report: Any) -> None:
    """A report is told in lines of printable text, and as JSON."""
    said = credentials_reader._provenance(report, None)
    checked = CheckResult(Path("clip.mp4"), said, trouble="not looked for")
    assert isinstance(said, Provenance)
    assert checked.code in (0, 3)
    assert all(line.isprintable() and len(line) < 3000 for line in str(checked).splitlines())
    json.dumps(checked.to_json())


@settings(max_examples=250)
@given(JSON | spoilt())
@example(STORE)
@example(with_all(None))
def test_any_report_is_taken(report: Any) -> None:
    tell(report)


DEEP = deep(5000)


@pytest.mark.parametrize(
    "value", [DEEP, [DEEP], {"one": DEEP}, [{"label": "c2pa.actions", "data": DEEP, "code": DEEP}]]
)
def test_a_report_that_is_nested_deeply_is_taken(value: Any) -> None:
    tell(value)
    tell(with_all(value))


def test_a_report_that_python_cannot_read_is_broken(
    tmp_path: Path, stranger: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C2PA's library itself refuses what is nested this deep; should a later one let it through, `check` goes on."""
    signed = made_by(stranger, tmp_path / "dream.png")
    for text in ("[" * 200_000, "", "9" * 5000, '"\\ud800'):
        monkeypatch.setattr(c2pa.Reader, "json", lambda _reader, text=text: text)
        assert credentials_reader.read(signed).state == "broken"


# --- files -----------------------------------------------------------------------------------------------

KINDS = ["jpg", "png", "tif", "webp", "avif", "mp4", "mkv"]


@pytest.fixture(scope="module")
def signed_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small signed file of each kind."""
    folder, files = tmp_path_factory.mktemp("signed"), dict[str, Path]()
    for kind in KINDS:
        plain, files[kind] = folder / f"plain.{kind}", folder / kind / f"out.{kind}"
        if kind in ("mp4", "mkv"):
            write_clip(plain, 6)
        else:
            plain.write_bytes(encode_picture(scene(0, 64, 48), f".{kind}"))
        with credentials.signed_file(files[kind]) as partial:
            credentials.sign(plain, partial, plain, load_signer(), SAID)
    return files


def damaged(data: bytes, damages: list[tuple[str, float, int]]) -> bytes:
    """Bits flipped, bytes cut out, doubled or set, at shares of the length."""
    for how, share, count in damages:
        place = int(share * len(data))
        part, rest = data[place : place + count], data[place + count :]
        put = {"flip": bytes(byte ^ 4 for byte in part[:1]) + part[1:], "cut": b"", "double": part * 2}
        data = data[:place] + put.get(how, b"\xff" * len(part)) + rest
    return data


DAMAGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "double", "set"]),
        st.floats(0, 1, exclude_max=True) | st.floats(0, 0.02),  # anywhere, and where a file says what it is
        st.sampled_from([1, 2, 4, 100, 5000]),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("kind", [*KINDS, "c2pa"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages=DAMAGES)
def test_a_damaged_file_is_a_result(
    tmp_path: Path, signed_files: dict[str, Path], kind: str, damages: list[tuple[str, float, int]]
) -> None:
    """Of each kind, and of a sidecar."""
    signed = signed_files["mkv" if kind == "c2pa" else kind]
    given_file = Path(shutil.copy(signed, tmp_path))
    if signed.suffix == ".mkv":
        shutil.copy(sidecar_of(signed), tmp_path)
    target = sidecar_of(given_file) if kind == "c2pa" else given_file
    target.write_bytes(damaged(target.read_bytes(), damages))
    (checked,) = clearswap.check([given_file])
    assert checked.verdict
    json.dumps(checked.to_json())


def test_a_sidecar_that_is_none_stops_nothing(tmp_path: Path, cli: Cli) -> None:
    file = write_clip(tmp_path / "clip.mkv", 6)
    sidecar, large = sidecar_of(file), tmp_path / "large"
    with large.open("wb") as out:
        out.truncate(300 << 20)
    sidecar.mkdir()
    assert credentials_reader.read(file) == Provenance("none")
    sidecar.rmdir()
    for target, why in ((sidecar, ""), (large, "clip.c2pa: too large"), (Path("/proc/self/mem"), "Input/output error")):
        sidecar.symlink_to(target)
        said = credentials_reader.read(file)
        assert (said.state, why in " ".join(said.why)) == ("broken" if why else "none", True), target
        ran = cli("check", file)
        assert (ran.code, why in ran.out) == (3 if why else 1, True)
        sidecar.rename(tmp_path / "picture.c2pa")  # a picture could carry its own
        assert credentials_reader.read(save_picture(tmp_path / "picture.png", scene(0, 64, 48))).state == "none"
        (tmp_path / "picture.c2pa").unlink()


def test_a_pipe_is_not_waited_for(tmp_path: Path, cli: Cli) -> None:
    """As the sidecar of what is checked or swapped, and as the file itself."""
    clip = write_clip(tmp_path / "clip.mp4", 6)
    for name in ("clip.c2pa", "pipe.mp4"):
        os.mkfifo(tmp_path / name)
    ended = list[object]()

    def work() -> None:
        ended.append(credentials_reader.read(clip).state)
        with credentials.signed_file(tmp_path / "out.mp4") as partial:
            credentials.sign(clip, partial, clip, load_signer(), SAID)
        ended.append(credentials_reader.read(tmp_path / "out.mp4", known_roots()).state)
        ended.append(cli("check", tmp_path / "pipe.mp4").sentence())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    assert ended[:2] == ["none", "trusted"]
    assert "is no file" in str(ended[2])


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    """300 MB behind a picture or in a sidecar, neither of which C2PA's reader needs to see."""
    picture = tmp_path / "large.jpg"
    picture.write_bytes(encode_picture(scene(0, 64, 48), ".jpg"))
    film = write_clip(tmp_path / "film.mkv", 6)
    sidecar_of(film).touch()
    for file in (picture, sidecar_of(film)):
        os.truncate(file, 300 << 20)
    lines = [
        "import sys; from pathlib import Path; from clearswap.disclosure import credentials_reader",
        "open('/proc/self/clear_refs', 'w').write('5')",
        "print(*(credentials_reader.read(Path(file)).state for file in sys.argv[1:]))",
        "print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1024)",
    ]
    code = [sys.executable, "-c", "\n".join(lines), str(picture), str(film)]
    states, peak = subprocess.run(code, capture_output=True, text=True, check=True).stdout.splitlines()
    assert states == "none broken"
    assert int(peak) < 250


NAMES = ["png.jpg", "png.gif", "png.c2pa", "none", "two\nlines.png", "100% %s %n.png", "n" * 251 + ".png"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_nothing_to_c2pa(tmp_path: Path, stranger: Signer, cli: Cli, name: str) -> None:
    """Suffixes of other kinds, ends of lines, and 255 bytes, which leave no room for a sidecar's name."""
    signed = made_by(stranger, tmp_path / name)
    assert cli("check", signed).code == 0
    (tmp_path / "unsigned").mkdir()
    unsigned = tmp_path / "unsigned" / name
    unsigned.write_bytes(encode_picture(scene(0, 64, 48), ".png"))
    assert cli("check", unsigned).code == 1
    output = tmp_path / "out" / (name if name.endswith(".png") else "out.png")
    credentials.write_picture(output, encode_picture(scene(0, 64, 48), ".png"), signed, load_signer(), SAID)
    said = credentials_reader.read(output)
    assert (said.state, [one.state for one in said.parents]) == ("valid", ["valid"])
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_a_picture_of_the_longest_name_is_converted(tmp_path: Path, model: Path, demo_clips: Path, cli: Cli) -> None:
    face = save_picture(tmp_path / ("ü" * 125 + "\n.png"), pictures_of(demo_clips / "person_b.mp4")[0])
    done = cli("convert", model, face, "-o", tmp_path / ("o%" * 125 + "\n.jpg"), "--to", "a", "--faces", "largest")
    assert done.code == 0, done
    assert cli("check", tmp_path / ("o%" * 125 + "\n.jpg")).code == 0
    film = tmp_path / ("o" * 251 + ".mkv")  # found out before any work
    with pytest.raises(clearswap.OutputError, match="that name is too long; choose a shorter one"):
        credentials.require_signable(film)
