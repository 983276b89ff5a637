"""The queue of delegated operations, as FiftyOne keeps it, with leases beside it.

FiftyOne's own worker takes the newest operation first and leaves that of a worker which was
killed `running` for ever. Ours takes the oldest, and holds it by a lease that it renews: who
stops renewing is dead, and the operation goes back to its place in the queue. What belongs to the
lease lies in the operation's own document, under `curation`, which FiftyOne's code leaves alone:

    claim        who holds it: new with every claim, so that one who comes back late is refused
    worker       the same for people, such as `host:4711 gpu0`
    lease_until  by the clock of the database, so that clocks of machines need not agree
    attempts     how often it was begun
    not_before   when it may be tried again, after an error that may pass
    cancel       that somebody wants it to end; cancelled: that it ended so

Each step is one update of one document under a condition, so no two workers ever hold one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from bson import ObjectId

from curation.errors import CurationError
from curation.worker.constants import LEASE_S, MOST_ATTEMPTS

COLLECTION = "delegated_ops"  # FiftyOne's
CANCELLED = "Cancelled."
LOST = (
    f"Its worker died {MOST_ATTEMPTS} times while it ran, so it is not tried again. The log says "
    "how far it came; too little memory is the usual reason."
)

Standing = Literal["held", "unwanted", "lost"]


class CancelledError(CurationError, RuntimeError):
    """Somebody asked the operation to end."""


@dataclass(frozen=True)
class Job:
    """An operation that is held.

    Attributes:
        id: Of the operation.
        claim: What holds it.
        operator: The URI of the operator.
        attempt: 1 at the first.
    """

    id: ObjectId
    claim: str
    operator: str
    attempt: int


class Queue:
    """The delegated operations of a FiftyOne database.

    Args:
        database: A MongoDB database (of pymongo): the one in which FiftyOne works.
        lease_s: How long a worker may be silent before its operation goes back.
    """

    def __init__(self, database: Any, *, lease_s: float = LEASE_S) -> None:
        self._operations, self.lease_s = database[COLLECTION], lease_s

    def claim(self, worker: str, *, gpu: int | None = None) -> Job | None:
        """Take the oldest operation that waits, and hold it; None where none waits.

        Args:
            worker: Told to people.
            gpu: Whose; operations that are meant for another (`delegation_target` `gpu3`) stay.
        """
        claim = uuid4().hex
        of_another = {"$regex": r"^gpu\d+$"}
        target = {
            "$or": [{"delegation_target": f"gpu{gpu}"}, {"delegation_target": {"$not": of_another}}]
        }
        due = {"$expr": {"$lte": [{"$ifNull": ["$curation.not_before", "$$NOW"]}, "$$NOW"]}}
        found = self._operations.find_one_and_update(
            {"run_state": "queued", "archived": {"$ne": True}, **target, **due},
            [
                {
                    "$set": {
                        "run_state": "running",
                        "started_at": "$$NOW",
                        "updated_at": "$$NOW",
                        "monitored": False,
                        "status": None,
                        "curation.claim": claim,
                        "curation.worker": {"$literal": worker},
                        "curation.lease_until": _in(self.lease_s),
                        "curation.attempts": {
                            "$add": [{"$ifNull": ["$curation.attempts", 0]}, 1],
                        },
                    }
                }
            ],
            sort=[("queued_at", 1), ("_id", 1)],
            return_document=True,
        )
        if found is None:
            return None
        return Job(found["_id"], claim, found["operator"], found["curation"]["attempts"])

    def beat(self, job: Job, *, log_tail: str | None = None) -> Standing:
        """Renew the lease; tell whether the operation is still held, and still wanted."""
        change: dict[str, Any] = {
            "updated_at": "$$NOW",
            "curation.lease_until": _in(self.lease_s),
        }
        if log_tail is not None:
            change["log_tail"] = {"$literal": log_tail}
        found = self._change(job, change)
        if found is None:
            return "lost"
        return "unwanted" if found["curation"].get("cancel") else "held"

    def keep_log(self, job: Job, path: str, tail: str) -> None:
        """Keep where the run's log lies, and its end; FiftyOne has fields for both."""
        self._operations.update_one({"_id": job.id}, {"$set": {"log_path": path, "log_tail": tail}})

    def complete(
        self, job: Job, result: Mapping[str, Any], *, outputs: Mapping[str, Any] | None = None
    ) -> bool:
        """Put a result on record, as FiftyOne does; False where the operation was lost.

        Args:
            job: The operation.
            result: As `ExecutionResult.to_json` gives it.
            outputs: The form in which the result is shown.
        """
        change = {
            "run_state": "completed",
            "completed_at": "$$NOW",
            "updated_at": "$$NOW",
            "result": {"$literal": dict(result)},
        }
        if outputs:
            change["metadata.outputs_schema"] = {"$literal": dict(outputs)}
        return self._change(job, change, ended=True) is not None

    def fail(self, job: Job, error: str, *, cancelled: bool = False) -> bool:
        """Put an error on record; False where the operation was lost."""
        return self._change(job, _failure(error, cancelled=cancelled), ended=True) is not None

    def give_back(self, job: Job, *, later_s: float | None = None) -> bool:
        """Put the operation back where it was in the queue; False where it was lost.

        Args:
            job: The operation.
            later_s: Seconds until it may be tried again; None where it was given up for no
                fault of its own: then this attempt does not count.
        """
        change: dict[str, Any] = {"run_state": "queued", "updated_at": "$$NOW"}
        if later_s is None:
            change["curation.attempts"] = {"$subtract": ["$curation.attempts", 1]}
        else:
            change["curation.not_before"] = _in(later_s)
        return self._change(job, change, ended=True) is not None

    def reap(self) -> int:
        """Put back what dead workers held; what was tried too often fails. Return how many."""
        expired = {
            "run_state": "running",
            "curation.lease_until": {"$exists": True},
            "$expr": {"$lte": ["$curation.lease_until", "$$NOW"]},
        }
        unwanted = {**expired, "curation.cancel": True}
        worn = {**expired, "curation.attempts": {"$gte": MOST_ATTEMPTS}}
        again = {"run_state": "queued", "updated_at": "$$NOW"}
        steps = (
            (unwanted, _failure(CANCELLED, cancelled=True)),
            (worn, _failure(LOST)),
            (expired, again),
        )
        return sum(
            int(self._operations.update_many(which, [{"$set": change}, _LET_GO]).modified_count)
            for which, change in steps
        )

    def _change(self, job: Job, change: Mapping[str, Any], *, ended: bool = False) -> Any:
        return self._operations.find_one_and_update(
            {"_id": job.id, "run_state": "running", "curation.claim": job.claim},
            [{"$set": dict(change)}, *([_LET_GO] if ended else [])],
            projection={"curation": 1},
            return_document=True,
        )


