"""Supervision of worker processes, one per GPU: a process that exits is replaced."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from curation.errors import CurationError
from curation.worker.constants import EXIT_DONE

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_STOP_S = 20.0
_MAX_EXITS, _WITHIN_S = 5, 120.0


class WorkerError(CurationError, RuntimeError):
    """A worker process exits again and again."""


@dataclass
class _Worker:
    """A worker process and its recent exits."""

    gpu: int | None
    process: subprocess.Popen[bytes]
    exits: list[float] = field(default_factory=list)


class Supervisor:
    """Supervisor of the worker processes of one machine.

    Args:
        gpus: GPU numbers, one process each; if empty, one process without a GPU.
        once: Whether the processes end when no operation waits.
        lease_s: Duration of a lease without renewal, in seconds.
        grace_s: Seconds that a canceled operation may continue.
    """

    def __init__(self, gpus: Sequence[int], *, once: bool, lease_s: float, grace_s: float) -> None:
        self._options = [f"--lease={lease_s}", f"--grace={grace_s}", f"--parent={os.getpid()}"]
        self._options += ["--once"] if once else []
        self._gpus: tuple[int | None, ...] = tuple(gpus) or (None,)
        self._stopping = False

    def run(self) -> None:
        """Keep the processes running until they finish or a signal arrives.

        Raises:
            WorkerError: A process exits again and again.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        workers = [_Worker(gpu, self._start(gpu)) for gpu in self._gpus]
        try:
            while workers and not self._stopping:
                workers = [worker for worker in workers if self._keep_running(worker)]
                time.sleep(_POLL_S)
        finally:
            _stop_all([worker.process for worker in workers])

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _start(self, gpu: int | None) -> subprocess.Popen[bytes]:
        visible = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
        options = self._options + ([] if gpu is None else [f"--gpu={gpu}"])
        return subprocess.Popen(  # noqa: S603 - our own arguments, no shell
            [sys.executable, "-m", "curation.worker", *options],
            env=os.environ | visible,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only this process, which stops them
        )

    def _keep_running(self, worker: _Worker) -> bool:
        """Restart the process if it died; return False if it has finished."""
        code = worker.process.poll()
        if code is None:
            return True
        if code == EXIT_DONE:
            return False
        now = time.monotonic()
        worker.exits = [at for at in worker.exits if now - at < _WITHIN_S] + [now]
        if len(worker.exits) >= _MAX_EXITS:
            raise WorkerError(
                f"A worker process ended {_MAX_EXITS} times within {_WITHIN_S:.0f} s, last with "
                f"exit code {code}. See its output above."
            )
        logger.warning("A worker process ended with exit code %s; starting another one.", code)
        worker.process = self._start(worker.gpu)
        return True


def _stop_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate the processes, which requeues their runs; kill those that do not end in time."""
    for process in processes:
        process.terminate()  # no effect on an ended process
    deadline = time.monotonic() + _STOP_S
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
