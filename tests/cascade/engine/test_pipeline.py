import threading
import time

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from cascade.engine import pipeline
from cascade.engine.member_runner import Runner
from cascade.engine.pipeline import IN_TURN, Pace, Work
from cascade.engine.sinks import MemorySink
from cascade.imaging.batches import Group
from cascade.manifest import Member
from cascade.predictions import Embedding, Failure

CPU = torch.device("cpu")
THREADED = Pace(in_flight=2, decoders=3, writes_ahead=1, pad_to=4)
PACES = [pytest.param(IN_TURN, id="in turn"), pytest.param(THREADED, id="overlapped")]


class Level:
    def __init__(self, delay_s=0.0):
        self.module = nn.Identity()
        self.started = self.decoded = 0
        self.max_in_flight = 0
        self._delay_s = delay_s

    def prepare(self, batch):
        return {"view": batch.view(4, 4)}

    def forward(self, tensors):
        self.started += 1
        self.max_in_flight = max(self.max_in_flight, self.started - self.decoded)
        return tensors["view"].float().mean(dim=(1, 2, 3)) / 255

    def decode(self, raw, batch):
        time.sleep(self._delay_s)
        self.decoded += 1
        return [
            Embedding(np.array([level, (1 - level * level) ** 0.5], np.float32))
            for level in raw.tolist()
        ]


def runner(model, name="level"):
    entry = Member(name=name, tier="embedding", adapter="worker", license="MIT", batch_size=4)
    return Runner(model, entry, CPU)


@pytest.fixture
def groups(tmp_path):
    """Return five groups of three images, one of which is damaged."""
    paths = []
    for i in range(15):
        path = tmp_path / f"{i:02d}.png"
        cv2.imwrite(str(path), np.full((8, 8, 3), 10 * i, np.uint8))
        paths.append(path)
    paths[7].write_bytes(b"no image")
    names = [path.stem for path in paths]
    return [Group(names[i : i + 3], paths[i : i + 3]) for i in range(0, 15, 3)]


def run(groups, pace, sink=None, work=None, models=None, batches_a_write=2):
    models = models or {"level": Level()}
    runners = {name: runner(model, name) for name, model in models.items()}
    return pipeline.run(
        runners, groups, sink or MemorySink(), work or Work(), device=CPU,
        batches_a_write=batches_a_write, pace=pace,
    )  # fmt: skip


@pytest.mark.parametrize("pace", PACES)
def test_every_image_gets_its_own_result(groups, pace):
    sink = MemorySink()
    tally = run(groups, pace, sink, models={"a": Level(), "b": Level(0.01)})
    assert sorted(sink.results) == [f"{i:02d}" for i in range(15)]
    for i, row in enumerate(sink.results[f"{i:02d}"] for i in range(15)):
        if i == 7:
            assert {type(result) for result in row.values()} == {Failure}
        else:
            assert {round(float(result.vector[0]) * 255) for result in row.values()} == {10 * i}
    assert (tally.images, tally.predicted, tally.failed) == (15, 28, 2)
    assert tally.seen == {"a": 14, "b": 14}


@pytest.mark.parametrize("pace", PACES)
def test_groups_are_stored_in_order_and_then_reported(groups, pace):
    order = []

    class RecordingSink(MemorySink):
        def write(self, results):
            super().write(results)
            order.append(("write", sorted(results)[0]))

    run(
        groups,
        pace,
        RecordingSink(),
        Work(on_stored=lambda stored: order.append(("stored", stored[0].ids[0]))),
    )
    events = ("write", "stored")
    assert order == [(event, first) for first in ("00", "06", "12") for event in events]


@pytest.mark.parametrize("pace", PACES)
def test_empty_group_flushes_earlier_results(groups, pace):
    sink, stored = MemorySink(), []

    def slow_groups():
        yield groups[0]
        yield Group((), ())
        yield Group((), ())
        yield Group((), ())
        yield Group((), ())
        for _ in range(100):
            if sink.results:
                break
            time.sleep(0.01)  # a thread writes
        stored.append(sorted(sink.results))
        yield groups[1]

    run(slow_groups(), pace, sink, batches_a_write=100)
    assert stored == [["00", "01", "02"]]
    assert len(sink.results) == 6


def test_batches_in_flight_are_bounded(groups):
    model = Level(delay_s=0.02)
    run(groups * 3, THREADED, models={"level": model})
    assert 1 < model.max_in_flight <= THREADED.in_flight + 1


def test_slow_sink_slows_down_the_forward_passes(groups):
    started = []

    class SlowSink(MemorySink):
        def write(self, results):
            started.append(model.started)
            time.sleep(0.1)
            super().write(results)

    model = Level()
    run(groups * 4, THREADED, SlowSink(), models={"level": model}, batches_a_write=1)
    ahead = [count - i for i, count in enumerate(started)]
    assert max(ahead) <= THREADED.in_flight + THREADED.writes_ahead + 3


class FailingSink(MemorySink):
    def write(self, results):
        raise OSError("disk full")


@pytest.mark.parametrize("pace", PACES)
def test_failing_sink_stops_the_run_and_leaves_no_thread(groups, pace):
    before = threading.active_count()
    with pytest.raises(OSError, match="disk full"):
        run(groups * 5, pace, FailingSink(), batches_a_write=1)
    assert threading.active_count() == before


@pytest.mark.parametrize("pace", PACES)
def test_interrupted_reader_stops_the_run_and_leaves_no_thread(groups, pace):
    before = threading.active_count()

    def interrupted():
        yield from groups[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted(), pace)
    assert threading.active_count() == before
