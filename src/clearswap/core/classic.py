"""The classic network, layer for layer as everybody knows it (the "deepfakes" autoencoder, 2017).

82.1 million parameters, 1.9 billion multiply-adds a face; 64 pixels, a dense layer that sees the whole face, no levels
and no mask. For study, and to measure others by.
"""

from __future__ import annotations

from torch import nn


def _halve(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 5, stride=2, padding=2), nn.LeakyReLU(0.1))


def _upscale(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs * 4, 3, padding=1), nn.LeakyReLU(0.1), nn.PixelShuffle(2))


def classic_encoder() -> nn.Module:
    """(B, 3, 64, 64) to the latent (B, 512, 8, 8)."""
    return nn.Sequential(
        _halve(3, 128),  # (B, 128, 32, 32)
        _halve(128, 256),  # (B, 256, 16, 16)
        _halve(256, 512),  # (B, 512, 8, 8)
        _halve(512, 1024),  # (B, 1024, 4, 4)
        nn.Flatten(),
        nn.Linear(1024 * 4 * 4, 1024),  # where the place of things is forgotten and the whole face is seen
        nn.Linear(1024, 4 * 4 * 1024),
        nn.Unflatten(1, (1024, 4, 4)),
        _upscale(1024, 512),  # (B, 512, 8, 8)
    )


def classic_decoder() -> nn.Module:
    """The latent (B, 512, 8, 8) to a face (B, 3, 64, 64)."""
    return nn.Sequential(
        _upscale(512, 256),  # (B, 256, 16, 16)
        _upscale(256, 128),  # (B, 128, 32, 32)
        _upscale(128, 64),  # (B, 64, 64, 64)
        nn.Conv2d(64, 3, 5, padding=2),
        nn.Sigmoid(),
    )
