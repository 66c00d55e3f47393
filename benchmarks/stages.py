"""Where does the time of extraction and conversion go? `python benchmarks/stages.py [CLIP]`

Runs the real verbs twice, each time in a process of its own and in turn: once on one core, with the stages one after
the other in one thread and a stopwatch around each, so that their times add up to the whole; once as they are, with
the stages overlapping on all cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import clips
import common
from common import Cell, Plot, Result, Table

Verb = Literal["extract", "convert"]
FRAMES = 600
REST = "everything else"  # what no stopwatch is around

# What is measured: the stage's name, and the function (or the generator) that it is.
STAGES: dict[Verb, list[tuple[str, str, str]]] = {
    "extract": [
        ("set up", "faces.face_models", "Detector.__init__"),
        ("set up", "faces.face_models", "Landmarker.__init__"),
        ("set up", "faces.face_models", "ExposureDetector.__init__"),
        ("check the file", "api.extract", "about_source"),
        ("decode", "api.extract", "read_source"),
        ("detect", "faces.face_models", "Detector.__call__"),
        ("guard", "faces.face_models", "ExposureDetector.__call__"),
        ("landmarks", "faces.face_models", "Landmarker.__call__"),
        ("track, the rest", "faces.tracker", "Tracker.__call__"),
        ("align", "api.extract", "align"),
        ("sharpness", "api.extract", "sharpness"),
        ("encode pictures", "api.extract", "encode_picture"),
        ("write index", "api.extract", "write_index"),
    ],
    "convert": [
        ("set up", "faces.face_models", "Detector.__init__"),
        ("set up", "faces.face_models", "Landmarker.__init__"),
        ("set up", "faces.face_models", "ExposureDetector.__init__"),
        ("set up", "training.checkpoint", "SavedModel.network"),
        ("check the file", "api.convert", "about_source"),
        ("try the tracks", "api.convert", "plan_tracks"),
        ("try the tracks", "api.convert", "try_container"),
        ("decode, twice", "api.convert", "read_source"),
        ("look for an earlier mark", "api.convert", "mark_in"),
        ("mark and label", "disclosure.stamp", "Stamp.__call__"),
        ("detect", "faces.face_models", "Detector.__call__"),
        ("guard", "faces.face_models", "ExposureDetector.__call__"),
        ("landmarks", "faces.face_models", "Landmarker.__call__"),
        ("track, the rest", "faces.tracker", "Tracker.__call__"),
        ("align", "core.swap", "align"),
        ("mask", "core.swap", "only_face"),
        ("mask", "core.swap", "face_mask"),
        ("network", "core.modern", "ModernNet.forward"),
        ("whose face", "faces.first_pass", "Recogniser.__call__"),
        ("smooth", "faces.tracker", "Faces.landmarks"),
        ("colour", "core.swap", "colour_stats"),
        ("colour", "core.swap", "transfer_colour"),
        ("sharpness", "core.swap", "match_sharpness"),
        ("paste", "core.swap", "paste"),
        ("encode", "media.writer", "PictureTrack.write"),
        ("encode", "media.writer", "PictureTrack.close"),
        ("join segments", "media.writer", "Segments.join"),
        ("sign", "disclosure.credentials", "sign"),
    ],
}
# `pipeline.ahead` and `pipeline.map_ahead`, without their threads; generators, since these can be closed.
IN_TURN: dict[str, Callable[..., Iterator[Any]]] = {
    "ahead": lambda items, **_: (item for item in items),
    "map_ahead": lambda work, items, **_: (work(item) for item in items),
}


class Stopwatch:
    """Adds up the time spent in each stage; what a stage spends in another one counts for the other."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._running: list[str] = []
        self._since = time.perf_counter()

    def switch(self, entered: str | None) -> None:
        """Enter a stage, or leave the last one entered (None)."""
        now = time.perf_counter()
        if self._running:
            self.spent[self._running[-1]] = self.spent.get(self._running[-1], 0.0) + now - self._since
        self._since = now
        if entered is None:
            self._running.pop()
        else:
            self._running.append(entered)

    def around(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, timed. When it gives back an iterator, each of its items is timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            self.switch(stage)
            try:
                result = work(*arguments, **options)
            finally:
                self.switch(None)
            return self._each(stage, result) if isinstance(result, Iterator) else result

        return timed

    def _each(self, stage: str, items: Iterator[Any]) -> Iterator[Any]:
        following = self.around(stage, lambda: next(items, None))
        while (item := following()) is not None:
            yield item


def replace_in(module: str, dotted: str, change: Callable[[Any], Any]) -> None:
    """Put something else in the place of `clearswap.MODULE`'s `dotted` name, for the rest of this process."""
    holder: Any = import_module(f"clearswap.{module}")
    *path, last = dotted.split(".")
    for name in path:
        holder = getattr(holder, name)
    setattr(holder, last, change(getattr(holder, last)))  # a name that is no longer there must be mended in STAGES


def one_thread(module: Any) -> None:
    """No stage ahead of another, and the detector's runtime on one thread; the other libraries count the cores."""
    import onnxruntime

    users = [module, import_module("clearswap.faces.tracker")]
    for name, plain in IN_TURN.items():
        for user in users:
            if hasattr(user, name):
                setattr(user, name, plain)
    usual: Any = onnxruntime.SessionOptions

    def single() -> Any:
        made = usual()
        made.intra_op_num_threads = 1
        return made

    vars(onnxruntime)["SessionOptions"] = single


def run_verb(verb: Verb, clip: Path, folder: Path) -> None:
    """The verb itself; `folder` has a model and takes the output."""
    import clearswap

    if verb == "extract":
        clearswap.extract([clip], folder / f"faces-{os.getpid()}")
    else:
        clearswap.convert(folder / "model", clip, folder / f"swapped-{os.getpid()}.mp4", to="a")


def work_alone(verb: Verb, clip: Path, folder: Path, *, one_core: bool) -> None:
    """What a process of its own does: run the verb and print the seconds in all, of the processor, and by stage."""
    watch = Stopwatch()
    module = import_module(f"clearswap.api.{verb}")
    if one_core:
        one_thread(module)
        for stage, place, dotted in STAGES[verb]:
            replace_in(place, dotted, partial(watch.around, stage))
    used = time.process_time()
    whole = common.seconds(lambda: run_verb(verb, clip, folder))
    print(json.dumps({"whole": whole, "cpu": time.process_time() - used, "stages": watch.spent}))


def in_a_process(verb: Verb, clip: Path, folder: Path, *, one_core: bool) -> dict[str, Any]:
    """Run `work_alone` in a new process, which sees one core only from its very start."""
    # Libraries count the cores that a process may use when they are loaded, so it has to be said before.
    pin = "import os; getattr(os, 'sched_setaffinity', lambda *_: None)(0, [min(os.sched_getaffinity(0))]); "
    start = f"import sys; sys.path.insert(0, {str(common.HERE)!r}); from pathlib import Path; import stages; "
    call = f"stages.work_alone({verb!r}, Path({str(clip)!r}), Path({str(folder)!r}), one_core={one_core})"
    threads = {"OMP_NUM_THREADS": "1"} if one_core else {}
    done = subprocess.run(
        [sys.executable, "-c", (pin if one_core else "") + start + call],
        env=os.environ | threads,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(verb: Verb, clip: Path, folder: Path, rounds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fastest run on one core, and the fastest with overlapping stages."""
    runs: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for _ in range(rounds):
        for one_core, done in runs.items():
            done.append(in_a_process(verb, clip, folder, one_core=one_core))
    alone, together = (min(done, key=lambda run: run["whole"]) for done in runs.values())
    alone["stages"][REST] = alone["whole"] - sum(alone["stages"].values())
    return alone, together


def stage_table(verb: Verb, alone: dict[str, Any], frames: int) -> Table:
    """Milliseconds a frame of each stage, in the order of the work."""
    rows = [
        (stage, 1000 * spent / frames, f"{100 * spent / alone['whole']:.0f} %")
        for stage, spent in by_order(verb, alone).items()
    ]
    title = f"{verb}: each stage on one core"
    return Table(title, ["stage", "ms a frame", "share"], [*rows, ("sum", 1000 * alone["whole"] / frames, "100 %")])


def by_order(verb: Verb, alone: dict[str, Any]) -> dict[str, float]:
    """Seconds of each stage, in the order of `STAGES`."""
    names = dict.fromkeys([*(stage for stage, _, _ in STAGES[verb]), REST])
    return {name: alone["stages"].get(name, 0.0) for name in names}


def main() -> None:
    """Measure extraction and conversion."""
    wanted = common.options(__doc__)
    frames, rounds = (40, 1) if wanted.quick else (FRAMES, 2)
    with common.scratch() as folder:
        clip = clips.standard_clip(folder, frames, wanted.clips, (1280, 720))
        clips.untrained_model(folder / "model")
        found = {verb: measure(verb, clip, folder, rounds) for verb in STAGES}
    rows: list[tuple[Cell, ...]] = []
    for verb, (alone, together) in found.items():
        ratio = alone["whole"] / together["whole"]
        rates = (frames / alone["whole"], frames / together["whole"])
        rows.append((verb, *rates, ratio, f"{100 * together['cpu'] / together['whole']:.0f} %"))
    columns = ["", "one core, frames/s", "overlapping, frames/s", "ratio", "processor in use"]
    stages = dict.fromkeys(stage for verb, (alone, _) in found.items() for stage in by_order(verb, alone))
    series = {
        stage: [(v, 1000 * by_order(v, found[v][0]).get(stage, 0.0) / frames) for v in found]
        for stage in sorted(stages, key=lambda stage: stage == REST)
    }
    result = Result(
        "stages",
        "How many frames a second do extraction and conversion make, and where does the time go?",
        f"The real verbs on {frames} frames of 1280x720 with one face, best of {rounds}: once on one core with the"
        " stages one after the other and a stopwatch around each, once with the stages overlapping on all cores; each"
        " run in a process of its own, the two kinds in turn.",
        [Table("the whole", columns, rows), *(stage_table(v, alone, frames) for v, (alone, _) in found.items())],
        [Plot("one core, stage by stage", "stacked", "", "ms a frame", series)],
        [
            "Set-up (once a run) is in these figures, the import of torch is not. The model is untrained: speed is the"
            " same. 100 % of the processor is one core."
        ],
    )
    common.save(result, wanted)


if __name__ == "__main__":
    main()
