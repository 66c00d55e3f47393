"""`clearswap convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.cli.progress_bar import progress_bar
from clearswap.core.mask import MaskConfig
from clearswap.core.smoothing import SmoothConfig
from clearswap.core.swap import BlendConfig, Look, with_look
from clearswap.disclosure.stamp import LabelConfig
from clearswap.errors import OptionError
from clearswap.faces.selection import Role, SelectConfig
from clearswap.faces.tracker import TrackConfig
from clearswap.media.video import TimeRange
from clearswap.media.writer import EncodeConfig


def convert(
    model: Path,
    video: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    to: Literal["a", "b"],
    also: Annotated[list[str] | None, Parameter(negative=())] = None,
    select: Annotated[SelectConfig, Parameter(name="*")] = SelectConfig(),
    look: Look = "natural",
    mask: Annotated[MaskConfig, Parameter(name="*")] = MaskConfig(),
    blend: Annotated[BlendConfig, Parameter(name="*")] = BlendConfig(),
    tracking: Annotated[TrackConfig, Parameter(name="*")] = TrackConfig(),
    smoothing: Annotated[SmoothConfig, Parameter(name="*")] = SmoothConfig(),
    encoding: Annotated[EncodeConfig, Parameter(name="*")] = EncodeConfig(),
    time_range: Annotated[TimeRange, Parameter(name="*")] = TimeRange(),
    label: Annotated[LabelConfig, Parameter(name="*")] = LabelConfig(),
    publish_names: Annotated[bool, Parameter(negative=())] = False,
    resume: bool = False,
    preview: bool = False,
) -> None:
    """Put the face of person a or b into a video, a picture, or a folder of either.

    Parameters
    ----------
    model
        Folder of the model.
    video
        A video, a picture, or a folder of either.
    output
        The file (or, for a folder, the folder) to write: .mp4, .mov, .mkv, .png, .jpg.
    to
        Whose face is put in: the person of the first (a) or the second (b) face set in training.
    also
        MODEL:a or MODEL:b: another person in the same video is replaced by a face of another model. May be repeated.
    look
        How the face is fitted in: "natural" (nearest to the truth), "crisp" (sharper eyes and mouth), "soft" (no edge
        anywhere) or "raw" (as the network drew it). Options of mask and blend change it.
    publish_names
        Write the persons' names, where they were stated, into the credentials.
    resume
        Go on with a video whose conversion was stopped or killed, after the last finished ten seconds or so.
    preview
        Write a picture instead: the hardest frames of the video with these settings and with others, and who is in it.
    """
    console = Console()
    mask, blend = with_look(look, mask, blend)
    with progress_bar(console) as on_progress:
        if preview:
            rows = clearswap.preview(
                *(model, video, output),
                to=to,
                select=select,
                mask=mask,
                blend=blend,
                tracking=tracking,
                smoothing=smoothing,
                time_range=time_range,
                on_progress=on_progress,
            )
            console.print(f"{output}: {', '.join(rows)}", markup=False, highlight=False, soft_wrap=True)
            return
        done = clearswap.convert(
            *(model, video, output),
            to=to,
            also=[_role(text) for text in also or []],
            select=select,
            mask=mask,
            blend=blend,
            tracking=tracking,
            smoothing=smoothing,
            encoding=encoding,
            time_range=time_range,
            label=label,
            publish_names=publish_names,
            resume=resume,
            on_progress=on_progress,
        )
    console.print(f"{output}: {done}", markup=False, highlight=False, soft_wrap=True)


def _role(text: str) -> Role:
    """What `--also` says."""
    model, _, to = text.rpartition(":")
    if not model or to not in ("a", "b"):
        raise OptionError(f"--also {text} names no model and person; write MODEL:a or MODEL:b.")
    return Role(Path(model), "a" if to == "a" else "b")
