"""What makes two fits the same: their arguments, images, targets and starting weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def identity_of(parts: object, weights: Mapping[str, Tensor]) -> str:
    """Return 64 hex digits over values, sequences and dataclasses of them, and over tensors.

    An image file counts by its path, pixels by their content.
    """
    digest = hashlib.sha256()
    _feed(digest, parts)
    for name, one in weights.items():
        digest.update(name.encode())
        digest.update(one.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _feed(digest: Any, value: object) -> None:
    if isinstance(value, np.ndarray):
        digest.update(f"{value.shape} {value.dtype} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        for one in fields(value):
            _feed(digest, getattr(value, one.name))
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)} ".encode())
        for one in value:
            _feed(digest, one)
    elif value is None or isinstance(value, str | int | float | bool | Path | np.number):
        digest.update(f"{value!s};".encode())
    else:
        raise TypeError(f"{type(value).__name__} has no identity")
