"""Capture of log lines during a run, for its record."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

_PACKAGES = ("cascade", "curation")
_MAX_LINES, _MAX_WIDTH = 400, 500


@contextmanager
def capture_log() -> Iterator[deque[str]]:
    """Yield the last log lines of the block: from INFO for these packages, warnings of others."""
    lines: deque[str] = deque(maxlen=_MAX_LINES)
    handler = _Lines(lines)
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    levels = [logger.level for logger in loggers]
    logging.getLogger().addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Lines(logging.Handler):
    """Handler that appends the lines of each record."""

    def __init__(self, lines: deque[str]) -> None:
        super().__init__()
        self._lines = lines
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines += [line[:_MAX_WIDTH] for line in self.format(record).splitlines()]
