"""FiftyOne's queue of delegated operations, with a lease for each running operation.

FiftyOne's own worker takes the newest operation first, and the operation of a killed worker stays
`running` forever. Our worker takes the oldest and holds it with a lease. If a worker stops renewing
the lease, the operation returns to its place in the queue. The lease is stored in the operation's
document, under `curation`, which FiftyOne's code ignores:

    claim        holder of the lease; new with every claim, which excludes a late former holder
    worker       readable name of the holder, such as `host:4711 gpu0`
    lease_until  expiry by the database's clock, because the machines' clocks may differ
    attempts     number of attempts
    not_before   time of the next attempt after a temporary error
    cancel       cancellation was requested; cancelled: it ended for that reason

Each step is one conditional update of one document, so two workers never hold the same operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from bson import ObjectId

from curation.errors import CurationError
from curation.worker.constants import LEASE_S, MAX_ATTEMPTS

COLLECTION = "delegated_ops"  # FiftyOne's
CANCELLED = "Cancelled."
LOST = (
    f"Its worker died {MAX_ATTEMPTS} times during this run, so it is not repeated. See the log for "
    "its last step; the usual reason is too little memory."
)

LeaseState = Literal["held", "cancelled", "lost"]


class CancelledError(CurationError, RuntimeError):
    """Cancellation of the operation was requested."""


@dataclass(frozen=True)
class Job:
    """An operation with a lease.

    Attributes:
        id: Id of the operation.
        claim: Identifier of the lease.
        operator: URI of the operator.
        attempt: Number of the attempt, from 1.
    """

    id: ObjectId
    claim: str
    operator: str
    attempt: int


class Queue:
    """The delegated operations of a FiftyOne database.

    Args:
        database: FiftyOne's MongoDB database (of pymongo).
        lease_s: Duration of a lease without renewal, in seconds.
    """

    def __init__(self, database: Any, *, lease_s: float = LEASE_S) -> None:
        self._operations, self.lease_s = database[COLLECTION], lease_s

    def claim(self, worker: str, *, gpu: int | None = None) -> Job | None:
        """Claim the oldest waiting operation; return None if none waits.

        Args:
            worker: Readable name of the worker.
            gpu: Number of the worker's GPU. Operations for another GPU (`delegation_target`
                `gpu3`) are skipped.
        """
        claim = uuid4().hex
        any_gpu = {"$regex": r"^gpu\d+$"}
        target = {
            "$or": [{"delegation_target": f"gpu{gpu}"}, {"delegation_target": {"$not": any_gpu}}]
        }
        due = {"$expr": {"$lte": [{"$ifNull": ["$curation.not_before", "$$NOW"]}, "$$NOW"]}}
        change = {
            "run_state": "running",
            "started_at": "$$NOW",
            "updated_at": "$$NOW",
            "monitored": False,
            "status": None,
            "curation.claim": claim,
            "curation.worker": {"$literal": worker},
            "curation.lease_until": _in(self.lease_s),
            "curation.attempts": {"$add": [{"$ifNull": ["$curation.attempts", 0]}, 1]},
        }
        row = self._operations.find_one_and_update(
            {"run_state": "queued", "archived": {"$ne": True}, **target, **due},
            [{"$set": change}],
            sort=[("queued_at", 1), ("_id", 1)],
            return_document=True,
        )
        return row and Job(row["_id"], claim, row["operator"], row["curation"]["attempts"])

    def renew(self, job: Job, *, log_tail: str) -> LeaseState:
        """Renew the lease, store the end of the log, and return the state of the lease."""
        change = {
            "updated_at": "$$NOW",
            "curation.lease_until": _in(self.lease_s),
            "log_tail": {"$literal": log_tail},
        }
        row = self._change(job, change)
        if row is None:
            return "lost"
        return "cancelled" if row["curation"].get("cancel") else "held"

    def save_log(self, job: Job, path: str, tail: str) -> None:
        """Store the path and the end of the run's log, in FiftyOne's fields for both."""
        self._operations.update_one({"_id": job.id}, {"$set": {"log_path": path, "log_tail": tail}})

    def complete(
        self, job: Job, result: Mapping[str, Any], *, outputs: Mapping[str, Any] | None = None
    ) -> bool:
        """Store a result as FiftyOne does; return False if the lease was lost.

        Args:
            job: The operation.
            result: Output of `ExecutionResult.to_json`.
            outputs: Schema for the display of the result.
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
        """Store an error; return False if the lease was lost."""
        return self._change(job, _failure(error, cancelled=cancelled), ended=True) is not None

    def release(self, job: Job, *, retry_after_s: float | None = None) -> bool:
        """Return the operation to its place in the queue; return False if the lease was lost.

        Args:
            job: The operation.
            retry_after_s: Seconds until the next attempt, after an error. None for an
                operation without an error: this attempt then does not count.
        """
        change: dict[str, Any] = {"run_state": "queued", "updated_at": "$$NOW"}
        if retry_after_s is None:
            change["curation.attempts"] = {"$subtract": ["$curation.attempts", 1]}
        else:
            change["curation.not_before"] = _in(retry_after_s)
        return self._change(job, change, ended=True) is not None

    def requeue_expired(self) -> int:
        """Requeue the operations of dead workers, and return their number.

        A canceled operation, or one with too many attempts, fails instead.
        """
        expired = {
            "run_state": "running",
            "curation.lease_until": {"$exists": True},
            "$expr": {"$lte": ["$curation.lease_until", "$$NOW"]},
        }
        cancelled = {**expired, "curation.cancel": True}
        exhausted = {**expired, "curation.attempts": {"$gte": MAX_ATTEMPTS}}
        steps = (
            (cancelled, _failure(CANCELLED, cancelled=True)),
            (exhausted, _failure(LOST)),
            (expired, {"run_state": "queued", "updated_at": "$$NOW"}),
        )
        return sum(
            int(
                self._operations.update_many(query, [{"$set": change}, _UNSET_LEASE]).modified_count
            )
            for query, change in steps
        )

    def _change(self, job: Job, change: Mapping[str, Any], *, ended: bool = False) -> Any:
        return self._operations.find_one_and_update(
            {"_id": job.id, "run_state": "running", "curation.claim": job.claim},
            [{"$set": dict(change)}, *([_UNSET_LEASE] if ended else [])],
            projection={"curation": 1},
            return_document=True,
        )


def should_continue(database: Any, run: Any) -> bool:
    """Return whether an operation still runs and was not canceled.

    Also works for operations of FiftyOne's own worker.
    """
    row = database[COLLECTION].find_one(
        {"_id": ObjectId(run)}, {"run_state": 1, "curation.cancel": 1}
    )
    return bool(
        row and row["run_state"] == "running" and not row.get("curation", {}).get("cancel", False)
    )


def cancel(database: Any, run: Any) -> bool:
    """Request cancellation; a waiting operation, or one without a lease, ends immediately.

    Returns:
        Whether the operation existed and had not ended.
    """
    operations, query = database[COLLECTION], {"_id": ObjectId(run)}
    ended = {"$set": _failure(CANCELLED, cancelled=True)}
    waiting = {**query, "run_state": {"$in": ["queued", "scheduled"]}}
    held = {**query, "run_state": "running", "curation.lease_until": {"$exists": True}}
    unheld = {**query, "run_state": "running"}
    return bool(
        operations.update_one(waiting, [ended]).modified_count
        or operations.update_one(held, {"$set": {"curation.cancel": True}}).matched_count
        or operations.update_one(unheld, [ended]).modified_count
    )


_UNSET_LEASE = {"$unset": ["curation.claim", "curation.lease_until"]}


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
