"""Whether a forward pass stayed in the range of its numbers: half precision ends at 65,504."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def in_range(raw: Any) -> bool:
    """Tell whether no number in an output, however nested, is NaN or plus infinity.

    Minus infinity is what models write where there is nothing to say.
    """
    if isinstance(raw, Tensor):
        return not raw.is_floating_point() or bool((raw < torch.inf).all())
    parts = raw.values() if isinstance(raw, Mapping) else raw
    return not isinstance(raw, Mapping | list | tuple) or all(in_range(one) for one in parts)
