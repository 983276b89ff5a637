"""Greedy coverage on a GPU, or any device of PyTorch; see `coverage`.

Products are in full float32, without TF32, because a gain is a sum of small differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cascade.arrays import FloatArray, Int64Array
from curation.active_learning.selection.coverage import CoverFactory, Problem, min_gain

_BLOCK_VALUES = 2**28  # kernel values per block: 1 GiB, and the same again for the gains


def torch_cover(device: torch.device) -> CoverFactory:
    """Return a factory of covers on a device."""
    return partial(TorchCover, device=device)


class TorchCover:
    """A `Cover` on a device of PyTorch."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self._device, self._sigma = device, problem.sigma
        self._candidates = self._to_device(problem.candidates)
        self._points = self._to_device(problem.points)
        self._worth = self._to_device(problem.worth).to(torch.float64)
        self._block = max(1, _BLOCK_VALUES // max(len(self._points), 1))
        self._cover = torch.zeros(len(self._points), device=device)
        self._add_all(self._to_device(problem.covering))

    def gains(self, rows: Int64Array) -> FloatArray:
        """Return the gain of each candidate in `rows`."""
        gains = []
        index = torch.from_numpy(np.asarray(rows)).to(self._device)
        for start in range(0, len(rows), self._block):
            values = self._kernel(self._candidates[index[start : start + self._block]])
            values -= self._cover
            values[values <= min_gain(self._sigma)] = 0.0
            gains.append(torch.mv(values.to(torch.float64), self._worth))
        return torch.cat([*gains, self._worth[:0]]).cpu().numpy()

    def add(self, row: int) -> None:
        """Add a candidate to the covering samples."""
        self._add_all(self._candidates[row : row + 1])

    def total_gain(self) -> float:
        """Return the gain of all candidates together."""
        before = self._cover.clone()
        self._add_all(self._candidates)
        return float(torch.dot((self._cover - before).to(torch.float64), self._worth))

    def _add_all(self, covering: Tensor) -> None:
        for start in range(0, len(covering), self._block):
            values = self._kernel(covering[start : start + self._block])
            torch.maximum(self._cover, values.amax(dim=0), out=self._cover)

    def _kernel(self, covering: Tensor) -> Tensor:
        with _full_precision():
            values = covering @ self._points.T
        values -= 1.0
        return values.clamp_(max=0.0).mul_(2.0 / self._sigma**2).exp_()

    def _to_device(self, array: FloatArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


@contextmanager
def _full_precision() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
