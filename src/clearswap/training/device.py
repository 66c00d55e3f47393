"""What torch computes on: one device, or several processes that train one model together.

    torchrun --nproc-per-node 2 -m clearswap train faces_a faces_b -o model --minutes 60

Several processes run the same loop on the same model (SPMD, "single program, multiple data"). Each draws the random
numbers of the whole batch and computes its share; torch's DistributedDataParallel averages the gradients, and `World`
the levels' statistics: so it is the training that one process would do. The first process alone writes files, reports,
and decides what needs a clock or a person; `World.from_first` tells the others. All read the same saved model.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn import functional as dist_functional
from torch.nn.parallel import DistributedDataParallel

from clearswap.core.modern import LatentNorm
from clearswap.core.network import ModelConfig
from clearswap.errors import ModelError, OptionError

_WARM_UP = 3  # ordinary steps before one is recorded, in which libraries choose their ways and take their memory


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


# --- memory ----------------------------------------------------------------------------------------------


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, to use it again, instead of handing it back to the system.

    A step of training frees and takes some 20 MB many times over, and the system clears each page that it hands out:
    5,000 to 8,000 of them a step of `lite`, 16 ms of processor time of 300. With this it is 50 pages and 1 ms. Only
    glibc knows how (`mallopt`, "man 3 mallopt"); elsewhere nothing happens.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD: from how many bytes on
    with suppress(AttributeError, OSError, TypeError):  # Windows knows no library of that name
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 1 << 30)


def give_back_freed_memory() -> None:
    """Hand the memory that this process has freed back to the system after all."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class MemoryGuard:
    """Ends its block quietly when memory, an accelerator's or the computer's own, runs out.

    The error is not passed on, because it would hold on to all that was computed until then.
    """

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return is_out_of_memory(error)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory ran out. Torch has a type of its own for accelerators only; the words below are
    those of its CPU allocator and of oneDNN.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("can't allocate memory", "not enough memory", "could not create a primitive", "could not create a memory")
    text = str(error).lower()
    if "descriptor" in text:  # which oneDNN cannot create for what it does not support
        return False
    return isinstance(error, RuntimeError) and any(part in text for part in words)


# --- a GPU ------------------------------------------------------------------------------------------------


class Recorder:
    """Records a step of training on a GPU once, and has it repeated: a CUDA graph.

    A step is some 2,000 small tasks for a GPU, and to hand them over one by one takes longer than to do them: 34 ms
    where they take an H100 16.8 (`hd`; of `lite` 35 and 5.5). A graph holds them all, with the places of everything
    they read and write, and is handed over whole. So nothing in a step may depend on a number that only Python knows:
    what changes is in `train_step.Pace`. (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs)

    From the fourth time on the work is what was recorded; a new size is recorded anew.
    """

    def __init__(self, generator: torch.Generator) -> None:
        """`generator` is where the work's random numbers come from."""
        self._generator = generator
        self._size = self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._losses = torch.empty(0)

    def __call__(self, size: int, work: Callable[[], Tensor]) -> Tensor:
        if size != self._size:
            self._size, self._done, self._graph = size, 0, None
        self._done += 1
        if self._done <= _WARM_UP:
            return self._ordinary(work)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(self._generator)
            with torch.cuda.graph(self._graph):
                self._losses = work()  # recorded, not done
        self._graph.replay()
        return self._losses.clone()

    def _ordinary(self, work: Callable[[], Tensor]) -> Tensor:
        """Do the work in another stream, as it will be recorded in one."""
        here, stream = torch.cuda.current_stream(), torch.cuda.Stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            losses = work()
        here.wait_stream(stream)
        return losses


# --- several processes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """The processes of one training, and this one's place among them. One process alone does nothing special."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=used_device)

    def step_runner(self, generator: torch.Generator) -> Callable[[int, Callable[[], Tensor]], Tensor]:
        """How steps with these random numbers are run: recorded on one NVIDIA GPU, elsewhere as they come."""
        if self.device.type == "cuda" and torch.version.cuda and self.size == 1:
            return Recorder(generator)
        return lambda _size, work: work()

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Which faces of a batch are this process's. Raises `OptionError` for a batch that cannot be shared."""
        own = batch // self.size
        if batch % self.size:
            raise OptionError(
                f"A batch of {batch} faces cannot be shared by {self.size} processes; give a batch of "
                f"{max(1, own) * self.size}."
            )
        return slice(self.rank * own, (self.rank + 1) * own)

    def shareable(self, model: ModelConfig) -> ModelConfig:
        """`model` with first batches that can be shared: the next larger ones, if need be."""
        if model.first_batch is None:
            return model
        return replace(model, first_batch=self.size * math.ceil(model.first_batch / self.size))

    def parallel(self, net: nn.Module) -> nn.Module:
        """Wrap `net`, so that gradients and the levels' statistics are averaged over all processes."""
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
        total: Tensor = dist_functional.all_reduce(own)  # pyright: ignore[reportUnknownVariableType]
        return total / self.size  # pyright: ignore[reportUnknownVariableType]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def from_first(self, *values: float) -> list[float]:
        """The first process's values, in every process. Waits until it has them."""
        if self.size == 1:
            return list(values)
        box = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(box, 0)
        return [float(value) for value in box]


@contextmanager
def join_world() -> Generator[World]:
    """Join the processes that torchrun started with this one, as long as the block lasts.

    Raises `ModelError` when another process has ended in the middle of it.
    """
    size, device = int(os.environ.get("WORLD_SIZE", "1")), used_device()
    if size == 1:
        yield World(device=device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size, device)
    except RuntimeError as error:
        if "gloo" not in str(error).lower() and type(error).__module__ != "torch.distributed":
            raise
        raise ModelError("Another process of this training has ended; its own message says why.") from error
    finally:
        dist.destroy_process_group()  # an end without it may abort, and lets the others wait
