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


def test_it_runs_on_a_thread_of_its_own(loop):
    assert not loop.is_running
    assert loop.run(name_of_thread()) == loop.run(name_of_thread()) == "requests"


def test_an_error_comes_out_as_it_is(loop):
    async def fail():
        raise ValueError("so it is")

    with pytest.raises(ValueError, match="so it is"):
        loop.run(fail())


def test_what_is_submitted_runs_while_the_caller_goes_on(loop):
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


def test_to_cancel_what_was_submitted_ends_it_on_its_thread(loop):
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


def test_it_works_within_another_loop(loop):
    async def inside():
        return loop.run(name_of_thread())

    assert asyncio.run(inside()) == "requests"


def test_closed_it_leaves_no_thread_and_starts_anew_when_asked(loop):
    loop.run(name_of_thread())
    loop.close()
    assert "requests" not in [one.name for one in threading.enumerate()]
    assert loop.run(name_of_thread()) == "requests"


def test_the_last_coroutine_is_run_before_the_end(loop):
    said = []

    async def last_words():
        await asyncio.sleep(0.01)
        said.append(threading.current_thread().name)

    loop.run(name_of_thread())
    loop.close(last_words())
    assert said == ["requests"]


def test_it_may_be_closed_from_its_own_thread(loop):
    """As by a finalizer, which runs wherever the garbage is collected."""
    threads = []

    async def close():
        threads.append(threading.current_thread())
        loop.close()

    loop.run(close())
    threads[0].join(5)
    assert not threads[0].is_alive()


def test_closing_what_never_ran_does_nothing(loop):
    loop.close()
    assert not loop.is_running
