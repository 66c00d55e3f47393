"""The machine that torch computes on.

Many processes that train one model, each on its share of every batch, started by torchrun:

    torchrun --nproc-per-node 2 -m clearswap train faces_a faces_b -o model --minutes 60

The first process leads: it runs the training loop, and before each step tells the others what comes. They follow. All
hold the same network; gradients are averaged by torch's DistributedDataParallel, the levels' statistics by `mean`, and
each draws the random numbers of the whole batch and takes its share: so it is the training that one process would do.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clearswap.core.network import LatentNorm, ModelConfig
from clearswap.core.train_step import TrainingState
from clearswap.errors import ModelError, OptionError

Result = TypeVar("Result")


def used_device() -> torch.device:
    """The accelerator that torch finds, else the CPU."""
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 numbers in hardware, which is about twice as fast as float32.

    Others emulate it, and gain nothing.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # which older torch lacks
        return False
    processor = torch.cpu.get_capabilities()
    return bool(processor.get("avx512_bf16") or processor.get("amx_bf16"))


def describe_device(device: torch.device, *, bfloat16: bool) -> str:
    """One line for people: what training runs on, and what to do when that is not what they hoped for."""
    numbers = "bfloat16" if bfloat16 else "float32"
    if device.type == "cuda":
        return f"training on {torch.cuda.get_device_name(device)} in {numbers}"
    if device.type != "cpu":
        return f"training on the {device.type} accelerator in {numbers}"
    threads = torch.get_num_threads()
    processor = f"the CPU, {threads} thread{'s' * (threads != 1)}"
    return f"training on {processor} in {numbers} (no accelerator found; see the README for GPUs)"


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, to use it again, instead of handing it back to the system.

    A step of training frees and takes some 20 MB many times over, and the system clears each page that it hands out:
    5,000 to 8,000 of them a step of `lite`, 16 ms of processor time of 300. With this it is 50 pages and 1 ms. Only
    glibc knows how (`mallopt`, "man 3 mallopt"); elsewhere nothing happens.
    """
    blocks_of_their_own, given_back = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD: from how many bytes on
    with contextlib.suppress(AttributeError, OSError, TypeError):  # Windows knows no library of that name
        libc = ctypes.CDLL(None)
        libc.mallopt(blocks_of_their_own, 32 << 20)
        libc.mallopt(given_back, 1 << 30)


def unless_out_of_memory(work: Callable[[], Result]) -> Result | None:
    """What `work` returns, or None when memory, an accelerator's or the computer's own, ran out meanwhile.

    Not an exception, because one would hold on to all that was computed until then. Torch has an error of its own for
    accelerators only; the words are those of its CPU allocator and of oneDNN.
    """
    words = ("can't allocate memory", "not enough memory", "could not create a primitive", "could not create a memory")
    other = "descriptor"  # which oneDNN cannot create for what it does not support
    try:
        return work()
    except (MemoryError, torch.OutOfMemoryError):
        return None
    except RuntimeError as error:
        text = str(error).lower()
        if other not in text and any(part in text for part in words):
            return None
        raise


Outcome = TypeVar("Outcome")

_STEP, _SHARE, _END = 0, 1, 2  # what the leader can ask for


@dataclass(frozen=True)
class Team:
    """The processes of one training. Alone, it is one that does nothing at all."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that saves and reports."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Which faces of a batch are this process's. Raises `OptionError` for a batch that cannot be shared."""
        if batch % self.size:
            raise OptionError(
                f"A batch of {batch} faces cannot be shared by {self.size} processes; give --batch "
                f"{max(1, batch // self.size) * self.size}."
            )
        own = batch // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def shareable(self, model: ModelConfig) -> ModelConfig:
        """The same with first batches that can be shared, if need be larger ones."""
        if model.first_batch is None:
            return model
        return replace(model, first_batch=self.size * math.ceil(model.first_batch / self.size))

    def parallel(self, net: nn.Module) -> nn.Module:
        """What computes as `net` does and averages gradients over all processes; `net` itself when alone."""
        if self.size == 1:
            return net
        for part in net.modules():
            if isinstance(part, LatentNorm):
                part.mean_of = self.mean
        return DistributedDataParallel(net)

    def mean(self, own: Tensor) -> Tensor:
        """The mean over all processes of a tensor that each has; gradients flow through."""
        if self.size == 1:
            return own
        total: Tensor = _Sum.apply(own)  # pyright: ignore[reportUnknownVariableType]
        return total / self.size  # pyright: ignore[reportUnknownVariableType]

    def lead(self, state: TrainingState, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """`step` of all processes. Where the state is not the one that the last step left (at first, and when the loop
        went back to an earlier one), all get the leader's before.
        """
        if self.size == 1:
            return step
        known: list[int] = []

        def together() -> Tensor:
            if known != [state.counters.iteration]:
                self._tell(_SHARE)
                self._share(state)
            self._tell(_STEP)
            losses = self.mean(step().detach())
            known[:] = [state.counters.iteration]
            return losses

        return together

    def follow(self, state: TrainingState, step: Callable[[], Tensor]) -> Any:
        """Do what the leader says until it ends; returns what came of it. Raises `ModelError` when it failed."""
        while (order := self._tell(None)) != _END:
            if order == _SHARE:
                self._share(state)
            else:
                self.mean(step().detach())
        outcome = self._tell(None)
        if outcome is None:
            raise ModelError("The first process of the training ended with an error, which it told.")
        return outcome

    def together(self, work: Callable[[], Outcome]) -> Outcome:
        """What `work` returns; however it ends, the leader lets the others go, and the team is no more."""
        outcome: Outcome | None = None
        try:
            outcome = work()
            return outcome
        finally:
            if self.size > 1:
                if self.leads:
                    self._tell(_END)
                    self._tell(outcome)
                dist.destroy_process_group()  # an end without it may abort

    def _tell(self, what: Any) -> Any:
        """What the leader says, to all."""
        box = [what]
        dist.broadcast_object_list(box)
        return box[0]

    def _share(self, state: TrainingState) -> None:
        """Give all processes the leader's state."""
        if self.leads:
            self._tell((state.config.learning_rate, state.counters, _shapes(state)))
        else:
            rate, state.counters, shapes = self._tell(None)
            state.config = replace(state.config, learning_rate=rate)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            for parameter, named in zip(state.net.parameters(), shapes, strict=True):  # to be filled below
                state.optimizer.state[parameter] = {
                    name: torch.empty_like(parameter) if like else torch.zeros((), device=parameter.device)
                    for name, like in named.items()
                }
        numbers = state.generator.get_state()
        tensors = [numbers, *state.net.state_dict().values(), *state.average.state_dict().values()]
        tensors += [v for p in state.net.parameters() for v in state.optimizer.state.get(p, {}).values()]
        for tensor in tensors:
            dist.broadcast(tensor, 0)
        state.generator.set_state(numbers)


class _Sum(torch.autograd.Function):
    """The sum over all processes. What depends on it does so in every process, so its gradient is a sum, too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        del ctx
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        del ctx
        total = grad_outputs[0].clone()
        dist.all_reduce(total)
        return total


def _shapes(state: TrainingState) -> list[dict[str, bool]]:
    """What the optimiser keeps of each parameter, and whether it is of the parameter's shape or one number."""
    kept = [state.optimizer.state.get(parameter, {}) for parameter in state.net.parameters()]
    return [{name: value.dim() > 0 for name, value in one.items()} for one in kept]


def join() -> tuple[Team, torch.device]:
    """The team that torchrun started this process in, and this process's device."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team(), used_device()
    device = used_device()
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Team(dist.get_rank(), size), device
