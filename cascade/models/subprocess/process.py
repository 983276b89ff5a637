"""A process that speaks JSON lines, and never makes anyone wait longer than agreed."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cascade.errors import ServerError
from cascade.models.subprocess.foreign import worker

# What a foreign interpreter needs to start and to find its libraries and devices. Nothing else
# of our environment is handed on: no token, no address of a database.
_HANDED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
)  # fmt: skip
_GOODBYE_S = 1.0
_MOST_BYTES = 64 * 1024 * 1024  # of one line
_CHUNK = 65536


class WorkerProcess:
    """A command in a process group of its own, killed at the latest when this object goes.

    Args:
        command: Program and arguments; no shell reads them.

    Raises:
        ServerError: The program cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.name = " ".join(command)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        environment["PYTHONPATH"] = str(Path(worker.__file__).parent)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the manifest's own command, no shell
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise ServerError(f"The worker `{self.name}` cannot be started: {error}.") from error
        self._stdin, self._stdout = _numbers(self._process)
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe, False)
        self._rest = b""
        self._end = weakref.finalize(self, _end, self._process, self._log)

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    def send(self, message: Mapping[str, Any], *, deadline: float) -> None:
        """Write one line before `deadline`, on the monotonic clock.

        Raises:
            ServerError: The process has ended or does not read.
        """
        rest = json.dumps(message).encode() + b"\n"
        while rest:
            self._wait(self._stdin, selectors.EVENT_WRITE, deadline)
            try:
                rest = rest[os.write(self._stdin, rest[:_CHUNK]) :]
            except BrokenPipeError as error:
                raise self._has_ended() from error

    def receive(self, *, deadline: float) -> dict[str, Any]:
        """Return the next line's object, before `deadline`.

        Raises:
            ServerError: The process has ended, is late, or writes anything but JSON objects.
        """
        while b"\n" not in self._rest:
            self._wait(self._stdout, selectors.EVENT_READ, deadline)
            chunk = os.read(self._stdout, _CHUNK)
            if not chunk:
                raise self._has_ended()
            self._rest += chunk
            if len(self._rest) > _MOST_BYTES:
                raise ServerError(f"The worker `{self.name}` wrote more than 64 MB in one line.")
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise ServerError(
                f"The worker `{self.name}` wrote {line[:80]!r} where a JSON object was expected. "
                "Its standard output is reserved for the protocol: print to standard error, or "
                "use `serve` of cascade/models/subprocess/foreign/worker.py, which sees to that."
            )
        return message

    def close(self) -> None:
        """End the process, and all that it started."""
        self._end()

    def _wait(self, pipe: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, event)
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise ServerError(f"The worker `{self.name}` did not answer in time.{self._said()}")

    def _has_ended(self) -> ServerError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GOODBYE_S)
        return ServerError(
            f"The worker `{self.name}` ended with code {self._process.returncode} in the middle "
            f"of its work.{self._said()}"
        )

    def _said(self) -> str:
        """Return the last words on standard error, as a sentence."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(size - 400, 0))
        words = " ".join(self._log.read().decode(errors="replace").split())
        return f" It said: {words}" if words else ""


def _numbers(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    if process.stdin is None or process.stdout is None:
        raise ServerError("A worker's standard input and output must be pipes.")
    return process.stdin.fileno(), process.stdout.fileno()


def _end(process: subprocess.Popen[bytes], log: Any) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()  # a worker that reads ends by itself now
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GOODBYE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log.close()
