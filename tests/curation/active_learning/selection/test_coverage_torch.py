"""Coverage in PyTorch, on the CPU, against NumPy."""

from dataclasses import replace

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
    problem = coverage.Problem(points[:150], points, worth, covering, sigma)
    make_cover = torch_cover(torch.device("cpu"))
    plain = coverage.pick_greedily(problem, 60)
    on_device = coverage.pick_greedily(problem, 60, cover=make_cover)
    assert on_device.order.tolist() == plain.order.tolist()
    assert on_device.gain == pytest.approx(plain.gain, rel=1e-4, abs=1e-4)
    chosen = replace(problem, candidates=points[plain.order])
    gains = [cover(chosen).total_gain() for cover in (coverage.NumpyCover, make_cover)]
    assert gains[0] == pytest.approx(gains[1], rel=1e-5)
    assert gains[0] == pytest.approx(plain.gain.sum(), rel=1e-4)


def test_torch_cover_without_candidates():
    problem = coverage.Problem(EMPTY, unit(5), np.ones(5), EMPTY, sigma=1.0)
    picks = coverage.pick_greedily(problem, 3, cover=torch_cover(torch.device("cpu")))
    assert picks.order.tolist() == []
