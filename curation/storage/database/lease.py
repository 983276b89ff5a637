"""Leases in the database: one holder at a time, for a limited time, with a growing token.

A crashed holder loses its lease when it expires, or immediately if its process is known to have
ended on this machine. Expiry uses the database's clock, so the machines' clocks may differ. The
fencing token grows with every holder: a late holder with an older token gets an error from
`renew` before it does harm.

- [0] Gray and Cheriton, Leases: an efficient fault-tolerant mechanism for distributed file cache
  consistency, SOSP 1989
- [1] Kleppmann, Designing Data-Intensive Applications, 2017, chapter 8: fencing tokens
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from curation.errors import CurationError

COLLECTION = "curation_leases"
_RETRY_S = 0.1


class LeaseError(CurationError, RuntimeError):
    """The lease is held, or was taken over, by another holder."""


class Lease:
    """A lease that this process holds.

    Attributes:
        token: Fencing token, greater than that of every earlier holder.
    """

    def __init__(self, leases: Any, name: str, owner: str, token: int, seconds: float) -> None:
        self._leases, self._name, self._seconds = leases, name, seconds
        self._mine = {"_id": name, "owner": owner, "token": token}
        self.token = token

    def renew(self) -> None:
        """Extend the lease to its full duration from now.

        Raises:
            LeaseError: The lease expired and another holder has it.
        """
        update = [{"$set": {"expires": _in(self._seconds)}}]
        if self._leases.find_one_and_update(self._mine, update) is None:
            raise LeaseError(
                f"The lease {self._name!r} expired and was taken over, so this work stops here. "
                "Check what the new holder has done, then run the command again."
            )

    def release(self) -> None:
        """Release the lease; its token stays for the next holder."""
        free = {"owner": "", "expires": datetime.fromtimestamp(0, UTC)}
        self._leases.update_one(self._mine, {"$set": free})


@contextmanager
def hold(
    database: Any, name: str, *, holder: str, seconds: float = 30.0, wait_s: float = 0.0
) -> Iterator[Lease]:
    """Hold a lease until the block ends.

    Args:
        database: A MongoDB database (of pymongo).
        name: Name of the guarded resource.
        holder: Name of this holder, for messages to others.
        seconds: Duration of the lease without `renew`; others wait this long after a crash.
        wait_s: Seconds to wait for the current holder.

    Raises:
        LeaseError: Another holder has the lease; the message names it and the time.
    """
    lease = _acquire(database[COLLECTION], name, holder, seconds, wait_s)
    try:
        yield lease
    finally:
        lease.release()


def _acquire(leases: Any, name: str, holder: str, seconds: float, wait_s: float) -> Lease:
    owner, deadline = f"{_machine()} {os.getpid()} {uuid4().hex}", time.monotonic() + wait_s
    free = {"owner": "", "token": 0, "expires": datetime.fromtimestamp(0, UTC)}
    leases.update_one({"_id": name}, {"$setOnInsert": free}, upsert=True)
    expired = {"$expr": {"$lte": ["$expires", "$$NOW"]}}
    while True:
        row = _take(leases, name, owner, holder, seconds, expired)
        current = None if row else leases.find_one({"_id": name})
        if current is not None and _is_dead(current["owner"]):
            row = _take(leases, name, owner, holder, seconds, {"owner": current["owner"]})
        if row is not None:
            return Lease(leases, name, owner, int(row["token"]), seconds)
        if time.monotonic() >= deadline:
            raise LeaseError(_explain(name, current or {}))
        time.sleep(_RETRY_S)


def _take(
    leases: Any, name: str, owner: str, holder: str, seconds: float, condition: dict[str, Any]
) -> Any:
    """Take the lease under a condition, atomically; return its new document or None."""
    update = {
        "owner": owner,
        "who": {"$literal": holder},
        "since": "$$NOW",
        "expires": _in(seconds),
        "token": {"$add": ["$token", 1]},
    }
    return leases.find_one_and_update(
        {"_id": name, **condition}, [{"$set": update}], return_document=True
    )


def _in(seconds: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def _explain(name: str, row: dict[str, Any]) -> str:
    if not row.get("who"):
        return f"The lease {name!r} is held by another process. Try again in a moment."
    return (
        f"{row['who']} holds the lease {name!r} since {row['since']:%Y-%m-%d %H:%M:%S} UTC. "
        "Try again when it is done; a crash frees it within seconds."
    )


def _machine() -> str:
    """Return an identifier of this machine, or of the container whose process ids are shared.

    Host names can repeat, and the first process namespace has the same number on all machines,
    so the kernel's random boot id is included. Empty if unknown.
    """
    try:  # Linux only
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_dead(owner: str) -> bool:
    """Return whether the owner is a process of this machine that is known to have ended."""
    machine, _, process = owner.partition(" ")
    pid = process.partition(" ")[0]
    if not machine or machine != _machine() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # a living process of another user
        return False
    return _is_zombie(int(pid))


def _is_zombie(pid: int) -> bool:
    """Return whether a process has ended but was not yet reaped by its parent."""
    with suppress(OSError):  # Linux only
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False
