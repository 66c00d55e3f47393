"""The machine that torch computes on."""

from __future__ import annotations

from typing import Any

import torch

from clearswap.core.model import SwapNet


def used_device() -> torch.device:
    """The accelerator that torch finds, else the CPU."""
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def describe_device(device: torch.device) -> str:
    """One line for people: what training runs on, and what to do when that is not what they hoped for."""
    if device.type == "cuda":
        return f"training on {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return f"training on the {device.type} accelerator"
    threads = torch.get_num_threads()
    return (
        f"training on the CPU, {threads} thread{'s' * (threads != 1)} (no accelerator found; see the README for GPUs)"
    )


def to_device(net: SwapNet, device: torch.device) -> SwapNet:
    """Move a network there, its weights laid out channels-last, as convolutions like them."""
    anyhow: Any = net  # torch's stubs do not know that `to` takes both at once
    anyhow.to(device=device, memory_format=torch.channels_last)
    return net
