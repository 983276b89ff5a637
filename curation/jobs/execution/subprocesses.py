"""Attempts in separate processes, which keeps the scheduler responsive and isolated."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from curation.jobs.models import Job, Run

logger = logging.getLogger(__name__)

_GRACE_S = 30.0  # between a deadline or SIGTERM and SIGKILL


class SubprocessLauncher:
    """Launcher that starts `curate jobs run ...` for each attempt.

    Args:
        command: Command that starts `curate`; None for that of this environment.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = list(command or curate_command())
        self._running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}

    def launch(self, job: Job, run: Run) -> None:
        """Start an attempt in a new process."""
        arguments = _arguments(job.name, run.due)
        process = subprocess.Popen([*self._command, *arguments])  # noqa: S603 - our own command
        self._running[job.name] = process, time.monotonic() + job.timeout_s + _GRACE_S

    def is_busy(self, job: str) -> bool:
        """Return whether the job's process is active; one far past its deadline is killed."""
        if job not in self._running:
            return False
        process, ends = self._running[job]
        if process.poll() is None:
            if time.monotonic() < ends:
                return True
            logger.warning("The attempt at %s exceeded its deadline and is killed.", job)
            process.kill()
            process.wait()
        del self._running[job]
        return False

    def stop(self) -> None:
        """Terminate every process; their runs are retried later."""
        for process, _ in self._running.values():
            process.send_signal(signal.SIGTERM)
        ends = time.monotonic() + _GRACE_S
        for process, _ in self._running.values():
            try:
                process.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def start_detached(job: str, due: datetime) -> int:
    """Start an attempt in a process that outlives this one; return its process id."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*curate_command(), *_arguments(job, due)], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    threading.Thread(target=process.wait, daemon=True).start()  # avoids a zombie
    return process.pid


def _arguments(job: str, due: datetime) -> list[str]:
    return ["jobs", "run", job, "--due", due.isoformat(), "--once"]


def curate_command() -> list[str]:
    """Return the absolute command that starts `curate` of this environment."""
    script = Path(sys.executable).with_name("curate")
    if script.is_file():
        return [str(script)]
    return [sys.executable, "-c", "from curation.cli import main; main()"]
