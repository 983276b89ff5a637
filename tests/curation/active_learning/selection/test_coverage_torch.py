"""Coverage in PyTorch, on the CPU, against NumPy."""

import numpy as np
import pytest
import torch

from curation.active_learning.selection import coverage
from curation.active_learning.selection.coverage_torch import torch_cover

EMPTY = np.empty((0, 16), np.float32)


def unit(n, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("covering", [EMPTY, unit(7, seed=2)], ids=["none", "seven"])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_torch_cover_equals_numpy_cover(covering, sigma):
    points, worth = unit(400), np.random.default_rng(1).random(400)
    options = {"budget": 60, "sigma": sigma, "covering": covering}
    plain = coverage.pick_greedily(points[:150], points, worth, **options)
    on_device = coverage.pick_greedily(
        points[:150], points, worth, **options, cover=torch_cover(torch.device("cpu"))
    )
    assert on_device.order.tolist() == plain.order.tolist()
    assert on_device.gain == pytest.approx(plain.gain, rel=1e-4, abs=1e-4)
    chosen = points[plain.order]
    sums = [
        coverage.covered(points, worth, covering=covering, chosen=chosen, sigma=sigma, cover=cover)
        for cover in (None, torch_cover(torch.device("cpu")))
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    assert sums[0] == pytest.approx(plain.gain.sum(), rel=1e-4)


def test_torch_cover_without_candidates():
    options = {"budget": 3, "sigma": 1.0, "covering": EMPTY}
    picks = coverage.pick_greedily(
        EMPTY, unit(5), np.ones(5), **options, cover=torch_cover(torch.device("cpu"))
    )
    assert picks.order.tolist() == []
