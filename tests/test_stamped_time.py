"""What outputs assert, and who says when they were signed: a time-stamp authority of our own, made with openssl."""

from __future__ import annotations

import http.server
import io
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import c2pa
import pytest

import clearswap
from clearswap.disclosure import credentials, credentials_reader
from clearswap.disclosure.credentials import MARK_ALGORITHM, OFFLINE, Statement, marks_of_others
from clearswap.disclosure.signer import SignConfig, known_roots, load_signer
from clearswap.media.files import encode_picture
from makers import Ran, left_behind, pictures_of, save_picture, scene

Cli = Callable[..., Ran]
SAID = Statement("3fa2" + 60 * "0", 0x3FA2, {"a": {"basis": "me"}, "b": {"basis": "agreed"}}, frames=120)
OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
EXTENSIONS = """basicConstraints=CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=critical,timeStamping
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""
CONFIG = """[tsa]
default_tsa = conf
[conf]
serial = ./serial
signer_cert = ./tsa.pem
certs = ./ca.pem
signer_key = ./tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class Authority:
    """A time-stamp authority on this machine; counts who asks."""

    def __init__(self, folder: Path) -> None:
        self.asked, self._folder = 0, folder
        (folder / "ts.cnf").write_text(CONFIG)
        (folder / "ext").write_text(EXTENSIONS)
        (folder / "serial").write_text("01")
        new = ("req", "-newkey", "rsa:2048", "-nodes", "-keyout")
        self._openssl(*new, "ca.key", "-x509", "-out", "ca.pem", "-subj", "/O=Test/CN=Root", "-days", "99")
        self._openssl(*new, "tsa.key", "-out", "tsa.csr", "-subj", "/O=Test/CN=Test time")
        by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "98", "-extfile", "ext")
        self._openssl("x509", "-req", "-in", "tsa.csr", "-out", "tsa.pem", *by)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)

    def answer(self, query: bytes) -> bytes:
        self.asked += 1
        (self._folder / "q.tsq").write_bytes(query)
        self._openssl("ts", "-reply", "-config", "ts.cnf", "-section", "conf", "-queryfile", "q.tsq", "-out", "r.tsr")
        return (self._folder / "r.tsr").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Authority, str]]:
    authority = Authority(tmp_path_factory.mktemp("authority"))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            reply = authority.answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield authority, f"http://127.0.0.1:{server.server_port}/tsr"
    server.shutdown()
    thread.join()
    server.server_close()


def report_of(path: Path) -> dict[str, Any]:
    """What C2PA's own reader says of a file."""
    settings = OFFLINE | {"trust": {"user_anchors": known_roots()}}
    kind = {"png": "image/png", "mp4": "video/mp4"}[path.suffix[1:]]
    with path.open("rb") as file, c2pa.Reader(kind, file, None, c2pa.Context.from_dict(settings)) as reader:
        return json.loads(reader.json())


def asserted(report: dict[str, Any]) -> dict[str, Any]:
    active = report["manifests"][report["active_manifest"]]
    return {said["label"]: said.get("data") for said in active["assertions"]}


@OPENSSL
def test_a_time_stamped_file_passes_c2pas_reader(
    authority: tuple[Authority, str], tiny_model: Path, demo_clips: Path, tmp_path: Path
) -> None:
    asked = authority[0].asked
    picture = save_picture(tmp_path / "in.png", pictures_of(demo_clips / "person_b.mp4")[0])
    everyone = clearswap.SelectConfig(faces="all")
    signing = SignConfig(timestamp=authority[1])
    for name, how in (("plain.png", SignConfig()), ("stamped.png", signing)):
        clearswap.convert(tiny_model, picture, tmp_path / name, to="a", select=everyone, signing=how)
    assert authority[0].asked == asked + 2  # once to try it, once for the file
    report = report_of(tmp_path / "stamped.png")
    passed = {check["code"] for check in report["validation_results"]["activeManifest"]["success"]}
    assert report["validation_state"] in ("Valid", "Trusted")
    assert "timeStamp.validated" in passed
    assert report["manifests"][report["active_manifest"]]["signature_info"]["time"]
    before = report_of(tmp_path / "plain.png")
    assert "time" not in before["manifests"][before["active_manifest"]]["signature_info"]
    more = (tmp_path / "stamped.png").stat().st_size - (tmp_path / "plain.png").stat().st_size
    print(f"a time stamp takes {more} bytes")


@OPENSSL
def test_the_command_line_asks_it_too(
    authority: tuple[Authority, str], tiny_model: Path, demo_clips: Path, tmp_path: Path, cli: Cli
) -> None:
    picture = save_picture(tmp_path / "in.png", pictures_of(demo_clips / "person_b.mp4")[0])
    options = ("--to", "a", "--faces", "all", "--timestamp", authority[1])
    assert cli("convert", tiny_model, picture, "-o", tmp_path / "out.png", *options).code == 0
    assert credentials_reader.read(tmp_path / "out.png", known_roots()).state == "trusted"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/", "https://127.0.0.1:9/tsr"])
