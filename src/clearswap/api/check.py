"""Check: say how pictures and videos were made, by their Content Credentials and by Clearswap's mark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from clearswap.checks import paths_of
from clearswap.core.align import Frame
from clearswap.disclosure import credentials_reader
from clearswap.disclosure.consent import MEANINGS
from clearswap.disclosure.credentials import MARK_ALGORITHM
from clearswap.disclosure.credentials_reader import Provenance
from clearswap.disclosure.mark import MarkReading
from clearswap.disclosure.mark import read as read_mark
from clearswap.disclosure.signer import known_roots
from clearswap.errors import InputError, OptionError
from clearswap.media.files import is_picture, left_out, list_inputs, read_picture
from clearswap.media.video import read_spread
from clearswap.progress import OnProgress, Progress, silent

FRAMES = 32  # of a video, in which the mark is looked for
KNOWN, NOTHING, UNREADABLE, DOUBTFUL = 0, 1, 2, 3
_STATES = {
    "trusted": "unaltered, signed under a root that is known here",
    "valid": "unaltered, by a signer who is not known here",
    "expired": "the signer's certificate is not valid today",
    "altered": "altered since it was signed",
    "broken": "cannot be verified",
    "none": "none",
}
_PARENT_STATES = {
    "trusted": "unaltered",
    "valid": "unaltered",
    "expired": "by an expired certificate",
    "altered": "altered since it was signed",
    "broken": "whose credentials could not be verified",
    "none": "which had no credentials",
}


@dataclass(frozen=True)
class CheckResult:
    """What is known of one file.

    Attributes:
        file: Which one.
        credentials: What its Content Credentials say.
        mark: What was found looking for the invisible mark; None where no frame could be read.
        trouble: Why it could not be read, as a sentence.
        bound_to: The originals whose credentials name this mark.
    """

    file: Path
    credentials: Provenance
    mark: MarkReading | None = None
    trouble: str = ""
    bound_to: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """The file's name, the verdict, and what else is known, a fact a line."""
        return [str(self.file), *(f"  {fact}" for fact in (self.verdict, *self._facts()))]

    @property
    def marked(self) -> bool:
        """Whether Clearswap's mark is in the picture."""
        return self.mark is not None and self.mark.marked

    @property
    def code(self) -> int:
        """0: it says what it is, by credentials that hold or by the mark. 1: it carries neither. 2: it cannot be read.
        3: it has credentials, but they do not hold: altered since, expired, or broken.
        """
        if self.credentials.state in ("altered", "expired", "broken"):
            return DOUBTFUL
        if self.credentials.state != "none" or self.marked:
            return KNOWN
        return UNREADABLE if self.mark is None else NOTHING

    @property
    def verdict(self) -> str:
        """All of it in one sentence."""
        said, mark = self.credentials, f"Clearswap's mark, bits 0x{self.mark.bits:04x}" if self.mark else ""
        if self.code == UNREADABLE:
            return self.trouble
        if said.state == "none":
            stripped = f"It carries {mark}, and no credentials: re-encoded or stripped since."
            return stripped if self.marked else "It carries neither credentials nor Clearswap's mark."
        still = f" It carries {mark}." if self.marked else ""
        if said.state in ("trusted", "valid"):
            made = "A model made it, or a part of it" if said.generated else "It does not say that a model made it"
            return f"{made}; it is as it was signed.{still}"
        words = {
            "altered": "It was changed after it was signed.",
            "expired": "It is as it was signed, but the signer's certificate is not valid any more, or not yet.",
            "broken": "Its credentials cannot be verified.",
        }
        return words[said.state] + still

    def _facts(self) -> Iterator[str]:
        credentials, mark = self.credentials, self.mark
        if credentials.state != "none":
            yield from _told_credentials(credentials)
        elif mark is not None:
            yield "credentials  none"
        if mark is not None and mark.marked:
            mirrored = ", mirrored" if mark.mirrored else ""
            named = credentials.swap.get("mark") if credentials.swap else None
            other = ", not the one that the credentials name" if named not in (None, f"{mark.bits:04x}") else ""
            yield f"mark         0x{mark.bits:04x}, confidence {mark.confidence:.0f}{mirrored}{other}"
            for original in self.bound_to:
                yield f"bound to     {original}, whose credentials name this mark"
        elif mark is not None:
            yield "mark         none found"
        elif credentials.state != "none":
            yield f"mark         not looked for: {self.trouble}"

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON values that can be passed on: they name files, not where these lie.

        The mark's bits are four hexadecimal digits, as in the credentials.
        """
        found = self.mark
        mark = None if found is None else {"marked": found.marked, "bits": None, "confidence": found.confidence}
        if mark and found and found.marked:
            mark |= {"bits": f"{found.bits:04x}", "mirrored": found.mirrored}
        sidecar = self.credentials.sidecar
        credentials = asdict(self.credentials) | {"sidecar": None if sidecar is None else sidecar.name}
        words = {"file": str(self.file), "verdict": self.verdict, "trouble": self.trouble}
        name = self.file.name or str(self.file)  # "." has none
        words = {key: text.replace(str(self.file), name) for key, text in words.items()}
        bound = [original.name for original in self.bound_to]
        return words | {"code": self.code, "credentials": credentials, "mark": mark, "bound_to": bound}


def _told_credentials(credentials: Provenance) -> Iterator[str]:
    sidecar = f" (in {credentials.sidecar.name})" if credentials.sidecar else ""
    yield f"credentials  {_STATES[credentials.state]}{sidecar}"
    if credentials.why and credentials.state not in ("trusted", "valid"):
        yield f"found        {', '.join(credentials.why)}"
    facts = {"signed by": credentials.signer, "with": credentials.tool, "on": credentials.when}
    for name, fact in (facts | {"done": ", ".join(credentials.actions)}).items():
        if fact:
            yield f"{name:<12} {fact}"
    if credentials.swap is not None:
        yield from _told_swap(credentials.swap)
    for parent in credentials.parents:  # how its credentials stood is what whoever signed found then
        tool = f"; by {parent.tool}" if parent.tool else ""
        yield f"made from    {parent.title}, {_PARENT_STATES[parent.state]}{tool}"


def _told_swap(swap: Mapping[str, Any]) -> Iterator[str]:
    mark = f", its mark 0x{swap['mark']}" if "mark" in swap else ""
    earlier = f"; the original carried 0x{swap['earlier_mark']}" if "earlier_mark" in swap else ""
    yield f"model        {swap.get('model', '')[:16]}{mark}{earlier}"
    meanings: Mapping[str, str] = {**MEANINGS}
    persons: Mapping[str, Mapping[str, str]] = swap["consent"]
    for side, person in persons.items():
        facts = [meanings.get(fact, fact) if key == "basis" else fact for key, fact in person.items()]
        yield f"person {side:<5} {', '.join(facts)}"
    for other in swap.get("also", ()):  # further models, that replaced further people
        yield from _told_swap(other)


def check(
    files: Sequence[Path | str] | Path | str,
    *,
    originals: Path | str | None = None,
    on_progress: OnProgress = silent,
) -> list[CheckResult]:
    """Say how pictures and videos were made, by any tool's Content Credentials and by Clearswap's mark.

    Nothing is written, and nothing is fetched from the network. A file that cannot be read does not end the rest.

    Args:
        files: Pictures, videos, or folders of either.
        originals: A folder of files as they were signed. Of a file that carries the mark it is said which of them have
            that mark, and so what a file without credentials was.
        on_progress: Called before each file.

    Returns:
        A result for each file; its `trouble` says why one could not be read.

    Raises:
        InputError: There are no originals.
        OptionError: There is nothing to look at, or something that is no path.
    """
    paths = paths_of(files)
    if not paths:
        raise OptionError("There is nothing to check; give pictures, videos, or folders of either.")
    roots, checked = known_roots(), list[CheckResult]()
    bound = {} if originals is None else _by_mark(Path(originals))
    if note := left_out(paths):
        on_progress(Progress("check", note=note))
    for given in paths:
        try:
            sources = list_inputs([given])
        except InputError as error:
            checked.append(CheckResult(given, Provenance("none"), trouble=str(error)))
            continue
        for source in sources:
            on_progress(Progress("check", len(checked), unit="files"))
            one = _check_file(source, roots)
            checked.append(replace(one, bound_to=_same(one, bound)) if one.marked else one)
    return checked


def _by_mark(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files in a folder, by the mark that their credentials name. Raises `InputError` where there are none."""
    found: dict[str, tuple[Path, ...]] = {}
    for path in list_inputs([folder]):
        with suppress(OSError):
            bits = credentials_reader.read(path).bindings.get(MARK_ALGORITHM)
            if bits is not None:
                found[bits] = (*found.get(bits, ()), path)
    return found


