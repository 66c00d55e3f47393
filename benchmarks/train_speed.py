"""How many faces a second does training see, and how near is that to what the machine can do?

    python benchmarks/train_speed.py [CLIP_A CLIP_B | FACES_A FACES_B]

Steps of each preset in one process, in turn with a large matrix product; then the parts of a step by themselves. On a
GPU a step is recorded, as in training, and measured as it comes, too; the result is written as `train_speed_gpu`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import clips
import common
from clearswap.core.augment import AugmentConfig
from clearswap.core.expression import MEASURES
from clearswap.core.modern import ReconstructBoth, Told
from clearswap.core.network import ModelConfig, SwapNet
from clearswap.core.train_step import TrainingState, draw_batches, start_training, train_step
from clearswap.training.dataset import FaceData, load_faces
from clearswap.training.device import World, computes_bfloat16, used_device
from common import Cell, Plot, Result, Table

GPU = used_device().type != "cpu"
MATRIX = 8192 if GPU else 2048
KINDS = {"float32": torch.float32}
if computes_bfloat16(used_device()):  # else one product takes minutes
    KINDS["bfloat16"] = torch.bfloat16
PARTS = ("augmentation", "network, there and back")


@dataclass(frozen=True)
class Trainee:
    """A network with what it learns from."""

    state: TrainingState
    data: list[FaceData]  # of the two persons
    bfloat16: bool

    @property
    def images(self) -> int:
        """Faces in a step."""
        return 2 * self.state.config.batch


def trainees_of(configs: dict[str, ModelConfig], sets: list[Path]) -> dict[str, Trainee]:
    """New networks and the face sets as they want them: in float32, and where it is built in, in bfloat16, too."""
    device = used_device()
    made: dict[str, Trainee] = {}
    for name, config in configs.items():
        data = [load_faces(folder, config, device)[0] for folder in sets]
        for kind in KINDS:
            label = name if kind == "float32" else f"{name}, {kind}"
            made[label] = Trainee(start_training(config, 0, device), data, kind == "bfloat16")
    return made


def multiply_adds(net: SwapNet, size: int) -> float:
    """Multiplications of one face's way through the network, counted where the weights are."""
    counted: list[float] = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        weight = layer.weight
        uses = output[0].numel() / (weight.shape[1] if isinstance(layer, nn.ConvTranspose2d) else weight.shape[0])
        counted.append(weight.numel() * uses)

    kinds = (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)
    hooks = [layer.register_forward_hook(count) for layer in net.modules() if isinstance(layer, kinds)]
    net.eval()
    with torch.inference_mode():
        device = used_device()
        net(torch.rand(1, 3, size, size, device=device), torch.zeros(1, MEASURES, device=device), "a", "a")
    net.train()
    for hook in hooks:
        hook.remove()
    return sum(counted)


def wait() -> None:
    """Let an accelerator finish what it was given."""
    if used_device().type != "cpu":
        torch.accelerator.synchronize()


def repeated(work: Callable[[], object], least: float) -> Callable[[], float]:
    """A task that tells the seconds of one `work`, repeated as often as takes `least` seconds."""
    work()
    wait()
    once = common.seconds(lambda: (work(), wait()))
    times = max(1, round(least / once))

    def task() -> float:
        begun = time.perf_counter()
        for _ in range(times):
            work()
        wait()
        return (time.perf_counter() - begun) / times

    return task


def matrix_product(kind: torch.dtype) -> Callable[[], object]:
    """One product of two large matrices."""
    a = torch.rand(MATRIX, MATRIX, device=used_device()).to(kind)
    return lambda: a @ a


def whole_step(one: Trainee) -> Callable[[], object]:
    """A step of training as it is."""
    run = World().step_runner(one.state.generator)
    return lambda: train_step(one.state, one.data, AugmentConfig(), bfloat16=one.bfloat16, run=run)


def unrecorded_step(one: Trainee) -> Callable[[], object]:
    """A step of training whose every part is handed to the GPU by itself."""
    return lambda: train_step(one.state, one.data, AugmentConfig(), bfloat16=one.bfloat16)


def step_memory(one: Trainee) -> float:
    """Gigabytes of a GPU that four steps take, network, optimiser and faces included."""
    torch.accelerator.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()  # with the networks of all others
    for _ in range(4):
        unrecorded_step(one)()
    nets = [*one.state.net.state_dict().values(), *one.state.average.state_dict().values()]
    own = [*nets, *(person.faces for person in one.data)]
    return (torch.cuda.max_memory_allocated() - before + sum(t.nbytes for t in own)) / 2**30


def augmentation(one: Trainee) -> Callable[[], object]:
    """What a step does before the network."""
    return lambda: draw_batches(one.state, one.data, AugmentConfig(), one.state.config.batch)


def network(one: Trainee) -> Callable[[], object]:
    """Both persons through the network and back, with the cheapest of losses."""
    config, net = one.state.config, one.state.net
    device = used_device()
    x = torch.rand(config.batch, 3, config.seen, config.seen, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    expression, noise = (torch.randn(config.batch, n, device=device) for n in (MEASURES, config.latent))
    told = Told(expression, noise, torch.ones(config.batch, 1, device=device))
    lesson = ReconstructBoth(net)

    def there_and_back() -> None:
        net.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=one.bfloat16):
            drawn = lesson([x, x], [told, told])
            total = sum(part.float().sum() for one in drawn for part in one if part is not None)
        total.backward()

    return there_and_back


