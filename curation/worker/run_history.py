"""List, details, cancellation and repetition of queued operations.

Panels and commands display the results. Every function is fast and loads no dataset. Without a
`database` argument it uses the database of this process's FiftyOne.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from bson import ObjectId
from bson.errors import InvalidId

from curation.errors import CurationError
from curation.worker import queue
from curation.worker.queue import COLLECTION
from curation.worker.run_log import read_tail

State = Literal["queued", "running", "cancelling", "lost", "done", "failed", "cancelled"]
FINISHED = ("done", "failed", "cancelled")
_LOG_BYTES = 100_000
_FIELDS = (
    "operator", "label", "run_state", "status", "queued_at", "scheduled_at", "started_at",
    "completed_at", "failed_at", "updated_at", "result.error", "curation", "dataset_id",
    "delegation_target", "context.request_params.dataset_name", "rerunnable",
)  # fmt: skip


class RunError(CurationError, LookupError):
    """A run does not exist, or its state does not allow the action."""


@dataclass(frozen=True)
class Run:
    """One queued operation.

    Attributes:
        id: Id of the operation, the argument of the other functions.
        operator: URI of the operator.
        label: Display name.
        dataset: Name of the dataset; may be empty.
        state: `queued`; `running`; `cancelling`: cancellation requested, still running; `lost`:
            its worker is silent, and the next free worker requeues it; `done`; `failed`;
            `cancelled`.
        progress: Progress in [0, 1]; None if not reported.
        note: Latest progress message, such as `predict: 40 of 200`.
        place: Place in the queue, from 1; None if not waiting.
        queued_at: Time of queueing, UTC.
        started_at: Start of the latest attempt, UTC.
        ended_at: End, UTC.
        seconds: Seconds from the start to the end, or until now.
        attempts: Number of attempts by our workers.
        worker: Current or latest worker; empty for FiftyOne's own.
        error: Last line of the error.
        rerunnable: Whether the operator allows another run.
    """

    id: str
    operator: str
    label: str
    dataset: str
    state: State
    progress: float | None
    note: str
    place: int | None
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    attempts: int
    worker: str
    error: str
    rerunnable: bool

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended."""
        return self.state in FINISHED


def list_runs(
    dataset: str | None = None, *, limit: int = 50, database: Any = None
) -> tuple[Run, ...]:
    """Return runs: the running ones, then the queue in order, then the finished ones.

    Args:
        dataset: Name of a dataset; None for all.
        limit: Maximal number of runs.
        database: A MongoDB database (of pymongo); by default FiftyOne's.
    """
    operations = _database(database)[COLLECTION]
    query: dict[str, Any] = {"archived": {"$ne": True}}
    if dataset is not None:
        query["context.request_params.dataset_name"] = dataset
    projection = dict.fromkeys(_FIELDS, 1)
    now = datetime.now(UTC)

    rows: list[dict[str, Any]] = []
    for states, key, direction in (
        (["running", "processing"], "started_at", 1),
        (["queued", "scheduled"], "queued_at", 1),
        (["completed", "failed"], "updated_at", -1),
    ):
        if len(rows) < limit:
            cursor = operations.find({**query, "run_state": {"$in": states}}, projection)
            rows += cursor.sort([(key, direction), ("_id", direction)]).limit(limit - len(rows))
    queue_order = operations.find(
        {"archived": {"$ne": True}, "run_state": "queued"}, {"_id": 1}
    ).sort([("queued_at", 1), ("_id", 1)])
    places = {row["_id"]: place for place, row in enumerate(queue_order, start=1)}
    return tuple(_run(row, now, places.get(row["_id"])) for row in rows)


def get_run(run: str, *, database: Any = None) -> Run:
    """Return one run.

    Raises:
        RunError: No run has that id.
    """
    return _run(_document(run, database), datetime.now(UTC), None)


def cancel(run: str, *, database: Any = None) -> Run:
    """Request the cancellation of a run, and return the updated run.

    A waiting run ends immediately. A running one ends at its next progress report, or after a
    grace period. The results of its finished stages stay.

    Raises:
        RunError: No run has that id, or it has ended.
    """
    current = get_run(run, database=database)
    if current.is_finished or not queue.cancel(_database(database), ObjectId(run)):
        raise RunError(f"The run {current.label!r} is {current.state}; there is nothing to cancel.")
    return get_run(run, database=database)


