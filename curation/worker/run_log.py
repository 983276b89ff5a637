"""Log file of a run; lease renewals also store its last lines in the database."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

FOLDER = "runs"  # in CURATION_HOME
TAIL_BYTES = 4000  # stored in the database, for readers on other machines
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RunLog:
    """The log of one run, over all its attempts.

    Args:
        home: CURATION_HOME.
        run: Id of the run.
    """

    def __init__(self, home: Path, run: object) -> None:
        self.path = home / FOLDER / f"{run}.log"

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Copy all log records and printed text to the file until the block ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", errors="replace", buffering=1) as file:
            handler = logging.StreamHandler(file)
            handler.setFormatter(logging.Formatter(_FORMAT))
            root = logging.getLogger()
            level = root.level
            root.addHandler(handler)
            root.setLevel(logging.INFO)
            try:
                with (
                    contextlib.redirect_stdout(_Tee(file, sys.stdout)),
                    contextlib.redirect_stderr(_Tee(file, sys.stderr)),
                ):
                    yield
            finally:
                root.setLevel(level)
                root.removeHandler(handler)

    def write(self, text: str) -> None:
        """Append a line with a time stamp, such as the start of an attempt."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{now} {text}\n")

    def tail(self) -> str:
        """Return the last lines; empty if there is no file."""
        return read_tail(self.path)


def read_tail(path: Path, max_bytes: int = TAIL_BYTES) -> str:
    """Return the last complete lines of a file; empty if there is no file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - max_bytes, 0))
        text = file.read().decode(errors="replace")
    return text if size <= max_bytes else text.partition("\n")[2]


class _Tee:
    """Writes to the log file and to the original stream."""

    def __init__(self, file: IO[str], other: IO[str]) -> None:
        self._file, self._other = file, other

    def write(self, text: str) -> int:
        self._other.write(text)
        return self._file.write(text)

    def flush(self) -> None:
        self._other.flush()
        self._file.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._other.fileno()
