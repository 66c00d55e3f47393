"""Convert: put a person's face into videos, pictures, or folders of either.

A video is gone through twice. First its faces are found and followed (`faces/first_pass.py`), so that it is known who
is where before anything is changed. Then decoding, swapping and encoding overlap, segment by segment
(`media/writer.py`). What is written carries signed Content Credentials.

The second pass over a clip: draw the new faces of its frames in batches, and fit them in.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearswap.core.align import Frame, Points
from clearswap.core.mask import MaskConfig
from clearswap.core.network import Side
from clearswap.core.smoothing import SmoothConfig
from clearswap.core.swap import BlendConfig, NewFace, Swapper, drawer, steadied
from clearswap.disclosure import credentials
from clearswap.disclosure.credentials import Signer, Statement, load_or_make
from clearswap.disclosure.credentials_reader import sidecar_of
from clearswap.disclosure.stamp import LabelConfig, Stamp, make_stamp, mark_in, require_label
from clearswap.errors import InputError, OutputError
from clearswap.faces.first_pass import Finder, first_pass, make_finder
from clearswap.faces.selection import STRANGE, Choice, Role, SelectConfig, chosen_by, pick
from clearswap.faces.tracker import TrackConfig
from clearswap.faces.tracks import Tracks, read_tracks
from clearswap.media.files import encode_picture, is_picture, pair_outputs, read_alpha, read_picture
from clearswap.media.pipeline import ahead, batched, map_ahead
from clearswap.media.video import TimeRange, VideoFrame, probe, read_frames, read_spread
from clearswap.media.writer import (
    EncodeConfig,
    Segments,
    fingerprint,
    require_container,
    require_encoder,
    workdir,
    workdir_of,
)
from clearswap.progress import OnProgress, Progress, silent
from clearswap.training import checkpoint
from clearswap.training.device import used_device

_LOOKED_AT = 24  # frames in which it is looked whether a video is marked already


@dataclass(frozen=True)
class ConvertResult:
    """What was done."""

    files: int = 0
    frames: int = 0
    swapped: int = 0
    without_face: int = 0
    others: int = 0  # frames in which all faces are other people's
    sound: str = "none"

    def __str__(self) -> str:
        sound = f"; sound {self.sound}" if self.sound != "none" else ""
        others = f", {self.others} only other people's" if self.others else ""
        unchanged = f"{self.without_face} frames had no face{others} and are unchanged"
        return f"{self.swapped} of {self.frames} frames swapped; {unchanged}{sound}."

    def __add__(self, other: ConvertResult) -> ConvertResult:
        return ConvertResult(
            self.files + other.files,
            self.frames + other.frames,
            self.swapped + other.swapped,
            self.without_face + other.without_face,
            self.others + other.others,
            self.sound if other.sound == "none" else other.sound,
        )


@dataclass(frozen=True)
class _Tools:
    """What every file of one run needs."""

    swappers: list[Swapper]
    finder: Finder
    smoothing: SmoothConfig
    encoding: EncodeConfig
    time_range: TimeRange
    label: LabelConfig
    signer: Signer
    statement: Statement
    on_progress: OnProgress
    resume: bool


def convert(
    model: Path | str,
    video: Path | str,
    output: Path | str,
    *,
    to: Side,
    also: Sequence[Role] = (),
    select: SelectConfig = SelectConfig(),
    mask: MaskConfig = MaskConfig(),
    blend: BlendConfig = BlendConfig(),
    tracking: TrackConfig = TrackConfig(),
    smoothing: SmoothConfig = SmoothConfig(),
    encoding: EncodeConfig = EncodeConfig(),
    time_range: TimeRange = TimeRange(),
    label: LabelConfig = LabelConfig(),
    publish_names: bool = False,
    resume: bool = False,
    on_progress: OnProgress = silent,
) -> ConvertResult:
    """Put the face of person a or b into a video, a picture, or a folder of either.

    Size, frame times and sound stay as they are. Frames that do not show the face to replace pass through and are
    counted. Every frame carries an invisible mark, and a small label unless that is switched off; signed Content
    Credentials say that the output is generated and on what basis the persons are shown. A folder becomes a folder of
    the same names; files in it in which nobody is replaced are copied. Outputs appear when they are complete.

    Args:
        model: Folder of the model.
        video: A video, a picture, or a folder of either.
        output: The file to write (.mp4, .mov, .mkv, .png, .jpg), or the folder when `video` is one.
        to: Whose face is put in: the person of the first (a) or the second (b) face set in training.
        also: Further people to replace at the same time, each by a face of another model.
        select: Which faces are replaced.
        mask: How the face area is cut out.
        blend: How the new face is fitted into the frame.
        tracking: How faces are found and followed.
        smoothing: How much landmarks are smoothed over time.
        encoding: How the output video is compressed.
        time_range: Which part of the video is converted.
        label: What is written into the picture.
        publish_names: Write the persons' names, where they were stated, into the credentials.
        resume: Go on with a video whose conversion was stopped or killed, after the last finished ten seconds or so.
        on_progress: Called after each frame.

    Raises:
        InputError: The video cannot be read, or shows nobody to replace.
        ModelError: The model is missing or damaged.
        OptionError: The encoder is not available, or does not suit the video.
        OutputError: `output` cannot be written or signed.
        FaceModelsMissing: The face models are not installed.
    """
    pairs = pair_outputs(Path(video), Path(output))
    for _, wanted in pairs:
        credentials.require_signable(wanted)
        require_container(wanted, encoding)
    require_label(label)
    roles = [Role(Path(model), to), *also]
    swappers = [_swapper(role, mask, blend) for role in roles]
    finder = make_finder(roles, known_persons(roles), select, tracking, on_progress)
    said = credentials.statement_of([role.model for role in roles], names=publish_names)
    tools = _Tools(swappers, finder, smoothing, encoding, time_range, label, load_or_make(), said, on_progress, resume)
    settings = [*(role.to for role in roles), select, mask, blend, tracking, smoothing, encoding, time_range, label]
    done = ConvertResult()
    for given, wanted in pairs:
        if is_picture(given):
            done += _convert_picture(given, wanted, tools, alone=len(pairs) == 1)
        else:
            files = [fingerprint(given), *(fingerprint(role.model / checkpoint.FILE) for role in roles)]
            about = {"files": files, "settings": [repr(setting) for setting in settings]}
            done += _convert_video(given, wanted, tools, about, alone=len(pairs) == 1)
    if not done.swapped:
        raise _nobody(Path(video), done, None)
    return done


def known_persons(roles: Sequence[Role]) -> list[NDArray[np.float32] | None]:
    """The embedding (128,) of the person that each role replaces; None where its model does not know."""
    known = [checkpoint.read_persons(role.model).get("b" if role.to == "a" else "a") for role in roles]
    return [None if person is None else person.numpy() for person in known]


def _swapper(role: Role, mask: MaskConfig, blend: BlendConfig) -> Swapper:
    config, net = checkpoint.load_network(role.model, used_device())
    return Swapper(drawer(net, role.to), config, used_device(), mask, blend)


def _convert_video(source: Path, output: Path, tools: _Tools, about: dict[str, Any], *, alone: bool) -> ConvertResult:
    info = probe(source)
    require_encoder(info, tools.encoding)
    work = workdir_of(output)
    with (
        credentials.signed_file(output) as signed,
        _advice(work, tools.on_progress),
        workdir(work, about, resume=tools.resume) as going_on,
    ):
        if going_on and (tracks := read_tracks(work)) is not None:
            tools.on_progress(Progress("convert", note=f"going on with {output} where an earlier run was stopped"))
        else:
            tracks = first_pass(info, tools.time_range, tools.finder, work, tools.on_progress)
        cast = [(Choice(tracks, tools.finder.faces, i), swapper) for i, swapper in enumerate(tools.swappers)]
        choices = [choice for choice, _ in cast]
        done = _counted(tracks, choices)
        if alone and not done.swapped:
            raise _nobody(source, done, min(choice.nearest for choice in choices))
        if not done.swapped:
            _copy(source, signed)
            return done
        faces = (points for found in tracks.all(0) for points in found.values())
        earlier = (frame.picture for frame in read_spread(source, _LOOKED_AT))
        stamp, statement = _stamp((info.height, info.width), earlier, faces, tools)
        segments = Segments(work, info, tools.encoding)
        there = segments.frames
        with closing(
            ahead(second_pass(source, tools.time_range, tracks, cast, tools.smoothing, stamp, there))
        ) as swapped:
            segments.write(_reported(swapped, there, done, source, tools.on_progress))
        unsigned = work / f"unsigned{output.suffix}"
        try:
            beside = segments.join(unsigned, tools.time_range)
            credentials.sign(unsigned, signed, source, tools.signer, statement)
        finally:
            unsigned.unlink(missing_ok=True)
    if beside.left_out:
        kinds = f"{output.suffix} cannot hold subtitles of this kind ({', '.join(beside.left_out)})"
        tools.on_progress(Progress("convert", note=f"{kinds}: they are left out"))
    if credentials.has_sidecar(output):
        note = f"{output.suffix} cannot carry Content Credentials; they are in {sidecar_of(output)}: keep both together"
        tools.on_progress(Progress("convert", note=note))
    return replace(done, sound=beside.sound)


def _copy(source: Path, signed: Path) -> None:
    """One of many files, in which nobody is replaced, as it is, with the credentials beside it: nothing in it is
    generated, and nothing is to say so.
    """
    shutil.copyfile(source, signed)
    if credentials.has_sidecar(source) and sidecar_of(source).is_file():
        shutil.copyfile(sidecar_of(source), sidecar_of(signed))


@contextmanager
def _advice(work: Path, on_progress: OnProgress) -> Generator[None]:
    """Where the block ends early and leaves something to go on with, say how."""
    try:
        yield
    except (KeyboardInterrupt, OutputError, OSError):
        if work.exists():
            note = f"what is done so far is kept in {work}; the same command with --resume goes on from there"
            on_progress(Progress("convert", note=note))
        raise


def _convert_picture(source: Path, output: Path, tools: _Tools, *, alone: bool) -> ConvertResult:
    picture, alpha = read_picture(source), read_alpha(source)
    finder = tools.finder
    found = finder.tracker()(picture)
    near = finder.likeness(picture, found) if finder.likeness else []
    placed = {i: face.landmarks for i, face in enumerate(found)}
    result, changed = picture, False
    for person, swapper in enumerate(tools.swappers):
        chosen = pick(placed, {i: far[person] for i, far in enumerate(near)}, finder.faces)
        result = swapper([result], [[placed[i] for i in chosen]])[0]
        changed = changed or bool(chosen)
    done = ConvertResult(1, 1, int(changed), int(not found), int(bool(found) and not changed))
    if alone and not changed:
        raise _nobody(source, done, min((min(far) for far in near), default=None))
    if not changed:
        with credentials.signed_file(output) as signed:
            _copy(source, signed)
        return done
    stamp, statement = _stamp(picture.shape[:2], [picture], placed.values(), tools)
    result = stamp(result, picture)
    if alpha is not None and output.suffix.lower() not in {".jpg", ".jpeg"}:
        result = np.dstack([result, alpha])
    data = encode_picture(result, output.suffix)
    credentials.write_picture(output, data, source, tools.signer, statement)
    tools.on_progress(Progress(f"convert {source.name}", 1, 1))
    return done


def _stamp(
    shape: tuple[int, int], original: Iterable[Frame], faces: Iterable[Points], tools: _Tools
) -> tuple[Stamp, credentials.Statement]:
    """What is laid over the frames of an output, and what its credentials say of that."""
    statement = tools.statement
    if (earlier := mark_in(original)) is not None:
        statement = replace(statement, mark=earlier, earlier_mark=earlier)
    marked = earlier is not None
    return make_stamp(shape, statement.mark, marked=marked, label=tools.label, faces=faces), statement


def _counted(tracks: Tracks, choices: Sequence[Choice]) -> ConvertResult:
    """What a video's conversion will have done."""
    swapped = without = 0
    for frame, found in enumerate(tracks.all(0)):
        swapped, without = swapped + any(choice(frame, found) for choice in choices), without + (not found)
    return ConvertResult(1, tracks.frames, swapped, without, tracks.frames - swapped - without)


