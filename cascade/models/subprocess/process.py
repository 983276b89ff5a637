"""Subprocess that exchanges JSON lines, with a deadline for every message."""

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

# Variables that a foreign interpreter needs to start and to find its libraries and devices. No
# others are inherited, which excludes tokens and database addresses.
_INHERITED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
)  # fmt: skip
_GRACE_S = 1.0
_MAX_LINE_BYTES = 64 * 1024 * 1024
_CHUNK = 65536


class WorkerProcess:
    """Command in a new process group, which is killed at the latest with this object.

    Args:
        command: Program and arguments, run without a shell.

    Raises:
        ServerError: The program cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.name = " ".join(command)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
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
            raise ServerError(f"Cannot start the worker `{self.name}`: {error}.") from error
        self._stdin, self._stdout = _pipes(self._process)
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe, False)
        self._buffer = b""
        self._end = weakref.finalize(self, _end_process, self._process, self._log)

    @property
    def pid(self) -> int:
        """ID of the process and of its group."""
        return self._process.pid

    def send(self, message: Mapping[str, Any], *, deadline: float) -> None:
        """Write one line before `deadline`, on the monotonic clock.

        Raises:
            ServerError: The process has ended or does not read.
        """
        data = json.dumps(message).encode() + b"\n"
        while data:
            self._wait(self._stdin, selectors.EVENT_WRITE, deadline)
            try:
                data = data[os.write(self._stdin, data[:_CHUNK]) :]
            except BrokenPipeError as error:
                raise self._ended_error() from error

    def receive(self, *, deadline: float) -> dict[str, Any]:
        """Return the next line's object, before `deadline`.

        Raises:
            ServerError: The process has ended, timed out, or wrote anything but JSON objects.
        """
        while b"\n" not in self._buffer:
            self._wait(self._stdout, selectors.EVENT_READ, deadline)
            chunk = os.read(self._stdout, _CHUNK)
            if not chunk:
                raise self._ended_error()
            self._buffer += chunk
            if len(self._buffer) > _MAX_LINE_BYTES:
                raise ServerError(f"The worker `{self.name}` wrote more than 64 MB in one line.")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise ServerError(
                f"The worker `{self.name}` wrote {line[:80]!r}, expected a JSON object. "
                "Its standard output is reserved for the protocol: print to standard error, or "
                "use `serve` of cascade/models/subprocess/foreign/worker.py, which redirects it."
            )
        return message

    def close(self) -> None:
        """End the process and its children."""
        self._end()

    def _wait(self, pipe: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, event)
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise ServerError(f"The worker `{self.name}` timed out.{self._stderr_tail()}")

    def _ended_error(self) -> ServerError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        return ServerError(
            f"The worker `{self.name}` ended unexpectedly with code {self._process.returncode}."
            f"{self._stderr_tail()}"
        )

    def _stderr_tail(self) -> str:
        """Return the end of standard error, as a sentence."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(size - 400, 0))
        text = " ".join(self._log.read().decode(errors="replace").split())
        return f" Its last output: {text}" if text else ""


def _pipes(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    if process.stdin is None or process.stdout is None:
        raise ServerError("A worker's standard input and output must be pipes.")
    return process.stdin.fileno(), process.stdout.fileno()


def _end_process(process: subprocess.Popen[bytes], log: Any) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()  # a worker that reads its input ends now
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log.close()
