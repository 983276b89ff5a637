"""Choice of the torch device."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """Return the first GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
