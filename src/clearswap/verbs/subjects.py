"""Subjects: who a face set shows, and on what footing the footage is used.

    clearswap.subjects("faces_a", footing="agreed", name="Alice", note="signed release 2026-11-03")

What the footings mean, and how they are kept, stands in `machinery/subjects.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clearswap.errors import OptionError
from clearswap.machinery.faceset import require_faceset
from clearswap.machinery.subjects import Footing, Subject, keep_subjects, read_subject, restated


def subjects(
    faces: Path | str, *, footing: Footing | None = None, name: str | None = None, note: str | None = None
) -> Subject | None:
    """The record of the face set `faces`, None when nobody has said yet; what is given is written into it first.

    What is not given stays as it was; "" takes a name or note away. Raises `FacesetError`, `OutputError`, and
    `OptionError` for a name or note without any footing.
    """
    folder = Path(faces)
    require_faceset(folder)
    known = read_subject(folder)
    if footing is None and name is None and note is None:
        return known
    subject = restated(known, footing)
    if subject is None:
        raise OptionError(f"Nobody has said yet on what footing {folder} is used; give --footing, too, such as agreed.")
    subject = replace(
        subject,
        name=subject.name if name is None else name,
        note=subject.note if note is None else note,
    )
    keep_subjects({"": folder}, {"": subject})
    return subject
