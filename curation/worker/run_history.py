"""What became of the operations that were queued: for people who look, cancel and run again.

The data side of a list of runs: a panel or a command draws it. Every function works in the
database of this process's FiftyOne, and is quick: no dataset is loaded.
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
from curation.worker.run_log import tail_of

State = Literal["queued", "running", "cancelling", "lost", "done", "failed", "cancelled"]
OVER = ("done", "failed", "cancelled")
_SHOWN_BYTES = 100_000  # of a log
_NEEDED = (
    "operator", "label", "run_state", "status", "queued_at", "scheduled_at", "started_at",
    "completed_at", "failed_at", "updated_at", "result.error", "curation", "dataset_id",
    "delegation_target", "context.request_params.dataset_name", "rerunnable",
)  # fmt: skip


class RunError(CurationError, LookupError):
    """A run that is not there, or not in a state for what is asked."""


@dataclass(frozen=True)
class Run:
    """One queued operation.

    Attributes:
        id: Of the operation; what the other functions take.
        operator: Its URI.
        label: What people call it.
        dataset: The dataset's name; empty where it has none.
        state: `queued`; `running`; `cancelling`: asked to end, not ended yet; `lost`: its worker
            is silent, and the next worker that looks puts it back; `done`; `failed`; `cancelled`.
        progress: In [0, 1]; None where it has told nothing.
        note: What it told last, such as `predict: 40 of 200`.
        place: Place in the queue, 1 is next; None where it does not wait.
        queued_at: When, UTC.
        started_at: Of its last attempt, UTC.
        ended_at: UTC.
        seconds: From its start to its end, or till now.
        attempts: How often it was begun by a worker of ours.
        worker: Who holds it or held it last; empty where it was not one of ours.
        error: Why it failed, in one line.
        rerunnable: Whether it may be run again.
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
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in OVER


def list_runs(
    dataset: str | None = None, *, limit: int = 50, database: Any = None
) -> tuple[Run, ...]:
    """Return the runs: first those that run, then those that wait in their order, then the past.

    Args:
        dataset: Only runs on this dataset, by name.
        limit: At most so many.
        database: A MongoDB database (of pymongo); FiftyOne's own by default.
    """
    operations = _database(database)[COLLECTION]
    which: dict[str, Any] = {"archived": {"$ne": True}}
    if dataset is not None:
        which["context.request_params.dataset_name"] = dataset
    projection = dict.fromkeys(_NEEDED, 1)
    now = datetime.now(UTC)

    def found(states: list[str], order: list[tuple[str, int]], most: int) -> list[dict[str, Any]]:
        if most <= 0:
            return []
        of_state = operations.find({**which, "run_state": {"$in": states}}, projection)
        return list(of_state.sort(order).limit(most))

    rows = found(["running", "processing"], [("started_at", 1), ("_id", 1)], limit)
    waiting = [("queued_at", 1), ("_id", 1)]
    rows += found(["queued", "scheduled"], waiting, limit - len(rows))
    rows += found(["completed", "failed"], [("updated_at", -1), ("_id", -1)], limit - len(rows))
    ahead = [
        one["_id"]
        for one in operations.find(
            {"archived": {"$ne": True}, "run_state": "queued"}, {"_id": 1}
        ).sort(waiting)
    ]
    places = {one: place for place, one in enumerate(ahead, start=1)}
    return tuple(_run(row, now, places.get(row["_id"])) for row in rows)


def get(run: str, *, database: Any = None) -> Run:
    """Return one run.

    Raises:
        RunError: There is none of that id.
    """
    return _run(_document(run, database), datetime.now(UTC), None)


def cancel(run: str, *, database: Any = None) -> Run:
    """Ask a run to end, and return how it is then.

    One that waits ends at once; one that runs ends when it next tells how far it is, or after a
    grace. What its stages have written stays.

    Raises:
        RunError: There is none of that id, or it is over.
    """
    known = get(run, database=database)
    if known.is_over or not queue.cancel(_database(database), ObjectId(run)):
        raise RunError(f"The run {known.label!r} is {known.state}; there is nothing to cancel.")
    return get(run, database=database)


def rerun(run: str) -> str:
    """Queue a run again, with the same inputs; return the id of the new one.

    Raises:
        RunError: There is none of that id, it is not over yet, or may not run again.
    """
    from fiftyone.operators.delegated import DelegatedOperationService

    known = get(run)
    if not known.is_over:
        raise RunError(f"The run {known.label!r} is {known.state}: cancel it first.")
    if not known.rerunnable:
        raise RunError(f"{known.label!r} may not be run again: its operator says so.")
    return str(DelegatedOperationService().rerun_operation(ObjectId(run)).id)


def log_of(run: str, *, database: Any = None) -> str:
    """Return the log of a run: of all its attempts where the log lies here, else its end.

    Empty where it said nothing, or was run by FiftyOne's own worker, which keeps no log.

    Raises:
        RunError: There is none of that id.
    """
    document = _document(run, database)
    path = document.get("log_path")
    here = tail_of(Path(path), _SHOWN_BYTES) if path else ""
    return here or str(document.get("log_tail") or "")


def result_of(run: str, *, database: Any = None) -> Mapping[str, Any]:
    """Return what a run that is done gave back; empty where it gave nothing.

    Raises:
        RunError: There is none of that id.
    """
    result = (_document(run, database).get("result") or {}).get("result")
    return result if isinstance(result, Mapping) else {}


def _database(given: Any) -> Any:
    if given is not None:
        return given
    import fiftyone.core.odm as foo

    return foo.get_db_conn()


def _document(run: str, database: Any) -> dict[str, Any]:
    try:
        which = ObjectId(run)
    except InvalidId as error:
        raise RunError(f"{run!r} is no id of a run.") from error
    found: dict[str, Any] | None = _database(database)[COLLECTION].find_one({"_id": which})
    if found is None:
        raise RunError(f"No run has the id {run}.")
    return found


def _run(row: Mapping[str, Any], now: datetime, place: int | None) -> Run:
    status, own = row.get("status") or {}, row.get("curation") or {}
    state = _state(row, own, now)
    begun = _time(row.get("started_at"))
    ended = _time(row.get("completed_at" if state == "done" else "failed_at"))
    ended = ended if state in OVER else None
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
        started_at=None if waits else begun,
        ended_at=ended,
        seconds=None if waits or begun is None else ((ended or now) - begun).total_seconds(),
        attempts=int(own.get("attempts", 0)),
        worker=own.get("worker", ""),
        error=_line((row.get("result") or {}).get("error")) if state in OVER else "",
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
    """Return a moment of the database, which keeps UTC without saying so."""
    return None if value is None else value.replace(tzinfo=UTC) if not value.tzinfo else value


def _line(error: str | None) -> str:
    """Return the last line of an error: of a traceback, what went wrong."""
    lines = (error or "").strip().splitlines()
    return lines[-1] if lines else ""
