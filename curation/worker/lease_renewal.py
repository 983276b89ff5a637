"""Renews the lease of the run at hand from a thread of its own, and ends the process at need.

A run cannot be interrupted from outside: its thread may be in the middle of a matrix product. So
one that is cancelled is asked first, and notices when it next tells how far it is; if it does not
within a grace, the whole process ends, and another is started in its place. What stages have
written stays, and they go on from there.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pymongo.errors import PyMongoError

from curation.worker.constants import AGAIN, END, GRACE_S
from curation.worker.queue import CANCELLED, Job, Queue
from curation.worker.run_log import RunLog

logger = logging.getLogger(__name__)


class Heart:
    """Beats for a run until the block ends.

    Args:
        queue: Where the run is held.
        job: The run.
        log: Its log.
        is_stopping: Whether the process is to end: then the run is given back at once.
        grace_s: How long a cancelled run may go on.
        leave: Ends the process with an exit code.
    """

    def __init__(
        self,
        queue: Queue,
        job: Job,
        log: RunLog,
        *,
        is_stopping: Callable[[], bool],
        grace_s: float = GRACE_S,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._queue, self._job, self._log, self._leave = queue, job, log, leave
        self._is_stopping, self._grace_s = is_stopping, grace_s
        self._every_s = min(queue.lease_s / 4, 2.0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)
        self._unwanted_since: float | None = None
        self._renewed = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(self._every_s):
            if self._is_stopping():
                self._log.say("The worker is stopped; the run goes back to its place in the queue.")
                self._queue.give_back(self._job)
                self._leave(END)
                return
            if not self._renew():
                self._leave(AGAIN)
                return

    def _renew(self) -> bool:
        """Renew the lease; return False where the process has to end."""
        now = time.monotonic()
        try:
            standing = self._queue.beat(self._job, log_tail=self._log.tail())
        except PyMongoError as error:
            logger.warning("The database does not answer: %s", error)
            if now - self._renewed < self._queue.lease_s:
                return True
            self._log.say("The database was away for too long: the run is not ours any more.")
            return False
        self._renewed = now
        if standing == "lost":
            self._log.say("The run was ended or taken over by somebody else.")
            return False
        if standing == "unwanted":
            self._unwanted_since = self._unwanted_since or now
            if now - self._unwanted_since >= self._grace_s:
                self._log.say(f"Cancelled; it did not stop within {self._grace_s:.0f} s.")
                self._queue.fail(self._job, CANCELLED, cancelled=True)
                return False
        return True
