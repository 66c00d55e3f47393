"""What can go wrong, as a tree.

    ClearswapError          one sentence for the user: what, where, what to do
    ├── InputError          a clip or picture that cannot be read, or holds no face
    │   └── ContentError    one that shows what Clearswap is not for
    ├── FacesetError        a face set that is missing, too small or damaged
    ├── ModelError          a model that is missing, damaged or of another preset
    ├── OutputError         a place that cannot be written, a full disk
    ├── OptionError         a setting that makes no sense
    ├── ConsentError        a consent that has ended, was withdrawn, or is for something else
    └── FaceModelsMissing   the detector's or landmarker's weights are not installed

Every verb raises only these for what a user can mend; anything else is a bug and keeps its traceback.
The command line prints the sentence and leaves with exit code 2.
"""

from __future__ import annotations


class ClearswapError(Exception):
    """A problem that the user can mend; its text is the one sentence they need."""


class InputError(ClearswapError):
    """A clip or picture that cannot be read, or that holds no face."""


class ContentError(InputError):
    """A clip or picture that shows what Clearswap is not for."""


class FacesetError(ClearswapError):
    """A face set that is missing, too small or damaged."""


class ModelError(ClearswapError):
    """A model that is missing, damaged or of another preset."""


class OutputError(ClearswapError):
    """A place that cannot be written to, or has run out of room."""


class OptionError(ClearswapError):
    """A setting whose value makes no sense."""


class ConsentError(ClearswapError):
    """The consent of a person who is shown has ended, was withdrawn, or is for another purpose."""


class FaceModelsMissing(ClearswapError):
    """The weights of the detector or the landmark network are not installed."""
