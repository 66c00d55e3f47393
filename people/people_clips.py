"""The clips of the data set: who is seen on which track, with what camera, light, background, clothes and props."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from cast_faces import ACTED
from cast_people import made_person
from demo_cast import LOOKS, SEEDS, SHAPES, TONES, WORDS
from demo_looks import Colour, Look
from demo_people import Cloth
from demo_track import Range, Track, acting_track, calm_track, make_track, stress_track

_PITCH = {"a": 112.0, "b": 196.0, "c": 215.0, "d": 96.0, "e": 124.0, "f": 188.0, "g": 176.0}  # of the voice, Hz
STRESS = 77  # seed of the track that all stress clips share
Acting = Literal["talks", "listens", "acts"]
LAMP: tuple[Range, Range, Range] = ((-52, 12), (22, 48), (1.2, 1.65))


@dataclass(frozen=True)
class Member:
    """Somebody whom a clip can show.

    A letter of ``demo_cast.py``, or ``m`` and a seed of ``cast_people.py``; a letter after it lends its skin.
    """

    shape: Mapping[str, float]
    look: Look
    seed: int  # of paint and hair
    sex: str
    age: int
    words: str
    tone: int  # 0 lightest .. 6 darkest skin
    pitch: float  # of the voice, Hz


def member(name: str) -> Member:
    """Who is called this."""
    if name in LOOKS:
        return Member(SHAPES[name], LOOKS[name], SEEDS[name], *WORDS[name], TONES.index(name), _PITCH[name])
    seed = name.strip("mabcdefg")
    made = made_person(int(seed), name.removeprefix("m" + seed) or None)
    pitch = 115.0 if made.sex == "male" else 200.0
    words = f"made by a seed, {made.look.hair_style}"
    return Member(made.shape, made.look, made.seed, made.sex, made.age, words, round(6 * made.tone), pitch)


@dataclass(frozen=True)
class Shot:
    """Everything about a clip but the person in it."""

    frames: int
    seed: int  # of track, background and hand
    scene: str  # see demo_scenes.scene
    cloth: Cloth
    size: tuple[int, int] = (400, 400)  # width, height
    span: float = 3.5  # dm over the picture's height: the head is about 2.3
    crf: int = 20
    reach: tuple[float, float, float] = (28.0, 14.0, 8.0)
    light: tuple[Range, Range, Range] = LAMP
    glasses: bool = False
    hand: tuple[Colour, Colour] | None = None  # colours of its skin, and of nails and palm
    acting: Acting = "talks"

    def track(self) -> Track:
        """What drives the head."""
        if self.seed == STRESS:
            return stress_track(self.seed)
        if self.acting == "listens":
            return calm_track(self.frames, self.seed, self.reach)
        if self.acting == "acts":
            return acting_track(self.frames, self.seed, self.reach, ACTED)
        return make_track(self.frames, self.seed, self.reach, self.light)


@dataclass(frozen=True)
class Clip:
    """A person in a shot. ``role``: target (whom to learn), source (where to put), truth (the answer), or stress."""

    person: str
    pair: str
    role: str
    shot: Shot


def _hand(person: str) -> tuple[Colour, Colour]:
    """A hand as of this person: its colour, and a lighter one for nails and palm."""
    look = LOOKS[person]
    red, green, blue = (0.55 * s + 0.45 * f for s, f in zip(look.skin, look.flush, strict=True))
    return (0.94 * red, 0.92 * green, 0.92 * blue), (min(1.0, 1.12 * red + 0.05), 1.1 * green + 0.05, 1.1 * blue + 0.05)


def _pair(name: str, who: tuple[str, str], target: Shot, source: Shot) -> dict[str, Clip]:
    """Person X's own footage, person Y's, and X on Y's track."""
    clips = {"target": (who[0], target), "source": (who[1], source), "truth": (who[0], source)}
    return {f"{name}_{role}": Clip(person, name, role, shot) for role, (person, shot) in clips.items()}


TEAL = Cloth((0.20, 0.33, 0.36), (5.97, 0.40), 1.0)
RUST = Cloth((0.66, 0.33, 0.20), (5.98, 0.42), 0.4)
NAVY = Cloth((0.13, 0.16, 0.27), (5.95, 0.35), 0.6)
CREAM = Cloth((0.80, 0.75, 0.66), (5.90, 0.30), 0.8)
PLUM = Cloth((0.36, 0.17, 0.27), (5.98, 0.42), 0.5)
MOSS = Cloth((0.28, 0.33, 0.20), (6.02, 0.45), 1.0)
LEFT: tuple[Range, Range, Range] = ((-10, 62), (10, 45), (1.1, 1.6))
FRONT: tuple[Range, Range, Range] = ((-35, 35), (25, 60), (0.8, 1.4))

CLIPS: dict[str, Clip] = {
    **_pair(
        "light_dark",
        ("c", "d"),
        Shot(280, 101, "window", NAVY, (480, 360), 3.4, 22, light=FRONT),
        Shot(200, 102, "shelves", CREAM, (640, 480), 3.4, 20, light=LEFT),
    ),
    **_pair(
        "man_woman",
        ("e", "f"),
        Shot(260, 111, "shelves", TEAL, (1280, 720), 4.3, 23, (35, 16, 10), LAMP),
        Shot(200, 112, "leaves", PLUM, (1280, 720), 4.5, 21, (35, 16, 10), LEFT),
    ),
    **_pair(
        "glasses",
        ("f", "g"),
        Shot(260, 121, "lamps", RUST, (400, 400), 3.4, 26, light=FRONT),
        Shot(200, 122, "window", MOSS, (480, 480), 3.5, 24, light=LAMP, glasses=True),
    ),
    **_pair(
        "occluder",
        ("g", "e"),
        Shot(260, 131, "leaves", CREAM, (480, 360), 3.5, 24, (35, 15, 10), LEFT),
        Shot(200, 132, "shelves", NAVY, (400, 400), 3.4, 18, (35, 15, 10), FRONT, hand=_hand("e")),
    ),
}
# Expressions that a person's footage never shows: people who only listen in it, on the track of others who act.
_LISTENS = Shot(200, 141, "window", NAVY, (400, 400), 3.4, 20, (22.0, 10.0, 6.0), acting="listens")
_ACTS = Shot(150, 145, "shelves", CREAM, (400, 400), 3.4, 20, (22.0, 10.0, 6.0), acting="acts")
for _number, _who in enumerate((("m1009", "m1007"), ("m1007", "m1009"), ("m1017", "m1002"), ("m1002", "m1017")), 1):
    _listens, _acts = replace(_LISTENS, seed=140 + _number), replace(_ACTS, seed=145 + _number)
    CLIPS |= _pair(f"unseen_{_number}", _who, _listens, _acts)
# One person in four skins, lightest to darkest; as in unseen_1, whose source is theirs, too.
for _letter in (TONES[0], TONES[2], TONES[4], TONES[6]):
    for _role, _shot in (("target", replace(_LISTENS, seed=141)), ("truth", replace(_ACTS, seed=146))):
        CLIPS[f"tone_{_letter}_{_role}"] = Clip(f"m1009{_letter}", f"tone_{_letter}", _role, _shot)
_STRESSED = Shot(150, STRESS, "lamps", MOSS, (400, 400), 3.6, 30, hand=((0.62, 0.45, 0.36), (0.78, 0.60, 0.51)))
CLIPS |= {f"stress_{name}": Clip(name, "", "stress", replace(_STRESSED)) for name in LOOKS}
