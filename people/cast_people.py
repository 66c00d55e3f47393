"""A cast without end: a seed makes a person. Nobody of them ever lived.

Shape: weights on the base mesh, as in ``demo_cast.py``. Skin: a mixture of the looks there, from the lightest to the
darkest. Hair, brows, beard, make-up, freckles and lines of age: drawn at random, as far as they go together.
"""

from dataclasses import dataclass, replace

import numpy as np

from demo_cast import LOOKS, MACRO, TONES
from demo_looks import Colour, Look

# Pairs of opposite morphs: of each, one end is drawn. ``*``: both sides of the face, nearly alike.
_OPPOSITES = {
    "decr incr": (
        *("chin/chin-bones", "chin/chin-cleft", "chin/chin-height", "chin/chin-prominent", "chin/chin-width"),
        *("chin/chin-jaw-drop", "cheek/*-cheek-bones", "cheek/*-cheek-inner", "cheek/*-cheek-volume"),
        *("ears/*-ear-scale", "ears/*-ear-wing", "eyes/*-eye-bag", "eyes/*-eye-height1", "eyes/*-eye-height2"),
        *("eyes/*-eye-height3", "eyes/*-eye-scale", "forehead/forehead-nubian", "forehead/forehead-temple"),
        *("head/head-scale-horiz", "head/head-scale-vert", "mouth/mouth-cupidsbow", "mouth/mouth-lowerlip-height"),
        *("mouth/mouth-lowerlip-volume", "mouth/mouth-lowerlip-width", "mouth/mouth-philtrum-volume"),
        *("mouth/mouth-scale-horiz", "mouth/mouth-upperlip-height", "mouth/mouth-upperlip-volume"),
        *("mouth/mouth-upperlip-width", "neck/neck-double", "neck/neck-scale-horiz", "nose/nose-flaring"),
        *("nose/nose-greek", "nose/nose-hump", "nose/nose-nostrils-width", "nose/nose-point-width"),
        *("nose/nose-scale-depth", "nose/nose-scale-horiz", "nose/nose-scale-vert", "nose/nose-volume"),
        *("nose/nose-width1", "nose/nose-width2", "nose/nose-width3"),
    ),
    "down up": (
        *("eyebrows/eyebrows-angle", "eyebrows/eyebrows-trans", "eyes/*-eye-corner1", "eyes/*-eye-corner2"),
        *("eyes/*-eye-eyefold", "eyes/*-eye-trans", "mouth/mouth-angles", "mouth/mouth-trans", "nose/nose-point"),
        *("nose/nose-nostrils-angle", "nose/nose-trans"),
    ),
    "in out": ("eyes/*-eye-epicanthus", "eyes/*-eye-push1", "mouth/mouth-dimples", "mouth/mouth-laugh-lines"),
    "backward forward": ("eyebrows/eyebrows-trans", "forehead/forehead-trans", "mouth/mouth-trans"),
    "concave convex": ("nose/nose-curve",),
}
_HEADS = ("oval", "round", "square", "rectangular", "diamond", "triangular", "invertedtriangular")
_STYLE_OF = {"combed": "a", "curls": "b", "bob": "c", "crop": "d", "thin": "e", "bun": "f", "perm": "g"}  # hairlines
_HAIR: dict[str, tuple[Colour, Colour]] = {
    "black": ((0.04, 0.033, 0.032), (0.12, 0.09, 0.08)),
    "dark brown": ((0.10, 0.065, 0.045), (0.24, 0.16, 0.11)),
    "brown": ((0.20, 0.13, 0.08), (0.42, 0.29, 0.18)),
    "blond": ((0.36, 0.27, 0.16), (0.68, 0.55, 0.36)),
    "red": ((0.30, 0.13, 0.06), (0.66, 0.32, 0.15)),
    "grey": ((0.36, 0.35, 0.34), (0.72, 0.71, 0.69)),
    "white": ((0.62, 0.61, 0.59), (0.93, 0.92, 0.90)),
}
_IRISES: tuple[tuple[Colour, Colour], ...] = (
    *(LOOKS[name].iris for name in "abcdfg"),
    ((0.30, 0.42, 0.55), (0.20, 0.32, 0.48)),
    ((0.45, 0.33, 0.16), (0.28, 0.20, 0.10)),
)
_LIPSTICK: tuple[Colour, ...] = ((0.62, 0.08, 0.12), (0.55, 0.16, 0.22), (0.70, 0.25, 0.32), (0.40, 0.10, 0.16))


@dataclass(frozen=True)
class Made:
    """A person made by a seed."""

    seed: int
    shape: dict[str, float]
    look: Look
    sex: str
    age: int
    tone: float  # 0 lightest .. 1 darkest skin
    glasses: Colour | None  # of the rims
    cap: Colour | None


def made_person(seed: int, tone_of: str | None = None) -> Made:
    """The person of a seed; the same one every time. ``tone_of``: with the skin of one of the seven, by letter."""
    rng = np.random.default_rng([7, seed])
    sex = str(rng.choice(["female", "male"]))
    age = int(rng.choice([rng.integers(18, 35), rng.integers(35, 60), rng.integers(60, 80)], p=[0.45, 0.33, 0.22]))
    tone = float(rng.random())
    look = _look(rng, sex, age, tone)
    glasses = tuple(rng.choice([0.05, 0.25, 0.6]) * rng.uniform(0.5, 1.2, 3)) if rng.random() < 0.25 else None
    cap = tuple(rng.uniform(0.08, 0.75, 3)) if rng.random() < 0.12 else None
    shape = _shape(rng, sex, age, tone)
    if tone_of:
        skin = LOOKS[tone_of]
        look = replace(
            look, skin=skin.skin, flush=skin.flush, shade=skin.shade, lips=skin.lips, sheen=skin.sheen, freckles=0.0
        )
        tone = TONES.index(tone_of) / (len(TONES) - 1)
    return Made(seed, shape, look, sex, age, tone, glasses, cap)


