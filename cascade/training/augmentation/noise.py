"""Noise that is the same on every device: each pixel's value is a hash of its place and a seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF  # the low 32 bits, in which the hash lives


def on_device(small: Tensor, device: torch.device) -> Tensor:
    """Return a small tensor on a device, without waiting until the device has done its work."""
    return small.to(device, non_blocking=True)


def noise(seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """Return even noise in [0, 1), shape (B, *shape), one seed an image."""
    places = torch.arange(shape[0] * shape[1] * shape[2], device=device)
    starts = on_device(torch.tensor(list(seeds)), device)[:, None]
    mixed = (places * 747796405 + starts * 277803737) & _LOW
    for _ in range(2):
        mixed = (((mixed >> 16) ^ mixed) * 0x45D9F3B) & _LOW
    mixed = (mixed >> 16) ^ mixed
    return (mixed.double() / (_LOW + 1)).float().clamp_(max=1 - 2**-24).view(-1, *shape)
