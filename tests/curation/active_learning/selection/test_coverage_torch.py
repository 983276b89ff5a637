"""Coverage on a device of torch, here the CPU, against numpy's."""

import numpy as np
import pytest
import torch

from curation.active_learning.selection import coverage
from curation.active_learning.selection.coverage_torch import torch_cover

NOTHING = np.empty((0, 16), np.float32)


def unit(n, seed=0):
    made = np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("taken", [NOTHING, unit(7, seed=2)], ids=["nothing taken", "some taken"])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_a_device_picks_what_numpy_picks(taken, sigma):
    points, worth = unit(400), np.random.default_rng(1).random(400)
    how = {"budget": 60, "sigma": sigma, "taken": taken}
    plain = coverage.pick_greedily(points[:150], points, worth, **how)
    on_device = coverage.pick_greedily(
        points[:150], points, worth, **how, cover=torch_cover(torch.device("cpu"))
    )
    assert on_device.order.tolist() == plain.order.tolist()
    assert on_device.gain == pytest.approx(plain.gain, rel=1e-4, abs=1e-4)
    chosen = points[plain.order]
    sums = [
        coverage.covered(points, worth, taken=taken, chosen=chosen, sigma=sigma, cover=cover)
        for cover in (None, torch_cover(torch.device("cpu")))
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    assert sums[0] == pytest.approx(plain.gain.sum(), rel=1e-4)


def test_no_candidates_no_picks():
    how = {"budget": 3, "sigma": 1.0, "taken": NOTHING}
    herd = coverage.pick_greedily(
        NOTHING, unit(5), np.ones(5), **how, cover=torch_cover(torch.device("cpu"))
    )
    assert herd.order.tolist() == []
