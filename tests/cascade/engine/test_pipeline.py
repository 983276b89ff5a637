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
from cascade.engine.sinks import Memory
from cascade.imaging.batches import Group
from cascade.manifest import Member
from cascade.predictions import Embedding, Failure

CPU = torch.device("cpu")
THREADED = Pace(in_flight=2, unpackers=3, writes_ahead=1, pad_to=4)
PACES = [pytest.param(IN_TURN, id="in turn"), pytest.param(THREADED, id="overlapped")]


class Level:
    def __init__(self, delay_s=0.0):
        self.module = nn.Identity()
        self.started = self.unpacked = 0
        self.most_under_way = 0
        self._delay_s = delay_s

    def prepare(self, batch):
        return {"view": batch.view(4, 4)}

    def forward(self, tensors):
        self.started += 1
        self.most_under_way = max(self.most_under_way, self.started - self.unpacked)
        return tensors["view"].float().mean(dim=(1, 2, 3)) / 255

    def decode(self, raw, batch):
        time.sleep(self._delay_s)
        self.unpacked += 1
        return [
            Embedding(np.array([one, (1 - one * one) ** 0.5], np.float32)) for one in raw.tolist()
        ]


def runner(model, name="level"):
    entry = Member(name=name, tier="embedding", adapter="worker", licence="MIT", batch_size=4)
    return Runner(model, entry, CPU)


@pytest.fixture
def groups(tmp_path):
    """Return five groups of three images, one of which is damaged."""
    made = []
    for i in range(15):
        path = tmp_path / f"{i:02d}.png"
        cv2.imwrite(str(path), np.full((8, 8, 3), 10 * i, np.uint8))
        made.append(path)
    made[7].write_bytes(b"no image")
    names = [one.stem for one in made]
    return [Group(names[i : i + 3], made[i : i + 3]) for i in range(0, 15, 3)]


def run(groups, pace, sink=None, work=None, models=None, batches_a_write=2):
    runners = {name: runner(one, name) for name, one in (models or {"level": Level()}).items()}
    return pipeline.run(
        runners, groups, sink or Memory(), work or Work(), device=CPU,
        batches_a_write=batches_a_write, pace=pace,
    )  # fmt: skip


@pytest.mark.parametrize("pace", PACES)
def test_every_image_has_its_own_result_however_much_overlaps(groups, pace):
    sink = Memory()
    tally = run(groups, pace, sink, models={"a": Level(), "b": Level(0.01)})
    assert sorted(sink.results) == [f"{i:02d}" for i in range(15)]
    for i, row in enumerate(sink.results[f"{i:02d}"] for i in range(15)):
        if i == 7:
            assert {type(one) for one in row.values()} == {Failure}
        else:
            assert {round(float(one.vector[0]) * 255) for one in row.values()} == {10 * i}
    assert (tally.images, tally.predicted, tally.failed) == (15, 28, 2)
    assert tally.seen == {"a": 14, "b": 14}


@pytest.mark.parametrize("pace", PACES)
def test_groups_are_stored_in_order_and_said_to_be_afterwards(groups, pace):
    order = []

    class Noting(Memory):
        def write(self, results):
            super().write(results)
            order.append(("write", sorted(results)[0]))

    run(groups, pace, Noting(), Work(written=lambda which: order.append(("told", which[0].ids[0]))))
    assert order == [(what, first) for first in ("00", "06", "12") for what in ("write", "told")]


@pytest.mark.parametrize("pace", PACES)
def test_a_group_without_images_has_the_rest_stored(groups, pace):
    sink, stored = Memory(), []

    def as_they_come():
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

    run(as_they_come(), pace, sink, batches_a_write=100)
    assert stored == [["00", "01", "02"]]
    assert len(sink.results) == 6


def test_no_more_is_under_way_than_is_allowed(groups):
    model = Level(delay_s=0.02)
    run(groups * 3, THREADED, models={"level": model})
    assert 1 < model.most_under_way <= THREADED.in_flight + 1


def test_a_slow_sink_holds_back_the_rest(groups):
    most = []

    class Slow(Memory):
        def write(self, results):
            most.append(model.started)
            time.sleep(0.1)
            super().write(results)

    model = Level()
    run(groups * 4, THREADED, Slow(), models={"level": model}, batches_a_write=1)
    ahead = [started - i for i, started in enumerate(most)]
    assert max(ahead) <= THREADED.in_flight + THREADED.writes_ahead + 3


class Full(Memory):
    def write(self, results):
        raise OSError("disk full")


@pytest.mark.parametrize("pace", PACES)
def test_a_sink_that_fails_stops_the_run_and_leaves_no_thread(groups, pace):
    before = threading.active_count()
    with pytest.raises(OSError, match="disk full"):
        run(groups * 5, pace, Full(), batches_a_write=1)
    assert threading.active_count() == before


@pytest.mark.parametrize("pace", PACES)
def test_what_interrupts_the_reading_ends_all_of_it(groups, pace):
    before = threading.active_count()

    def interrupted():
        yield from groups[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted(), pace)
    assert threading.active_count() == before
