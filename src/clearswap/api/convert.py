"""Convert: put a person's face into videos, pictures, or folders of either.

A clip is gone through twice; a picture is a clip of one frame. The first pass finds and follows all faces
(`faces/first_pass.py`), so that it is known who is where before anything is changed. In the second pass the stages
overlap: read, draw, smooth, fit, stamp, encode. What is written carries signed Content Credentials.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from clearswap.api.second_pass import SecondPass
from clearswap.checks import decode, stored
from clearswap.core.align import SmoothConfig
from clearswap.core.blend import MaskConfig
from clearswap.core.detail import SIDE, Detailer
from clearswap.core.network import Side
from clearswap.core.swap import BlendConfig, Swapper, drawer
from clearswap.disclosure import credentials
from clearswap.disclosure.consent import consent_of, require_lasting
from clearswap.disclosure.credentials import Statement, sidecar_of
from clearswap.disclosure.signer import SignConfig, Signer, load_signer
from clearswap.disclosure.stamp import LabelConfig, make_stamp, mark_in, require_label
from clearswap.errors import ContentError, InputError
from clearswap.faces.face_models import ExpressionReader, Landmarker, roi_of
from clearswap.faces.first_pass import FacesWriter, Finder, far_enough, find_faces, make_finder, read_faces
from clearswap.faces.selection import STRANGE, Role, SelectConfig, choose, person_distances
from clearswap.faces.tracker import Faces, TrackConfig
from clearswap.media.files import (
    about_source,
    atomic_file,
    can_be_clear,
    clear,
    encode_picture,
    fresh,
    is_picture,
    left_out,
    locked,
    pair_outputs,
    read_alpha,
    read_source,
)
from clearswap.media.pipeline import ahead
from clearswap.media.remux import Plan, plan_tracks
from clearswap.media.shown import VideoFrame
from clearswap.media.video import TimeRange, VideoInfo
from clearswap.media.writer import (
    EncodeConfig,
    Segments,
    fingerprint,
    require_container,
    require_encoder,
    try_container,
    workdir,
    workdir_of,
)
from clearswap.progress import OnProgress, Progress, silent
from clearswap.training import checkpoint, detail_store
from clearswap.training.checkpoint import SavedModel
from clearswap.training.device import used_device

_MARK_FRAMES = 24  # in which it is looked whether a clip is marked already
_FEW = 16  # frames that a decoder of several threads may lose at damage in one pass and not in the other
_EARLIER_MARK = "earlier_mark.json"


@dataclass(frozen=True)
class ConvertResult:
    """How many frames of how many files were swapped, and what became of the sound."""

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
class _EarlierMark:
    """The mark that a clip carries already, as it is stored in the working folder."""

    bits: Annotated[int, Meta(ge=0, lt=2**16)] | None


@dataclass(frozen=True)
class Cast:
    """Who is replaced by whom: what finds the people, and for each role what draws the new face."""

    finder: Finder
    swappers: Sequence[Swapper]


@dataclass(frozen=True)
class _Settings:
    """How each file of a run is converted."""

    smoothing: SmoothConfig
    encoding: EncodeConfig
    time_range: TimeRange
    label: LabelConfig
    signer: Signer
    statement: Statement
    resume: bool
    on_progress: OnProgress

    def tell(self, note: str) -> None:
        """Say a sentence about the file."""
        self.on_progress(Progress("convert", note=note))


def convert(
    model: Path | str,
    video: Path | str,
    output: Path | str,
    *,
    to: Side,
    also: Sequence[Role] = (),
    purpose: str = "",
    select: SelectConfig = SelectConfig(),
    mask: MaskConfig = MaskConfig(),
    blend: BlendConfig = BlendConfig(),
    tracking: TrackConfig = TrackConfig(),
    smoothing: SmoothConfig = SmoothConfig(),
    encoding: EncodeConfig = EncodeConfig(),
    time_range: TimeRange = TimeRange(),
    label: LabelConfig = LabelConfig(),
    signing: SignConfig = SignConfig(),
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
        purpose: What this is for. Needed where a person agreed to one purpose only, and then the same.
        select: Which faces are replaced.
        mask: How the face area is cut out.
        blend: How the new face is fitted into the frame.
        tracking: How faces are found and followed.
        smoothing: How much landmarks are smoothed over time.
        encoding: How the output video is compressed.
        time_range: Which part of the video is converted.
        label: What is written into the picture.
        signing: With which key outputs are signed.
        publish_names: Write the persons' names, where they were stated, into the credentials.
        resume: Go on with a video whose conversion was stopped or killed, after the last finished ten seconds or so.
        on_progress: Called after each frame.

    Raises:
        InputError: The video cannot be read, or shows nobody to replace.
        ConsentError: A person's consent has ended, was withdrawn, or is for another purpose.
        ModelError: The model is missing or damaged.
        OptionError: The encoder is not available, or does not suit the video.
        OutputError: `output` cannot be written or signed.
        FaceModelsMissing: The face models are not installed.
    """
    source, alone = Path(video), not Path(video).is_dir()
    pairs = pair_outputs(source, Path(output))
    for _, wanted in pairs:
        credentials.require_signable(wanted)
        require_container(wanted, encoding)
    require_label(label)
    roles = [Role(Path(model), to), *also]
    opened = open_models(roles, purpose)
    cast = load_cast(roles, opened, select, mask, blend, tracking, on_progress)
    statement = credentials.statement_of(opened, names=publish_names)
    settings = _Settings(smoothing, encoding, time_range, label, load_signer(signing), statement, resume, on_progress)
    configs = [*(role.to for role in roles), select, mask, blend, tracking, smoothing, encoding, time_range, label]
    models: list[object] = [statement.to_json(), version("clearswap")]
    stores = [detail_store.store_path(role.model, role.to) for role in roles]
    models += [fingerprint(path) for path in stores if path.is_file()]
    renamed = [f"{given.name} becomes {wanted.name}" for given, wanted in pairs if given.name != wanted.name]
    for note in (left_out([source]), "" if alone else ", ".join(renamed)):
        if note:
            on_progress(Progress("convert", note=note))
    result = ConvertResult()
    with nullcontext() if alone else locked(Path(output), inside=True):
        for given, wanted in pairs:
            # all that the output depends on: a run with anything else does not go on with its frames
            run = {"files": [fingerprint(given), *models], "settings": [repr(config) for config in configs]}
            result += _convert_file(given, wanted, run, cast, settings, alone=len(pairs) == 1)
    if not result.swapped:
        raise _nobody(source, result, None)
    return result


