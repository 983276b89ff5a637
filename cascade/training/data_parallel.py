"""Data-parallel training of one model by several processes, one GPU each, under `torchrun`.

Every process holds the full model. The images of a step are divided among them, and gradients are
averaged with the number of images of each process as weight, so that all take the same step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together.

    Attributes:
        rank: Index of this process; process 0 writes the files.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> ProcessGroup:
        """Return the group that this process has joined, or a group of one process."""
        if dist.is_available() and dist.is_initialized():
            return cls(rank=dist.get_rank(), size=dist.get_world_size())
        return cls()

    def share(self, rows: Sequence[T]) -> Sequence[T]:
        """Return this process's rows: every `size`-th row, starting at its rank."""
        return rows[self.rank :: self.size]

    @torch.no_grad()
    def synchronize(self, tensors: Sequence[Tensor]) -> None:
        """Average floating tensors over the processes, and copy the others from process 0."""
        if self.size == 1:
            return
        for tensor in tensors:
            if tensor.is_floating_point():
                dist.all_reduce(tensor)
                tensor /= self.size
            else:
                dist.broadcast(tensor, src=0)

    def average_gradients(
        self, parameters: Sequence[Tensor], *, loss: float, images: int, device: torch.device
    ) -> float:
        """Average gradients in place, weighted by images; return the loss averaged the same way."""
        if self.size == 1:
            return loss
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        counts = torch.tensor([loss * images, float(images)], device=device)
        packed = torch.cat([counts, *(images * grad.flatten().float() for grad in gradients)])
        dist.all_reduce(packed)
        total = packed[1].clamp(min=1)
        packed /= total
        start = 2
        for parameter in parameters:
            stop = start + parameter.numel()
            parameter.grad = packed[start:stop].view_as(parameter).to(parameter.dtype)
            start = stop
        return float(packed[0])

    def gather(self, results: Sequence[T], *, n: int) -> list[T]:
        """Return the results for all n rows, in order, from the `share` of each process."""
        if self.size == 1:
            return list(results)
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, list(results))
        return [parts[i % self.size][i // self.size] for i in range(n)]


@contextmanager
def join_group() -> Iterator[ProcessGroup]:
    """Join the group that `torchrun` defines in the environment, or a group of one process."""
    if "RANK" not in os.environ:
        yield ProcessGroup()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield ProcessGroup.current()
    finally:
        dist.destroy_process_group()
