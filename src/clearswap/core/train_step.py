"""One step of training: draw faces of both persons, warp them, ask for the unwarped ones, learn from the error.

`TrainingState` holds everything that a step changes, `FaceData` what it draws from. How often a step is made, and what
happens in between, is in `training/loop.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearswap.core.augment import AugmentConfig, RandomDraws, augment, mix_light, occlude, relight, sample_random
from clearswap.core.losses import dissimilarity, weighted_l1
from clearswap.core.modern import ModernNet, ReconstructBoth, Told, build, to_device
from clearswap.core.network import Counters, Drawn, ModelConfig, SwapNet


@dataclass(frozen=True)
class Pace:
    """The numbers that are others in each step. They lie on the device, so that a recorded step reads the new ones."""

    rate: Tensor  # (), the learning rate
    strength: Tensor  # (), 0..1: how far faces are pulled out of shape, and latents blurred
    follow: Tensor  # (), 0..1: how far the averaged network moves towards the trained one


@dataclass
class TrainingState:
    """What training changes, from `net` to `counters`, and what is known of the model and saved with it."""

    config: ModelConfig
    net: SwapNet  # trained
    average: SwapNet  # follows `net` smoothly; this is the one that converts
    optimizer: torch.optim.Optimizer
    pace: Pace
    generator: torch.Generator
    counters: Counters
    persons: dict[str, Tensor] = field(default_factory=dict[str, Tensor])  # by side: (128,), the mean embedding
    consent: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])  # by side: basis, no notes


@dataclass(frozen=True)
class FaceData:
    """The faces of one person, ready for training; `training/dataset.py` makes them, and has applied `only_face`."""

    faces: Tensor  # bytes (N, 5, R, R): RGB, how much each pixel counts in the loss (255 = most), and 255 where face is
    expressions: Tensor  # (N, 2, MEASURES): of each face, and of its mirror image


@dataclass(frozen=True)
class Batch:
    """The faces of one person in one step: warped at random, and what the network is to make of them."""

    inputs: Tensor  # (B, 3, `ModelConfig.seen`, `ModelConfig.seen`)
    targets: Tensor  # (B, 5, S, S): the faces, the weights of their pixels, and where they show face
    expressions: Tensor  # (B, MEASURES): what the faces say
    told: Told  # what the network is told of them


def start_training(model: ModelConfig, seed: int, device: torch.device) -> TrainingState:
    """Make a new network with its optimiser, before the first step."""
    net = to_device(build(model, seed), device)
    average = copy.deepcopy(net).requires_grad_(False)
    pace = Pace(*torch.tensor([model.learning_rate, 1.0, 1.0], device=device))
    if model.network == "classic":
        kind, betas = torch.optim.Adam, (0.5, 0.999)
    else:
        kind, betas = torch.optim.AdamW, (0.9, 0.99)
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = kind(learned, pace.rate, betas=betas, fused=True, capturable=device.type == "cuda")
    generator = torch.Generator(device).manual_seed(seed)
    return TrainingState(model, net, average, optimizer, pace, generator, Counters())


def learn_shown(state: TrainingState, data: list[FaceData]) -> None:
    """Tell the networks what each person's footage shows; see `modern.Shown`."""
    for net in (state.net, state.average):
        if isinstance(net, ModernNet):
            for shown, person in zip((net.shown_a, net.shown_b), data, strict=True):
                shown.learn(person.expressions)


def train_step(
    state: TrainingState,
    data: list[FaceData],
    augmentation: AugmentConfig,
    *,
    finish: float = 0.0,
    bfloat16: bool = False,
    net: nn.Module | None = None,
    share: Callable[[int], slice] = slice,
    run: Callable[[int, Callable[[], Tensor]], Tensor] = lambda _size, work: work(),
) -> Tensor:
    """Make one step on a batch of each person; returns the two L1 losses (2,) without waiting for the device.

    `finish`: how far the last phase of a training is, 0..1; 0 before it. In it the learning rate falls to a twentieth,
    and faces are neither warped nor their latents blurred: what was learned of any face is now fitted to these.
    With `bfloat16` the network's convolutions and products round to 16 bits; weights, losses and optimiser keep 32.
    `net` and `share` are for several processes (`training/device.py`): `net` is the `ReconstructBoth` of `state.net`,
    wrapped; `share` gets the size of a batch and says which of its faces this process computes (alone: all). `run` gets
    the size and all the work on the device, and returns what it does; a GPU's records it (`training/device.py`).
    """
    before = state.counters.iteration
    size = state.config.batch_at(before)
    state.pace.rate.fill_(state.config.learning_rate * 0.05**finish)
    state.pace.strength.fill_(1 - finish)
    state.pace.follow.fill_(1 - min(0.998, (1 + before) / (10 + before)))  # first it forgets the random start
    reconstruct = net if net is not None else ReconstructBoth(state.net)

    def work() -> Tensor:
        batches = draw_batches(state, data, augmentation, size, share(size))
        losses = learn(state, reconstruct, batches, bfloat16=bfloat16)
        update_average(state.average, state.net, state.pace.follow)
        return losses

    losses = run(size, work)
    state.counters.iteration += 1
    state.counters.images += 2 * size
    return losses


