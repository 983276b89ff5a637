"""One worker process, which executes queued operations.

FiftyOne, torch and the models of the latest run stay loaded for the next operation.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import traceback
from pathlib import Path
from typing import Any

from pymongo.errors import AutoReconnect

from cascade.errors import CascadeError
from curation.errors import CurationError
from curation.storage.database.lease_renewal import LeaseRenewer
from curation.worker import model_cache
from curation.worker.constants import GRACE_S, MAX_ATTEMPTS
from curation.worker.queue import CANCELLED, CancelledError, Job, Queue
from curation.worker.run_lease import RunLease
from curation.worker.run_log import RunLog

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_TEMPORARY = (AutoReconnect, ConnectionResetError, TimeoutError)  # a later attempt may succeed
_RETRY_AFTER_S = 5.0  # doubled with every attempt


class Process:
    """A worker process; it executes one run at a time.

    Args:
        queue: Queue of operations.
        home: CURATION_HOME, for the logs.
        parent: Id of the parent process; this process ends after it.
        gpu: Number of its GPU; None without a GPU.
        grace_s: Seconds that a canceled run may continue before the process exits.
    """

    def __init__(
        self,
        queue: Queue,
        home: Path,
        *,
        parent: int,
        gpu: int | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        device = "cpu" if gpu is None else f"gpu{gpu}"
        self.name = f"{socket.gethostname()}:{os.getpid()} {device}"
        self._queue, self._home, self._gpu, self._grace_s = queue, home, gpu, grace_s
        self._stopping = threading.Event()
        self._parent = parent

    def work(self, *, once: bool = False) -> None:
        """Execute operations until a signal arrives.

        Args:
            once: Whether to end when no operation waits.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        model_cache.enable()
        while not self._is_stopping():
            requeued = self._queue.requeue_expired()
            if requeued:
                logger.warning("Requeued %d runs of workers that died.", requeued)
            job = self._queue.claim(self.name, gpu=self._gpu)
            if job is not None:
                self._run(job)
            elif once:
                return
            else:
                self._stopping.wait(_POLL_S)

    def _is_stopping(self) -> bool:
        """Return whether to end: after a signal, or after the end of the parent process."""
        return self._stopping.is_set() or os.getppid() != self._parent

    def _run(self, job: Job) -> None:
        log = RunLog(self._home, job.id)
        log.write(f"Attempt {job.attempt} of {job.operator} by {self.name}.")
        self._queue.save_log(job, str(log.path), log.tail())
        with log.open():
            log.write(self._outcome(job, log))
        self._queue.save_log(job, str(log.path), log.tail())

    def _outcome(self, job: Job, log: RunLog) -> str:
        """Execute a run, store its result, and return a line for the log."""
        lease = RunLease(
            self._queue, job, log, is_stopping=self._is_stopping, grace_s=self._grace_s
        )
        try:
            with LeaseRenewer(lease.renew, every_s=min(self._queue.lease_s / 4, 2.0)):
                result = _execute(job)
            outputs = result.pop("outputs_schema", None)
            done = self._queue.complete(job, result, outputs=outputs)
        except CancelledError:
            self._queue.fail(job, CANCELLED, cancelled=True)
            return CANCELLED
        except (CurationError, CascadeError) as error:  # its message is enough for the user
            logger.debug("The operation failed.", exc_info=True)
            self._queue.fail(job, str(error))
            return f"Failed: {error}"
        except _TEMPORARY as error:
            if job.attempt < MAX_ATTEMPTS:
                self._queue.release(job, retry_after_s=_RETRY_AFTER_S * 2**job.attempt)
                return f"Will be repeated: {type(error).__name__}: {error}"
            return self._fail_with_traceback(job)
        except Exception:  # noqa: BLE001 - an operator may raise anything
            return self._fail_with_traceback(job)
        return "Done." if done else "Done, but another process had ended the run."

    def _fail_with_traceback(self, job: Job) -> str:
        text = traceback.format_exc()
        self._queue.fail(job, text)
        return f"Failed:\n{text}"


def _execute(job: Job) -> dict[str, Any]:
    """Execute an operation as FiftyOne's worker does; return its result as plain data."""
    from fiftyone.operators.delegated import DelegatedOperationService

    service = DelegatedOperationService()
    set_progress = service.set_progress

    def log_and_set_progress(doc_id: Any, progress: Any) -> Any:
        logger.info("%.0f%% %s", 100 * (progress.progress or 0), progress.label or "")
        return set_progress(doc_id, progress)

    service.set_progress = log_and_set_progress
    result = asyncio.run(service._execute_operator(service.get(job.id)))
    result.raise_exceptions()
    return dict(result.to_json())
