"""Identity of a fit: a hash of its arguments, images, targets and starting weights."""

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
    """Return the hash of values, of sequences and dataclasses of values, and of tensors.

    An image file counts by its path, pixels by their content.

    Returns:
        64 hex digits.
    """
    digest = hashlib.sha256()
    _update(digest, parts)
    for name, tensor in weights.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _update(digest: Any, value: object) -> None:
    if isinstance(value, np.ndarray):
        digest.update(f"{value.shape} {value.dtype} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        for item in fields(value):
            _update(digest, getattr(value, item.name))
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)} ".encode())
        for item in value:
            _update(digest, item)
    elif value is None or isinstance(value, str | int | float | bool | Path | np.number):
        digest.update(f"{value!s};".encode())
    else:
        raise TypeError(f"Cannot hash a value of type {type(value).__name__}.")
