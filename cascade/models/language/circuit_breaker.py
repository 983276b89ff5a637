"""Stops asking a server that is down, and finds out by one request when it is back.

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

FAILURES = 8  # in a row: more than the retries of one request that the server cannot digest
REST_S = 30.0


class CircuitBreaker:
    """Lets attempts through as long as they do not fail `failures` times in a row [0].

    Closed, it lets all through. Open, it refuses all at once, for `rest_s`. Then it is half-open:
    one attempt goes through as the probe, the others wait for how it ends, and follow it or are
    refused. Of one event loop; not for several threads.
    """

    def __init__(
        self,
        server: str,
        *,
        counts: type[Exception],
        failures: int = FAILURES,
        rest_s: float = REST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin closed.

        Args:
            server: What errors call the server.
            counts: The errors that say that it is down. Any other error is an answer of a
                server that lives.
            failures: How many of them in a row open the breaker.
            rest_s: How long the server is left alone, in seconds.
            clock: Tells the time, in seconds.
        """
        self._server, self._counts = server, counts
        self._limit, self._rest_s, self._clock = failures, rest_s, clock
        self._in_a_row, self._reason = 0, ""
        self._opened_at = -math.inf
        self._probe: asyncio.Event | None = None

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """What happens to the next attempt."""
        if self._in_a_row < self._limit:
            return "closed"
        return "half-open" if self._left_s() <= 0 else "open"

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Hold one attempt; how its block ends is how it ended.

        Raises:
            ServerError: The breaker is open; the block is not entered.
        """
        probe = await self._admit()
        try:
            yield
        except self._counts as error:
            self._failed(str(error))
            raise
        except Exception:
            self._in_a_row = 0
            raise
        else:
            self._in_a_row = 0
        finally:
            if probe is not None:
                self._probe = None
                probe.set()

    async def _admit(self) -> asyncio.Event | None:
        """Return once an attempt may go, with the event to set where it is the probe."""
        while self.state != "closed":
            if self.state == "open":
                raise ServerError(
                    f"{self._server} is not asked for the next {self._left_s():.0f} s: "
                    f"{self._in_a_row} requests in a row failed, the last one because "
                    f"{self._reason}"
                )
            if self._probe is None:
                self._probe = asyncio.Event()
                return self._probe
            await self._probe.wait()
        return None

    def _failed(self, reason: str) -> None:
        self._in_a_row += 1
        self._reason = reason
        if self._in_a_row >= self._limit:
            self._opened_at = self._clock()

    def _left_s(self) -> float:
        return self._opened_at + self._rest_s - self._clock()
