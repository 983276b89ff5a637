"""Shared code of the writers of tiny checkpoints.

Each module `tiny_<family>.py` in this folder lists its `CASES`: a writer of a random checkpoint of
a few hundred kB with the family's real configuration, and the parameters for the registry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Case:
    """Tiny checkpoint of one family.

    Attributes:
        adapter: Registered adapter.
        write: Writes the checkpoint into an empty folder and returns its `source`: that folder,
            or a file in it; None for an adapter with packaged weights.
        params: Keyword arguments of the adapter.
        members: Members of the packaged manifests that it represents.
        tolerance: Maximum difference between a batch and single images: absolute, in relative
            coordinates, scores, vector entries, or (relative) meters.
    """

    adapter: str
    write: Callable[[Path], Path | None]
    params: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    tolerance: float = 1e-4


@contextlib.contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw reproducible random weights without changing the global generator."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def settle_norms(module: nn.Module, call: Callable[[], object]) -> None:
    """Set the statistics of batch normalizations from one call, as training would.

    Their initial statistics change nothing, and random layers shrink activations until they
    underflow in half precision.
    """

    def settle(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        var, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)

    norms = [layer for layer in module.modules() if hasattr(layer, "running_mean")]
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    if hooks:
        call()
    for hook in hooks:
        hook.remove()
