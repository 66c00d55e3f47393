"""Train a base: what all faces have in common, from the cast of people who never lived.

    make cast                                     # renders it: people/render_cast.py
    python tools/pretrain.py src/clearswap/training/bases/lite.safetensors --minutes 60

The network is the one that `train` then goes on with. A person is a few numbers here (a code): they scale and shift the
channels of the decoder that all share, and say where its lips and lids begin. The code of nobody in particular is zero,
so what is left without codes is a network for any face, which both persons of a training begin with.

Its encoder learns to read expressions and light from faces that were lit, turned, covered and compressed in every way,
and its mask from exact labels what is face and what is a hand, a microphone, hair or the rim of glasses. The last of
the cast are held out; how well their masks and expressions are read is printed.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from clearswap.core.align import Frame, Points, align, face_matrix, transform
from clearswap.core.augment import AugmentConfig, RandomDraws, augment, mix_light, sample_random
from clearswap.core.blend import hull
from clearswap.core.expression import MEASURES, mirrored
from clearswap.core.modern import ModernNet, Residual, Told, adapted, build, to_device
from clearswap.core.network import PRESETS, Drawn, ModelConfig
from clearswap.core.train_step import Batch, FaceData, person_losses, relight_and_occlude, update_average
from clearswap.errors import InputError
from clearswap.faces.face_models import ExpressionReader, Landmarker, roi_of
from clearswap.media.files import atomic_file, read_picture
from clearswap.training import device
from clearswap.training.dataset import face_bytes

CAST = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clearswap-cast"  # as people/render_cast.py
STORED = 256  # side of the cast's pictures
CODE = 64  # numbers that make a person
FINISH = 0.3  # share of the training in which the learning rate falls
HELD_OUT = 4  # people of the cast that are never trained on
_SEEN = (np.array([128, 138], np.float32), 260.0, 0.0)  # where a face lies in a picture of the cast
_SURE = 0.5  # presence below which a face is left out: it is behind a hand


# --- the cast ----------------------------------------------------------------------------------------------


def seed_of(folder: Path) -> int:
    """The seed that a person was made by. Raises `InputError` if the pictures are not as they were rendered."""
    said = json.loads((folder / "person.json").read_text())
    pictures = b"".join(picture.read_bytes() for picture in sorted(folder.glob("*.jpg")))
    if said.get("sha256") != sha256(pictures).hexdigest():
        raise InputError(f"{folder} is not as it was rendered; delete it and run: make cast")
    return int(said["seed"])


def rendered(folder: Path, most: int | None = None) -> dict[int, Path]:
    """The folders of the first `most` people of the cast by their seeds. Raises `InputError` as `seed_of`."""
    return {seed_of(path.parent): path.parent for path in sorted(folder.glob("*/person.json"))[:most]}


def find_landmarks(landmarker: Landmarker, picture: Frame) -> tuple[Points, float]:
    """The landmarks (478, 2) of a picture of the cast, and how surely a face is there."""
    return landmarker(picture, roi_of(landmarker(picture, _SEEN)[0]))


def load_person(folder: Path, config: ModelConfig) -> FaceData:
    """One person's faces: aligned by the landmarks found, as everybody's are, with the exact masks of the labels."""
    landmarker, reader = Landmarker(), ExpressionReader()
    labels = np.load(folder / "labels.npz", allow_pickle=False)
    count, height, width = (int(n) for n in labels["mask_shape"])
    free = np.unpackbits(labels["face"])[: count * height * width].reshape(count, height, width) * np.uint8(255)
    faces: list[NDArray[np.uint8]] = []
    expressions: list[NDArray[np.float32]] = []
    for number in range(count):
        picture = read_picture(folder / f"{number:02d}.jpg")
        points, presence = find_landmarks(landmarker, picture)
        if presence < _SURE:
            continue
        matrix = face_matrix(points, STORED)
        square, mask = align(picture, matrix, STORED), cv2.warpAffine(free[number], matrix, (STORED, STORED))
        points = transform(points, matrix)
        around = np.bitwise_not(hull(points, STORED))  # of it the labels say nothing that counts
        faces.append(face_bytes(square, points, config, np.maximum(mask, around)))
        expressions.append(reader(points))
    seen = np.stack(expressions)
    stacked = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous()
    return FaceData(stacked, torch.from_numpy(np.stack([seen, mirrored(seen)], 1)))


def load_cast(folder: Path, most: int, config: ModelConfig) -> dict[int, FaceData]:
    """The first `most` people of the cast by their seeds. Raises `InputError` if one is not as it was rendered."""
    people = rendered(folder, most)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return dict(zip(people, pool.map(load_person, people.values(), [config] * len(people)), strict=True))


# --- the network -------------------------------------------------------------------------------------------


class Everybody(nn.Module):
    """A `ModernNet` that draws whoever a code stands for; with a code of zeros it is that network's `decoder_a`."""

    def __init__(self, config: ModelConfig, people: int) -> None:
        super().__init__()
        net = build(config)
        assert isinstance(net, ModernNet)
        self.net = net
        self.codes = nn.Embedding(people, CODE)
        nn.init.normal_(self.codes.weight, std=0.3)
        self.layers = nn.ModuleList([*net.common, *net.decoder_a])
        first = net.common[0]
        assert isinstance(first, nn.Linear)
        self.begin = nn.Linear(CODE, first.out_features, bias=False)
        widths = [layer.channels for layer in self.layers if isinstance(layer, Residual)]
        self.change = nn.ModuleList(nn.Linear(CODE, 2 * width, bias=False) for width in widths)
        for layer in (self.begin, *self.change):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, faces: Tensor, told: Told, who: Tensor) -> Drawn:
        """Draw each of `faces` (B, 3, S, S) as the person of the number `who` (B,) that it is."""
        read, maps = self.net.encoder(faces)
        latent = told.kept * self.net.norm_a(read[:, MEASURES:], told.noise)
        code = self.codes(who) - self.codes.weight.mean(0)
        changes = [change(code)[..., None, None].chunk(2, 1) for change in self.change]
        x = adapted(self.layers, torch.cat([told.expression, latent], 1), self.begin(code), changes)
        return Drawn(x, self.net.mask(maps), read[:, :MEASURES])


