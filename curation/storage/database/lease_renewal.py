"""Renewal of a lease in the background while long work runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Self

from curation.storage.database.lease import LeaseError

logger = logging.getLogger(__name__)


class LeaseRenewer:
    """Calls `renew` at an interval until the block ends.

    A `LeaseError` ends the renewals. Any other error is logged, and the next renewal may succeed.

    Args:
        renew: Renews the lease, for example `Lease.renew`.
        every_s: Seconds between two renewals; a third of the lease's duration is safe.
    """

    def __init__(self, renew: Callable[[], None], *, every_s: float) -> None:
        self._renew, self._every_s = renew, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease renewal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._renew()
            except LeaseError as error:
                logger.warning("%s", error)
                return
            except Exception as error:  # noqa: BLE001 - the database may answer next time
                logger.warning("The lease was not renewed this time: %s", error)
