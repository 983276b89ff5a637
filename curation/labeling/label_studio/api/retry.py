"""When a request is repeated, and how long to wait before.

Waits grow exponentially and are drawn at random up to their bound ("full jitter"), so that many
clients that failed together do not come back together [0].

- [0] Brooker, Exponential Backoff And Jitter, AWS Architecture Blog 2015
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Retrying:
    """How often, and how patiently.

    Attributes:
        attempts: Of one request, the first among them.
        first_s: The bound of the first wait.
        longest_s: The bound that later waits grow to.
    """

    attempts: int = 6
    first_s: float = 0.5
    longest_s: float = 20.0
    random: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def waits_s(self) -> Iterator[float]:
        """Yield the wait after each failed attempt but the last."""
        for i in range(self.attempts - 1):
            yield self.random.uniform(0.0, min(self.first_s * 2**i, self.longest_s))


@dataclass
class Pace:
    """Keeps requests apart.

    Attributes:
        per_s: Most requests a second; None for no limit.
    """

    per_s: float | None = None
    _next: float = 0.0

    def wait_s(self, now: float) -> float:
        """Return how long the request that wants to go `now` must wait, and count it."""
        if self.per_s is None:
            return 0.0
        begins = max(now, self._next)
        self._next = begins + 1.0 / self.per_s
        return begins - now
