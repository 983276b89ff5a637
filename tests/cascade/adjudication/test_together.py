"""Several coroutines at once."""

import asyncio

import pytest

from cascade.adjudication.together import together


def test_results_keep_their_order():
    async def later(steps):
        for _ in range(steps):
            await asyncio.sleep(0)
        return steps

    assert asyncio.run(together(later(n) for n in (5, 1, 3))) == [5, 1, 3]
    assert asyncio.run(together([])) == []


def test_the_first_error_ends_the_others_before_it_is_raised():
    ended = []

    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(together([wait(), fail(), wait()]))
    assert ended == [True, True]
