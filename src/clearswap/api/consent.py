"""Subjects: who a face set shows, and on what basis the footage is used.

    clearswap.set_consent("faces_a", basis="agreed", name="Alice", note="signed release 2026-11-03")

What the bases mean, and how they are kept, stands in `disclosure/consent.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clearswap.disclosure.consent import Basis, Consent, keep_consent, read_consent, restated
from clearswap.errors import OptionError
from clearswap.faces.faceset import require_faceset


def set_consent(
    faces: Path | str, *, basis: Basis | None = None, name: str | None = None, note: str | None = None
) -> Consent:
    """State on what basis the footage behind the face set `faces` is used, and who it shows; returns the record.

    What is not given stays as it was; "" takes a name or note away. Raises `FacesetError`, `OutputError`, and
    `OptionError` for a name or note without any basis.
    """
    folder = Path(faces)
    require_faceset(folder)
    subject = restated(read_consent(folder), basis)
    if subject is None:
        raise OptionError(f"Nobody has said yet on what basis {folder} is used; give --basis, too, such as agreed.")
    subject = replace(
        subject,
        name=subject.name if name is None else name,
        note=subject.note if note is None else note,
    )
    keep_consent({"": folder}, {"": subject})
    return subject
