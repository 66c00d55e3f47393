"""Files and folders appear complete or not at all: each is written under another name and renamed at the end.

Files as people give them: pictures of every kind, depth and colour space, and folders of pictures and videos.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import unicodedata
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pi_heif import register_heif_opener  # pyright: ignore[reportUnknownVariableType]
from PIL import Image, ImageCms, ImageOps, ImageSequence

from clearswap.core.align import Frame
from clearswap.errors import InputError, OutputError
from clearswap.media.shown import OnNote, VideoFrame
from clearswap.media.video import TimeRange, VideoInfo, probe, read_frames

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another place",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another place",
    errno.EFBIG: "no file may become that large here; raise that limit (ulimit -f) or choose another disk",
    errno.EACCES: "you may not write there; choose another place",
    errno.EPERM: "you may not write there; choose another place",
    errno.EROFS: "that disk is read-only; choose another place",
    errno.ENOENT: "there is no such place; choose another",
    errno.EEXIST: "there is a file of that name; choose another",
    errno.ENOTDIR: "a part of that path is a file, not a folder; choose another place",
    errno.EISDIR: "there is a folder of that name; choose another name",
    errno.ENAMETOOLONG: "that name is too long; choose a shorter one",
    errno.EIO: "the disk reported an error; choose another place",
}
_NOT_THE_DISK = {errno.EBADF, errno.EFAULT, errno.EPIPE}  # mistakes in a program, and what `on_progress` may meet


@contextmanager
def output_errors(path: Path) -> Generator[None]:
    """Turn a failed write inside the block into an `OutputError` about `path`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in errno.errorcode or error.errno in _NOT_THE_DISK:
            raise
        reason = _REASONS.get(error.errno, f"the system says: {error.strerror}; mend that or choose another place")
        raise OutputError(f"{path} cannot be written: {reason}.") from error