def rerun(run: str) -> str:
    """Queue a run again with the same inputs, and return the id of the new run.

    Raises:
        RunError: No run has that id, it has not ended, or its operator forbids another run.
    """
    from fiftyone.operators.delegated import DelegatedOperationService

    current = get_run(run)
    if not current.is_finished:
        raise RunError(f"The run {current.label!r} is {current.state}: cancel it first.")
    if not current.rerunnable:
        raise RunError(f"The operator of {current.label!r} does not allow another run.")
    return str(DelegatedOperationService().rerun_operation(ObjectId(run)).id)


def read_log(run: str, *, database: Any = None) -> str:
    """Return the log of a run: all attempts if the file is on this machine, otherwise its end.

    Empty for runs of FiftyOne's own worker, which writes no log.

    Raises:
        RunError: No run has that id.
    """
    document = _document(run, database)
    path = document.get("log_path")
    text = read_tail(Path(path), _LOG_BYTES) if path else ""
    return text or str(document.get("log_tail") or "")


def get_result(run: str, *, database: Any = None) -> Mapping[str, Any]:
    """Return the result of a completed run; empty if there is none.

    Raises:
        RunError: No run has that id.
    """
    result = (_document(run, database).get("result") or {}).get("result")
    return result if isinstance(result, Mapping) else {}


def _database(database: Any) -> Any:
    if database is not None:
        return database
    import fiftyone.core.odm as foo

    return foo.get_db_conn()


def _document(run: str, database: Any) -> dict[str, Any]:
    try:
        query = {"_id": ObjectId(run)}
    except InvalidId as error:
        raise RunError(f"{run!r} is not a valid run id.") from error
    row: dict[str, Any] | None = _database(database)[COLLECTION].find_one(query)
    if row is None:
        raise RunError(f"No run has the id {run}.")
    return row


def _run(row: Mapping[str, Any], now: datetime, place: int | None) -> Run:
    status, own = row.get("status") or {}, row.get("curation") or {}
    state = _state(row, own, now)
    started = _time(row.get("started_at"))
    ended = _time(row.get("completed_at" if state == "done" else "failed_at"))
    ended = ended if state in FINISHED else None
    parameters = (row.get("context") or {}).get("request_params") or {}
    waits = state == "queued"
    return Run(
        id=str(row["_id"]),
        operator=row["operator"],
        label=row.get("label") or row["operator"],
        dataset=parameters.get("dataset_name") or "",
        state=state,
        progress=1.0 if state == "done" else status.get("progress"),
        note=status.get("label") or "",
        place=place if waits else None,
        queued_at=_time(row.get("queued_at") or row.get("scheduled_at")),
        started_at=None if waits else started,
        ended_at=ended,
        seconds=None if waits or started is None else ((ended or now) - started).total_seconds(),
        attempts=int(own.get("attempts", 0)),
        worker=own.get("worker", ""),
        error=_last_line((row.get("result") or {}).get("error")) if state in FINISHED else "",
        rerunnable=bool(row.get("rerunnable", True)),
    )


def _state(row: Mapping[str, Any], own: Mapping[str, Any], now: datetime) -> State:
    match row["run_state"]:
        case "completed":
            return "done"
        case "failed":
            return "cancelled" if own.get("cancelled") else "failed"
        case "queued" | "scheduled":
            return "queued"
    lease = _time(own.get("lease_until"))
    if lease is not None and lease < now:
        return "lost"
    return "cancelling" if own.get("cancel") else "running"


def _time(value: datetime | None) -> datetime | None:
    """Return a time of the database as an aware time; the database stores naive UTC."""
    return None if value is None else value.replace(tzinfo=UTC) if not value.tzinfo else value


def _last_line(error: str | None) -> str:
    """Return the last line of an error, which is the message of a traceback."""
    lines = (error or "").strip().splitlines()
    return lines[-1] if lines else ""