def _reported(
    frames: Iterator[VideoFrame], start: int, will: ConvertResult, source: Path, on_progress: OnProgress
) -> Iterator[VideoFrame]:
    """The same frames; says where they are."""
    for done, frame in enumerate(frames, start + 1):
        yield frame
        values = {"no face": will.without_face}
        on_progress(Progress(f"convert {source.name}", done, will.frames, values=values))


def _nobody(source: Path, done: ConvertResult, nearest: float | None) -> InputError:
    """Why nothing was replaced."""
    if not done.others:
        return InputError(f"No face was found in {source} ({done.frames} frames); nothing was written.")
    near = "" if nearest is None else f" (the nearest is {nearest:.2f} away, {STRANGE} is the most)"
    return InputError(
        f"None of the faces in {source} is the person's that the model knows{near}; nothing was written. "
        "--faces largest replaces the largest face, whoever it is, and --like PICTURE says who it is."
    )


_BATCH = 8  # frames whose faces are drawn together

_Drawn = tuple[VideoFrame, dict[int, NewFace]]
_Calmed = tuple[VideoFrame, list[NewFace]]
Cast = Sequence[tuple[Choice, Swapper]]  # who is replaced, and what draws the faces in their place; all fit in alike
_Placed = list[dict[int, Points]]  # the landmarks of the faces that each swapper draws, by track