# --- training ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faces:
    """All faces of the cast, and whose each is."""

    data: FaceData
    who: Tensor  # (N,)

    @classmethod
    def of(cls, people: list[FaceData]) -> Faces:
        """Those of `people`, numbered in their order."""
        who = torch.cat([torch.full((len(person.faces),), number) for number, person in enumerate(people)])
        faces, expressions = ([getattr(p, name) for p in people] for name in ("faces", "expressions"))
        return cls(FaceData(torch.cat(faces), torch.cat(expressions)), who)

    def to(self, where: torch.device) -> Faces:
        """On a device."""
        data = FaceData(self.data.faces.to(where), self.data.expressions.to(where))
        return Faces(data, self.who.to(where))


def draw_batch(
    faces: Faces, draws: RandomDraws, config: ModelConfig, augmentation: AugmentConfig
) -> tuple[Batch, Tensor]:
    """A batch of faces of anybody, changed at random as in `train_step.draw_batches`, and whose they are (B,)."""
    chosen = (draws.face * len(faces.who)).long()
    pictures = faces.data.faces.index_select(0, chosen).float().mul_(1 / 255)
    inputs, targets = augment(pictures, draws, config, augmentation)
    small = targets[:, :3, ::2, ::2]
    gain = mix_light(small, small.roll(1, 0), draws, augmentation)
    relight_and_occlude(inputs, targets, gain, draws, augmentation)
    said = faces.data.expressions[chosen, (draws.mirror < augmentation.mirror).long()]
    wrong = draws.told < augmentation.mix_expressions
    told = Told(torch.where(wrong, said.roll(1, 0), said), draws.noise, (draws.forget >= config.forget).to(inputs))
    return Batch(inputs, targets, said, told), faces.who[chosen]


