"""What the cast's faces do: single frames that span every expression, look, turn and light."""

from dataclasses import dataclass

import numpy as np

from demo_gl import Light
from demo_head import Array
from demo_people import Moment
from demo_props import Grip
from demo_track import SOUNDS, both_sides

# The face shapes in ARKit's order; the labels hold their weights. "*" in the acted faces stands for both sides.
SHAPES = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff"),
    *("cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight"),
    *("eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight"),
    *("mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel"),
    *("mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker"),
    *("mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft"),
    *("mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight", "tongueOut"),
)
ACTED: tuple[dict[str, float], ...] = (
    {"mouthSmile*": 0.9, "cheekSquint*": 0.7, "eyeSquint*": 0.4, "mouthDimple*": 0.2},  # a smile
    {"mouthSmile*": 1.1, "cheekSquint*": 0.7, "mouthUpperUp*": 0.8, "mouthLowerDown*": 0.4, "jawOpen": 0.1},  # teeth
    {"mouthSmile*": 1.0, "mouthUpperUp*": 1.1, "jawOpen": 0.2, "browDown*": 0.4},  # all teeth
    {"mouthSmile*": 1.1, "cheekSquint*": 0.9, "eyeSquint*": 0.7, "jawOpen": 0.7, "mouthUpperUp*": 0.8},  # laughter
    {"browDown*": 1.3, "noseSneer*": 0.5, "mouthPress*": 0.6, "eyeSquint*": 0.4, "jawForward": 0.2},  # anger
    {"browDown*": 1.2, "noseSneer*": 0.8, "mouthUpperUp*": 0.7, "jawOpen": 0.4, "mouthStretch*": 0.5},  # rage
    {"browInnerUp": 0.9, "browOuterUp*": 0.8, "eyeWide*": 0.9, "jawOpen": 0.6, "mouthFunnel": 0.2},  # surprise
    {"browInnerUp": 0.9, "eyeWide*": 0.7, "mouthStretch*": 0.8, "mouthLowerDown*": 0.5, "jawOpen": 0.2},  # fear
    {"browInnerUp": 0.9, "mouthFrown*": 0.9, "mouthShrugLower": 0.5, "mouthPucker": 0.2},  # sorrow
    {"noseSneer*": 0.9, "mouthUpperUp*": 0.7, "browDown*": 0.4, "cheekSquint*": 0.5, "mouthShrugUpper": 0.3},  # disgust
    {"mouthPucker": 1.0, "mouthFunnel": 0.2}, {"cheekPuff": 1.0, "mouthPress*": 0.3},
    {"mouthRollLower": 0.8, "mouthRollUpper": 0.7, "mouthPress*": 0.4}, {"jawOpen": 1.0},
    {"jawOpen": 0.5, "tongueOut": 1.0}, {"mouthFunnel": 0.9, "jawOpen": 0.3},
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """One frame of a person: what the face does, and what it stands in."""

    moment: Moment
    light: Light
    grip: Grip | None  # a hand before the face
    knob: Array | None  # (3,) where a microphone is, dm


MOST = 1.4  # of brows and lips: 1 reads as less than what real people do (README.md has both ranges)


def _add(weights: dict[str, float], name: str, amount: float) -> None:
    most = MOST if name.startswith(("brow", "mouth")) else 1.0
    for full in both_sides(name):
        weights[full] = min(most, weights.get(full, 0.0) + amount)


def _mouth_and_brows(rng: np.random.Generator) -> dict[str, float]:
    """A mouth that speaks, an acted face, or a few shapes of any kind; often more than one of these."""
    weights: dict[str, float] = {}
    kind = rng.random()
    if kind < 0.4:  # speech
        for name, amount in SOUNDS[str(rng.choice(list(SOUNDS)))][0].items():
            _add(weights, name, amount * rng.uniform(0.5, 1.7))
    if 0.25 < kind < 0.7:
        force = rng.uniform(0.3, 1.3)
        for name, amount in ACTED[rng.integers(len(ACTED))].items():
            _add(weights, name, amount * force * rng.uniform(0.7, 1.2))
    if kind > 0.65:
        for name in rng.choice(SHAPES, rng.integers(0, 6), replace=False):
            both = rng.random() < 0.6
            name = (
                name.replace("Left", "*").replace("Right", "*")
                if both and name[:3] != "jaw" and name[5:] not in ("Left", "Right")
                else name
            )
            if not name.startswith(("eyeLook", "eyeBlink")):
                _add(weights, name, float(rng.beta(1.2, 1.6)))
    if rng.random() < 0.3:  # brows go their own way
        raised = rng.uniform(-1, 1)
        _add(weights, "browInnerUp", max(0.0, raised))
        _add(weights, "browOuterUp*", 0.8 * max(0.0, raised))
        _add(weights, "browDown*", 1.4 * max(0.0, -raised))
    if rng.random() < 0.2:
        _add(weights, "mouthSmile*", rng.uniform(0.3, 1.3))
    if weights.get("mouthClose", 0):  # shuts lips over an open jaw, and goes no further than that
        weights["mouthClose"] = min(weights["mouthClose"], weights.get("jawOpen", 0.0))
    return weights


def _eyes(rng: np.random.Generator, weights: dict[str, float]) -> Array:
    """Gaze in degrees to the person's left and up; the lids follow it, and are shut or half shut in one of four."""
    gaze = np.array([rng.uniform(-32, 32), rng.uniform(-22, 20)]) if rng.random() < 0.65 else rng.normal(0, 4, 2)
    _add(weights, "eyeLookDown*", float(np.clip(-gaze[1] / 25, 0, 1)))
    _add(weights, "eyeLookUp*", float(np.clip(gaze[1] / 25, 0, 1)))
    lids = rng.random()
    if lids < 0.26:
        shut = 1.0 if lids < 0.11 else float(rng.uniform(0.15, 1.0))
        for side in ["Left", "Right"] if rng.random() < 0.85 else [str(rng.choice(["Left", "Right"]))]:
            weights["eyeBlink" + side] = shut
            for other in ("eyeLookDown", "eyeLookUp", "eyeSquint", "eyeWide"):  # a blink ends where the lids meet
                weights[other + side] = weights.get(other + side, 0.0) * (1 - shut)
    return gaze


def shown_frame(rng: np.random.Generator, *, hand: bool, knob: bool) -> Shown:
    """A frame at random."""
    weights = _mouth_and_brows(rng)
    gaze = _eyes(rng, weights)
    yaw = float(np.clip(rng.normal(0, 24), -60, 60)) if rng.random() < 0.85 else float(rng.uniform(-60, 60))
    pitch, roll = float(np.clip(rng.normal(0, 11), -30, 30)), float(np.clip(rng.normal(0, 7), -25, 25))
    light = Light(
        float(rng.uniform(-85, 85)), float(rng.uniform(-5, 65)), float(rng.uniform(0.3, 1.7)),
        float(rng.uniform(0.35, 1.15)),
    )  # fmt: skip
    moment = Moment(weights, np.radians([yaw, pitch, roll]), rng.normal(0, 0.05, 3), gaze)
    grip = None
    if hand:
        side = float(rng.choice([-1, 1]))
        aim = np.array([rng.uniform(-0.7, 0.7), rng.uniform(5.9, 7.6), rng.uniform(2.0, 2.5)])
        grip = Grip(aim, float(side * rng.uniform(-75, 30)), float(rng.uniform(-20, 20)), side > 0)
    at = np.array([rng.uniform(-0.45, 0.45), rng.uniform(5.9, 6.6), rng.uniform(2.0, 2.4)]) if knob else None
    return Shown(moment, light, grip, at)
