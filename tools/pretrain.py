"""Train a base: what all faces have in common, from the face sets of several people.

    python tools/pretrain.py BASE FACES FACES [FACES ...] --steps 6000

Two people at a time, as in every training: each step takes another pair of them. All pairs share one encoder, one
beginning of the decoders and one mask; each person has a decoder of their own. The file holds those of the first two
as well, and nobody begins with them. A training that begins with the result (`clearswap train ... --from BASE`) knows
already how faces move, and learns only who they are. Use people who never existed, or who agreed to this: what the
common layers know was taken from them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from clearswap.core.augment import AugmentConfig
from clearswap.core.modern import ModernNet
from clearswap.core.network import PRESETS
from clearswap.core.train_step import FaceData, TrainingState, learn_shown, start_training, train_step
from clearswap.training import checkpoint, device
from clearswap.training.dataset import HeldOut, held_out_error, load_faces

FINISH = 0.3  # share of the steps in which the learning rate falls


def pairs_of(people: list[tuple[FaceData, HeldOut]]) -> list[list[tuple[FaceData, HeldOut]]]:
    """The people two by two; of an odd number the last one with the first."""
    return [[people[i], people[(i + 1) % len(people)]] for i in range(0, len(people), 2)]


def joined(states: list[TrainingState]) -> list[TrainingState]:
    """States of several pairs whose networks are one but for the decoders, with one optimiser for all."""
    first = states[0]
    for state in states[1:]:
        for own, common in ((state.net, first.net), (state.average, first.average)):
            assert isinstance(own, ModernNet)
            assert isinstance(common, ModernNet)
            own.encoder, own.common, own.mask = common.encoder, common.common, common.mask
    parameters = {id(p): p for state in states for p in state.net.parameters()}.values()
    rate = first.pace.rate
    optimizer = torch.optim.AdamW(list(parameters), rate, betas=(0.9, 0.99), fused=True)
    return [replace(state, optimizer=optimizer, pace=first.pace, counters=first.counters) for state in states]


def main() -> None:
    """Train, say how it goes, and keep what is common."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("faces", type=Path, nargs="+")
    parser.add_argument("--preset", default="lite", choices=["lite", "hd", "xl"])
    parser.add_argument("--steps", type=int, default=6000)
    given = parser.parse_args()
    device.keep_freed_memory()
    where = device.used_device()
    config = PRESETS[given.preset]
    pairs = pairs_of([load_faces(folder, config, where) for folder in given.faces])
    states = joined([start_training(config, number, where) for number in range(len(pairs))])
    for state, pair in zip(states, pairs, strict=True):
        learn_shown(state, [data for data, _ in pair])
    bfloat16, begun = device.computes_bfloat16(where), time.monotonic()
    for step in range(given.steps):
        turn = step % len(pairs)
        finish = max(0.0, (step / given.steps - 1 + FINISH) / FINISH)
        data = [faces for faces, _ in pairs[turn]]
        train_step(states[turn], data, AugmentConfig(), finish=finish, bfloat16=bfloat16)
        if (step + 1) % 250 == 0:
            errors = [
                held_out_error(state.average, config, held, side)
                for state, pair in zip(states, pairs, strict=True)
                for side, (_, held) in zip(("a", "b"), pair, strict=True)
            ]
            said = " ".join(f"{error:.4f}" for error in errors)
            print(f"{step + 1} steps, {time.monotonic() - begun:.0f} s, held-out {said}", flush=True)
            checkpoint.save(given.base, states[0])
    checkpoint.save(given.base, states[0])


if __name__ == "__main__":
    main()
