"""Retry delays and rate limiting.

Delays grow exponentially and are drawn at random up to their bound ("full jitter"), which keeps
clients that failed together from retrying together [0].

- [0] Brooker, Exponential Backoff And Jitter, AWS Architecture Blog 2015
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RetryPolicy:
    """Number and delays of attempts.

    Attributes:
        attempts: Maximum number of attempts, including the first.
        first_s: Bound of the first delay.
        longest_s: Limit of the growing bound.
    """

    attempts: int = 6
    first_s: float = 0.5
    longest_s: float = 20.0
    random: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def delays_s(self) -> Iterator[float]:
        """Yield the delay after each failed attempt except the last."""
        for i in range(self.attempts - 1):
            yield self.random.uniform(0.0, min(self.first_s * 2**i, self.longest_s))


@dataclass
class RateLimiter:
    """Spaces requests evenly.

    Attributes:
        per_s: Maximum number of requests per second; None for no limit.
    """

    per_s: float | None = None
    _next: float = 0.0

    def delay_s(self, now: float) -> float:
        """Return the delay of a request at time `now`, and reserve its slot."""
        if self.per_s is None:
            return 0.0
        start = max(now, self._next)
        self._next = start + 1.0 / self.per_s
        return start - now
