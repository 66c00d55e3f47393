"""Looks: what a new face's edge, colour and sharpness are for common tastes, by name. Single settings change a look."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Literal, TypeAlias, TypeVar

from clearswap.core.mask import MaskConfig
from clearswap.core.swap import BlendConfig

Look: TypeAlias = Literal["natural", "crisp", "soft", "raw"]
Config = TypeVar("Config", MaskConfig, BlendConfig)

# natural: the defaults, nearest to the truth by PSNR. crisp: eyes and mouths stand out, at 0.4 dB (docs/converting.md).
# soft: no edge anywhere, for skins that differ. raw: what the network drew, for study.
LOOKS: dict[Look, tuple[MaskConfig, BlendConfig]] = {
    "natural": (MaskConfig(), BlendConfig()),
    "crisp": (MaskConfig(), BlendConfig(sharpen=1.6)),
    "soft": (MaskConfig(feather=0.16), BlendConfig(seam="pyramid")),
    "raw": (MaskConfig(), BlendConfig(colour_method="none", sharpen=0.0, grain=0.0)),
}


def with_look(look: Look, mask: MaskConfig, blend: BlendConfig) -> tuple[MaskConfig, BlendConfig]:
    """A look, with those settings of `mask` and `blend` that are not the usual ones in place of its own."""
    own_mask, own_blend = LOOKS[look]
    return _changed(own_mask, mask, MaskConfig()), _changed(own_blend, blend, BlendConfig())


def _changed(look: Config, given: Config, usual: Config) -> Config:
    chosen = {f.name: getattr(given, f.name) for f in fields(given) if getattr(given, f.name) != getattr(usual, f.name)}
    return replace(look, **chosen)
