"""Who the synthetic people are: weights on the CC0 base mesh, and the looks that paint and hair are computed from.

None of them ever lived.
"""

from demo_looks import Look

MACRO = "macrodetails/"
SHAPES: dict[str, dict[str, float]] = {
    "a": {  # a man of about forty: long square face, strong brow and nose, thin lips
        MACRO + "caucasian-male-young": 0.75,
        MACRO + "caucasian-male-old": 0.25,
        MACRO + "universal-male-young-averagemuscle-averageweight": 1.0,
        "head/head-rectangular": 0.35,
        "chin/chin-width-incr": 0.25,
        "chin/chin-prominent-incr": 0.35,
        "chin/chin-height-incr": 0.1,
        "chin/chin-cleft-incr": 0.3,
        "nose/nose-hump-incr": 0.55,
        "nose/nose-scale-depth-incr": 0.35,
        "nose/nose-point-down": 0.25,
        "nose/nose-width1-decr": 0.2,
        "mouth/mouth-upperlip-height-decr": 0.35,
        "mouth/mouth-lowerlip-height-decr": 0.2,
        "mouth/mouth-scale-horiz-incr": 0.2,
        "eyebrows/eyebrows-trans-forward": 0.4,
        "eyebrows/eyebrows-trans-down": 0.25,
        "eyes/*-eye-push1-in": 0.2,
        "cheek/*-cheek-volume-decr": 0.4,
        "cheek/*-cheek-bones-incr": 0.2,
    },
    "b": {  # a woman of about thirty: round face, wide nose, full lips, large eyes
        MACRO + "african-female-young": 1.0,
        MACRO + "universal-female-young-averagemuscle-averageweight": 1.0,
        "head/head-oval": 0.6,
        "head/head-scale-vert-incr": 0.2,
        "chin/chin-width-decr": 0.4,
        "chin/chin-triangle": 0.3,
        "nose/nose-scale-horiz-incr": 0.25,
        "nose/nose-flaring-incr": 0.25,
        "nose/nose-curve-concave": 0.25,
        "nose/nose-point-width-incr": 0.3,
        "mouth/mouth-upperlip-volume-incr": 0.35,
        "mouth/mouth-lowerlip-volume-incr": 0.35,
        "mouth/mouth-upperlip-height-incr": 0.2,
        "mouth/mouth-lowerlip-height-incr": 0.2,
        "eyes/*-eye-height2-incr": 0.15,
        "eyes/*-eye-scale-incr": 0.1,
        "eyes/*-eye-corner2-up": 0.3,
        "cheek/*-cheek-volume-incr": 0.1,
        "head/head-invertedtriangular": 0.25,
        "cheek/*-cheek-bones-incr": 0.5,
        "eyebrows/eyebrows-angle-up": 0.3,
    },
}
NAPE = ((88, 7.42), (97, 6.95), (120, 6.68), (180, 6.6))  # the hairline over the ear and down to the nape
LOOKS = {
    "a": Look(
        skin=(0.83, 0.66, 0.56), flush=(0.82, 0.56, 0.49), shade=(0.60, 0.42, 0.38),
        lips=(0.70, 0.43, 0.40), lip_shine=0.2, iris=((0.42, 0.40, 0.28), (0.30, 0.42, 0.52)),
        hair=((0.20, 0.13, 0.08), (0.42, 0.29, 0.18)), hair_style="combed",
        hairline=((0, 7.98), (16, 8.01), (30, 7.97), (38, 7.84), (45, 7.55), (49, 7.15), (57, 7.12), (61, 7.4), *NAPE),
        brow=(0.19, 0.035, 0.036), stubble=0.7, freckles=0.5, lashes=1.0,
    ),
    "b": Look(
        skin=(0.50, 0.335, 0.25), flush=(0.49, 0.28, 0.21), shade=(0.39, 0.245, 0.195),
        lips=(0.45, 0.22, 0.21), lip_shine=0.5, iris=((0.26, 0.15, 0.08), (0.15, 0.09, 0.06)),
        hair=((0.045, 0.035, 0.035), (0.13, 0.095, 0.08)), hair_style="curls",
        hairline=((0, 8.02), (20, 8.02), (34, 7.93), (42, 7.75), (50, 7.45), (60, 7.38), *NAPE),
        brow=(0.205, 0.06, 0.021), stubble=0.0, freckles=0.0, lashes=1.25,
    ),
}  # fmt: skip
