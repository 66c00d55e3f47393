"""Content Credentials: what is signed, what shows afterwards, and what lies beside files that cannot carry any."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import clearswap
from clearswap.disclosure import credentials, credentials_reader
from clearswap.disclosure.credentials import Statement
from clearswap.disclosure.credentials_reader import Provenance, sidecar_of
from clearswap.disclosure.signer import load_signer
from clearswap.media.files import encode_picture
from clearswap.training import checkpoint
from conftest import Footage
from makers import Picture, Ran, left_behind, pictures_of, said_by, sound_packets, stream_copy, write_clip

ANYONE = clearswap.SelectConfig(faces="largest")
SAID = Statement("3fa2" + 60 * "0", 0x3FA2, {"a": {"basis": "self"}, "b": {"basis": "agreed"}})
KINDS = ["clip.mp4", "clip.mov", "clip.avi", "clip.mkv", "face.png", "face.jpg", "face.webp", "face.tif", "face.avif"]


def make(path: Path, frames: int = 8) -> Path:
    """An unsigned file of the kind that its name says."""
    if path.suffix in {".png", ".jpg", ".webp", ".tif", ".avif"}:
        path.write_bytes(encode_picture(noise(0, 640, 480), path.suffix))  # so large that credentials are a small part
        return path
    return write_clip(path, frames, sound="aac" if path.suffix in {".mp4", ".mov", ".mkv"} else None)


def noise(index: int, width: int, height: int) -> Picture:
    """A picture that no encoder makes small."""
    return np.random.default_rng(index).integers(0, 255, (height, width, 3), np.uint8)


def signed(unsigned: Path, path: Path, original: Path | None = None, statement: Statement = SAID) -> Path:
    with credentials.signed_file(path) as partial:
        credentials.sign(unsigned, partial, original or unsigned, load_signer(), statement)
    return path


def flipped(path: Path, place: int, copy: Path) -> Path:
    """A copy with one bit turned, and with the sidecar, if there is one."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    copy.write_bytes(data)
    if sidecar_of(path).exists():
        shutil.copyfile(sidecar_of(path), sidecar_of(copy))
    return copy


@pytest.mark.parametrize("name", KINDS)
def test_what_is_signed_is_read_back(tmp_path: Path, name: str) -> None:
    output = signed(make(tmp_path / name), tmp_path / "out" / name)
    said = said_by(output)
    assert (said.state, said.why, said.generated) == ("trusted", (), True)
    assert said.actions == ("c2pa.opened", "c2pa.edited")
    assert said.swap == SAID.to_json()
    assert said.swap["mark"] == "3fa2"
    assert said.tool == f"Clearswap {clearswap_version()}"
    assert said.when[:2] == "20"
    assert [(parent.title, parent.state) for parent in said.parents] == [("original", "none")]
    beside = ["clip.c2pa"] if name == "clip.mkv" else []
    assert left_behind(tmp_path / "out") == beside + [name]
    assert said.sidecar == (sidecar_of(output) if beside else None)
    assert credentials_reader.read(output).state == "valid"  # to a stranger


def clearswap_version() -> str:
    from importlib.metadata import version

    return version("clearswap")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.97])
def test_one_flipped_bit_shows(tmp_path: Path, name: str, share: float) -> None:
    output = signed(make(tmp_path / name, 60), tmp_path / "out" / name)
    place = int(share * output.stat().st_size)
    said = said_by(flipped(output, place, tmp_path / f"flipped.{name}"))
    assert said.state in {"altered", "broken"}, place
    assert said.state == "altered" or name not in {"clip.mp4", "clip.mkv"}


def test_a_flipped_bit_shows_in_every_piece_of_a_long_file(tmp_path: Path) -> None:
    """Files beyond 4 MB are hashed in pieces of 4 MB: their edges, and the ends."""
    clip = write_clip(tmp_path / "long.mp4", 12, size=(1280, 720), picture=noise)
    output = signed(clip, tmp_path / "out.mp4")
    data = output.read_bytes()
    start, end = data.index(b"mdat") - 4, data.rindex(b"moov") - 4
    assert end - start > 9 << 20
    edges = [start + piece + step for piece in (4 << 20, 8 << 20) for step in (-1, 0, 7, 8, 16)]
    for place in [start + 4, start + 8, start + 9, *edges, end - 1, end + 4, len(data) - 1]:
        assert said_by(flipped(output, place, tmp_path / "flipped.mp4")).state in {"altered", "broken"}, place


