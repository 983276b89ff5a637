from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cascade.inference import latency

IMAGES = [np.zeros((2, 2, 3), np.uint8)] * 3


class Sleeper:
    """Stand-in for a predictor that advances a fake clock."""

    device = torch.device("cpu")

    def __init__(self, name, clock, milliseconds):
        self._name, self._clock = name, clock
        self._milliseconds = iter(milliseconds)

    def predict(self, images):
        self._clock.calls.append((self._name, len(images)))
        self._clock.now_s += next(self._milliseconds) / 1000


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now_s=0.0, calls=[])
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))
    return clock


def test_first_image_is_an_uncounted_warm_up(clock):
    measured = latency.measure_latency({"a": Sleeper("a", clock, [900, 10, 10, 40])}, IMAGES)
    assert measured == {"a": {"mean": 20.0, "p50": 10.0, "p99": 39.4, "n": 3}}


def test_ensembles_take_turns(clock):
    sleepers = {
        name: Sleeper(name, clock, [duration] * 4) for name, duration in (("a", 5), ("b", 7))
    }
    measured = latency.measure_latency(sleepers, IMAGES)
    assert {name: summary["mean"] for name, summary in measured.items()} == {"a": 5.0, "b": 7.0}
    assert clock.calls == [("a", 1), ("b", 1)] * 4


def test_latency_without_images(clock):
    measured = latency.measure_latency({"a": Sleeper("a", clock, [])}, [])
    assert measured == {"a": {"mean": None, "p50": None, "p99": None, "n": 0}}
