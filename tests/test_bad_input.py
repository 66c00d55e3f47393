"""What users do wrong, and disks and files that fail: one sentence, exit code 2, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clearswap.faces.faceset import INDEX, read_index
from clearswap.media.files import read_picture
from clearswap.training import checkpoint
from clearswap.training.log import read_history
from conftest import Footage
from makers import (
    SYNTHETIC,
    Ran,
    cut_clip,
    head_of_clip,
    left_behind,
    pictures_of,
    run,
    save_picture,
    turn_by_matrix,
    write_clip,
)

Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def clip(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short clip that is in order."""
    return head_of_clip(demo_clips / "person_b.mp4", tmp_path_factory.mktemp("clip") / "clip.mp4", 20)


@pytest.fixture(scope="module")
def bad(clip: Path, footage: Footage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of bad input."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty folder").mkdir()
    (folder / "text.mp4").write_text("This is no video.\n" * 200)
    (folder / "text.png").write_text("This is no picture.\n" * 200)
    (folder / "nothing.mp4").touch()
    (folder / "nothing.png").touch()
    noise = np.random.default_rng(1).integers(0, 256, 40_000, np.uint8).tobytes()
    (folder / "noise.mp4").write_bytes(noise)
    cut_short(write_clip(folder / "index first.mp4", 40, sound="aac", faststart=True))
    cut_short(write_clip(folder / "index last.mp4", 40, sound="aac"))
    cut_short(write_clip(folder / "cut.mkv", 200, sound="aac"))
    cut_short(save_picture(folder / "cut.png", pictures_of(clip)[0]))
    cut_clip(footage("no_face.mp4"), folder / "no face.mp4", 0, 5)
    save_picture(folder / "no face.png", pictures_of(footage("no_face.mp4"))[0])
    sound_only(folder / "sound only.mp4")
    return folder


def cut_short(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])


def sound_only(path: Path) -> None:
    import av

    from makers import sine

    with av.open(str(path), "w") as out:
        track = out.add_stream("aac", rate=44100)
        for samples in sine(1):
            out.mux(track.encode(samples))
        out.mux(track.encode(None))


BAD = {
    "missing.mp4": "does not exist; check the name",
    "missing.png": "does not exist; check the name",
    "empty folder": "holds no picture and no video",
    "text.mp4": "is not a video or picture that can be read",
    "noise.mp4": "is not a video or picture that can be read",
    "text.png": "is not a picture that can be read",
    "nothing.mp4": "is empty (0 bytes)",
    "nothing.png": "is empty (0 bytes)",
    "index first.mp4": "No face was found in",  # it is looked through as far as it goes
    "index last.mp4": "cut short",
    "cut.mkv": "No face was found in",
    "cut.png": "damaged",
    "sound only.mp4": "has no picture track",
    "no face.mp4": "No face was found in",
    "no face.png": "No face was found in",
}


@pytest.mark.parametrize("name", list(BAD))
def test_extract_refuses(bad: Path, tmp_path: Path, cli: Cli, name: str) -> None:
    said = cli("extract", bad / name, "-o", tmp_path / "new" / "set").sentence()
    assert BAD[name] in said
    assert str(bad / name) in said
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("name", list(BAD))
def test_convert_refuses(model: Path, bad: Path, tmp_path: Path, cli: Cli, name: str) -> None:
    output = tmp_path / (f"out{Path(name).suffix}".replace(".mkv", ".mp4"))
    said = cli("convert", model, bad / name, "-o", output, "--to", "a").sentence()
    assert BAD[name] in said
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("name", ["text.mp4", "index first.mp4", "no face.mp4"])
def test_swap_refuses(clip: Path, bad: Path, tmp_path: Path, cli: Cli, name: str) -> None:
    arguments = ["-o", tmp_path / "out.mp4", "--iterations", "1", "--batch", "2", *SYNTHETIC]
    assert BAD[name] in cli("swap", bad / name, clip, *arguments).sentence()
    assert BAD[name] in cli("swap", clip, bad / name, *arguments).sentence()
    assert not (tmp_path / "out.mp4").exists()
    assert not any(".partial" in file for file in left_behind(tmp_path))


