import asyncio
import threading

import pytest

from cascade.models.language.event_loop import LoopThread


@pytest.fixture
def loop():
    made = LoopThread()
    yield made
    made.close()


async def name_of_thread():
    return threading.current_thread().name


def test_coroutine_runs_on_separate_thread(loop):
    assert not loop.is_running
    assert loop.run(name_of_thread()) == loop.run(name_of_thread()) == "requests"


def test_error_is_raised_unchanged(loop):
    async def fail():
        raise ValueError("so it is")

    with pytest.raises(ValueError, match="so it is"):
        loop.run(fail())


def test_submitted_coroutine_runs_concurrently(loop):
    started, go_on = threading.Event(), threading.Event()

    async def wait():
        started.set()
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        return "done"

    future = loop.submit(wait())
    assert started.wait(5)
    assert not future.done()
    go_on.set()
    assert future.result(5) == "done"


def test_canceled_future_cancels_coroutine(loop):
    started, ended = threading.Event(), threading.Event()

    async def wait():
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set()
            raise

    future = loop.submit(wait())
    assert started.wait(5)
    assert future.cancel()
    assert ended.wait(5)


def test_loop_thread_works_within_other_loop(loop):
    async def inside():
        return loop.run(name_of_thread())

    assert asyncio.run(inside()) == "requests"


def test_closed_loop_has_no_thread_and_restarts(loop):
    loop.run(name_of_thread())
    loop.close()
    assert "requests" not in [thread.name for thread in threading.enumerate()]
    assert loop.run(name_of_thread()) == "requests"


def test_last_coroutine_runs_before_close(loop):
    events = []

    async def last_words():
        await asyncio.sleep(0.01)
        events.append(threading.current_thread().name)

    loop.run(name_of_thread())
    loop.close(last_words())
    assert events == ["requests"]


def test_close_from_own_thread_does_not_block(loop):
    """A finalizer may run on this thread during garbage collection."""
    threads = []

    async def close():
        threads.append(threading.current_thread())
        loop.close()

    loop.run(close())
    threads[0].join(5)
    assert not threads[0].is_alive()


def test_close_of_unused_loop_does_nothing(loop):
    loop.close()
    assert not loop.is_running
