"""Lease of the current run, and the end of its process if the run must end.

A run cannot be interrupted from outside: its thread may be inside a matrix product. A canceled run
is therefore asked first, and notices at its next progress report. If it does not end within a
grace period, the whole process exits, and the supervisor starts another one. The results of
finished stages stay, and the next attempt continues from them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from pymongo.errors import PyMongoError

from curation.storage.database.lease import LeaseError
from curation.worker.constants import EXIT_DONE, EXIT_RESTART, GRACE_S
from curation.worker.queue import CANCELLED, Job, Queue
from curation.worker.run_log import RunLog

logger = logging.getLogger(__name__)


class RunLease:
    """The lease of one run.

    Args:
        queue: Queue that holds the run.
        job: The run.
        log: Log of the run.
        is_stopping: Whether the process is stopping, which returns the run to the queue.
        grace_s: Seconds that a canceled run may continue.
        leave: Exits the process with an exit code.
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
        self._cancelled_at: float | None = None
        self._renewed_at = time.monotonic()

    def renew(self) -> None:
        """Renew the lease, or exit the process if the run must end."""
        if self._is_stopping():
            self._queue.release(self._job)
            self._exit(EXIT_DONE, "The worker stops; the run returns to its place in the queue.")
        now = time.monotonic()
        try:
            state = self._queue.renew(self._job, log_tail=self._log.tail())
        except PyMongoError as error:
            if now - self._renewed_at >= self._queue.lease_s:
                self._exit(EXIT_RESTART, "The database was unreachable, and the lease expired.")
            logger.warning("The database does not answer: %s", error)
            return
        self._renewed_at = now
        if state == "lost":
            self._exit(EXIT_RESTART, "The run was ended or taken over by another process.")
        if state == "cancelled":
            self._cancelled_at = self._cancelled_at or now
            if now - self._cancelled_at >= self._grace_s:
                self._queue.fail(self._job, CANCELLED, cancelled=True)
                self._exit(EXIT_RESTART, f"Canceled; it did not stop within {self._grace_s:.0f} s.")

    def _exit(self, code: int, reason: str) -> None:
        self._log.write(reason)
        self._leave(code)
        raise LeaseError(reason)  # ends the renewals if `leave` returns