def clear(path: Path) -> None:
    """Remove a file, a folder with all in it, or a link, but not what that leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def fresh(path: Path) -> Path:
    """Make an empty file in place of whatever has that name, and return its path: nothing is written through a link."""
    clear(path)
    path.touch(exist_ok=False)
    return path


def hidden(path: Path, ending: str) -> Path:
    """A hidden name next to `path`, and nobody else's. A long one is shortened: disks take 255 bytes, encrypted home
    folders 143.
    """
    path = path.absolute()  # `.` has a name, too
    name = os.fsencode(path.name)
    return path.with_name(f".{path.name if len(name) <= 100 else hashlib.sha256(name).hexdigest()}{ending}")


def partial_of(path: Path) -> Path:
    """Where `path` is being written until it is complete: hidden, in the same folder, with the same suffix."""
    return hidden(path, f".partial{path.suffix}")


@contextmanager
def locked(path: Path, *, inside: bool = False) -> Generator[None]:
    """Keep `path` for this run as long as the block lasts; `inside`: it is a folder that the run writes into.

    The lock goes with the run, however that ends. Folders that were made for it and stay empty are removed. Raises
    `OutputError` where another run has it, or where nothing can be written.
    """
    with output_errors(path):
        place = path.resolve() / ".lock" if inside else hidden(path, ".lock")
        if place.is_symlink():
            raise OutputError(f"{place} is a link; the lock of {path} belongs there: delete the link.")
        made = [folder for folder in place.parents if not folder.exists()]
        lock = FileLock(place, blocking=False, is_singleton=True)  # a thread that has it may take it again
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            if not place.exists():  # as in /proc
                raise FileNotFoundError(errno.ENOENT, "no file can be made here") from None
            raise OutputError(
                f"{path} is being written by another run; wait until it ends or choose another place."
            ) from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            place.unlink(missing_ok=True)  # before another run can have it
        lock.release()
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def clear_partials(folder: Path) -> None:
    """Remove what killed runs have left half-written in a folder that this run has locked."""
    for path in (*folder.glob(".*.partial*"), *folder.glob(".*.lock")):
        with suppress(OSError):
            path.unlink()


@contextmanager
def atomic_file(path: Path) -> Generator[Path]:
    """Yield a path to write to. When the block ends well, that file is renamed to `path`; else it is removed.

    Missing folders are made. Raises `OutputError`, before the block where the place cannot be written at all or another
    run is writing it.
    """
    partial = partial_of(path)
    with output_errors(path), locked(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
        try:
            yield fresh(partial)  # a place that cannot be written is found out before the work, not after
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """Yield a folder to fill. When the block ends well, it is renamed to `path`; else it is removed.

    Raises `OutputError`, also where `path` is a file or a folder that holds anything, or where another run fills it.
    """
    partial = hidden(path, ".partial")
    with output_errors(path), locked(path):
        if path.is_file():
            raise OutputError(f"{path} is a file; choose another place for the folder.")
        if path.is_dir() and any(path.iterdir()):
            raise OutputError(f"{path} is not empty; delete it or choose another place.")
        clear(partial)  # left by a run that was killed
        partial.mkdir(parents=True)
        try:
            yield partial
            if path.is_dir():
                path.absolute().rmdir()
            partial.replace(path.absolute())
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def free_name(stem: str, suffix: str, taken: set[str]) -> str:
    """`stem` with `suffix`, and a number between them where the name, or that of its credentials, is in `taken`.

    Names that one disk or another takes for the same count as one. Adds to `taken`.
    """
    number, endings = 1, {suffix, ".c2pa"} if suffix.lower() in _WITH_SIDECAR else {suffix}
    while True:
        name = f"{stem}-{number}" if number > 1 else stem
        keys = {unicodedata.normalize("NFC", name + ending).casefold() for ending in endings}
        if not keys & taken:
            taken |= keys
            return name + suffix
        number += 1


PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif"}
)
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".f4v", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".mod"}
    | {".tod", ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".mxf", ".dv", ".gif", ".apng"}
)
_WITH_SIDECAR = frozenset({".mkv", ".webm"})  # whose credentials lie next to them
_WRITTEN = frozenset(
    {".mp4", ".m4v", ".mov", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif"} | _WITH_SIDECAR
)
_OWN = (".labels.npz", ".c2pa", "index.jsonl", "consent.toml")  # what Clearswap lays next to pictures and videos


# Pictures

# What Pillow may take a file for, whatever its name. It knows more kinds, and some of them run other programs.
_KINDS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
_ORIENTATION = 274  # EXIF's number for the way up: from 5 on the picture lies on its side
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
register_heif_opener()


def is_picture(path: Path) -> bool:
    """Whether it is a picture: by its name, or by its content where the name does not say."""
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES | VIDEO_SUFFIXES:
        return suffix in PICTURE_SUFFIXES
    try:
        with _opened(path) as image:
            return image.format not in ("GIF", "TIFF")  # the one moves, the other may be a camera's raw data
    except InputError:
        return False


def read_picture(path: Path) -> Frame:
    """Read a picture as (H, W, 3) bytes in sRGB, turned upright as its EXIF says. Raises `InputError`.

    Its colour profile is applied, grey is spread to three channels, 16 bits become 8, transparency is left out.
    """
    return np.array(_decode(path).convert("RGB"), np.uint8)


def read_alpha(path: Path) -> NDArray[np.uint8] | None:
    """The transparency (H, W) of a picture that has some, upright as in `read_picture`, else None."""
    image = _decode(path)
    return np.array(image.getchannel("A"), np.uint8) if image.mode == "RGBA" else None


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of an upright picture, by the first bytes of its file. Raises `InputError`."""
    with _opened(path) as image:
        width, height = image.size
        with suppress(Exception):  # EXIF that is broken does not say which way is up
            return (height, width) if 5 <= image.getexif().get(_ORIENTATION, 1) <= 8 else (width, height)
        return width, height


def can_be_clear(path: Path) -> bool:
    """Whether a picture of this name can be transparent."""
    return path.suffix.lower() not in _JPEG


