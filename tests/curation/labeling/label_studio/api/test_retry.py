import random

import pytest

from curation.labeling.label_studio.api.retry import Pace, Retrying


def test_waits_are_bounded_and_drawn():
    retrying = Retrying(attempts=8, first_s=0.5, longest_s=4.0, random=random.Random(1))
    bounds = [0.5, 1, 2, 4, 4, 4, 4]
    drawn = [list(retrying.waits_s()) for _ in range(200)]
    for waits in drawn:
        assert len(waits) == 7
        assert all(0 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    means = [sum(column) / 200 for column in zip(*drawn, strict=True)]
    assert means == pytest.approx([bound / 2 for bound in bounds], rel=0.2)


def test_one_attempt_waits_for_nothing():
    assert list(Retrying(attempts=1).waits_s()) == []


def test_requests_are_kept_apart():
    pace = Pace(per_s=2.0)
    assert [pace.wait_s(now) for now in (10.0, 10.0, 10.1, 20.0)] == pytest.approx([0, 0.5, 0.9, 0])


def test_no_limit_no_wait():
    assert [Pace().wait_s(now) for now in (0.0, 0.0)] == [0, 0]
