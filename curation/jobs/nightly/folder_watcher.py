"""Folder watcher: ingests new files once they are complete.

A file is complete when two polls see the same size and time. Polling works on any file system,
including network disks and mounted buckets.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from cascade.errors import CascadeError
from curation.errors import CurationError

logger = logging.getLogger(__name__)

Listing = frozenset[tuple[str, int, int]]


def watch(
    folder: Path,
    ingest: Callable[[], None],
    *,
    every_s: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Call `ingest` whenever the folder has changed and is stable again.

    An expected error is logged once, and the call is retried.

    Args:
        folder: Folder to watch, with its subfolders.
        ingest: Function that ingests new files; must be idempotent.
        every_s: Seconds between two polls.
        sleep: Function that waits; replaced in tests.
        stop: Function that returns whether to stop, called before every poll.
    """
    ingested: Listing | None = None
    previous: Listing | None = None
    last_error = ""
    while not stop():
        current = list_files(folder)
        if current and current == previous and current != ingested:
            try:
                ingest()
                ingested, last_error = current, ""
            except (CascadeError, CurationError) as error:
                if str(error) != last_error:
                    logger.warning("%s Retrying.", error)
                last_error = str(error)
        previous = current
        sleep(every_s)


def list_files(folder: Path) -> Listing:
    """Return path, size and time of every file below a folder, without hidden ones."""
    files = set()
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            path = os.path.join(root, name)
            try:
                stat = os.stat(path)
            except FileNotFoundError:  # moved away since the folder was listed
                continue
            files.add((path, stat.st_size, stat.st_mtime_ns))
    return frozenset(files)
