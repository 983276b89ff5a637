"""Circuit breaker: pauses requests to a server that is down, and probes its return.

- [0] Nygard, Release It!, 2nd edition 2018, chapter 5
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

from cascade.errors import ServerError

FAILURES = 8  # consecutive; exceeds the retries of one request that breaks the server
COOLDOWN_S = 30.0


class CircuitBreaker:
    """Gate for attempts, which opens after `failures` consecutive failures [0].

    A closed breaker admits all attempts. An open breaker refuses all of them for `cooldown_s`.
    Then it is half-open: it admits one attempt as a probe, and the result of the probe decides
    about the waiting attempts. Use it in one event loop only; it is not thread-safe.
    """

    def __init__(
        self,
        server: str,
        *,
        counts: type[Exception],
        failures: int = FAILURES,
        cooldown_s: float = COOLDOWN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with a closed breaker.

        Args:
            server: Name of the server in errors.
            counts: Error type of a server that is down; a server that raises any other error is
                alive.
            failures: Number of consecutive failures that open the breaker.
            cooldown_s: Duration of the open state, in seconds.
            clock: Monotonic clock, in seconds.
        """
        self._server, self._counts = server, counts
        self._limit, self._cooldown_s, self._clock = failures, cooldown_s, clock
        self._failures, self._reason = 0, ""
        self._opened_at = -math.inf
        self._probe: asyncio.Event | None = None

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """State for the next attempt."""
        if self._failures < self._limit:
            return "closed"
        return "half-open" if self._remaining_s() <= 0 else "open"

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Run one attempt as the block, and count an error of the block as its failure.

        Raises:
            ServerError: The breaker is open, and the block was not entered.
        """
        probe = await self._admit()
        try:
            yield
        except self._counts as error:
            self._record_failure(str(error))
            raise
        except Exception:
            self._failures = 0
            raise
        else:
            self._failures = 0
        finally:
            if probe is not None:
                self._probe = None
                probe.set()

    async def _admit(self) -> asyncio.Event | None:
        """Wait for admission; return the event to set after the attempt if it is the probe."""
        while self.state != "closed":
            if self.state == "open":
                raise ServerError(
                    f"{self._server} is paused for {self._remaining_s():.0f} s: "
                    f"{self._failures} consecutive requests failed, the last one because "
                    f"{self._reason}"
                )
            if self._probe is None:
                self._probe = asyncio.Event()
                return self._probe
            await self._probe.wait()
        return None

    def _record_failure(self, reason: str) -> None:
        self._failures += 1
        self._reason = reason
        if self._failures >= self._limit:
            self._opened_at = self._clock()

    def _remaining_s(self) -> float:
        return self._opened_at + self._cooldown_s - self._clock()