def encode_picture(picture: Frame, suffix: str, *, quality: int = 95) -> bytes:
    """The bytes of a picture file; JPEG and AVIF keep full chroma, so that lips and eyes do not smear."""
    suffix, options = suffix.lower(), list[int]()
    if suffix == ".avif":
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "AVIF", quality=quality, subsampling="4:4:4")
        return file.getvalue()
    if suffix in _JPEG:
        suffix, options = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    order = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture, order), options)
    if not done:
        raise InputError(f"A picture could not be written as {suffix}; use .png or .jpg.")
    return data.tobytes()


def _decode(path: Path) -> Image.Image:
    """The one picture in a file, upright, in sRGB, as RGB or RGBA. Raises `InputError`."""
    with _opened(path) as image:
        if (count := _count(image)) > 1:
            raise InputError(
                f"{path} holds {count} pictures (an animation, or several pages); save the one that you want as a "
                "picture of its own, or an animation as a video (.mp4)."
            )
        image.load()
        tags = getattr(image, "tag_v2", {})
        if tags.get(284) == 2 and max(tags[258]) > 8:  # TIFF with a plane for each colour: Pillow takes it for 8 bits
            deep = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
            image.paste(Image.fromarray(np.asarray(deep, np.uint8)))
        with suppress(Exception):  # EXIF that is broken does not say which way is up
            image = ImageOps.exif_transpose(image)
        return _in_srgb(image)