def test_one_bad_file_among_good_ones_is_named_before_any_work(clip: Path, bad: Path, tmp_path: Path, cli: Cli) -> None:
    said = cli("extract", clip, bad / "index last.mp4", "-o", tmp_path / "set").sentence()
    assert "index last.mp4" in said
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("option", [("--every", "0"), ("--every", "-2"), ("--size", "0"), ("--size", "100000")])
def test_extract_refuses_numbers_that_make_no_sense(clip: Path, tmp_path: Path, cli: Cli, option: list[str]) -> None:
    assert "is not possible for" in cli("extract", clip, "-o", tmp_path / "set", *option).sentence()
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("crf", ["-1", "52"])
def test_convert_refuses_a_quality_that_x264_does_not_know(
    model: Path, clip: Path, tmp_path: Path, cli: Cli, crf: str
) -> None:
    said = cli("convert", model, clip, "-o", tmp_path / "o.mp4", "--to", "a", "--crf", crf).sentence()
    assert "is not possible for crf; give a whole number, at least 0" in said
    assert left_behind(tmp_path) == []


def test_damage_in_the_middle_of_a_clip_ends_the_conversion_cleanly(
    model: Path, clip: Path, tmp_path: Path, cli: Cli
) -> None:
    """Bytes that are wrong, at a length that is right: the decoder either copes or says so; no half output."""
    damaged = tmp_path / "damaged.mp4"
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 400
    data[start : start + len(data) // 3] = np.random.default_rng(2).integers(0, 256, len(data) // 3, np.uint8).tobytes()
    damaged.write_bytes(data[: clip.stat().st_size])
    done = cli("convert", model, damaged, "-o", tmp_path / "out.mp4", "--to", "a")
    if done.code:
        assert damaged.name in done.sentence()
        assert left_behind(tmp_path) == ["damaged.mp4"]
    else:
        assert left_behind(tmp_path) == ["damaged.mp4", "out.mp4"]


# --- face sets and models --------------------------------------------------------------------------------


def copy_of(folder: Path, to: Path) -> Path:
    to.mkdir(parents=True)
    for file in folder.iterdir():
        if file.is_file():
            (to / file.name).write_bytes(file.read_bytes())
    return to


def break_set(folder: Path, how: str) -> None:
    pictures = sorted(folder.glob("*.jpg"))
    index = folder / INDEX
    if how == "no index":
        index.unlink()
    elif how == "one picture":
        for picture in pictures[1:]:
            picture.unlink()
    elif how == "no picture":
        for picture in pictures:
            picture.unlink()
    elif how == "text for index":
        index.write_text("these are my faces\n")
    elif how == "bytes for index":
        index.write_bytes(bytes(range(256)) * 40)
    elif how == "half a line":
        index.write_text(index.read_text()[:-500])
    elif how == "another shape":
        index.write_text('{"file": "a.jpg"}\n' * 3)
    elif how == "damaged picture":
        pictures[3].write_bytes(pictures[3].read_bytes()[:20])
    elif how == "missing folder":
        folder.rename(folder.with_name("moved"))
    elif how == "wrong landmarks":
        index.write_text(index.read_text().replace('"landmarks": [', '"landmarks": [[1, 2, 3], '))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no index", f"has no {INDEX}"),
        ("one picture", "holds 1 face; training needs 2 or more"),
        ("no picture", "holds 0 faces"),
        ("text for index", "is damaged in line 1"),
        ("bytes for index", "is damaged"),
        ("half a line", "is damaged in line"),
        ("another shape", "is damaged in line 1"),
        ("damaged picture", "Delete it from the face set"),
        ("missing folder", "is not a face set"),
        ("wrong landmarks", "is damaged"),
    ],
)
def test_train_refuses_a_face_set_with(
    faces_a: Path, faces_b: Path, tmp_path: Path, cli: Cli, how: str, words: str
) -> None:
    broken = copy_of(faces_a, tmp_path / "set")
    break_set(broken, how)
    for sets in ((broken, faces_b), (faces_b, broken)):
        said = cli("train", *sets, "-o", tmp_path / "model", "--iterations", "1", "--batch", "2").sentence()
        assert words in said
        assert str(broken) in said
    assert not (tmp_path / "model").exists()


def break_model(folder: Path, how: str) -> None:
    file = folder / "model.safetensors"
    data = file.read_bytes()
    if how == "missing file":
        file.unlink()
    elif how == "cut short":
        file.write_bytes(data[: len(data) // 2])
    elif how == "cut in its header":
        file.write_bytes(data[:100])
    elif how == "random bytes":
        file.write_bytes(np.random.default_rng(3).integers(0, 256, 5000, np.uint8).tobytes())
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "other metadata":
        import torch
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(3)}, file, {"made by": "another tool"})
    elif how == "missing tensors":
        import torch
        from safetensors import safe_open
        from safetensors.torch import save_file

        with safe_open(file, "pt") as reader:
            about = reader.metadata()
        save_file({"network.weight": torch.zeros(3)}, file, about)
    elif how == "another format":
        import torch
        from safetensors import safe_open
        from safetensors.torch import save_file

        with safe_open(file, "pt") as reader:
            about = reader.metadata()["clearswap"].replace(f'"format": {checkpoint.FORMAT}', '"format": 99')
        save_file({"network.weight": torch.zeros(3)}, file, {"clearswap": about})


