"""Time limit for work in the main thread, by an alarm signal.

The error is not an `Exception`, and in particular not an `OSError`: a driver that waits for a
socket would treat it as a network timeout and retry.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_REPEAT_S = 20.0  # in case the first error was swallowed, e.g. by a finalizer


class DeadlineError(BaseException):
    """The time limit was exceeded."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the duration of the block. For the main thread only.

    Raises:
        DeadlineError: The time limit was exceeded.
    """

    def expire(_number: int, _frame: FrameType | None) -> NoReturn:
        raise DeadlineError(f"The attempt took longer than {seconds:g} s.")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
