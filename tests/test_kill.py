"""kill -9 at any moment: the model on disk always loads, and no output is there unless it is whole."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import clearswap
from clearswap.media.video import probe
from clearswap.media.writer import Segments
from clearswap.progress import Progress
from clearswap.training import checkpoint
from makers import SYNTHETIC, command, head_of_clip, left_behind, pictures_of, run, said_by, sound_packets, write_clip

KILLS = 2


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Path:
    """Nothing here is about learning."""
    return tiny_model


def kill_after(arguments: list[str], seconds: float) -> bool:
    """Start a command, kill it after a while; whether it was still running."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def seconds_to(arguments: list[str], path: Path) -> tuple[float, float]:
    """How long a command takes to make `path`, and to its end."""
    begun, made = time.monotonic(), 0.0
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        made = made or (time.monotonic() - begun) * path.exists()
        time.sleep(0.02)
    assert process.returncode == 0
    return made or time.monotonic() - begun, time.monotonic() - begun


def test_a_model_survives_being_killed_at_any_moment(faces_small_a: Path, faces_small_b: Path, tmp_path: Path) -> None:
    """Saved in every step, so that most kills land while a file is written."""
    model, moments = tmp_path / "model", random.Random(1)
    arguments = command(
        "train", faces_small_a, faces_small_b, "-o", model, "--batch", "2", "--save-every", "1", "--minutes", "60"
    )
    clearswap.train(faces_small_a, faces_small_b, model, training=clearswap.TrainConfig(iterations=1, batch=2))
    before, during_a_save = 1, 0
    for _ in range(KILLS):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = checkpoint.read_about(model)[1].iteration
        while checkpoint.read_about(model)[1].iteration == began:  # reading while it is being replaced
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.wait()
        during_a_save += any(".partial" in name for name in left_behind(model))
        _, counters = checkpoint.read_about(model)
        assert counters.iteration > before
        checkpoint.open_model(model).network(torch.device("cpu"))
        before = counters.iteration
    print(f"{during_a_save} of {KILLS} kills came while a file was being written")
    for folder in (checkpoint.SNAPSHOTS, "history"):  # files are renamed into these, too
        (model / folder).mkdir(exist_ok=True)
        (model / folder / ".cut short.partial.jpg").touch()
    done = clearswap.train(
        faces_small_a, faces_small_b, model, training=clearswap.TrainConfig(iterations=before + 2, batch=2)
    )
    assert done.iterations == before + 2
    assert not any(".partial" in name for name in left_behind(model))


@pytest.fixture(scope="module")
def clip(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return head_of_clip(demo_clips / "person_b.mp4", tmp_path_factory.mktemp("clip") / "clip.mp4", 24)


def test_a_conversion_that_is_killed_leaves_no_half_output(model: Path, clip: Path, tmp_path: Path) -> None:
    folder, moments = tmp_path / "out", random.Random(2)
    output = folder / "out.mp4"
    arguments = command("convert", model, clip, "-o", output, "--to", "a")
    working, whole = seconds_to(arguments, folder)
    output.unlink()
    killed = 0
    for number in range(KILLS):
        # spread from the first file written to the end
        moment = working + (whole - working) * (number + moments.random()) / KILLS
        killed += kill_after(arguments, moment)
        if output.exists():
            assert_whole(output, clip)
            output.unlink()
    assert killed >= KILLS // 3
    assert run("convert", model, clip, "-o", output, "--to", "a").code == 0
    assert_whole(output, clip)
    assert left_behind(folder) == ["out.mp4"]


def with_short_segments(*arguments: str | Path) -> list[str]:
    """The command line of `clearswap`, whose segments have 25 frames."""
    code = "from clearswap.media.writer import Segments; Segments.length = 25; "
    code += "from clearswap.cli.main import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_a_conversion_that_is_killed_goes_on_and_comes_out_the_same(
    model: Path, demo_clips: Path, tmp_path: Path
) -> None:
    """Four segments of 25 frames; killed until it is through, always going on."""
    faces = [cv2.resize(face, (320, 240)) for face in pictures_of(demo_clips / "person_b.mp4")]
    clip = write_clip(
        tmp_path / "clip.mp4", 100, size=(320, 240), sound="aac", picture=lambda i, _w, _h: faces[i % len(faces)]
    )
    once, output, moments = tmp_path / "once.mp4", tmp_path / "out" / "out.mp4", random.Random(3)
    subprocess.run(with_short_segments("convert", model, clip, "-o", once, "--to", "a"), check=True)
    arguments = with_short_segments("convert", model, clip, "-o", output, "--to", "a", "--resume")
    finished = 0
    for _ in range(2):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(segments := list(output.parent.glob(".out.mp4.work/segment_*.mp4"))) <= finished:
            assert process.poll() is None
            time.sleep(0.005)
        finished = len(segments)
        time.sleep(moments.uniform(0, 0.05))  # three segments take longer
        process.kill()
        process.wait()
        assert not output.exists()
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "going on with" in done.stdout
    for one, other in zip(pictures_of(once), pictures_of(output), strict=True):
        assert np.array_equal(one, other)
    assert sound_packets(once) == sound_packets(output) == sound_packets(clip)
    assert left_behind(output.parent) == ["out.mp4"]


