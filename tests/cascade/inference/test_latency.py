from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cascade.inference import latency

IMAGES = [np.zeros((2, 2, 3), np.uint8)] * 3


class Sleeper:
    """Stands where a predictor stands, and takes its time on a clock that only it moves."""

    device = torch.device("cpu")

    def __init__(self, name, clock, milliseconds):
        self._name, self._clock = name, clock
        self._milliseconds = iter(milliseconds)

    def predict(self, images):
        self._clock.asked.append((self._name, len(images)))
        self._clock.now_s += next(self._milliseconds) / 1000


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now_s=0.0, asked=[])
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))
    return clock


def test_the_first_image_warms_up_uncounted(clock):
    measured = latency.measure_latency({"a": Sleeper("a", clock, [900, 10, 10, 40])}, IMAGES)
    assert measured == {"a": {"mean": 20.0, "p50": 10.0, "p99": 39.4, "n": 3}}


def test_each_ensemble_has_its_own_time_and_they_take_turns(clock):
    sleepers = {name: Sleeper(name, clock, [took] * 4) for name, took in (("a", 5), ("b", 7))}
    measured = latency.measure_latency(sleepers, IMAGES)
    assert {name: one["mean"] for name, one in measured.items()} == {"a": 5.0, "b": 7.0}
    assert clock.asked == [("a", 1), ("b", 1)] * 4


def test_without_images_nothing_is_measured(clock):
    measured = latency.measure_latency({"a": Sleeper("a", clock, [])}, [])
    assert measured == {"a": {"mean": None, "p50": None, "p99": None, "n": 0}}