@torch.inference_mode()
def held_out(net: nn.Module, faces: Faces, config: ModelConfig) -> str:
    """How well masks and expressions of people are read whom the network has never seen."""
    generator = torch.Generator(faces.who.device).manual_seed(1)
    still = replace(AugmentConfig(), rotation=0, scale=0, shift=0, warp=0, light=0, mix_light=0, occlude=0)
    net.eval()
    overlap, error, rounds = 0.0, 0.0, 8
    for _ in range(rounds):
        draws = sample_random(32, config.latent, faces.who.device, generator)
        batch, who = draw_batch(faces, draws, config, still)
        drawn = net(batch.inputs, batch.told, torch.zeros_like(who))
        goal, mask = F.interpolate(batch.targets[:, 4:], drawn.mask.shape[-2:]) > 0.5, drawn.mask > 0.5
        overlap += float(((goal & mask).sum((1, 2, 3)) / (goal | mask).sum((1, 2, 3)).clamp(min=1)).mean()) / rounds
        error += float((drawn.expression - batch.expressions).abs().mean()) / rounds
    net.train()
    return f"people held out: masks overlap by {overlap:.3f}, expressions are off by {error:.3f}"


def pretrain(given: argparse.Namespace, cast: dict[int, FaceData], config: ModelConfig) -> None:
    """Train for the time given, say how it goes, and keep what is common."""
    where, people, seeds = device.used_device(), list(cast.values()), list(cast)[:-HELD_OUT]
    apart, faces = Faces.of(people[-HELD_OUT:]).to(where), Faces.of(people[:-HELD_OUT]).to(where)
    torch.manual_seed(0)
    net = Everybody(config, len(people) - HELD_OUT)
    to_device(net.net, where)
    net.to(where)
    average = copy.deepcopy(net).requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(net.parameters(), config.learning_rate, betas=(0.9, 0.99), fused=True)
    generator = torch.Generator(where).manual_seed(0)
    augmentation, bfloat16 = AugmentConfig(), device.computes_bfloat16(where)
    begun, step, share, smooth = time.monotonic(), 0, 0.0, 0.0
    while share < 1:
        share = (step + 1) / given.steps if given.steps else (time.monotonic() - begun) / (60 * given.minutes)
        finish = max(0.0, (share - 1 + FINISH) / FINISH)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (step + 1) / 50) * 0.03**finish
        draws = sample_random(given.batch, config.latent, where, generator)
        batch, who = draw_batch(faces, draws, config, augmentation)
        with torch.autocast(where.type, torch.bfloat16, enabled=bfloat16):
            drawn = net(batch.inputs.contiguous(memory_format=torch.channels_last), batch.told, who)
        l1, extra = person_losses(drawn, batch, config)
        optimizer.zero_grad()
        (l1 + extra + 1e-4 * net.codes.weight.square().mean()).backward()
        optimizer.step()
        update_average(average, net, 1 - min(0.999, (1 + step) / (10 + step)))
        smooth += (float(l1.detach()) - smooth) * max(0.01, 1 / (step + 1))
        step += 1
        if step % 250 == 0 or share >= 1:
            said = held_out(average, apart, config)
            print(f"{step} steps, {time.monotonic() - begun:.0f} s, L1 {smooth:.4f}; {said}", flush=True)
            made = {"people": len(seeds), "faces": len(faces.who), "steps": step, "batch": given.batch, "seeds": seeds}
            save(given.base, average.net, config, made)


def save(path: Path, net: ModernNet, config: ModelConfig, made: dict[str, object]) -> None:
    """Write what is common, in half precision; nobody's code."""
    named = {"encoder": net.encoder, "common": net.common, "mask": net.mask, "decoder": net.decoder_a}
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().half().contiguous()
        for part, module in named.items()
        for name, tensor in module.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        save_file(tensors, partial, {"clearswap-base": json.dumps({"preset": config.preset, **made})})


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="the file to write")
    parser.add_argument("--cast", type=Path, default=CAST)
    parser.add_argument("--people", type=int, default=10_000, help="at most so many of the cast")
    parser.add_argument("--preset", default="lite", choices=["lite", "hd", "xl"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--steps", type=int, default=0, help="so many steps instead")
    given = parser.parse_args()
    device.keep_freed_memory()
    config = PRESETS[given.preset]
    begun = time.monotonic()
    cast = load_cast(given.cast, given.people, config)
    count = sum(len(person.faces) for person in cast.values())
    print(f"{len(cast)} people, {count} faces looked through in {time.monotonic() - begun:.0f} s", flush=True)
    pretrain(given, cast, config)


if __name__ == "__main__":
    main()
