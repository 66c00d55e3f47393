"""What does a frame cost by its size, and by the faces in it? `python benchmarks/frame_size.py [CLIP]`

One clip scaled from 480p to 2160p, and tiled to hold one, two and four faces of the same size. Each is extracted and
converted in one process, all of them in turn; what a run costs once (loading, starting) is measured by a video of one
frame and taken off.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path

import clearswap
import clips
import common
from clearswap.core.align import Frame
from clearswap.media.video import probe
from common import Plot, Result, Table

SIZES = {"480p": (854, 480), "720p": (1280, 720), "1080p": (1920, 1080), "1440p": (2560, 1440), "2160p": (3840, 2160)}
SMALL = {"240p": (426, 240), "480p": (854, 480)}
FACES = (1, 2, 4)
FRAMES, ROUNDS = 40, 1  # more rounds take about two minutes each
VERBS = ("extract", "convert")


def cost(verb: str, clip: Path, folder: Path) -> tuple[float, float]:
    """Seconds of one run, by the clock and of the processor."""
    begun, used = time.perf_counter(), time.process_time()
    if verb == "extract":
        clearswap.extract([clip], folder / "faces", config=clearswap.ExtractConfig(faces="all"))
    else:
        everybody = clearswap.SelectConfig(faces="all")
        clearswap.convert(folder / "model", clip, folder / "swapped.mp4", to="a", select=everybody)
    spent = time.perf_counter() - begun, time.process_time() - used
    shutil.rmtree(folder / "faces", ignore_errors=True)
    return spent


def costs(makers: dict[str, Callable[[Path], Path]], folder: Path, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Milliseconds a frame of each clip and verb, by the clock and of the processor: the best of a few rounds."""
    many = {name: make(folder / f"{name}.mp4") for name, make in makers.items()}
    one = {name: clips.looped(clip, folder / f"{name}-1.mp4", 1 / clips.RATE) for name, clip in many.items()}
    for name, verb in product(makers, VERBS):  # what is loaded or made ready by the first run counts for none
        cost(verb, one[name], folder)
    best: dict[tuple[str, str, bool], tuple[float, float]] = {}
    for _ in range(rounds):
        for name, verb, whole in product(makers, VERBS, (True, False)):
            spent = cost(verb, (many if whole else one)[name], folder)
            known = best.get((name, verb, whole), spent)
            best[name, verb, whole] = min(spent[0], known[0]), min(spent[1], known[1])
    frames = probe(next(iter(many.values()))).frames - 1
    return {
        (name, verb): [
            1000 * (whole - once) / frames
            for whole, once in zip(best[name, verb, True], best[name, verb, False], strict=True)
        ]
        for name, verb in product(makers, VERBS)
    }


def encoded(frames: Callable[[], Iterable[Frame]], path: Path) -> Path:
    """Frames as a clip; they are made only when they are needed, since a long list of 2160p fills the memory."""
    return clips.write_clip(frames(), path)


def table(found: dict[tuple[str, str], list[float]], title: str, names: list[str]) -> Table:
    """Milliseconds of each clip, and how many times those of the first."""
    columns = [title, *(f"{verb}, {what}" for verb in VERBS for what in ("ms a frame", "of the processor", "ratio"))]
    rows = [
        [name, *(f for verb in VERBS for f in (*found[name, verb], found[name, verb][0] / found[names[0], verb][0]))]
        for name in names
    ]
    return Table(f"cost by {title}", columns, rows)


def main() -> None:
    """Measure sizes, then numbers of faces."""
    wanted = common.options(__doc__)
    source = wanted.clips[0] if wanted.clips else clips.clip_of("b")
    sizes, frames = (SMALL, 21) if wanted.quick else (SIZES, FRAMES)
    full = (640, 360) if wanted.quick else (1920, 1080)

    def sized(size: tuple[int, int]) -> Iterable[Frame]:
        return (clips.sized(picture, *size) for picture in clips.pictures(source, frames))

    def tiled(faces: int) -> Iterable[Frame]:
        return (clips.tiled(picture, *full, faces) for picture in clips.pictures(source, frames))

    by_size = {name: partial(encoded, partial(sized, size)) for name, size in sizes.items()}
    by_faces = {f"{n} face{'s' * (n > 1)}": partial(encoded, partial(tiled, n)) for n in FACES}
    with common.scratch() as folder:
        clips.untrained_model(folder / "model")
        size_costs, face_costs = costs(by_size, folder, ROUNDS), costs(by_faces, folder, ROUNDS)
    megapixels = {name: width * height / 1e6 for name, (width, height) in sizes.items()}
    lines = {verb: [(megapixels[name], size_costs[name, verb][0]) for name in sizes] for verb in VERBS}
    bars = {verb: [(name, face_costs[name, verb][0]) for name in by_faces] for verb in VERBS}
    result = Result(
        "frame_size",
        "What does a frame cost by its size, and by the number of faces in it?",
        f"{frames} frames of one clip scaled (the face grows along), and tiled in {full[0]}x{full[1]} with faces of one"
        f' size; the verbs with `faces="all"`, in one process and in turn, best of {ROUNDS}; what a run costs once is'
        " measured with one frame and taken off.",
        [table(size_costs, "frame size", list(sizes)), table(face_costs, "faces", list(by_faces))],
        [
            Plot("cost against frame size", "lines", "megapixels", "ms a frame", lines, log=True),
            Plot(f"cost against the number of faces, {full[0]}x{full[1]}", "bars", "", "ms a frame", bars),
        ],
    )
    common.save(result, wanted)


if __name__ == "__main__":
    main()