def test_an_error_that_nobody_thought_of_keeps_what_is_finished(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Segments, "length", 6)
    output, notes = tmp_path / "out.mp4", list[str]()

    def fails(progress: Progress) -> None:
        if progress.stage.startswith("convert clip") and progress.done == 15:
            raise ZeroDivisionError

    select = clearswap.SelectConfig(faces="largest")
    with pytest.raises(ZeroDivisionError):
        clearswap.convert(model, clip, output, to="a", select=select, on_progress=fails)
    assert len(list(tmp_path.glob(".out.mp4.work/segment_*.mp4"))) == 2
    clearswap.convert(
        model, clip, output, to="a", select=select, resume=True, on_progress=lambda told: notes.append(told.note)
    )
    assert any("going on with" in note for note in notes)
    assert_whole(output, clip)
    assert left_behind(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("how", ["the first is gone", "a byte is another", "a link", "cut short", "renamed"])
def test_segments_that_are_not_as_they_were_written_are_made_anew(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(Segments, "length", 6)
    output, select = tmp_path / "out" / "out.mp4", clearswap.SelectConfig(faces="largest")

    def fails(progress: Progress) -> None:
        if progress.stage.startswith("convert clip") and progress.done == 20:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        clearswap.convert(model, clip, output, to="a", select=select, on_progress=fails)
    first, second, _ = sorted(output.parent.glob(".out.mp4.work/segment_*.mp4"))
    data = bytearray(second.read_bytes())
    if how == "the first is gone":
        first.unlink()
    elif how == "a link":
        second.replace(tmp_path / "elsewhere")
        second.symlink_to(first)
    elif how == "renamed":
        first.replace(second)
    else:
        data[len(data) // 2] ^= 1
        second.write_bytes(data if how == "a byte is another" else data[:-9])
    clearswap.convert(model, clip, output, to="a", select=select, resume=True)
    assert_whole(output, clip)
    clearswap.convert(model, clip, tmp_path / "once.mp4", to="a", select=select)
    for one, other in zip(pictures_of(tmp_path / "once.mp4"), pictures_of(output), strict=True):
        assert np.array_equal(one, other)


def assert_whole(output: Path, clip: Path) -> None:
    assert len(pictures_of(output)) == probe(clip).frames
    assert said_by(output).state == "trusted"


def test_an_extraction_that_is_killed_leaves_no_half_face_set(demo_clips: Path, tmp_path: Path) -> None:
    output, partial = tmp_path / "set", tmp_path / ".set.partial"
    arguments = command("extract", demo_clips / "person_a.mp4", "-o", output)
    for delay in (0.0, 1.0):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not any(partial.glob("*.jpg")):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(delay)
        process.kill()
        process.wait()
        assert not output.exists()
    assert run("extract", demo_clips / "person_a.mp4", "-o", output, "--every", "20").code == 0
    assert left_behind(tmp_path)[0] == "set"
    assert len(list(output.glob("*.jpg"))) == 15


@pytest.mark.parametrize(
    ("verb", "number", "delay"),
    [
        ("extract", signal.SIGINT, 0.7),
        ("extract", signal.SIGHUP, 0.3),
        ("convert", signal.SIGINT, 0.0),
        ("convert", signal.SIGTERM, 0.7),
        ("swap", signal.SIGTERM, 0.3),
    ],
)
def test_a_signal_ends_at_once_in_one_sentence_and_cleans_up(
    model: Path, demo_clips: Path, tmp_path: Path, verb: str, number: signal.Signals, delay: float
) -> None:
    clip, home = demo_clips / "person_b.mp4", tmp_path / "new"
    arguments: dict[str, list[str | Path]] = {
        "extract": ["extract", clip, "-o", home / "set"],
        "convert": ["convert", model, clip, "-o", home / "out.mp4", "--to", "a", "--encoder-preset", "veryslow"],
        "swap": ["swap", clip, clip, "-o", home / "out.mp4", *SYNTHETIC],  # which has trained nothing yet
    }
    process = subprocess.Popen(command(*arguments[verb]), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (home.is_dir() and left_behind(home)):  # work has begun
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    time.sleep(delay)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.strip() == "clearswap: stopped; nothing half-written was left behind."
    assert left_behind(tmp_path) == []


def test_a_signal_that_is_ignored_stays_so(demo_clips: Path, tmp_path: Path) -> None:
    """As `nohup` does with SIGHUP."""
    output, partial = tmp_path / "set", tmp_path / ".set.partial"
    arguments = command("extract", demo_clips / "person_a.mp4", "-o", output, "--every", "5")
    process = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    while not any(partial.glob("*.jpg")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    assert process.wait(120) == 0
    assert left_behind(tmp_path)[0] == "set"


CALLER = """
import signal, sys, threading
from clearswap.cli.main import main

def act(*_): ...

signal.signal(signal.SIGHUP, act)
arguments, ended = sys.argv[1:], []

def call():
    try:
        main(arguments)
    except SystemExit as end:
        ended.append(end.code)

call()
thread = threading.Thread(target=call)
thread.start()
thread.join()
handlers = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)]
assert handlers == [act, signal.SIG_DFL, signal.default_int_handler], handlers
assert ended == [2, 2], ended
"""


def test_a_program_keeps_its_handlers_and_may_call_from_a_thread(faces_small_a: Path, tmp_path: Path) -> None:
    """Training takes signals in its own way; here it is refused, because nobody has said who is shown."""
    shutil.copytree(faces_small_a, tmp_path / "set")
    (tmp_path / "set" / "consent.toml").unlink()
    arguments = ["train", tmp_path / "set", faces_small_a, "-o", tmp_path / "model"]
    done = subprocess.run([sys.executable, "-c", CALLER, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done
    assert done.stderr.count("clearswap: Nobody has said yet who") == 2
