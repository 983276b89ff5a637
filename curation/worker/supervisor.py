"""Keeps one warm process per GPU alive: one that dies, or had to end itself, is replaced."""

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
from curation.worker.constants import END

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2
_STOP_S = 20.0
_MOST_DEATHS, _WITHIN_S = 5, 120.0


class WorkerError(CurationError, RuntimeError):
    """A worker's process cannot be kept alive."""


@dataclass
class _Member:
    """One place of the crew, and who fills it now."""

    gpu: int | None
    process: subprocess.Popen[bytes]
    deaths: list[float] = field(default_factory=list)


class Crew:
    """The processes of one machine.

    Args:
        gpus: One process each; one without a GPU where this is empty.
        once: Whether they end when nothing waits any more.
        lease_s: How long one may be silent before its operation goes back.
        grace_s: How long a cancelled operation may go on.
    """

    def __init__(self, gpus: Sequence[int], *, once: bool, lease_s: float, grace_s: float) -> None:
        self._options = [*(["--once"] if once else []), f"--lease={lease_s}", f"--grace={grace_s}"]
        self._options.append(f"--parent={os.getpid()}")
        self._places: tuple[int | None, ...] = tuple(gpus) or (None,)
        self._stopping = False

    def run(self) -> None:
        """Keep the processes alive until they end by themselves, or until told to stop.

        Raises:
            WorkerError: One dies again and again.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        members = [_Member(gpu, self._start(gpu)) for gpu in self._places]
        try:
            while members and not self._stopping:
                members = [one for one in members if self._lives(one)]
                time.sleep(_LOOK_EVERY_S)
        finally:
            _end([one.process for one in members])

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _start(self, gpu: int | None) -> subprocess.Popen[bytes]:
        seen = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
        place = [] if gpu is None else [f"--gpu={gpu}"]
        return subprocess.Popen(  # noqa: S603 - our own arguments, no shell
            [sys.executable, "-m", "curation.worker", *place, *self._options],
            env={**os.environ, **seen},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C reaches it by us, once
        )

    def _lives(self, one: _Member) -> bool:
        """Return whether a place is filled, after filling it anew where its process died."""
        code = one.process.poll()
        if code is None:
            return True
        if code == END:
            return False
        now = time.monotonic()
        one.deaths = [at for at in one.deaths if now - at < _WITHIN_S] + [now]
        if len(one.deaths) >= _MOST_DEATHS:
            raise WorkerError(
                f"A worker's process ended {_MOST_DEATHS} times within {_WITHIN_S:.0f} s, last "
                f"with exit code {code}. What it said stands above."
            )
        logger.warning("A worker's process ended with exit code %s; another takes over.", code)
        one.process = self._start(one.gpu)
        return True


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, which gives their runs back; kill those that do not."""
    for one in processes:
        if one.poll() is None:
            one.terminate()
    ends = time.monotonic() + _STOP_S
    for one in processes:
        try:
            one.wait(max(ends - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
