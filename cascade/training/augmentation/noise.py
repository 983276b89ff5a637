"""Noise that is equal on every device: a hash of each pixel's position and a seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF  # mask of the hash's 32 bits


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a small tensor to a device without synchronization."""
    return tensor.to(device, non_blocking=True)


def noise(seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """Return uniform noise in [0, 1), shape (B, *shape), with one seed per image."""
    positions = torch.arange(shape[0] * shape[1] * shape[2], device=device)
    starts = to_device(torch.tensor(list(seeds)), device)[:, None]
    mixed = (positions * 747796405 + starts * 277803737) & _LOW
    for _ in range(2):
        mixed = (((mixed >> 16) ^ mixed) * 0x45D9F3B) & _LOW
    mixed = (mixed >> 16) ^ mixed
    return (mixed.double() / (_LOW + 1)).float().clamp_(max=1 - 2**-24).view(-1, *shape)
