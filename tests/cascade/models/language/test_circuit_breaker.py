import asyncio

import pytest

from cascade.errors import ServerError
from cascade.models.language.circuit_breaker import CircuitBreaker


class DownError(Exception):
    pass


class RefusedError(Exception):
    pass


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker("The server", counts=DownError, failures=3, cooldown_s=10.0, clock=clock)


def attempt(breaker, ends_in=None):
    """Make one attempt; return its error, or None."""

    async def make():
        try:
            async with breaker.attempt():
                if ends_in:
                    raise ends_in
        except (DownError, RefusedError, ServerError) as error:
            return error
        return None

    return asyncio.run(make())


def test_breaker_opens_after_consecutive_failures(breaker):
    for _ in range(2):
        attempt(breaker, DownError("gone"))
    assert breaker.state == "closed"
    attempt(breaker, DownError("gone"))
    assert breaker.state == "open"


@pytest.mark.parametrize("answer", [None, RefusedError("no")], ids=["a success", "a refusal"])
def test_answer_between_failures_keeps_breaker_closed(breaker, answer):
    for _ in range(5):
        attempt(breaker, DownError("gone"))
        attempt(breaker, DownError("gone"))
        attempt(breaker, answer)
    assert breaker.state == "closed"


def test_open_breaker_refuses_with_reason(breaker, clock):
    for _ in range(3):
        attempt(breaker, DownError("no connection"))
    clock.now += 4.0
    error = attempt(breaker)
    assert isinstance(error, ServerError)
    assert "The server is paused for 6 s: 3 consecutive requests failed" in str(error)
    assert "no connection" in str(error)


def test_success_after_cooldown_closes_breaker(breaker, clock):
    for _ in range(3):
        attempt(breaker, DownError("gone"))
    clock.now += 10.0
    assert breaker.state == "half-open"
    assert attempt(breaker) is None
    assert breaker.state == "closed"


def test_failure_after_cooldown_reopens_breaker(breaker, clock):
    for _ in range(3):
        attempt(breaker, DownError("gone"))
    clock.now += 10.0
    assert isinstance(attempt(breaker, DownError("still gone")), DownError)
    assert breaker.state == "open"
    clock.now += 9.9
    assert isinstance(attempt(breaker), ServerError)


@pytest.mark.parametrize(
    ("probe", "followers"), [(None, [None] * 5), (DownError("gone"), [ServerError] * 5)]
)
def test_half_open_breaker_admits_one_probe_first(breaker, clock, probe, followers):
    for _ in range(3):
        attempt(breaker, DownError("gone"))
    clock.now += 10.0
    under_way = []

    async def one(number):
        try:
            async with breaker.attempt():
                under_way.append(number)
                await asyncio.sleep(0.01)
                if number == 0 and probe:
                    raise probe
        except (DownError, ServerError) as error:
            return type(error)
        return None

    async def all_at_once():
        tasks = [asyncio.create_task(one(i)) for i in range(6)]
        await asyncio.sleep(0.005)
        assert under_way == [0]
        return await asyncio.gather(*tasks)

    assert asyncio.run(all_at_once()) == [type(probe) if probe else None, *followers]


def test_canceled_probe_admits_next_attempt(breaker, clock):
    for _ in range(3):
        attempt(breaker, DownError("gone"))
    clock.now += 10.0

    async def cancelled_then_another():
        async def long():
            async with breaker.attempt():
                await asyncio.sleep(60)

        task = asyncio.create_task(long())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with breaker.attempt():
            return "through"

    assert asyncio.run(cancelled_then_another()) == "through"
