"""`clearswap check`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

import clearswap
from clearswap.api.check import UNREADABLE, CheckResult, worst
from clearswap.cli.progress_bar import progress_bar
from clearswap.disclosure.consent import MEANINGS
from clearswap.disclosure.credentials_reader import Parent, Provenance
from clearswap.progress import silent

_STATES = {
    "trusted": "unaltered, signed under a root that is known here",
    "valid": "unaltered, by a signer who is not known here",
    "expired": "the signer's certificate is not valid today",
    "altered": "altered since it was signed",
    "broken": "cannot be verified",
    "none": "none",
}
_MEANINGS: Mapping[str, str] = {**MEANINGS}


def check(*files: Path, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Say what pictures and videos say of how they were made.

    Parameters
    ----------
    files
        Pictures, videos, or folders of either.
    as_json
        Print JSON for machines.
    """
    errors = Console(stderr=True, soft_wrap=True)
    with progress_bar(errors) if errors.is_terminal else nullcontext(silent) as on_progress:
        checked = clearswap.check(files, on_progress=on_progress)
    if as_json:
        sys.stdout.write(json.dumps([one.to_json() for one in checked], indent=1, ensure_ascii=False) + "\n")
    else:
        for one in checked:
            _show(one, errors)
    if code := worst(checked):
        sys.exit(code)


def _show(one: CheckResult, errors: Console) -> None:
    """One block of a file's own; what cannot be read is an error."""
    if one.code == UNREADABLE:
        errors.print(f"clearswap: {one.trouble}", markup=False, highlight=False)
        return
    console = Console(soft_wrap=True)
    console.print(str(one.file), style="bold", markup=False, highlight=False)
    for line in [one.verdict, *_lines(one)]:
        console.print(f"  {line}", markup=False, highlight=False)


def _lines(one: CheckResult) -> Iterator[str]:
    """What is known of a file beside the verdict, a fact a line."""
    said = one.credentials
    if said.state != "none":
        yield from _credentials(said)
    elif one.mark is not None:
        yield "credentials  none"
    if one.mark is not None and one.mark.marked:
        mirrored = ", mirrored" if one.mark.mirrored else ""
        named = said.swap.get("mark") if said.swap else None
        other = ", not the one that the credentials name" if named not in (None, f"{one.mark.bits:04x}") else ""
        yield f"mark         0x{one.mark.bits:04x}, confidence {one.mark.confidence:.0f}{mirrored}{other}"
    elif one.mark is not None:
        yield "mark         none found"
    elif said.state != "none":
        yield f"mark         not looked for: {one.trouble}"


def _credentials(said: Provenance) -> Iterator[str]:
    beside = f" (in {said.sidecar.name})" if said.sidecar else ""
    yield f"credentials  {_STATES[said.state]}{beside}"
    if said.why and said.state not in ("trusted", "valid"):
        yield f"found        {', '.join(said.why)}"
    facts = {"signed by": said.signer, "with": said.tool, "on": said.when, "done": ", ".join(said.actions)}
    for name, fact in facts.items():
        if fact:
            yield f"{name:<12} {fact}"
    if said.swap is not None:
        yield from _swap(said.swap)
    for parent in said.parents:
        yield f"made from    {_parent(parent)}"


def _swap(swap: Mapping[str, Any]) -> Iterator[str]:
    mark = f", its mark 0x{swap['mark']}" if "mark" in swap else ""
    earlier = f"; the original carried 0x{swap['earlier_mark']}" if "earlier_mark" in swap else ""
    yield f"model        {swap.get('model', '')[:16]}{mark}{earlier}"
    subjects: Mapping[str, Mapping[str, str]] = swap["consent"]
    for side, subject in subjects.items():
        facts = [_MEANINGS.get(fact, fact) if key == "basis" else fact for key, fact in subject.items()]
        yield f"person {side:<5} {', '.join(facts)}"
    for other in swap.get("also", ()):  # further models, that replaced further people
        yield from _swap(other)


def _parent(parent: Parent) -> str:
    """How its credentials stood is what whoever signed found then."""
    words = {"none": "which had no credentials", "trusted": "unaltered", "valid": "unaltered"} | {
        "expired": "by an expired certificate",
        "altered": "altered since it was signed",
        "broken": "whose credentials could not be verified",
    }
    tool = f"; by {parent.tool}" if parent.tool else ""
    return f"{parent.title}, {words[parent.state]}{tool}"
