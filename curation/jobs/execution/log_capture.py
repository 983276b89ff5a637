"""What is logged while a run goes on, as lines for its record."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

_OURS = ("cascade", "curation")
_MOST, _WIDEST = 400, 500


@contextmanager
def captured() -> Iterator[deque[str]]:
    """Give the last lines that are logged in the block: ours from INFO on, others' warnings."""
    lines: deque[str] = deque(maxlen=_MOST)
    handler = _Lines(lines)
    loggers = [logging.getLogger(name) for name in _OURS]
    levels = [one.level for one in loggers]
    logging.getLogger().addHandler(handler)
    for one in loggers:
        one.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


class _Lines(logging.Handler):
    """Keeps each record as one line."""

    def __init__(self, lines: deque[str]) -> None:
        super().__init__()
        self._lines = lines
        form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        form.converter = time.gmtime
        self.setFormatter(form)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines += [line[:_WIDEST] for line in self.format(record).splitlines()]
