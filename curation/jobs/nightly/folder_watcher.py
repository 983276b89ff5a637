"""Watching a folder: what arrives in it is brought in as soon as it has arrived whole.

A file is whole when two looks see the same size and time. Looking is all that is asked of the
folder, so that it may lie on any disk, a network's or a mounted bucket's.
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
    bring: Callable[[], None],
    *,
    every_s: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Call `bring` whenever the folder holds something else, and no longer changes.

    What it cannot bring in is said, once, and tried again.

    Args:
        folder: Looked at with all that is below.
        bring: Brings in what is new; it must do no harm when nothing is.
        every_s: Seconds between two looks.
        sleep: Waits; exchanged in tests.
        stop: Asked after every look whether to end.
    """
    brought: Listing | None = None
    before: Listing | None = None
    said = ""
    while not stop():
        now = listing(folder)
        if now and now == before and now != brought:
            try:
                bring()
                brought, said = now, ""
            except (CascadeError, CurationError) as error:
                if str(error) != said:
                    logger.warning("%s It is tried again.", error)
                said = str(error)
        before = now
        sleep(every_s)


def listing(folder: Path) -> Listing:
    """Return path, size and time of every file below a folder, hidden ones left out."""
    found = set()
    for root, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            try:
                about = os.stat(os.path.join(root, name))
            except FileNotFoundError:  # it was moved away in this moment
                continue
            found.add((os.path.join(root, name), about.st_size, about.st_mtime_ns))
    return frozenset(found)