def test_the_tree_hides_nothing_and_saves_memory(tmp_path: Path) -> None:
    """A file of some 55 MB is signed and checked with less than 35 MB above what Python and c2pa take anyway."""
    clip = write_clip(tmp_path / "long.mp4", 60, size=(1280, 720), picture=noise)
    assert clip.stat().st_size > 50 << 20
    lines = [
        "import sys; from pathlib import Path",
        "from clearswap.disclosure import credentials, credentials_reader",
        "from clearswap.disclosure.signer import load_signer",
        "def peak(): return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1024",
        "clip, out, me = Path(sys.argv[1]), Path(sys.argv[2]), load_signer()",
        "open('/proc/self/clear_refs', 'w').write('5'); before = peak()",
        "credentials.sign(clip, out, clip, me, credentials.Statement('0' * 64, 0))",
        "assert credentials_reader.read(out, me.root).state == 'trusted'",
        "print(peak() - before)",
    ]
    code = [sys.executable, "-c", "\n".join(lines), str(clip), str(tmp_path / "out.mp4")]
    took = subprocess.run(code, capture_output=True, text=True, check=True).stdout
    print(f"{clip.stat().st_size >> 20} MB signed and checked with {took.strip()} MB")
    assert int(took) < 35


def test_a_stream_copy_drops_the_credentials(tmp_path: Path) -> None:
    output, copy = signed(make(tmp_path / "clip.mp4"), tmp_path / "out.mp4"), tmp_path / "copy.mp4"
    stream_copy(output, copy)
    assert said_by(copy) == Provenance("none")
    assert len(pictures_of(copy)) == len(pictures_of(output))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "face.png"])
