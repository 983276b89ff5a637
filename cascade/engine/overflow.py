"""Overflow check of half-precision outputs: fp16 ends at 65,504."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def in_range(raw: Any) -> bool:
    """Return whether a nested output contains neither NaN nor plus infinity.

    Minus infinity is allowed: models write it for masked entries.
    """
    if isinstance(raw, Tensor):
        return not raw.is_floating_point() or bool((raw < torch.inf).all())
    parts = raw.values() if isinstance(raw, Mapping) else raw
    return not isinstance(raw, Mapping | list | tuple) or all(map(in_range, parts))
