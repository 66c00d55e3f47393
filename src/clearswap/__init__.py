"""Clearswap: swap one person's face for another's, the classic deepfakes way, in code that can be read.

    import clearswap

    clearswap.extract(["alice.mp4"], "faces_a")
    clearswap.extract(["bob.mp4"], "faces_b")
    clearswap.set_consent("faces_a", basis="agreed")
    clearswap.set_consent("faces_b", basis="agreed")
    clearswap.train("faces_a", "faces_b", "model", training=clearswap.TrainConfig(minutes=10))
    clearswap.convert("model", "bob.mp4", "swapped.mp4", to="a")

For footage of people who agreed. Every output says, signed, that it is generated.

The public names are listed in `__init__.pyi` and are imported when they are first used: torch takes two seconds to
import, and `extract` does without it.
"""

import os
from difflib import get_close_matches
from typing import Any

import lazy_loader
import platformdirs

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else onnxruntime makes an identifier and looks for its maker's server
# else torch asks the system who the user is, and makes a folder of that name for all to see
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(platformdirs.user_cache_path("clearswap") / "torch"))

__version__ = "0.2.0"
_load, __dir__, __all__ = lazy_loader.attach_stub(  # pyright: ignore[reportUnknownVariableType]
    __name__, __file__
)


def __getattr__(name: str) -> Any:
    names: list[str] = list(__all__)  # pyright: ignore[reportUnknownArgumentType]
    if name in names:
        return _load(name)
    near = "".join(f"; did you mean {other!r}?" for other in get_close_matches(name, names, n=1))
    raise AttributeError(f"module 'clearswap' has no attribute {name!r}{near}")