def test_an_authority_that_does_not_answer_is_found_out_before_any_work(
    tiny_model: Path, demo_clips: Path, tmp_path: Path, cli: Cli, address: str
) -> None:
    clip = demo_clips / "person_b.mp4"
    said = cli("convert", tiny_model, clip, "-o", tmp_path / "o.mp4", "--to", "a", "--timestamp", address).sentence()
    assert f"The time-stamp authority {address} does not answer as one" in said
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("address", ["", "host", "ftp://host/", "http://", "http:// host", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(clearswap.OptionError, match="is no address of a time-stamp authority"):
        SignConfig(timestamp=address)


def signed(folder: Path, signing: SignConfig = SignConfig(), statement: Statement = SAID) -> Path:
    data = encode_picture(scene(0, 160, 120), ".png")
    (folder / "plain.png").write_bytes(data)
    credentials.write_picture(folder / "out.png", data, folder / "plain.png", load_signer(signing), statement)
    return folder / "out.png"


def test_the_mark_is_named_as_a_soft_binding_with_its_frames(tmp_path: Path) -> None:
    report = report_of(signed(tmp_path))
    assert report["validation_state"] == "Trusted"
    said = asserted(report)["c2pa.soft-binding"]
    assert said["alg"] == MARK_ALGORITHM
    (block,) = said["blocks"]
    assert block["value"] == "3fa2"
    assert block["scope"]["region"]["region"] == [{"type": "frame", "frame": {"start": 0, "end": 119}}]
    assert credentials_reader.read(tmp_path / "out.png").bindings == {MARK_ALGORITHM: "3fa2"}


def test_nobody_may_mine_it_unless_that_is_said(tmp_path: Path) -> None:
    names = {"cawg.data_mining", "cawg.ai_inference", "cawg.ai_training", "cawg.ai_generative_training"}
    for signing, use in ((SignConfig(), "notAllowed"), (SignConfig(mining=True), "allowed")):
        report = report_of(signed(tmp_path, signing))
        assert report["validation_state"] == "Trusted"
        assert asserted(report)["cawg.training-mining"]["entries"] == {name: {"use": use} for name in names}
        (tmp_path / "out.png").unlink()


def test_the_terms_are_named(tmp_path: Path, cli: Cli) -> None:
    assert credentials_reader.read(signed(tmp_path)).swap == SAID.to_json()
    assert SAID.to_json()["terms"] == "1"
    assert "(terms of use 1: TERMS.md)" in cli("--version").out


def test_a_stripped_file_leads_back_to_its_original(
    tiny_model: Path, demo_clips: Path, tmp_path: Path, cli: Cli
) -> None:
    everyone, clip = clearswap.SelectConfig(faces="all"), demo_clips / "person_b.mp4"
    archive = tmp_path / "archive"
    archive.mkdir()
    clearswap.convert(
        tiny_model, clip, archive / "out.mp4", to="a", select=everyone, time_range=clearswap.TimeRange(0, 1)
    )
    save_picture(archive / "unsigned.png", scene(0, 64, 48))
    stripped = save_picture(tmp_path / "stripped.png", pictures_of(archive / "out.mp4")[5])
    (alone,) = clearswap.check(stripped)
    (found,) = clearswap.check(stripped, originals=archive)
    assert alone.bound_to == ()
    assert found.bound_to == (archive / "out.mp4",)
    assert found.credentials.state == "none"
    assert f"bound to     {archive / 'out.mp4'}" in str(found)
    said = cli("check", "--json", "--originals", archive, stripped).out
    assert json.loads(said)[0]["bound_to"] == ["out.mp4"]
    assert "does not exist" in cli("check", "--originals", tmp_path / "none", stripped).sentence()


# --- marks of others -------------------------------------------------------------------------------------


def test_others_marks_in_the_input_are_named(tiny_model: Path, demo_clips: Path, tmp_path: Path, cli: Cli) -> None:
    frame = encode_picture(pictures_of(demo_clips / "person_b.mp4")[0], ".png")
    made = io.BytesIO()
    binding = {"alg": "com.example.watermark.7", "blocks": [{"scope": {}, "value": "abc"}]}
    about = {"title": "theirs", "assertions": [{"label": "c2pa.soft-binding", "data": binding}]}
    with load_signer(folder=tmp_path / "them").open() as signer, c2pa.Builder(about) as builder:
        builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CREATION)
        builder.sign(signer, "image/png", io.BytesIO(frame), made)
    (tmp_path / "theirs.png").write_bytes(made.getvalue())
    assert marks_of_others(tmp_path / "theirs.png") == ["the mark com.example.watermark.7"]
    ran = cli("convert", tiny_model, tmp_path / "theirs.png", "-o", tmp_path / "o.png", "--to", "a", "--faces", "all")
    assert "theirs.png carries the mark com.example.watermark.7" in " ".join((ran.out + ran.err).split())
    kept = report_of(tmp_path / "o.png")
    assert any("com.example.watermark.7" in json.dumps(one) for one in kept["manifests"].values())


XMP = b'<x:xmpmeta><rdf:Description Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/'


@pytest.mark.parametrize(
    ("note", "words"),
    [
        (XMP + b'trainedAlgorithmicMedia"/>', ["the digital source type trainedAlgorithmicMedia"]),
        (b'<TC260:AIGC>{"Label":"1","ContentProducer":"x"}', ["China's label AIGC"]),
        (b"AIGC is a company", []),
        (b"", []),
    ],
)
def test_notes_of_tools_are_named(tmp_path: Path, note: bytes, words: list[str]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode_picture(scene(0, 64, 48), ".jpg") + note)
    assert marks_of_others(path) == words
    assert marks_of_others(tmp_path / "none.jpg") == []