MODELS = ["cut short", "cut in its header", "random bytes", "empty", "other metadata", "missing tensors"]


@pytest.mark.parametrize("how", ["missing file", "another format", *MODELS])
def test_convert_and_train_refuse_a_model_with(
    model: Path, faces_a: Path, faces_b: Path, clip: Path, tmp_path: Path, cli: Cli, how: str
) -> None:
    broken = copy_of(model, tmp_path / "model")
    break_model(broken, how)
    words = {"missing file": "holds no model", "another format": "update Clearswap"}
    before = left_behind(tmp_path)
    said = cli("convert", broken, clip, "-o", tmp_path / "out.mp4", "--to", "a").sentence()
    assert words.get(how, "model.safetensors") in said
    if how != "missing file":
        train = cli("train", faces_a, faces_b, "-o", broken, "--iterations", "99", "--batch", "2")
        assert words.get(how, "model.safetensors") in train.sentence()
    assert left_behind(tmp_path) == before


def test_train_refuses_to_go_on_with_another_preset(model: Path, faces_a: Path, faces_b: Path, cli: Cli) -> None:
    before = (model / "model.safetensors").read_bytes()
    said = cli("train", faces_a, faces_b, "-o", model, "--preset", "classic", "--iterations", "1").sentence()
    assert "holds a lite model, not classic; leave the preset out or choose another folder" in said
    assert (model / "model.safetensors").read_bytes() == before


# --- places that cannot be written -----------------------------------------------------------------------


def bad_places(folder: Path) -> dict[str, Path]:
    (folder / "a file").write_text("in the way")
    return {
        "below a file": folder / "a file" / "deeper",
        "a name too long": folder / ("x" * 300),
        "no real disk": Path("/proc/clearswap"),
    }


@pytest.mark.parametrize("where", ["below a file", "a name too long", "no real disk"])
def test_outputs_that_cannot_be_written(
    model: Path, faces_a: Path, faces_b: Path, clip: Path, tmp_path: Path, cli: Cli, where: str
) -> None:
    place = bad_places(tmp_path)[where]
    video = place.with_name(place.name + ".mp4")
    for arguments in (
        ("extract", clip, "-o", place),
        ("train", faces_a, faces_b, "-o", place, "--iterations", "1", "--batch", "2"),
        ("convert", model, clip, "-o", video if where != "below a file" else place / "out.mp4", "--to", "a"),
        ("swap", clip, clip, "-o", video if where != "below a file" else place / "o.mp4", *SYNTHETIC),
    ):
        said = cli(*arguments).sentence()
        assert "cannot be written" in said, arguments[0]
    assert left_behind(tmp_path) == ["a file"]


