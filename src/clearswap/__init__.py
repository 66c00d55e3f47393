"""Clearswap: swap one person's face for another's, the classic deepfakes way, in code that can be read.

    import clearswap

    clearswap.extract(["alice.mp4"], "faces_a")
    clearswap.extract(["bob.mp4"], "faces_b")
    clearswap.subjects("faces_a", footing="agreed")
    clearswap.subjects("faces_b", footing="agreed")
    clearswap.train("faces_a", "faces_b", "model", config=clearswap.TrainConfig(minutes=10))
    clearswap.convert("model", "bob.mp4", "swapped.mp4", to="a")

For footage of people who agreed. Every output says, signed, that it is generated.

Names are loaded when first used: torch takes two seconds to import, and `extract` does without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearswap.core.augment import AugmentConfig as AugmentConfig
    from clearswap.core.label import LabelConfig as LabelConfig
    from clearswap.core.looks import with_look as with_look
    from clearswap.core.mask import MaskConfig as MaskConfig
    from clearswap.core.steady import SteadyConfig as SteadyConfig
    from clearswap.core.swap import BlendConfig as BlendConfig
    from clearswap.errors import ClearswapError as ClearswapError
    from clearswap.errors import FaceModelsMissing as FaceModelsMissing
    from clearswap.errors import FacesetError as FacesetError
    from clearswap.errors import InputError as InputError
    from clearswap.errors import ModelError as ModelError
    from clearswap.errors import OptionError as OptionError
    from clearswap.errors import OutputError as OutputError
    from clearswap.machinery.encoder import EncodeConfig as EncodeConfig
    from clearswap.machinery.subjects import Subject as Subject
    from clearswap.machinery.tracker import TrackConfig as TrackConfig
    from clearswap.machinery.train_loop import TrainConfig as TrainConfig
    from clearswap.machinery.video import Excerpt as Excerpt
    from clearswap.machinery.who import Role as Role
    from clearswap.machinery.who import WhoConfig as WhoConfig
    from clearswap.progress import Progress as Progress
    from clearswap.verbs.check import Checked as Checked
    from clearswap.verbs.check import check as check
    from clearswap.verbs.convert import Converted as Converted
    from clearswap.verbs.convert import convert as convert
    from clearswap.verbs.demo import Demo as Demo
    from clearswap.verbs.demo import demo as demo
    from clearswap.verbs.evaluate import EvaluateConfig as EvaluateConfig
    from clearswap.verbs.evaluate import Evaluation as Evaluation
    from clearswap.verbs.evaluate import evaluate as evaluate
    from clearswap.verbs.extract import ExtractConfig as ExtractConfig
    from clearswap.verbs.extract import Extracted as Extracted
    from clearswap.verbs.extract import extract as extract
    from clearswap.verbs.plot import Plots as Plots
    from clearswap.verbs.plot import plot as plot
    from clearswap.verbs.preview import preview as preview
    from clearswap.verbs.review import Review as Review
    from clearswap.verbs.review import review as review
    from clearswap.verbs.subjects import subjects as subjects
    from clearswap.verbs.swap import swap as swap
    from clearswap.verbs.train import Trained as Trained
    from clearswap.verbs.train import train as train

_NAMES = {
    "core.augment": ["AugmentConfig"],
    "core.label": ["LabelConfig"],
    "core.looks": ["with_look"],
    "core.mask": ["MaskConfig"],
    "core.steady": ["SteadyConfig"],
    "core.swap": ["BlendConfig"],
    "errors": [
        "ClearswapError",
        "FaceModelsMissing",
        "FacesetError",
        "InputError",
        "ModelError",
        "OptionError",
        "OutputError",
    ],
    "machinery.encoder": ["EncodeConfig"],
    "machinery.subjects": ["Subject"],
    "machinery.tracker": ["TrackConfig"],
    "machinery.train_loop": ["TrainConfig"],
    "machinery.video": ["Excerpt"],
    "machinery.who": ["Role", "WhoConfig"],
    "progress": ["Progress"],
    "verbs.check": ["Checked", "check"],
    "verbs.convert": ["Converted", "convert"],
    "verbs.demo": ["Demo", "demo"],
    "verbs.evaluate": ["EvaluateConfig", "Evaluation", "evaluate"],
    "verbs.extract": ["ExtractConfig", "Extracted", "extract"],
    "verbs.plot": ["Plots", "plot"],
    "verbs.preview": ["preview"],
    "verbs.review": ["Review", "review"],
    "verbs.subjects": ["subjects"],
    "verbs.swap": ["swap"],
    "verbs.train": ["Trained", "train"],
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clearswap' has no attribute {name!r}")
    return getattr(import_module(f"clearswap.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
