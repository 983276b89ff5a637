"""What the makers of tiny checkpoints have in common.

A module `tiny_<family>.py` beside this one lists its `CASES`: how to write a random checkpoint
of a few hundred kB with the family's true configuration, and how the registry builds it.
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
    """One family, tiny.

    Attributes:
        adapter: The registered adapter that builds it.
        write: Writes its checkpoint into an empty folder and returns what `source` would name:
            that folder, or a file in it; None where the adapter brings its weights along.
        params: Keyword arguments of the adapter.
        members: The members of the packaged manifests for which it stands.
        tolerance: How far a batch may be from the single images: absolute, in relative
            coordinates, scores, vector entries, or (relative) metres.
    """

    adapter: str
    write: Callable[[Path], Path | None]
    params: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    tolerance: float = 1e-4


@contextlib.contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw random weights that are the same every time, and leave the others' dice alone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def settle_norms(module: nn.Module, call: Callable[[], object]) -> None:
    """Give batch normalisations the statistics of what they see in a call, as training would.

    As they are initialised they change nothing, and random layers shrink what passes through them
    until half precision has no number for it.
    """

    def settle(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        var, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)

    norms = [one for one in module.modules() if hasattr(one, "running_mean")]
    hooks = [one.register_forward_pre_hook(settle) for one in norms]
    if hooks:
        call()
    for hook in hooks:
        hook.remove()
