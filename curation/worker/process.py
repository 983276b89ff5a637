"""One process that works through the queue, and stays warm between two operations.

FiftyOne, torch and the models that ran last stay loaded, so the second operation begins at once.
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
from curation.worker import model_cache
from curation.worker.constants import GRACE_S, MOST_ATTEMPTS
from curation.worker.lease_renewal import Heart
from curation.worker.queue import CANCELLED, CancelledError, Job, Queue
from curation.worker.run_log import RunLog

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_PASSING = (AutoReconnect, ConnectionResetError, TimeoutError)  # errors that may be gone next time
_AGAIN_AFTER_S = 5.0  # doubled with every attempt


class Process:
    """What works; one run at a time.

    Args:
        queue: The operations.
        home: Our folder, in which logs are kept.
        parent: Who started this process: when that has ended, this ends, too.
        gpu: Whose operations to take; None where there is no GPU.
        grace_s: How long a cancelled run may go on before the process ends.
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
        place = "cpu" if gpu is None else f"gpu{gpu}"
        self.name = f"{socket.gethostname()}:{os.getpid()} {place}"
        self._queue, self._home, self._gpu, self._grace_s = queue, home, gpu, grace_s
        self._stopping = threading.Event()
        self._parent = parent

    def work(self, *, once: bool = False) -> None:
        """Take operations until the process is told to stop.

        Args:
            once: End when nothing waits any more.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        model_cache.keep()
        while not self._is_stopping():
            reaped = self._queue.reap()
            if reaped:
                logger.warning("%d runs of workers that died are back in the queue.", reaped)
            job = self._queue.claim(self.name, gpu=self._gpu)
            if job is not None:
                self._run(job)
            elif once:
                return
            else:
                self._stopping.wait(_LOOK_EVERY_S)

    def _is_stopping(self) -> bool:
        """Return whether to end: asked to, or left behind by the one who started this process."""
        return self._stopping.is_set() or os.getppid() != self._parent

    def _run(self, job: Job) -> None:
        log = RunLog(self._home, job.id)
        log.say(f"Attempt {job.attempt} of {job.operator} by {self.name}.")
        self._queue.keep_log(job, str(log.path), log.tail())
        with log.open():
            log.say(self._outcome(job, log))
        self._queue.keep_log(job, str(log.path), log.tail())

    def _outcome(self, job: Job, log: RunLog) -> str:
        """Execute a run, put on record what became of it, and say so."""
        heart = Heart(self._queue, job, log, is_stopping=self._is_stopping, grace_s=self._grace_s)
        try:
            with heart:
                result = _execute(job)
            outputs = result.pop("outputs_schema", None)
            done = self._queue.complete(job, result, outputs=outputs)
        except CancelledError:
            self._queue.fail(job, CANCELLED, cancelled=True)
            return CANCELLED
        except (CurationError, CascadeError) as error:  # says in one line what to do
            logger.debug("Refused", exc_info=True)
            self._queue.fail(job, str(error))
            return f"Failed: {error}"
        except _PASSING as error:
            if job.attempt < MOST_ATTEMPTS:
                self._queue.give_back(job, later_s=_AGAIN_AFTER_S * 2**job.attempt)
                return f"Will be tried again: {type(error).__name__}: {error}"
            return self._broken(job)
        except Exception:  # noqa: BLE001 - an operator may raise anything
            return self._broken(job)
        return "Done." if done else "Done, but it had been ended by somebody else."

    def _broken(self, job: Job) -> str:
        story = traceback.format_exc()
        self._queue.fail(job, story)
        return f"Failed:\n{story}"


def _execute(job: Job) -> dict[str, Any]:
    """Execute an operation as FiftyOne's own worker does; return its result as plain data."""
    from fiftyone.operators.delegated import DelegatedOperationService

    service = DelegatedOperationService()
    tell = service.set_progress

    def told(doc_id: Any, progress: Any) -> Any:
        logger.info("%.0f%% %s", 100 * (progress.progress or 0), progress.label or "")
        return tell(doc_id, progress)

    service.set_progress = told
    result = asyncio.run(service._execute_operator(service.get(job.id)))
    result.raise_exceptions()
    return dict(result.to_json())