@contextmanager
def _opened(path: Path) -> Generator[Image.Image]:
    """The picture in a file, not yet decoded. Whatever goes wrong in the block becomes an `InputError`."""
    try:
        if not path.is_file():
            raise InputError(f"{path} does not exist; check the name.")
        if not path.stat().st_size:
            raise InputError(f"{path} is empty (0 bytes); copy it again.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that it does not know, and of large pictures
            with Image.open(path, formats=_KINDS) as image:
                yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has more pixels than can be read; make it smaller.") from error
    except Exception as error:  # Pillow raises errors of every kind where files are damaged
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{path} cannot be opened ({error.strerror}).") from error
        raise InputError(f"{path} is not a picture that can be read; it may be damaged.") from error


def _count(image: Image.Image) -> int:
    """How many pictures a file holds, as far as all are meant to be seen: small copies and gain maps are not."""
    if image.format == "TIFF":
        kinds = [getattr(page, "tag_v2", {}).get(254, 0) for page in ImageSequence.Iterator(image)]
        image.seek(0)
        return sum(not kind & 1 for kind in kinds)
    return getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP", "GIF", "AVIF") else 1


def _in_srgb(image: Image.Image) -> Image.Image:
    """A picture of any kind as 8-bit RGB or RGBA, its colour profile applied."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    profile: bytes | None = image.info.get("icc_profile")
    if image.mode == "F":
        raise ValueError("of no fixed range")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    colours = (_converted(image, profile) if profile else None) or image.convert("RGB")
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


def _converted(image: Image.Image, profile: bytes) -> Image.Image | None:
    """A picture in sRGB; None where its profile is damaged, or for other colours than it has."""
    cms: Any = ImageCms  # its types are not all known
    try:
        known = cms.ImageCmsProfile(io.BytesIO(profile))
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[known.profile.xcolor_space.strip()]
        if (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and image.mode not in ("1", "L", "LA")):
            return None
        intent, flags = cms.Intent.RELATIVE_COLORIMETRIC, cms.Flags.BLACKPOINTCOMPENSATION
        return cms.profileToProfile(image.convert(mode), known, cms.createProfile("sRGB"), intent, "RGB", flags=flags)
    except (ImageCms.PyCMSError, KeyError, OSError, TypeError, ValueError):
        return None


# Inputs: videos, pictures, and folders of either


def list_inputs(inputs: Sequence[Path]) -> list[Path]:
    """The files behind `inputs`: folders are listed (sorted by name, hidden files left out), files are kept.

    Raises `InputError` for a name that does not exist and for a folder without pictures or videos.
    """
    files: list[Path] = []
    for given in inputs:
        try:
            if given.is_dir():
                found = sorted(path for path in given.iterdir() if _is_input(path))
                if not found:
                    raise InputError(f"{given} holds no picture and no video; choose another folder.")
                files += found
            elif given.exists():
                files.append(given)
            else:
                raise InputError(f"{given} does not exist; check the name.")
        except OSError as error:  # no permission, a name that is too long
            raise InputError(f"{given} cannot be opened ({error.strerror}).") from error
    return files


def left_out(inputs: Sequence[Path]) -> str:
    """What folders among `inputs` hold that is not taken, to be told to people; empty where all is taken.

    Hidden files, and what Clearswap itself laid there, are not spoken of.
    """
    names: list[str] = []
    for given in inputs:
        with suppress(OSError):  # `list_inputs` says what cannot be opened
            for path in sorted(given.iterdir()) if given.is_dir() else ():
                if not (_is_input(path) or path.name.startswith(".") or path.name.endswith(_OWN) or _is_mask(path)):
                    names.append(f"{path.name}/" if path.is_dir() else path.name)
    if not names:
        return ""
    more = f" and {len(names) - 5} more" * (len(names) > 5)
    kinds = "files of other kinds, and folders in folders, which can be given by themselves"
    return f"not taken: {', '.join(names[:5])}{more} ({kinds})"


def _is_input(path: Path) -> bool:
    known = path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES
    return known and path.is_file() and not path.name.startswith(".") and not _is_mask(path)


def _is_mask(path: Path) -> bool:
    """Whether a picture is the mask of another one next to it."""
    stem = path.name.removesuffix(".mask.png")
    return stem != path.name and any(path.with_name(stem + suffix).exists() for suffix in PICTURE_SUFFIXES)


def pair_outputs(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """Each input file with the file that it becomes; a folder becomes a folder of the same names.

    There, kinds that cannot be written become .mp4 or .jpg, and no two files get one name. Raises `InputError` for
    inputs that are none, and `OutputError` for outputs that cannot be.
    """
    files = list_inputs([source])
    with output_errors(output):
        if source.is_dir() and output.is_file():
            raise OutputError(f"{output} is a file; a folder of inputs needs a folder as output.")
        if output.is_dir() and not source.is_dir():
            raise OutputError(f"{output} is a folder; give the output a file name, such as {output / source.name}.")
        names = _names_written(files) if source.is_dir() else {}
        pairs = [(file, output / names[file] if source.is_dir() else output) for file in files]
        for given, wanted in pairs:
            if given.resolve() == wanted.resolve():
                raise OutputError(f"{wanted} is the input itself; choose another output.")
            if is_picture(given) != is_picture(wanted):
                raise OutputError(f"{given} cannot become {wanted}: a picture stays a picture and a video a video.")
    return pairs


def _names_written(files: Sequence[Path]) -> dict[Path, str]:
    """Under which name each file of a folder is written. Those that can keep theirs come first."""
    names, taken = dict[Path, str](), set[str]()
    for file in sorted(files, key=lambda file: file.suffix.lower() not in _WRITTEN):
        suffix = ".jpg" if is_picture(file) else ".mp4"
        names[file] = free_name(file.stem, file.suffix if file.suffix.lower() in _WRITTEN else suffix, taken)
    return names


def about_source(source: Path) -> VideoInfo:
    """What a video is; a picture is a video of one frame. Raises `InputError`."""
    if not is_picture(source):
        return probe(source)
    size, one = picture_size(source), Fraction(1)
    return VideoInfo(source, 0, *size, size, pixel_aspect=one, rate=one, time_base=one, zero=0, frames=1)


def read_source(
    source: Path, *, every: int = 1, time_range: TimeRange = TimeRange(), on_note: OnNote = lambda _: None
) -> Iterator[VideoFrame]:
    """Yield the frames of a part of a video, or the one frame of a picture.

    `on_note` is told what is to be said of the frames. Raises `InputError`.
    """
    if is_picture(source):
        yield VideoFrame(read_picture(source), index=0, pts=0, duration=0, time=0.0)
    else:
        yield from read_frames(source, every=every, time_range=time_range, on_note=on_note)