def test_a_folder_in_the_output_s_place(model: Path, clip: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "out.mp4").mkdir()
    said = cli("convert", model, clip, "-o", tmp_path / "out.mp4", "--to", "a").sentence()
    assert "is a folder" in said
    assert left_behind(tmp_path) == ["out.mp4"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts small disks of memory; needs the rights to do so."""
    mounted: list[Path] = []

    def mount(*options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        arguments = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)]
        try:
            done = subprocess.run(arguments, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if done.returncode:
            pytest.skip(f"mounting is not permitted here ({done.stderr.strip()})")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_full_and_read_only_disks(
    model: Path, faces_a: Path, faces_b: Path, clip: Path, disk: Callable[..., Path], cli: Cli, trouble: str
) -> None:
    place = disk("size=64k") if trouble == "full" else disk("size=1m", "ro")
    words = "the disk is full" if trouble == "full" else "that disk is read-only"
    for arguments in (
        ("extract", clip, "-o", place / "set"),
        ("train", faces_a, faces_b, "-o", place / "model", "--iterations", "1", "--batch", "2"),
        ("convert", model, clip, "-o", place / "out.mp4", "--to", "a"),
    ):
        said = cli(*arguments).sentence()
        assert words in said, arguments[0]
        assert [name for name in left_behind(place) if name != "model"] == [], arguments[0]


@pytest.mark.parametrize("room", [200, 300, 400, 600, 800, 1000, 1200])
def test_a_disk_that_fills_up_somewhere_during_conversion(
    model: Path, clip: Path, disk: Callable[..., Path], cli: Cli, room: int
) -> None:
    """Encoding, moving the index to the front and signing each need room; whichever fails, nothing stays but finished
    segments, to go on with.
    """
    place = disk(f"size={room}k")
    done = cli("convert", model, clip, "-o", place / "out.mp4", "--to", "a")
    if done.code:
        assert "the disk is full" in done.sentence() or "free space" in done.sentence()
        kept = [Path(name).name for name in left_behind(place)]
        assert not any("unsigned" in name or "partial" in name for name in kept)
        assert kept == [] or (any("segment" in name for name in kept) and "`resume`" in done.out)
    else:
        assert left_behind(place) == ["out.mp4"]


def test_a_disk_that_fills_up_during_training_keeps_the_last_saved_model(
    model: Path, faces_a: Path, faces_b: Path, disk: Callable[..., Path], cli: Cli
) -> None:
    size = (model / "model.safetensors").stat().st_size
    place = disk(f"size={size + 400_000}")  # room for one, not for the new one beside it
    (place / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    before = (place / "model.safetensors").read_bytes()
    said = cli("train", faces_a, faces_b, "-o", place, "--iterations", "61", "--batch", "2").sentence()
    assert "the disk is full" in said
    assert (place / "model.safetensors").read_bytes() == before
    assert not any(".partial" in name for name in left_behind(place))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_belongs_to_somebody_else(clip: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    said = cli("extract", clip, "-o", tmp_path / "locked" / "set").sentence()
    assert "you may not write there" in said


# --- unusual, but right ----------------------------------------------------------------------------------


def test_as_a_process_of_its_own_a_mistake_is_one_sentence_too(bad: Path, tmp_path: Path) -> None:
    said = run("extract", bad / "index last.mp4", "-o", tmp_path / "set").sentence()
    assert "cut short" in said
    assert left_behind(tmp_path) == []


def test_unusual_clips_and_names_work(model: Path, footage: Footage, tmp_path: Path, cli: Cli) -> None:
    """Odd sizes, frames at uneven times, a phone's turn, grey pixels, spaces and letters of every script."""
    faces = pictures_of(footage("single_face.mp4"))[:6]
    folder = tmp_path / "Ordner mit Größe 文件夹"
    folder.mkdir()
    sideways = [np.ascontiguousarray(np.rot90(face)) for face in faces]  # shown upright by the display matrix
    write_clip(
        folder / "ungerade größe.mp4",
        6,
        size=(639, 359),
        pix_fmt="yuv444p",
        picture=lambda i, _w, _h: faces[i][:359, :639],
    )
    write_clip(
        folder / "uneven.mkv", 6, size=(640, 360), times=[0, 33, 70, 150, 155, 300], picture=lambda i, _w, _h: faces[i]
    )
    turn_by_matrix(write_clip(folder / "телефон.mp4", 6, size=(360, 640), picture=lambda i, _w, _h: sideways[i]), 90)
    write_clip(
        folder / "grey.mp4", 6, size=(640, 360), pix_fmt="gray", codec="libx264", picture=lambda i, _w, _h: faces[i]
    )
    done = cli("extract", folder, "-o", tmp_path / "set ü")
    assert done.code == 0, done
    assert len(read_index(tmp_path / "set ü")) == 24
    upright = next(record for record in read_index(tmp_path / "set ü") if record.source == "телефон.mp4")
    plain = next(record for record in read_index(tmp_path / "set ü") if record.source == "uneven.mkv")
    assert np.allclose(upright.box, plain.box, atol=4)
    assert read_picture(tmp_path / "set ü" / upright.file).shape == (384, 384, 3)
    for name in ("ungerade größe.mp4", "uneven.mkv", "телефон.mp4", "grey.mp4"):
        output = tmp_path / "aus gabe" / f"{Path(name).stem}.mp4"
        done = cli("convert", model, folder / name, "-o", output, "--to", "b", "--faces", "largest")
        assert done.code == 0, done
        assert "6 of 6 frames swapped" in done.out
        assert len(pictures_of(output)) == 6


def test_a_disk_that_fills_up_under_the_previews_alone_stops_no_training(
    faces_small_a: Path, faces_small_b: Path, disk: Callable[..., Path], tmp_path: Path, cli: Cli
) -> None:
    place, small = tmp_path / "model", disk("size=8k")  # no room for a preview
    place.mkdir()
    (place / "history").symlink_to(small)
    options = ("--iterations", "12", "--batch", "2", "--preview-seconds", "0")
    done = cli("train", faces_small_a, faces_small_b, "-o", place, *options)
    assert done.code == 0, done.out
    assert " ".join(done.out.split()).count("Training goes on without it.") == 1
    assert "Traceback" not in done.out + done.err
    assert checkpoint.read_about(place)[1].iteration == 12
    assert len(read_history(place)) > 0