def _shape(rng: np.random.Generator, sex: str, age: int, tone: float) -> dict[str, float]:
    """Weights of the morphs: kinds and ages mixed, a build, a head, and some features strong, most weak."""
    old = float(np.clip((age - 25) / 45, 0, 1))
    kinds = rng.dirichlet([0.35 + 1.4 * (1 - tone), 0.5, 0.35 + 1.4 * tone])
    shape: dict[str, float] = {}
    for kind, part in zip(("caucasian", "asian", "african"), kinds, strict=True):
        shape[f"{MACRO}{kind}-{sex}-young"] = float(part * (1 - old))
        shape[f"{MACRO}{kind}-{sex}-old"] = float(part * old)
    muscle, weight = rng.choice(["min", "average", "max"], p=[0.2, 0.6, 0.2]), float(rng.uniform(-1, 1))
    for years, part in (("young", 1 - old), ("old", old)):
        build = f"{MACRO}universal-{sex}-{years}-{muscle}muscle-"
        shape[build + "averageweight"] = part * (1 - abs(weight))
        shape[build + ("maxweight" if weight > 0 else "minweight")] = part * abs(weight) * 0.8
    shape[f"head/head-{rng.choice(_HEADS)}"] = float(rng.uniform(0.1, 0.7))
    shape["head/head-fat-incr"] = max(0.0, float(rng.normal(0.35 * weight, 0.15)))
    for ends, names in _OPPOSITES.items():
        low, high = ends.split()
        for name in names:
            amount = float(np.clip(rng.standard_t(4) * 0.17, -0.65, 0.65))
            morph = f"{name}-{high if amount > 0 else low}"
            for side in "lr" if "*" in morph else "*":
                uneven = float(rng.normal(1, 0.12)) if side != "*" else 1.0
                shape[morph.replace("*", side)] = abs(amount) * uneven
    return {name: weight for name, weight in shape.items() if weight > 1e-3}


def _mixed(rng: np.random.Generator, tone: float) -> Look:
    """Skin between the two neighbours in tone of the seven people that are drawn by hand."""
    at = tone * (len(TONES) - 1)
    one, other = LOOKS[TONES[int(at)]], LOOKS[TONES[min(int(at) + 1, len(TONES) - 1)]]
    part, tint = at % 1, rng.normal(1, [0.03, 0.035, 0.045])

    def between(a: Colour, b: Colour) -> Colour:
        red, green, blue = np.clip(((1 - part) * np.array(a) + part * np.array(b)) * tint, 0.02, 0.97).tolist()
        return red, green, blue

    colours = {name: between(getattr(one, name), getattr(other, name)) for name in ("skin", "flush", "shade", "lips")}
    return replace(one, **colours, sheen=(1 - part) * one.sheen + part * other.sheen)


def _look(rng: np.random.Generator, sex: str, age: int, tone: float) -> Look:
    """Surface and hair."""
    look, male, old = _mixed(rng, tone), sex == "male", max(0.0, (age - 38) / 40)
    if male:
        style = str(
            rng.choice(
                ["crop", "combed", "thin", "curls"], p=[0.4, 0.3, 0.15 + 0.1 * (age > 50), 0.15 - 0.1 * (age > 50)]
            )
        )
    else:
        style = str(rng.choice(["bob", "bun", "curls", "perm", "crop"], p=[0.38, 0.28, 0.16, 0.1, 0.08]))
    if rng.random() < old:
        hair = str(rng.choice(["grey", "white"]))
    else:
        dark = min(1.0, 0.2 + 1.2 * tone)
        hair = str(
            rng.choice(
                ["black", "dark brown", "brown", "blond", "red"],
                p=[dark, *((1 - dark) * np.array([0.35, 0.3, 0.25, 0.1]))],
            )
        )
    root, tip = _HAIR[hair]
    up = float(rng.normal(0, 0.035))
    hairline = tuple((a, h + up * (a < 45)) for a, h in LOOKS[_STYLE_OF[style]].hairline)
    makeup = not male and rng.random() < 0.35
    lips = _LIPSTICK[rng.integers(len(_LIPSTICK))] if makeup else look.lips
    bearded = male and rng.random() < 0.45
    return replace(
        look,
        lips=lips,
        lip_shine=float(rng.uniform(0.1, 0.7)),
        iris=_IRISES[rng.integers(len(_IRISES))] if rng.random() > tone else LOOKS["d"].iris,
        hair=(root, tip),
        hair_style=style,
        hairline=hairline,
        brow=(
            0.2 + float(rng.normal(0, 0.012)),
            float(rng.uniform(0.015, 0.06)),
            float(rng.uniform(0.018, 0.04) + 0.004 * male),
        ),
        stubble=float(rng.uniform(0, 0.8)) * male,
        freckles=float(max(0, rng.normal(0, 0.5))) * (tone < 0.6),
        lashes=float(rng.uniform(0.6, 1.0) + (0.35 if makeup else 0.0)),
        wrinkles=float(np.clip(old + rng.normal(0, 0.15), 0, 1)),
        spots=float(np.clip(old * rng.uniform(0, 0.9), 0, 1)),
        beard=float(rng.uniform(0.025, 0.13)) if bearded else 0.0,
        fine=True,
    )