def _same(one: CheckResult, bound: Mapping[str, tuple[Path, ...]]) -> tuple[Path, ...]:
    """The originals with the mark of a file, but for itself."""
    bits = "" if one.mark is None else f"{one.mark.bits:04x}"
    return tuple(path for path in bound.get(bits, ()) if path.resolve() != one.file.resolve())


def worst(checked: Sequence[CheckResult]) -> int:
    """One exit code for all: unreadable (2) before doubtful (3) before nothing (1) before known (0)."""
    return max((one.code for one in checked), key=[KNOWN, NOTHING, DOUBTFUL, UNREADABLE].index, default=KNOWN)


def _check_file(file: Path, roots: str) -> CheckResult:
    if not file.is_file():  # a pipe, on which one would wait
        return CheckResult(file, Provenance("none"), trouble=f"{file} is no file; save what comes from it as one.")
    try:
        credentials = credentials_reader.read(file, roots)
    except OSError as error:
        return CheckResult(file, Provenance("none"), trouble=f"{file} cannot be opened ({error.strerror}).")
    try:
        return CheckResult(file, credentials, read_mark(_frames(file)))
    except InputError as error:
        return CheckResult(file, credentials, trouble=str(error))


def _frames(file: Path) -> Iterator[Frame]:
    """The picture, or frames of one size that are spread over the video."""
    if is_picture(file):
        yield read_picture(file)
        return
    size: tuple[int, ...] | None = None
    for frame in read_spread(file, FRAMES):
        size = size or frame.picture.shape
        if frame.picture.shape == size:
            yield frame.picture
