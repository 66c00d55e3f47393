"""`clearswap check`: what files say of themselves is read back in plain words, as JSON and as exit codes."""

from __future__ import annotations

import datetime as dt
import getpass
import io
import json
import socket
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization

import clearswap
from clearswap.disclosure import credentials, credentials_reader, mark
from clearswap.disclosure.credentials import Statement
from clearswap.disclosure.signer import Signer, known_roots, load_signer, make_pair
from clearswap.media.files import encode_picture
from clearswap.media.video import probe, read_frames, read_spread
from conftest import Footage
from makers import Picture, Ran, left_behind, pictures_of, run, save_picture, scene, stream_copy, write_clip

Cli = Callable[..., Ran]
BITS = 0x3FA2
PEOPLE = {"a": {"basis": "agreed", "date": "2026-11-20"}, "b": {"basis": "me"}}
ALSO = ({"model": "77" * 32, "consent": {"b": {"basis": "synthetic"}}},)
SAID = Statement("3fa2" + 60 * "b", BITS, PEOPLE, also=ALSO)


@pytest.fixture(scope="module")
def marked(footage: Footage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a real clip with the mark, 640x360, unsigned."""
    frames = pictures_of(footage("single_face.mp4"))[:48]
    height, width = frames[0].shape[:2]
    pattern = mark.pattern(BITS, height, width)
    return write_clip(
        tmp_path_factory.mktemp("marked") / "marked.mp4",
        len(frames),
        size=(width, height),
        picture=lambda i, _w, _h: mark.lay(frames[i], pattern),
    )


@pytest.fixture
def whole_search() -> None:
    """Asked for by tests that search the mark at all sizes and angles, which takes seconds."""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "whole_search" not in request.fixturenames:
        monkeypatch.setattr("clearswap.api.check.read_mark", mark.read_untouched)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "plain.mp4", 12, size=(320, 240))


def sign(unsigned: Path, output: Path, me: Signer | None = None, said: Statement = SAID) -> Path:
    with credentials.signed_file(output) as partial:
        credentials.sign(unsigned, partial, unsigned, me or load_signer(), said)
    return output


def sign_as_another_tool(output: Path, me: Signer, source: str = "trainedAlgorithmicMedia") -> Path:
    """A picture that another program made and signed, under a root of its own, with an ESC in its name."""
    about = {"title": "a dream", "claim_generator_info": [{"name": "Dream\x1b[31mer", "version": "7.1"}]}
    action = {"action": "c2pa.created", "when": "2026-01-02T03:04:05Z", "digitalSourceType": SOURCES + source}
    picture = encode_picture(scene(0, 320, 240), ".png")
    made = io.BytesIO()
    with me.open() as signer, c2pa.Builder(about) as builder:
        builder.add_action(action)
        builder.sign(signer, "image/png", io.BytesIO(picture), made)
    output.write_bytes(made.getvalue())
    return output


SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def flip(path: Path, share: float = 0.5) -> Path:
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1
    path.write_bytes(data)
    return path


def words(ran: Ran) -> str:
    return " ".join(ran.out.split())


@pytest.mark.usefixtures("whole_search")
def test_an_output_tells_all_about_itself(marked: Path, tmp_path: Path, cli: Cli) -> None:
    output = sign(marked, tmp_path / "out.mp4")
    ran = cli("check", output)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == str(output)
    said = words(ran)
    for fact in (
        "A model made it, or a part of it; it is as it was signed. It carries Clearswap's mark, bits 0x3fa2.",
        "credentials unaltered, signed under a root that is known here",
        "signed by Clearswap, self-signed, Clearswap local signer",
        f"with Clearswap {version('clearswap')}",
        "done c2pa.opened, c2pa.edited",
        "model 3fa2bbbbbbbbbbbb, its mark 0x3fa2",
        "person a the person agreed to this use, 2026-11-20",
        "person b it is me model 7777777777777777 person b a synthetic person, who never existed made from",
        "made from original, which had no credentials",
        "mark 0x3fa2, confidence",
    ):
        assert fact in said, fact
    assert "not the one" not in said


def test_a_mark_of_another_model_than_the_signed_one_is_pointed_out(marked: Path, tmp_path: Path, cli: Cli) -> None:
    output = sign(marked, tmp_path / "out.mp4", said=Statement("0001" + 60 * "0", 1))
    assert "not the one that the credentials name" in words(cli("check", output))


def test_a_re_encoded_file_is_known_by_its_mark(marked: Path, tmp_path: Path, cli: Cli) -> None:
    output = sign(marked, tmp_path / "out.mp4")
    frames = pictures_of(output)
    again = write_clip(
        tmp_path / "again.mkv", len(frames), size=frames[0].shape[1::-1], picture=lambda i, _w, _h: frames[i]
    )
    for copy in (stream_copy(output, tmp_path / "copy.mp4"), again):
        ran = cli("check", copy)
        assert ran.code == 0
        assert "carries Clearswap's mark, bits 0x3fa2, and no credentials: re-encoded or stripped since" in words(ran)


def test_one_flipped_bit_is_found(marked: Path, tmp_path: Path, cli: Cli) -> None:
    output = flip(sign(marked, tmp_path / "out.mp4"))
    ran = cli("check", output)
    assert ran.code == 3
    assert "It was changed after it was signed." in words(ran)
    assert "assertion.bmffHash.mismatch" in words(ran)


@pytest.mark.usefixtures("whole_search")
def test_a_plain_file_carries_nothing(plain: Path, cli: Cli) -> None:
    ran = cli("check", plain)
    assert (ran.code, ran.err) == (1, "")
    assert "It carries neither credentials nor Clearswap's mark. credentials none mark none found" in words(ran)


def test_a_stranger_and_an_expired_certificate_are_told_apart(plain: Path, tmp_path: Path, cli: Cli) -> None:
    stranger = load_signer(folder=tmp_path / "stranger")
    ran = cli("check", sign(plain, tmp_path / "strange.mp4", stranger))
    assert ran.code == 0
    assert "unaltered, by a signer who is not known here" in words(ran)
    # C2PA does not sign with a certificate that has expired already, so one that will in a second
    key, (leaf, root) = make_pair(dt.timedelta(seconds=2))
    pem = [one.public_bytes(serialization.Encoding.PEM).decode() for one in (leaf, root)]
    brief = Signer(key, "".join(pem), c2pa.C2paSigningAlg.ES256, pem[1])
    output = sign(plain, tmp_path / "brief.mp4", brief)
    assert credentials_reader.read(output, brief.root).state == "trusted"
    time.sleep(max(0.0, (leaf.not_valid_after_utc - dt.datetime.now(dt.UTC)).total_seconds() + 1))
    for roots in (brief.root, known_roots()):
        said = credentials_reader.read(output, roots)
        assert said.state == "expired", said
        assert said.generated
    ran = cli("check", output)
    assert ran.code == 3
    assert "It is as it was signed, but the signer's certificate is not valid any more, or not yet." in words(ran)
    flip(output)
    assert credentials_reader.read(output, brief.root).state == "altered"


def test_other_tools_credentials_are_read(tmp_path: Path, cli: Cli) -> None:
    me = load_signer(folder=tmp_path / "their identity")
    ran = cli("check", sign_as_another_tool(tmp_path / "dream.png", me))
    assert ran.code == 0
    said = words(ran)
    assert "A model made it, or a part of it; it is as it was signed." in said
    assert "with Dream [31mer 7.1" in said
    assert "\x1b" not in ran.out
    assert "on 2026-01-02T03:04:05" in said
    assert "done c2pa.created" in said
    ran = cli("check", sign_as_another_tool(tmp_path / "photo.png", me, "digitalCapture"))
    assert ran.code == 0
    assert "It does not say that a model made it; it is as it was signed." in words(ran)


def test_anothers_credentials_are_kept_as_those_of_the_original(tmp_path: Path, plain: Path, cli: Cli) -> None:
    given = sign_as_another_tool(tmp_path / "dream.png", load_signer(folder=tmp_path / "their identity"))
    with credentials.signed_file(tmp_path / "out.mp4") as partial:
        credentials.sign(plain, partial, given, load_signer(), SAID)
    said = words(cli("check", tmp_path / "out.mp4"))
    assert "made from original, unaltered; by Dream [31mer 7.1" in said


def test_exit_codes(plain: Path, tmp_path: Path, cli: Cli) -> None:
    good, bad = sign(plain, tmp_path / "good.mp4"), flip(sign(plain, tmp_path / "bad.mp4"))
    files = {0: [good], 1: [good, plain], 3: [plain, bad], 2: [bad, tmp_path / "gone.mp4", plain]}
    for code, given in files.items():
        assert cli("check", *given).code == code
    ran = run("check", tmp_path / "gone.mp4", bad)  # the real command line
    assert ran.code == 2, ran
    assert "Traceback" not in ran.err


def test_a_sidecar_is_read_and_missed(tmp_path: Path, cli: Cli) -> None:
    output = sign(write_clip(tmp_path / "clip.mkv", 12), tmp_path / "out.mkv")
    ran = cli("check", output)
    assert ran.code == 0
    assert "signed under a root that is known here (in out.c2pa)" in words(ran)
    (tmp_path / "out.c2pa").unlink()
    assert cli("check", output).code == 1


def test_a_folder_and_its_worst_file(plain: Path, tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    sign(plain, folder / "b.mp4")
    assert cli("check", folder).code == 0
    save_picture(folder / "a.png", scene(0, 200, 200))
    assert cli("check", folder).code == 1
    flip(sign(plain, folder / "c.mp4"))
    ran = cli("check", folder, plain)
    assert ran.code == 3
    files = [line for line in ran.out.splitlines() if line and not line.startswith(" ")]
    assert files == [str(folder / "a.png"), str(folder / "b.mp4"), str(folder / "c.mp4"), str(plain)]


def test_what_cannot_be_read_is_said_and_the_rest_is_checked(plain: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "nothing").mkdir()
    reasons = {
        "empty.mp4": "is empty (0 bytes)",
        "text.png": "is not a picture that can be read",
        "nothing": "holds no picture and no video",
        "gone.mp4": "does not exist",
    }
    for name, reason in reasons.items():
        assert reason in cli("check", tmp_path / name).sentence()
    assert "FILES requires an argument" in cli("check").sentence()
    ran = cli("check", *(tmp_path / name for name in reasons), sign(plain, tmp_path / "out.mp4"))
    assert ran.code == 2
    assert len(ran.err.splitlines()) == len(reasons)
    assert "it is as it was signed" in words(ran)


def test_a_signed_file_that_was_cut_short_was_changed(plain: Path, tmp_path: Path, cli: Cli) -> None:
    output = sign(plain, tmp_path / "out.mp4")
    output.write_bytes(output.read_bytes()[:-2000])
    assert cli("check", output).code == 3


def test_json_says_the_same(marked: Path, plain: Path, tmp_path: Path, cli: Cli) -> None:
    ran = cli("check", "--json", sign(marked, tmp_path / "out.mp4"), plain, tmp_path / "gone.mp4")
    assert (ran.code, ran.err) == (2, "")
    one, two, three = json.loads(ran.out)
    assert (one["code"], two["code"], three["code"]) == (0, 1, 2)
    assert one["credentials"]["state"] == "trusted"
    assert one["credentials"]["generated"]
    assert one["credentials"]["swap"] == SAID.to_json()
    assert one["credentials"]["parents"] == [{"title": "original", "state": "none", "tool": ""}]
    assert (one["mark"]["marked"], one["mark"]["bits"], one["mark"]["mirrored"]) == (True, "3fa2", False)
    assert two["credentials"]["state"] == "none"
    assert (two["mark"]["marked"], two["mark"]["bits"]) == (False, None)
    assert "does not exist" in three["trouble"]
    assert [one["file"] for one in (one, two, three)] == ["out.mp4", "plain.mp4", "gone.mp4"]
    film = sign(write_clip(tmp_path / "clip.mkv", 12), tmp_path / "out.mkv")
    (tmp_path / "nothing").mkdir()
    more = cli("check", "--json", film, tmp_path / "nothing")
    assert json.loads(more.out)[0]["credentials"]["sidecar"] == "out.c2pa"
    assert str(tmp_path) not in ran.out + more.out  # it can be passed on


def test_what_others_wrote_under_our_label_does_no_harm(plain: Path, tmp_path: Path, cli: Cli) -> None:
    odd: list[Any] = [{"a": "no dictionary"}, {"a": {"basis": ["list"], "x\x1b[2J": None}}, {"a": {}}]
    for number, consent in enumerate(odd):
        ran = cli("check", sign(plain, tmp_path / f"{number}.mp4", said=Statement("0" * 64, 0, consent)))
        assert ran.code == 0
        assert "\x1b" not in ran.out


def test_checking_makes_no_identity(plain: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert cli("check", plain).code == 1
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize("asked", [False, True])
def test_nothing_private_is_in_a_file_unless_asked_for(tmp_path: Path, cli: Cli, asked: bool) -> None:
    """Path, user and host, and the name of a person, in the bytes of a video, a picture, and a sidecar."""
    name = "Wilhelmina Unlikely"
    people = {"a": {"basis": "agreed"} | ({"name": name} if asked else {})}
    said = Statement("0" * 64, 0, people)
    place = tmp_path / "a place of my own"
    place.mkdir()
    clip, film = write_clip(place / "holiday.mp4", 12), write_clip(place / "holiday.mkv", 12)
    picture = save_picture(place / "holiday.png", scene(0, 320, 240))
    outputs = [sign(one, place / f"out{one.suffix}", said=said) for one in (clip, film, picture)]
    private = ["holiday", "a place of my own", str(tmp_path), tmp_path.name, str(Path.home())]
    private += [one for one in (socket.gethostname(), getpass.getuser()) if len(one) > 3 and one != "root"]
    written = [path.read_bytes() for path in [*outputs, place / "out.c2pa"]]
    for data in written:
        for secret in private:
            for coding in ("utf-8", "utf-16-le", "utf-16-be"):
                assert secret.encode(coding) not in data, secret
    there = [name.encode() in data for data in written]
    assert there == ([True, False, True, True] if asked else [False] * 4)
    assert (f"person a the person agreed to this use, {name}" in words(cli("check", outputs[0]))) == asked


@pytest.mark.parametrize("gop", [6, 250])
def test_frames_are_spread_over_a_video(tmp_path: Path, gop: int) -> None:
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": str(gop)}
        for index in range(300):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(scene(index, 96, 64), format="rgb24")))
        out.mux(stream.encode(None))
    spread = list(read_spread(path, 32))
    assert 31 <= len(spread) <= 32
    times = [frame.time for frame in spread]
    assert times == sorted(set(times))
    assert np.diff(times).max() < 1.0
    assert times[0] < 0.5
    assert times[-1] > 11.0
    every = {round(frame.time, 4): frame.picture for frame in read_frames(path)}
    assert all(np.array_equal(frame.picture, every[round(frame.time, 4)]) for frame in spread)


def test_a_short_or_turned_video_gives_what_it_has(tmp_path: Path, footage: Footage) -> None:
    short = write_clip(tmp_path / "short.mp4", 3)
    assert [len(list(read_spread(short, count))) for count in (1, 3, 32)] == [1, 3, 3]
    one = next(iter(read_spread(footage("single_face.mp4"), 4)))
    info = probe(footage("single_face.mp4"))
    assert one.picture.shape == (info.height, info.width, 3)


def test_python_gives_the_same(marked: Path, tmp_path: Path) -> None:
    (checked,) = clearswap.check([sign(marked, tmp_path / "out.mp4")])
    assert checked.marked
    assert checked.credentials.state == "trusted"
    assert left_behind(tmp_path) == ["out.mp4"]
    with pytest.raises(clearswap.OptionError, match="nothing to check"):
        clearswap.check([])


def test_a_picture_keeps_its_mark(footage: Footage, tmp_path: Path, cli: Cli) -> None:
    frame: Picture = pictures_of(footage("single_face.mp4"))[0]
    laid = mark.lay(frame, mark.pattern(BITS, *frame.shape[:2]))
    assert "0x3fa2" in words(cli("check", save_picture(tmp_path / "face.png", laid)))


def test_one_file_needs_no_list(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is one file, not one for each of its letters, of which "." would be the whole folder."""
    monkeypatch.chdir(tmp_path)
    for given in ("plain.mp4", plain, Path("plain.mp4"), [plain], (str(plain),), iter([plain])):
        (checked,) = clearswap.check(given)  # pyright: ignore[reportArgumentType]
        assert checked.to_json()["file"] == "plain.mp4"
        assert (checked.file.name, checked.code) == ("plain.mp4", 1)
    odd: list[Any] = [b"plain.mp4", [b"plain.mp4"], 5, None, [None], [["plain.mp4"]]]
    for given in odd:
        with pytest.raises(clearswap.OptionError, match=r"names no file; give a path, or a list of paths\.$"):
            clearswap.check(given)
        with pytest.raises(clearswap.OptionError, match="names no file"):
            clearswap.extract(given, tmp_path / "faces")
    for given in ("plain.mp4", plain):  # which shows no face
        with pytest.raises(clearswap.InputError, match=r"No face was found in .*plain\.mp4 \(12 frames\)"):
            clearswap.extract(given, tmp_path / "faces")
