"""An end to work that takes too long: the main thread is interrupted by the alarm clock.

It is no `Exception`, and no `OSError` above all: a driver that waits for a socket would take it
for a time-out of the network, and try again.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_AGAIN_S = 20.0  # where the first ring was swallowed, as by a finalizer


class DeadlineError(BaseException):
    """The time is up."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise in the block when it takes longer; in the main thread only.

    Raises:
        DeadlineError: The time is up.
    """

    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        raise DeadlineError(f"The attempt took longer than {seconds:g} s.")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