def open_models(roles: Sequence[Role], purpose: str) -> list[SavedModel]:
    """The models of all roles. Raises `ModelError`, and `ConsentError` where a person of one is not to be shown."""
    opened = [checkpoint.open_model(role.model) for role in roles]
    for role, model in zip(roles, opened, strict=True):
        shown = {side: f"person {side} of {role.model}" for side in ("a", "b")}
        require_lasting(consent_of(model), shown, purpose)
    return opened


def load_cast(
    roles: Sequence[Role],
    opened: Sequence[SavedModel],
    select: SelectConfig,
    mask: MaskConfig,
    blend: BlendConfig,
    tracking: TrackConfig,
    on_progress: OnProgress,
) -> Cast:
    """Load the networks of all roles, and what finds the people that they replace. Raises what `convert` raises."""
    both = list(zip(roles, opened, strict=True))
    swappers = [load_swapper(role, model, mask, blend, on_progress) for role, model in both]
    known = [model.persons().get("b" if role.to == "a" else "a") for role, model in both]
    persons = [None if person is None else person.numpy() for person in known]
    return Cast(make_finder(roles, persons, select, tracking, on_progress), swappers)


def load_swapper(
    role: Role, model: SavedModel, mask: MaskConfig, blend: BlendConfig, on_progress: OnProgress
) -> Swapper:
    """Load what draws a role's person, and that person's own faces, from the role's model. Raises `ModelError`."""
    device = used_device()
    config, net = model.config, model.network(device)
    swapper = Swapper(drawer(net, role.to), config, device, mask, blend, ExpressionReader())
    if not blend.detail or config.size > 2 * SIDE:  # the pictures would blur it
        return swapper
    store = detail_store.read_store(role.model, role.to, config)
    if store is None:
        note = f"{role.model} has no pictures of person {role.to}, so the face gets no real detail"
        on_progress(Progress("convert", note=f"{note}; training it further with the face sets adds them"))
        return swapper
    landmarker = Landmarker()
    return replace(swapper, detailer=Detailer(store, lambda face, near: landmarker(face, roi_of(near))[0]))