def test_the_original_keeps_its_credentials(tmp_path: Path, name: str) -> None:
    """Inside the file or beside it; and the new file says how they stood: altered ones stay altered."""
    once = signed(make(tmp_path / name, 60), tmp_path / "once" / name)
    clip = make(tmp_path / "new.mp4")
    twice = said_by(signed(clip, tmp_path / "twice.mp4", once))
    assert twice.state == "trusted"
    assert [(made.state, made.tool) for made in twice.parents] == [("trusted", f"Clearswap {clearswap_version()}")]
    if name != "clip.mkv":  # of what lies beside an altered file nobody knows that it is about that file
        (tmp_path / "changed").mkdir()
        changed = flipped(once, once.stat().st_size // 2, tmp_path / "changed" / name)
        again = said_by(signed(clip, tmp_path / "again.mp4", changed))
        assert (again.state, [made.state for made in again.parents]) == ("trusted", ["altered"])


def test_an_original_of_another_kind_than_its_name_says_keeps_its_credentials(tmp_path: Path) -> None:
    once = signed(make(tmp_path / "face.png"), tmp_path / "once.png")
    once.rename(tmp_path / "once.jpg")
    twice = said_by(signed(make(tmp_path / "face.jpg"), tmp_path / "twice.jpg", tmp_path / "once.jpg"))
    assert (twice.state, [made.state for made in twice.parents]) == ("trusted", ["trusted"])


def test_an_original_that_c2pa_cannot_read_is_named_all_the_same(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4")
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(clip.read_bytes() + b"\x7f\0\0\0trailing rubbish")
    assert len(pictures_of(odd)) == len(pictures_of(clip))  # it plays
    said = said_by(signed(clip, tmp_path / "out.mp4", odd))
    assert (said.state, [made.state for made in said.parents]) == ("trusted", ["none"])
    assert said_by(odd).state == "none"


def test_rubbish_behind_a_signed_file_shows(tmp_path: Path) -> None:
    output = signed(make(tmp_path / "clip.mp4"), tmp_path / "out.mp4")
    output.write_bytes(output.read_bytes() + b"\x7f\0\0\0trailing rubbish")
    assert said_by(output).state == "broken"


def test_another_files_sidecar_is_neither_believed_nor_taken_over(tmp_path: Path) -> None:
    output, other = signed(make(tmp_path / "clip.mkv"), tmp_path / "out.mkv"), make(tmp_path / "other.mkv", 9)
    shutil.copyfile(sidecar_of(output), sidecar_of(other))
    assert said_by(other).state == "altered"
    said = said_by(signed(make(tmp_path / "clip.mp4"), tmp_path / "out.mp4", other))
    assert [made.state for made in said.parents] == ["none"]
    shutil.copyfile(sidecar_of(output), tmp_path / "clip.c2pa")
    assert said_by(tmp_path / "clip.mp4").state == "none"  # which could carry its own
    sidecar_of(other).write_bytes(b"no manifest at all")
    assert said_by(other).state == "broken"


def test_a_sidecar_of_another_file_is_not_overwritten(tmp_path: Path) -> None:
    signed(make(tmp_path / "clip.mkv"), tmp_path / "out.mkv")
    with pytest.raises(clearswap.OutputError, match=r"out.c2pa is there already and belongs to another file"):
        credentials.require_signable(tmp_path / "out.webm")
    credentials.require_signable(tmp_path / "out.mkv")  # its own may be


def test_both_files_appear_or_none(tmp_path: Path) -> None:
    clip, there = make(tmp_path / "clip.mkv"), tmp_path / "out"
    with pytest.raises(ZeroDivisionError), credentials.signed_file(there / "out.mkv") as partial:
        credentials.sign(clip, partial, clip, load_signer(), SAID)
        assert len(left_behind(there)) == 3  # with the lock
        _ = 1 / 0
    assert left_behind(there) == []
    (there / "out.c2pa").mkdir(parents=True)
    with pytest.raises(clearswap.OutputError, match="there is a folder of that name"):
        signed(clip, there / "out.mkv")
    assert left_behind(there) == ["out.c2pa"]


@pytest.mark.parametrize(("name", "encoder"), [("out.mkv", "x264"), ("out.webm", "av1")])
def test_matroska_and_webm_come_with_a_sidecar(
    model: Path, footage: Footage, tmp_path: Path, cli: Callable[..., Ran], name: str, encoder: str
) -> None:
    faces = pictures_of(footage("single_face.mp4"))
    source = write_clip(tmp_path / "in.mp4", 8, size=(640, 360), sound="aac", picture=lambda i, _w, _h: faces[i])
    command = ["convert", model, source, "-o", tmp_path / name, "--to", "a", "--faces", "largest"]
    done = cli(*command, "--encoder", encoder)
    assert done.code == 0, done
    words = " ".join((done.out + done.err).split())
    assert f"cannot carry Content Credentials; they are in {tmp_path / 'out.c2pa'}: keep both together" in words
    assert left_behind(tmp_path) == sorted(["in.mp4", name, "out.c2pa"])
    said = said_by(tmp_path / name)
    assert (said.state, said.generated) == ("trusted", True)
    assert said.swap == credentials.statement_of([checkpoint.open_model(model)]).to_json()
    assert said.swap["mark"] == checkpoint.open_model(model).fingerprint()[:4]
    assert len(pictures_of(tmp_path / name)) == 8
    if name == "out.mkv":
        assert sound_packets(tmp_path / name) == sound_packets(source)
    else:
        assert "sound re-encoded" in words
        refused = cli(*command, "--encoder", "x264").sentence()
        assert "cannot hold x264, only AV1; choose the encoder av1, or write .mkv" in refused


def test_the_fingerprint_is_of_the_weights_not_of_the_file(model: Path, tmp_path: Path) -> None:
    first = checkpoint.open_model(model).fingerprint()
    assert len(first) == 64
    with pytest.raises(clearswap.ModelError, match="holds no model"):
        checkpoint.open_model(tmp_path).fingerprint()
    tensors, about = load_file(model / checkpoint.FILE), metadata(model / checkpoint.FILE)
    others = {name: tensor for name, tensor in reversed(tensors.items()) if not name.startswith("optimizer.")}
    others["an.extra"] = torch.zeros(3)
    write(tmp_path / "same", others, about)
    assert checkpoint.open_model(tmp_path / "same").fingerprint() == first
    name = next(name for name in tensors if name.startswith("average."))
    tensors[name].view(-1)[0] += 1e-4
    write(tmp_path / "other", tensors, about)
    assert checkpoint.open_model(tmp_path / "other").fingerprint() != first
    write(tmp_path / "same", tensors, about)  # in the same place, so nothing stale may be remembered
    assert checkpoint.open_model(tmp_path / "same").fingerprint() != first


def write(folder: Path, tensors: dict[str, torch.Tensor], about: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / checkpoint.FILE, about)


def metadata(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header["__metadata__"]


def test_kinds_are_told_by_content(tmp_path: Path) -> None:
    kinds = {name: credentials.kind_of(make(tmp_path / name)) for name in KINDS}
    assert kinds["clip.mp4"] == kinds["clip.mov"] == "video/mp4"
    assert kinds["clip.mkv"] == credentials.OTHER
    assert len({kind for one, kind in kinds.items() if one != "clip.mov"}) == len(KINDS) - 1
    (tmp_path / "empty").write_bytes(b"")
    assert credentials.kind_of(tmp_path / "empty") == credentials.OTHER
    assert credentials_reader.read(tmp_path / "empty").state == "none"
