"""What a run says, kept in a file of its own; its last lines go to the database with the beat."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

FOLDER = "runs"  # in our home
TAIL_BYTES = 4000  # of the log, kept in the database for those on other machines
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RunLog:
    """The log of one run, over all its attempts.

    Args:
        home: Our folder.
        run: The run's id.
    """

    def __init__(self, home: Path, run: object) -> None:
        self.path = home / FOLDER / f"{run}.log"

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Take all that is logged or printed until the block ends, and pass it on, too."""
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
                    contextlib.redirect_stdout(_Both(file, sys.stdout)),
                    contextlib.redirect_stderr(_Both(file, sys.stderr)),
                ):
                    yield
            finally:
                root.setLevel(level)
                root.removeHandler(handler)

    def say(self, text: str) -> None:
        """Add a line that is always there, such as the beginning of an attempt."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{now} {text}\n")

    def tail(self) -> str:
        """Return its last lines; empty where nothing was said."""
        return tail_of(self.path)


def tail_of(path: Path, most_bytes: int = TAIL_BYTES) -> str:
    """Return the last whole lines of a file; empty where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - most_bytes, 0))
        text = file.read().decode(errors="replace")
    return text if size <= most_bytes else text.partition("\n")[2]


class _Both:
    """Writes to the run's log and to where it would have gone."""

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