def second_pass(
    clip: Path,
    time_range: TimeRange,
    tracks: Tracks,
    cast: Cast,
    smoothing: SmoothConfig,
    stamp: Stamp,
    start: int,
) -> Generator[VideoFrame]:
    """The frames of a part of a clip, from its frame `start` on, with new faces and stamped.

    Whatever the start, each comes out the same: colours are averaged with those of frames before it, and batches begin
    at the same frames.
    """
    choices, swappers = [choice for choice, _ in cast], [swapper for _, swapper in cast]
    reach = swappers[0].blend.colour_frames
    begin = max(0, start - reach) // _BATCH * _BATCH

    def finished(given: _Calmed) -> VideoFrame:
        frame, faces = given
        swapped = swappers[0].fit(frame.picture, faces, frame.index)
        return replace(frame, picture=stamp(swapped, frame.picture))

    with closing(ahead(read_frames(clip, time_range=time_range))) as frames:
        drawn = _draw(islice(frames, begin, None), _placed(tracks, choices, smoothing, begin), swappers)
        with closing(ahead(islice(_calmed(drawn, reach), start - begin, None))) as calmed:
            yield from map_ahead(finished, calmed)


def _placed(tracks: Tracks, choices: Sequence[Choice], smoothing: SmoothConfig, start: int) -> Iterator[_Placed]:
    """Where the faces to replace are in each frame from `start` on."""
    for frame, found in enumerate(tracks.all(start, smoothing), start):
        yield [{number: found[number] for number in own} for own in chosen_by(choices, frame, found)]


def _draw(frames: Iterator[VideoFrame], placed: Iterator[_Placed], swappers: Sequence[Swapper]) -> Iterator[_Drawn]:
    for batch in batched(zip(frames, placed, strict=False), _BATCH):
        pictures = [frame.picture for frame, _ in batch]
        drawn: list[dict[int, NewFace]] = [{} for _ in batch]
        for i, swapper in enumerate(swappers):
            for faces, new in zip(drawn, swapper.draw_all(pictures, [found[i] for _, found in batch]), strict=True):
                faces |= new
        yield from zip((frame for frame, _ in batch), drawn, strict=True)


def _calmed(drawn: Iterator[_Drawn], reach: int) -> Iterator[_Calmed]:
    """Each frame with its new faces, in colours that are averaged over `reach` frames before and after."""
    window: deque[_Drawn] = deque()
    at = 0  # where the next frame stands in the window
    for new in chain(drawn, repeat(None, reach)):
        if new is not None:
            window.append(new)
        if len(window) - at > reach or (new is None and at < len(window)):
            yield window[at][0], steadied([faces for _, faces in window], at)
            at += 1
        if at > reach:
            window.popleft()
            at -= 1
