import random

import pytest

from curation.labeling.label_studio.api.retry import RateLimiter, RetryPolicy


def test_delays_are_random_and_bounded():
    policy = RetryPolicy(attempts=8, first_s=0.5, longest_s=4.0, random=random.Random(1))
    bounds = [0.5, 1, 2, 4, 4, 4, 4]
    drawn = [list(policy.delays_s()) for _ in range(200)]
    for delays in drawn:
        assert len(delays) == 7
        assert all(0 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    means = [sum(column) / 200 for column in zip(*drawn, strict=True)]
    assert means == pytest.approx([bound / 2 for bound in bounds], rel=0.2)


def test_single_attempt_has_no_delay():
    assert list(RetryPolicy(attempts=1).delays_s()) == []


def test_requests_are_spaced():
    limiter = RateLimiter(per_s=2.0)
    assert [limiter.delay_s(now) for now in (10.0, 10.0, 10.1, 20.0)] == pytest.approx(
        [0, 0.5, 0.9, 0]
    )


def test_no_limit_has_no_delay():
    assert [RateLimiter().delay_s(now) for now in (0.0, 0.0)] == [0, 0]
