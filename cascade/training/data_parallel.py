"""Several processes that train one model, each on its own GPU: `torchrun`, or this one alone.

Every process holds the whole model. A step's images are dealt out among them, and gradients are
averaged by how many images each process had, so that all take the same step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from cascade.predictions import Detections

T = TypeVar("T")
_ABSENT = -1  # in place of the number of boxes of an image that could not be read


@dataclass(frozen=True)
class Group:
    """The processes that train together.

    Attributes:
        rank: Which of them this one is; 0 writes.
        size: How many they are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Group:
        """Return the group that this process has joined; of itself where it has joined none."""
        if dist.is_available() and dist.is_initialized():
            return cls(rank=dist.get_rank(), size=dist.get_world_size())
        return cls()

    def share(self, rows: Sequence[T]) -> Sequence[T]:
        """Return this process's part of some rows: every `size`-th, from its rank on."""
        return rows[self.rank :: self.size]

    @torch.no_grad()
    def even_out(self, tensors: Sequence[Tensor]) -> None:
        """Set floating tensors to their mean over the processes, and others to those of rank 0."""
        if self.size == 1:
            return
        for one in tensors:
            if one.is_floating_point():
                dist.all_reduce(one)
                one /= self.size
            else:
                dist.broadcast(one, src=0)

    def average_gradients(
        self, parameters: Sequence[Tensor], *, loss: float, images: int, device: torch.device
    ) -> float:
        """Average gradients by images, in place, and return the likewise averaged loss."""
        if self.size == 1:
            return loss
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        counts = torch.tensor([loss * images, float(images)], device=device)
        packed = torch.cat([counts, *(images * one.flatten().float() for one in gradients)])
        dist.all_reduce(packed)
        total = packed[1].clamp(min=1)
        packed /= total
        start = 2
        for parameter in parameters:
            stop = start + parameter.numel()
            parameter.grad = packed[start:stop].view_as(parameter).to(parameter.dtype)
            start = stop
        return float(packed[0])

    def gathered(
        self,
        found: Sequence[Detections | None],
        *,
        n: int,
        classes: tuple[str, ...],
        device: torch.device,
    ) -> list[Detections | None]:
        """Return what all processes have of n images, in order, each having had its `share`."""
        if self.size == 1:
            return list(found)
        longest = max((len(one) for one in found if one is not None), default=0)
        most = torch.tensor(longest, device=device)
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        mine = np.full((-(-n // self.size), int(most) + 1, 6), _ABSENT, np.float32)
        for row, one in zip(mine, found, strict=False):
            if one is not None:
                row[0, 0] = len(one)
                columns = (one.boxes_xyxy, one.scores, one.class_ids)
                row[1 : len(one) + 1] = np.column_stack(columns)
        packed = torch.from_numpy(mine).to(device)
        parts = [torch.empty_like(packed) for _ in range(self.size)]
        dist.all_gather(parts, packed)
        everything = torch.stack(parts, dim=1).flatten(0, 1)[:n].cpu().numpy()
        return [_unpacked(row, classes) for row in everything]


@contextmanager
def joined() -> Iterator[Group]:
    """Join the group that `torchrun` announces in the environment; alone without it."""
    if "RANK" not in os.environ:
        yield Group()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Group.current()
    finally:
        dist.destroy_process_group()


def _unpacked(row: NDArray[np.float32], classes: tuple[str, ...]) -> Detections | None:
    count = int(row[0, 0])
    if count == _ABSENT:
        return None
    kept = row[1 : count + 1]
    return Detections(kept[:, :4], kept[:, 4], kept[:, 5].astype(np.int64), classes)