def learn(state: TrainingState, reconstruct: nn.Module, batches: list[Batch], *, bfloat16: bool) -> Tensor:
    """Draw both persons' batches, and move the weights towards drawing them better; returns the two L1 losses (2,)."""
    inputs = [batch.inputs.contiguous(memory_format=torch.channels_last) for batch in batches]
    with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=bfloat16):
        drawn: list[Drawn] = reconstruct(inputs, [batch.told for batch in batches])
    l1_a, extra_a = person_losses(drawn[0], batches[0], state.config)
    l1_b, extra_b = person_losses(drawn[1], batches[1], state.config)
    losses = torch.stack([l1_a, l1_b])
    state.optimizer.zero_grad()
    (losses.sum() + extra_a + extra_b).backward()
    state.optimizer.step()
    return losses.detach()


def draw_batches(
    state: TrainingState, data: list[FaceData], augmentation: AugmentConfig, size: int, share: slice = slice(None)
) -> list[Batch]:
    """Draw `size` faces of each person at random, change them at random, and compute those in `share`."""
    model, device = state.config, data[0].faces.device
    augmented: list[tuple[RandomDraws, Tensor, Tensor, Tensor]] = []
    for person in data:
        draws = sample_random(size, model.latent, device, state.generator).part(share)
        draws = replace(draws, warp=state.pace.strength * draws.warp, noise=state.pace.strength * draws.noise)
        chosen = (draws.face * len(person.faces)).long()
        faces = person.faces.index_select(0, chosen)  # [chosen] goes byte by byte on the CPU: 4 ms instead of 0.2
        inputs, targets = augment(faces.float().mul_(1 / 255), draws, model, augmentation)
        mirror = (draws.mirror < augmentation.mirror).long()
        augmented.append((draws, inputs, targets, person.expressions[chosen, mirror]))
    said = mix_expressions(state, augmented, augmentation)
    if model.masks:  # the modern network; `classic` is trained as everybody knows it, without these two
        both = [targets[:, :3, ::2, ::2] for _, _, targets, _ in augmented]  # light is coarse
        gains = [mix_light(both[i], both[1 - i], augmented[i][0], augmentation) for i in (0, 1)]
        for (draws, inputs, targets, _), gain in zip(augmented, gains, strict=True):
            relight_and_occlude(inputs, targets, gain, draws, augmentation)
    return [
        Batch(inputs, targets, own, Told(expression, draws.noise, (draws.forget >= model.forget).to(inputs)))
        for (draws, inputs, targets, own), expression in zip(augmented, said, strict=True)
    ]


def relight_and_occlude(
    inputs: Tensor, targets: Tensor, gain: Tensor, draws: RandomDraws, augmentation: AugmentConfig
) -> None:
    """Put a batch of faces into another light, and hold things before some; their masks say where. All in place."""
    relight(inputs, gain)
    relight(targets, gain)
    free = occlude(inputs, draws.occluders, draws.occluded < augmentation.occlude)
    targets[:, 4:].mul_(F.interpolate(free, targets.shape[-2:], mode="bilinear", align_corners=False))


def mix_expressions(
    state: TrainingState, augmented: list[tuple[RandomDraws, Tensor, Tensor, Tensor]], config: AugmentConfig
) -> list[Tensor]:
    """What the decoders are told of both persons' faces (B, MEASURES): now and then one number of another face.

    Of the numbers of a face, some are those of a face of the other person, as far as its own person shows that. In a
    swap all are; a decoder that never met two that do not go together draws what goes with neither. A base has met all.
    """
    own = [expression for *_, expression in augmented]
    if not isinstance(state.net, ModernNet) or state.net.based:
        return own
    foreign = [state.net.translated(own[1], "b", "a"), state.net.translated(own[0], "a", "b")]
    chosen = [draws.told < config.mix_expressions for draws, *_ in augmented]
    return [torch.where(which, other, mine) for which, other, mine in zip(chosen, foreign, own, strict=True)]


def person_losses(drawn: Drawn, batch: Batch, model: ModelConfig) -> tuple[Tensor, Tensor]:
    """The L1 loss of one person's faces, and the sum of all other losses: structure, mask and expression."""
    patch = drawn.patch.float()  # losses add up many small numbers
    face, weight, mask = batch.targets[:, :3], batch.targets[:, 3:4], batch.targets[:, 4:]
    l1 = weighted_l1(patch, face, weight)
    extra = patch.new_zeros(())
    if model.structure_weight:
        extra = extra + model.structure_weight * dissimilarity(patch, face, weight)
    if drawn.mask is not None:
        extra = extra + F.mse_loss(drawn.mask.float(), F.interpolate(mask, drawn.mask.shape[-2:]))
    if drawn.expression is not None:
        extra = extra + model.expression_weight * F.smooth_l1_loss(drawn.expression.float(), batch.expressions)
    return l1, extra


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, follow: Tensor | float) -> None:
    """Move the averaged network a little towards the trained one: single steps jitter, a mean of some 500 does not."""
    for kept, new in zip(average.parameters(), net.parameters(), strict=True):
        kept.lerp_(new, follow)
    for kept, new in zip(average.buffers(), net.buffers(), strict=True):
        kept.copy_(new)
