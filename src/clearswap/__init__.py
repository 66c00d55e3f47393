"""Clearswap: swap one person's face for another's, the classic deepfakes way, in code that can be read.

    import clearswap

    clearswap.extract(["alice.mp4"], "faces_a")
    clearswap.extract(["bob.mp4"], "faces_b")
    clearswap.set_consent("faces_a", basis="agreed")
    clearswap.set_consent("faces_b", basis="agreed")
    clearswap.train("faces_a", "faces_b", "model", training=clearswap.TrainConfig(minutes=10))
    clearswap.convert("model", "bob.mp4", "swapped.mp4", to="a")

For footage of people who agreed. Every output says, signed, that it is generated.

Names are loaded when first used: torch takes two seconds to import, and `extract` does without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearswap.api.check import CheckResult as CheckResult
    from clearswap.api.check import check as check
    from clearswap.api.convert import ConvertResult as ConvertResult
    from clearswap.api.convert import convert as convert
    from clearswap.api.evaluate import EvaluateConfig as EvaluateConfig
    from clearswap.api.evaluate import EvaluateResult as EvaluateResult
    from clearswap.api.evaluate import evaluate as evaluate
    from clearswap.api.extract import ExtractConfig as ExtractConfig
    from clearswap.api.extract import ExtractResult as ExtractResult
    from clearswap.api.extract import extract as extract
    from clearswap.api.plot import PlotResult as PlotResult
    from clearswap.api.plot import plot as plot
    from clearswap.api.preview import preview as preview
    from clearswap.api.review import ReviewResult as ReviewResult
    from clearswap.api.review import review as review
    from clearswap.api.swap import DemoResult as DemoResult
    from clearswap.api.swap import demo as demo
    from clearswap.api.swap import swap as swap
    from clearswap.api.train import TrainResult as TrainResult
    from clearswap.api.train import train as train
    from clearswap.core.augment import AugmentConfig as AugmentConfig
    from clearswap.core.mask import MaskConfig as MaskConfig
    from clearswap.core.smoothing import SmoothConfig as SmoothConfig
    from clearswap.core.swap import BlendConfig as BlendConfig
    from clearswap.core.swap import with_look as with_look
    from clearswap.disclosure.consent import Consent as Consent
    from clearswap.disclosure.consent import read_consent as read_consent
    from clearswap.disclosure.consent import set_consent as set_consent
    from clearswap.disclosure.stamp import LabelConfig as LabelConfig
    from clearswap.errors import ClearswapError as ClearswapError
    from clearswap.errors import FaceModelsMissing as FaceModelsMissing
    from clearswap.errors import FacesetError as FacesetError
    from clearswap.errors import InputError as InputError
    from clearswap.errors import ModelError as ModelError
    from clearswap.errors import OptionError as OptionError
    from clearswap.errors import OutputError as OutputError
    from clearswap.faces.selection import Role as Role
    from clearswap.faces.selection import SelectConfig as SelectConfig
    from clearswap.faces.tracker import TrackConfig as TrackConfig
    from clearswap.media.video import TimeRange as TimeRange
    from clearswap.media.writer import EncodeConfig as EncodeConfig
    from clearswap.progress import Progress as Progress
    from clearswap.training.loop import TrainConfig as TrainConfig

_NAMES = {
    "core.augment": ["AugmentConfig"],
    "disclosure.stamp": ["LabelConfig"],
    "core.mask": ["MaskConfig"],
    "core.smoothing": ["SmoothConfig"],
    "core.swap": ["BlendConfig", "with_look"],
    "errors": [
        "ClearswapError",
        "FaceModelsMissing",
        "FacesetError",
        "InputError",
        "ModelError",
        "OptionError",
        "OutputError",
    ],
    "media.writer": ["EncodeConfig"],
    "disclosure.consent": ["Consent", "read_consent", "set_consent"],
    "faces.tracker": ["TrackConfig"],
    "training.loop": ["TrainConfig"],
    "media.video": ["TimeRange"],
    "faces.selection": ["Role", "SelectConfig"],
    "progress": ["Progress"],
    "api.check": ["CheckResult", "check"],
    "api.convert": ["ConvertResult", "convert"],
    "api.evaluate": ["EvaluateConfig", "EvaluateResult", "evaluate"],
    "api.extract": ["ExtractConfig", "ExtractResult", "extract"],
    "api.plot": ["PlotResult", "plot"],
    "api.preview": ["preview"],
    "api.review": ["ReviewResult", "review"],
    "api.swap": ["DemoResult", "demo", "swap"],
    "api.train": ["TrainResult", "train"],
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clearswap' has no attribute {name!r}")
    return getattr(import_module(f"clearswap.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
