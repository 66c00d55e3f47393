"""The machine that torch computes on."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from typing import TypeVar

import torch

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
