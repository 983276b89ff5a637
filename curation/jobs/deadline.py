"""An end to work that takes too long: the main thread is interrupted by the alarm clock."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class DeadlineError(TimeoutError):
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
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