def _convert_file(
    video: Path, output: Path, run: Mapping[str, object], cast: Cast, settings: _Settings, *, alone: bool
) -> ConvertResult:
    """Convert one file. One in which nobody is replaced is copied, or refused where it is `alone`."""
    info, work = about_source(video), workdir_of(output)
    if not is_picture(video):
        require_encoder(info, settings.encoding)
    with (
        credentials.signed_file(output) as signed,
        _resume_advice(work, settings.on_progress),
        workdir(work, run, resume=settings.resume, worth_keeping=far_enough),
    ):
        plan = None if is_picture(video) else plan_tracks(video, info.track, output, work)
        if plan is not None:
            try_container(output, info, settings.encoding, plan, work)
        for note in (*info.notes, *(() if plan is None else plan.notes)):
            settings.tell(note)
        if marks := credentials.marks_of_others(video):
            settings.tell(f"{video.name} carries {', '.join(marks)}")
        try:
            faces, earlier_mark = _first_pass(info, work, cast.finder, settings)
        except ContentError:
            clear(work)  # nobody goes on from here
            raise
        roles = choose(faces, cast.finder.which)
        result = _count_frames(faces, roles)
        if not result.swapped:
            if alone:
                clear(work)
                raise _nobody(video, result, person_distances(faces))
            _copy(video, signed)
            return result
        statement = replace(settings.statement, frames=result.frames)
        if earlier_mark is not None:
            statement = replace(statement, mark=earlier_mark, earlier_mark=earlier_mark)
        stamp = make_stamp(
            (info.height, info.width),
            statement.mark,
            marked=earlier_mark is not None,
            label=settings.label,
            boxes=faces.box,
        )
        second_pass = SecondPass(faces, roles, cast.swappers, settings.smoothing, stamp)
        unsigned = fresh(work / f"unsigned{output.suffix}")
        try:
            if plan is None:
                result = _encode_picture(info, unsigned, second_pass, result, settings)
            else:
                result = _encode_video(info, unsigned, second_pass, result, plan, settings)
            credentials.sign(unsigned, signed, video, settings.signer, statement)
        finally:
            unsigned.unlink(missing_ok=True)
    if credentials.has_sidecar(output):
        note = f"{output.suffix} cannot carry Content Credentials; they are in {sidecar_of(output)}: keep both together"
        settings.tell(note)
    return result


def _first_pass(info: VideoInfo, work: Path, finder: Finder, settings: _Settings) -> tuple[Faces, int | None]:
    """Find the faces of a clip, and the mark that it carries already, as 16 bits; None where it is not marked.

    Both are kept in `work`, and read from there where an earlier run has found them. The mark is looked for in some of
    the frames as they pass, spread over the clip.
    """
    earlier, persons = work / _EARLIER_MARK, len(finder.recogniser.persons)
    frames = read_source(info.path, time_range=settings.time_range, on_note=settings.tell)
    total = settings.time_range.frames(info)
    faces = read_faces(work, persons)
    if faces is not None:
        settings.tell(f"going on with {info.path.name} where an earlier run was stopped")
        with suppress(OSError, ValueError):  # one that is damaged is looked for again
            return faces, decode(_EarlierMark, stored(earlier)).bits
        return faces, _find_mark(frames, total)
    writer = FacesWriter(work, persons)
    if done := writer.kept.frames:
        settings.tell(f"going on with {info.path.name}: an earlier run has looked through {done} frames")
    found = find_faces(frames, finder, writer, name=info.path.name, total=total, on_progress=settings.on_progress)
    with closing(found):
        mark = _find_mark(found, total)
    with atomic_file(earlier) as partial:
        partial.write_text(json.dumps({"bits": mark}))
    return writer.close(), mark


def _find_mark(frames: Iterable[VideoFrame], total: int) -> int | None:
    """The mark that a clip of about so many frames carries, looked for in some of them as they pass."""
    sampled = {0} | {int((i + 0.5) * total / _MARK_FRAMES) for i in range(_MARK_FRAMES)}
    pictures = (frame.picture for number, frame in enumerate(frames) if number in sampled)
    first = next(pictures, None)
    return None if first is None else mark_in(chain([first], pictures))


