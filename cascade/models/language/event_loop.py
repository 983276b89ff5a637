"""Event loop on a separate thread, for callers without a loop or within another one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Thread that runs coroutines, independent of a notebook's event loop.

    The thread starts with the first coroutine and does not keep the process alive.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def is_running(self) -> bool:
        """Whether a coroutine was run since the last `close`."""
        return self._loop is not None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the coroutine's result; Ctrl-C cancels the coroutine."""
        future = self.submit(coroutine)
        try:
            return future.result()
        finally:
            future.cancel()  # no effect on a finished coroutine

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Return a future of the coroutine's result; its cancellation cancels the coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._started())

    def close(self, last: Coroutine[Any, Any, None] | None = None) -> None:
        """End the loop and its thread, after one last coroutine.

        Waits for the thread, unless called on the thread itself, as finalizers may be.
        """
        loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            if last is not None:
                last.close()
            return
        asyncio.run_coroutine_threadsafe(_stop_loop(loop, last), loop)
        if thread is not threading.current_thread():
            thread.join()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_loop, args=(self._loop,), name="requests", daemon=True
                )
                self._thread.start()
            return self._loop


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _stop_loop(
    loop: asyncio.AbstractEventLoop, last: Coroutine[Any, Any, None] | None
) -> None:
    try:
        if last is not None:
            await last
    finally:
        loop.stop()