def is_wanted(database: Any, run: Any) -> bool:
    """Return whether an operation that runs is to go on: nobody cancelled it or ended it.

    Holds for operations of FiftyOne's own worker, too.
    """
    found = database[COLLECTION].find_one(
        {"_id": ObjectId(run)}, {"run_state": 1, "curation.cancel": 1}
    )
    return bool(
        found
        and found["run_state"] == "running"
        and not found.get("curation", {}).get("cancel", False)
    )


def cancel(database: Any, run: Any) -> bool:
    """Ask an operation to end; one that waits, or that no lease holds, ends at once.

    Returns:
        Whether there was anything to end.
    """
    operations, which = database[COLLECTION], {"_id": ObjectId(run)}
    ended = {"$set": _failure(CANCELLED, cancelled=True)}
    waiting = {**which, "run_state": {"$in": ["queued", "scheduled"]}}
    held = {**which, "run_state": "running", "curation.lease_until": {"$exists": True}}
    unheld = {**which, "run_state": "running"}
    return bool(
        operations.update_one(waiting, [ended]).modified_count
        or operations.update_one(held, {"$set": {"curation.cancel": True}}).matched_count
        or operations.update_one(unheld, [ended]).modified_count
    )


_LET_GO = {"$unset": ["curation.claim", "curation.lease_until"]}


def _failure(error: str, *, cancelled: bool = False) -> dict[str, Any]:
    result = {"result": None, "executor": None, "error": error, "error_message": error}
    return {
        "run_state": "failed",
        "failed_at": "$$NOW",
        "updated_at": "$$NOW",
        "result": {"$literal": result},
        **({"curation.cancelled": True} if cancelled else {}),
    }


def _in(seconds: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", int(seconds * 1000)]}