def measure(trainees: dict[str, Trainee], rounds: int, least: float) -> dict[str, float]:
    """The shortest seconds of the matrix products, of each step, and of its parts ("NAME: PART")."""
    tasks = {name: repeated(matrix_product(kind), least) for name, kind in KINDS.items()}
    for name, one in trainees.items():
        if torch.cuda.is_available():
            tasks[f"{name}: unrecorded"] = repeated(unrecorded_step(one), least)
        tasks[name] = repeated(whole_step(one), least)
        for part, work in zip(PARTS, (augmentation(one), network(one)), strict=True):
            tasks[f"{name}: {part}"] = repeated(work, least)
    return {name: min(times) for name, times in common.in_turn(tasks, rounds).items()}


def speed_table(trainees: dict[str, Trainee], took: dict[str, float]) -> Table:
    """Faces a second beside the matrix product's rate."""
    matrix = {name: 2 * MATRIX**3 / took[name] for name in KINDS}
    rates = {name: one.images / took[name] for name, one in trainees.items()}
    rows: list[tuple[Cell, ...]] = []
    for name, one in trainees.items():
        work = multiply_adds(one.state.net, one.state.config.size)
        share = 6 * work * rates[name] / matrix["bfloat16" if one.bfloat16 else "float32"]
        rows.append((name, rates[name], rates[name] / rates["classic"], work / 1e6, f"{100 * share:.0f} %"))
    rows += [(f"matrix product, {name}", f"{rate / 1e9:.0f} GFLOP/s", "", "", "100 %") for name, rate in matrix.items()]
    columns = ["", "faces/s", "of classic", "million multiply-adds a face", "of the matrix rate"]
    return Table("speed", columns, rows)


def recorded_table(trainees: dict[str, Trainee], took: dict[str, float], gigabytes: dict[str, float]) -> Table:
    """What recording a step gains on a GPU, and the memory that a step takes there."""
    rows: list[tuple[Cell, ...]] = []
    for name, one in trainees.items():
        alone = took[f"{name}: unrecorded"]
        rows.append((name, one.images, 1000 * alone, 1000 * took[name], alone / took[name], gigabytes[name]))
    return Table("recorded", ["", "faces", "ms a step", "recorded", "times as fast", "GB"], rows)


def parts(name: str, one: Trainee, took: dict[str, float]) -> dict[str, float]:
    """Milliseconds a face of each part of a step."""
    spent = {part: took[f"{name}: {part}"] for part in PARTS}
    spent["losses, optimiser, average"] = max(0.0, took[name] - sum(spent.values()))
    return {part: 1000 * seconds / one.images for part, seconds in spent.items()}


def main() -> None:
    """Measure all presets."""
    wanted = common.options(__doc__)
    rounds, least = (1, 0.05) if wanted.quick else (3, 0.3 if GPU else 1.5)
    presets = clips.presets().items()
    configs = {name: config.with_batch(4 if wanted.quick else config.batch) for name, config in presets}
    with common.scratch() as folder:
        given = [clip for clip in wanted.clips if clip.is_dir()]
        sets = given or clips.face_sets(folder, wanted.clips, every=20 if wanted.quick else 1)
        trainees = trainees_of(configs, sets)
    gigabytes = {name: step_memory(one) for name, one in trainees.items()} if torch.cuda.is_available() else {}
    took = measure(trainees, rounds, least)
    split = {name: parts(name, one, took) for name, one in trainees.items()}
    outside = [
        (name, *spent.values(), f"{100 * (1 - spent[PARTS[1]] / sum(spent.values())):.0f} %")
        for name, spent in split.items()
    ]
    result = Result(
        "train_speed_gpu" if GPU else "train_speed",
        f"How many faces a second does training see{' on a GPU' * GPU}, and how near is that to what the machine can"
        " do?",
        f"Whole steps of each preset and {MATRIX}x{MATRIX} matrix products in one process, in turn, best of {rounds};"
        " each preset beside the product of its own precision. A face costs six operations for each multiply-add of its"
        " way through the network: two there, four back. Batches are as large as they become.",
        [
            speed_table(trainees, took),
            Table("a step, ms a face", ["", *split["classic"], "outside the network"], outside),
            *([recorded_table(trainees, took, gigabytes)] if gigabytes else []),
        ],
        [Plot("a step, part by part", "stacked", "", "ms a face", by_part(split))],
        ["The parts are measured by themselves; the last is what is left of the whole step."]
        + ["On a GPU the parts are handed over one by one and the whole step is recorded, so they say little."] * GPU,
    )
    common.save(result, wanted)


def by_part(split: dict[str, dict[str, float]]) -> dict[str, list[tuple[str | float, float]]]:
    """The same figures, part before preset."""
    names = next(iter(split.values()))
    return {part: [(name, spent[part]) for name, spent in split.items()] for part in names}


if __name__ == "__main__":
    main()
