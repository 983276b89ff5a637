"""A lease in the database: one holder at a time, for a while, with a number that only grows.

A holder that crashed gives its lease up by running out of time, or at once where its process is
known to have ended on this machine. The database's own clock counts, so that clocks of two
machines need not agree. The number (a fencing token) rises with every new holder: who comes
back late, with an older one, is told so by `renew`, before it does harm.

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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from curation.errors import CurationError

COLLECTION = "curation_leases"
_AGAIN_S = 0.1  # between two tries of one who waits


class LeaseError(CurationError, RuntimeError):
    """Somebody else holds the lease, or has taken it over."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        who: A person or a program, as it calls itself.
        since: When it took the lease.
        expires: When the lease ends unless it is renewed.
    """

    who: str
    since: datetime
    expires: datetime


class Lease:
    """A lease that is held.

    Attributes:
        token: Greater than that of every holder before.
    """

    def __init__(self, leases: Any, name: str, owner: str, token: int, seconds: float) -> None:
        self._leases, self._name, self._owner, self._seconds = leases, name, owner, seconds
        self.token = token

    def renew(self) -> None:
        """Hold the lease for its whole time again, from now.

        Raises:
            LeaseError: It ran out, and somebody else has taken it.
        """
        held = self._leases.find_one_and_update(
            {"_id": self._name, "owner": self._owner, "token": self.token},
            [{"$set": {"expires": _in(self._seconds)}}],
        )
        if held is None:
            raise LeaseError(
                f"The lease {self._name!r} ran out and was taken over, so this goes no further. "
                "Look at what the other has done, then run the command again."
            )

    def release(self) -> None:
        """Give the lease back; the number stays for the next holder."""
        self._leases.update_one(
            {"_id": self._name, "owner": self._owner, "token": self.token},
            {"$set": {"owner": "", "expires": datetime.fromtimestamp(0, UTC)}},
        )


@contextmanager
def held(
    database: Any, name: str, *, who: str, seconds: float = 30.0, wait_s: float = 0.0
) -> Iterator[Lease]:
    """Hold a lease until the block ends.

    Args:
        database: A MongoDB database (of pymongo).
        name: What is guarded.
        who: Told to those who come meanwhile.
        seconds: How long it is held without `renew`; a crash costs others so long, at most.
        wait_s: How long to wait for one who holds it.

    Raises:
        LeaseError: Somebody else holds it; the message says who, and since when.
    """
    lease = _acquire(database[COLLECTION], name, who, seconds, wait_s)
    try:
        yield lease
    finally:
        lease.release()


def holder(database: Any, name: str) -> Holder | None:
    """Return who holds a lease now, None where nobody does."""
    found = database[COLLECTION].find_one(
        {"_id": name, "owner": {"$ne": ""}, "$expr": {"$gt": ["$expires", "$$NOW"]}}
    )
    return None if found is None else _holder(found)


def _acquire(leases: Any, name: str, who: str, seconds: float, wait_s: float) -> Lease:
    owner, ends = f"{_place()} {os.getpid()} {uuid4().hex}", time.monotonic() + wait_s
    nobody = {"owner": "", "token": 0, "expires": datetime.fromtimestamp(0, UTC)}
    leases.update_one({"_id": name}, {"$setOnInsert": nobody}, upsert=True)
    while True:
        taken = _take(leases, name, owner, who, seconds, {"$expr": {"$lte": ["$expires", "$$NOW"]}})
        found = None if taken else leases.find_one({"_id": name})
        if found is not None and _is_dead(found["owner"]):
            taken = _take(leases, name, owner, who, seconds, {"owner": found["owner"]})
        if taken is not None:
            return Lease(leases, name, owner, int(taken["token"]), seconds)
        if time.monotonic() >= ends:
            raise LeaseError(_explain(name, found or {}))
        time.sleep(_AGAIN_S)


def _take(
    leases: Any, name: str, owner: str, who: str, seconds: float, free: dict[str, Any]
) -> Any:
    """Become the holder if the lease is free, in one step; return its new content or None."""
    return leases.find_one_and_update(
        {"_id": name, **free},
        [
            {
                "$set": {
                    "owner": owner,
                    "who": {"$literal": who},
                    "since": "$$NOW",
                    "expires": _in(seconds),
                    "token": {"$add": ["$token", 1]},
                }
            }
        ],
        return_document=True,
    )


def _in(seconds: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def _explain(name: str, found: dict[str, Any]) -> str:
    if not found.get("who"):
        return f"The lease {name!r} is held by somebody else. Try again in a moment."
    one = _holder(found)
    return (
        f"{one.who} holds the lease {name!r} since {one.since:%Y-%m-%d %H:%M:%S} UTC. "
        "Try again when it is done; a crash frees it within seconds."
    )


def _holder(found: dict[str, Any]) -> Holder:
    return Holder(found["who"], found["since"], found["expires"])


def _place() -> str:
    """Return a word for this machine, or this container of it: who shares it sees our pids.

    Two machines may have one name, and the first space of pids has one number on all of them, so
    the word holds what the kernel drew when it started. Empty where that cannot be known.
    """
    try:  # only Linux has them
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_dead(owner: str) -> bool:
    """Return whether the holder is a process of this machine that is known to have ended."""
    place, _, rest = owner.partition(" ")
    pid = rest.partition(" ")[0]
    if not place or place != _place() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's, but there
        return False
    return _is_zombie(int(pid))


def _is_zombie(pid: int) -> bool:
    """Return whether a process has ended and only waits for its parent to notice."""
    with suppress(OSError):  # only Linux has it
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False