def _count_frames(faces: Faces, roles: NDArray[np.int64]) -> ConvertResult:
    """How many frames of a clip will be swapped; `roles`: (N,), see `choose`."""
    with_face = len(np.unique(faces.frame))
    swapped = len(np.unique(faces.frame[roles >= 0]))
    return ConvertResult(1, faces.frames, swapped, faces.frames - with_face, with_face - swapped)


def _copy(video: Path, signed: Path) -> None:
    """Copy a file in which nobody is replaced, with its own credentials: nothing in it is generated."""
    shutil.copyfile(video, signed)
    if credentials.has_sidecar(video) and sidecar_of(video).is_file():
        shutil.copyfile(sidecar_of(video), fresh(sidecar_of(signed)))


@contextmanager
def _resume_advice(work: Path, on_progress: OnProgress) -> Generator[None]:
    """Say how to go on, where the block ends early and leaves something to go on with."""
    try:
        yield
    except BaseException:
        if work.exists():
            note = f"what is done so far is kept in {work}; convert again with `resume` to go on from there"
            on_progress(Progress("convert", note=note))
        raise


def _nobody(video: Path, result: ConvertResult, distances: NDArray[np.float32] | None) -> InputError:
    """Why nothing was replaced; `distances`: (N, P), how far faces are from the persons looked for."""
    if not result.others:
        return InputError(f"No face was found in {video} ({result.frames} frames); nothing was written.")
    near = "" if distances is None else f" (the nearest is {distances.min():.2f} away, {STRANGE} is the most)"
    return InputError(
        f"None of the faces in {video} is the person's that the model knows{near}; nothing was written. "
        'Give `like`, a picture of the person, or `faces` "largest" to replace the largest face, whoever it is.'
    )


def _encode_picture(
    info: VideoInfo, output: Path, second_pass: SecondPass, result: ConvertResult, settings: _Settings
) -> ConvertResult:
    """Write a picture with new faces; its transparency is kept where the output can hold it."""
    frames = second_pass(read_source(info.path))
    for frame in _reported(frames, info, result, 0, settings.on_progress):
        picture, alpha = frame.picture, read_alpha(info.path)
        if alpha is not None and can_be_clear(output):
            picture = np.dstack([picture, alpha])
        elif alpha is not None:
            note = f"{output.suffix} cannot hold the transparency of {info.path.name}, which is left out: write a .png"
            settings.tell(note)
        output.write_bytes(encode_picture(picture, output.suffix))
    return result


def _encode_video(
    info: VideoInfo, output: Path, second_pass: SecondPass, result: ConvertResult, plan: Plan, settings: _Settings
) -> ConvertResult:
    """Write a video with new faces, and with the sound and subtitles of the original by a plan. Segments that an
    earlier run has finished are kept.
    """
    segments = Segments(output.parent, info, settings.encoding)
    start = segments.frames
    frames = read_source(info.path, time_range=settings.time_range)
    with closing(ahead(second_pass(frames, start))) as swapped:
        segments.write(_reported(swapped, info, result, start, settings.on_progress))
    damaged = segments.join(output, plan, settings.time_range)
    if damaged:
        note = f"{info.path.name} has {damaged} damaged pieces of sound or subtitles; left out"
        settings.tell(note)
    return replace(result, sound=plan.sound)


def _reported(
    frames: Iterator[VideoFrame], info: VideoInfo, result: ConvertResult, start: int, on_progress: OnProgress
) -> Iterator[VideoFrame]:
    """Yield the frames from `start` on, and report each when it is encoded. Raises `InputError` where many are missing
    that the first pass has seen: a disk or a share has failed.
    """
    done = start
    for done, frame in enumerate(frames, start + 1):
        yield frame
        values = {"no face": result.without_face}
        on_progress(Progress(f"convert {info.path.name}", done, result.frames, values=values))
    if done < result.frames - _FEW:
        raise InputError(
            f"{info.path} could be read up to frame {done} of {result.frames} only; look after the disk, and convert "
            "again with `resume`."
        )
