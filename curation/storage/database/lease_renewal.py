"""Holding a lease while long work goes on: renewed from beside, and asked before what counts."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from curation.storage.database.lease import Lease, LeaseError

logger = logging.getLogger(__name__)


class Heartbeat:
    """Renews a lease until the block ends.

    Args:
        lease: What is held.
        every_s: Seconds between two renewals; a third of the lease's time is safe.
    """

    def __init__(self, lease: Lease, *, every_s: float) -> None:
        self._lease, self._every_s = lease, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._lease.renew()
            except LeaseError as error:
                logger.warning("%s", error)
                return
            except Exception as error:  # noqa: BLE001 - the database may be back at the next beat
                logger.warning("The lease was not renewed this time: %s", error)
