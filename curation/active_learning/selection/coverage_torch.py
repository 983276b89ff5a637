"""The arithmetic of greedy coverage on a GPU, or any device of torch; see `coverage`.

Products run in full float32 (no TF32): a gain is a sum of small differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cascade.arrays import FloatArray, Int64Array
from curation.active_learning.selection.coverage import CoverFactory, noise

_BLOCK_VALUES = 2**28  # kernel values at once on a GPU: 1 GiB, and as much again for the gains


def torch_cover(device: torch.device) -> CoverFactory:
    """Return what builds covers on a device."""
    return partial(DeviceCover, device=device)


class DeviceCover:
    """A `Cover` on a device of torch: see `coverage.pick_greedily` for the arguments."""

    def __init__(
        self,
        candidates: FloatArray,
        points: FloatArray,
        worth: FloatArray,
        *,
        sigma: float,
        taken: FloatArray,
        device: torch.device,
    ) -> None:
        self._device, self._sigma = device, sigma
        self._candidates = self._put(candidates)
        self._points = self._put(points)
        self._worth = self._put(worth).to(torch.float64)
        self._block = max(1, _BLOCK_VALUES // max(len(points), 1))
        self._cover = torch.zeros(len(points), device=device)
        some = self._put(taken)
        for start in range(0, len(some), self._block):
            self._covered_by(some[start : start + self._block])

    def gains(self, rows: Int64Array) -> FloatArray:
        """Return what each of these candidates would add."""
        found = []
        index = torch.from_numpy(np.asarray(rows)).to(self._device)
        for start in range(0, len(rows), self._block):
            values = self._kernel(self._candidates[index[start : start + self._block]])
            values -= self._cover
            values[values <= noise(self._sigma)] = 0.0
            found.append(torch.mv(values.to(torch.float64), self._worth))
        return torch.cat([*found, self._worth[:0]]).cpu().numpy()

    def take(self, row: int) -> None:
        """Let a candidate cover the points."""
        self._covered_by(self._candidates[row : row + 1])

    def together(self) -> float:
        """Return what all candidates would add, if all of them covered."""
        before = self._cover.clone()
        for start in range(0, len(self._candidates), self._block):
            self._covered_by(self._candidates[start : start + self._block])
        return float(torch.dot((self._cover - before).to(torch.float64), self._worth))

    def _covered_by(self, some: Tensor) -> None:
        torch.maximum(self._cover, self._kernel(some).amax(dim=0), out=self._cover)

    def _kernel(self, some: Tensor) -> Tensor:
        with _full_precision():
            values = some @ self._points.T
        values -= 1.0
        return values.clamp_(max=0.0).mul_(2.0 / self._sigma**2).exp_()

    def _put(self, array: FloatArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


@contextmanager
def _full_precision() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
