"""MongoDB store of jobs and their runs: one document for each job and each due time.

The id of a run's document consists of the job and the due time, so a time is recorded once, even
by several schedulers. The process that runs it holds a fencing token (see `lease`): writes with
an older token have no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cascade.errors import nearest
from curation.jobs.catch_up import Entry
from curation.jobs.models import OPEN, Attempt, Job, JobError, Run, State
from curation.storage.database.lease import LeaseError

if TYPE_CHECKING:
    from pymongo.database import Database

JOBS, RUNS = "curation_jobs", "curation_job_runs"
_LOG_LINES = 400
_NOTICES_KEY = "told"  # key of `Run.notices` in a document


class JobStore:
    """Jobs and runs in one database.

    Args:
        database: A MongoDB database.
    """

    def __init__(self, database: Database[Any]) -> None:
        from bson.codec_options import CodecOptions

        options: CodecOptions[Any] = CodecOptions(tz_aware=True)
        self.database = database
        self._jobs = database.get_collection(JOBS, codec_options=options)
        self._runs = database.get_collection(RUNS, codec_options=options)

    def prepare(self) -> None:
        """Create the index for queries of runs. Idempotent."""
        self._runs.create_index([("job", 1), ("due", -1)])

    def add(self, job: Job, *, replacing: bool = False) -> None:
        """Store a job.

        Raises:
            JobError: A job of that name exists, and `replacing` is not set.
        """
        document = asdict(job) | {"_id": job.name, "notify": list(job.notify)}
        if replacing:
            self._jobs.replace_one({"_id": job.name}, document, upsert=True)
            return
        from pymongo.errors import DuplicateKeyError

        try:
            self._jobs.insert_one(document)
        except DuplicateKeyError:
            raise JobError(
                f"A job named {job.name!r} already exists. Remove it, or use `--replace`."
            ) from None

    def remove(self, name: str) -> None:
        """Delete a job. Records of its runs stay; waiting runs are skipped."""
        self.job(name)
        self._jobs.delete_one({"_id": name})
        self._runs.update_many(
            {"job": name, "state": {"$in": ["due", "waiting"]}},
            {"$set": {"state": "skipped", "reason": "The job was removed."}},
        )

    def set_paused(self, name: str, *, paused: bool) -> None:
        """Mark a job as paused or active.

        Raises:
            JobError: The job does not exist.
        """
        self.job(name)
        self._jobs.update_one({"_id": name}, {"$set": {"paused": paused}})

    def job(self, name: str) -> Job:
        """Return the job of that name.

        Raises:
            JobError: The job does not exist; the message suggests a similar name.
        """
        document = self._jobs.find_one({"_id": name})
        if document is None:
            names = [job.name for job in self.jobs()]
            raise JobError(f"Unknown job {name!r}. {nearest(name, names)}")
        return _to_job(document)

    def jobs(self) -> list[Job]:
        """Return all jobs, by name."""
        return [_to_job(document) for document in self._jobs.find().sort("_id", 1)]

    def last_due(self, job: str) -> datetime | None:
        """Return the latest recorded due time of the job's schedule."""
        document = self._runs.find_one({"job": job, "scheduled": True}, sort=[("due", -1)])
        return None if document is None else document["due"]

    def record(
        self, job: str, entries: Sequence[Entry], *, scheduled: bool = True, **facts: Any
    ) -> list[Entry]:
        """Record due times; return those that were not recorded before.

        Oldest first: an interruption leaves no gap before the latest.

        Args:
            job: The job's name.
            entries: The due times.
            scheduled: Whether the schedule requested them, rather than a person.
            facts: Decisions that every attempt must follow.
        """
        new = []
        for entry in sorted(entries, key=lambda entry: entry.due):
            run = Run(
                job, entry.due, entry.state, scheduled=scheduled, reason=entry.reason, facts=facts
            )
            document = _to_document(run)
            result = self._runs.update_one(
                {"_id": document.pop("_id")}, {"$setOnInsert": document}, upsert=True
            )
            if result.upserted_id is not None:
                new.append(entry)
        return new

    def run(self, job: str, due: datetime) -> Run | None:
        """Return the run of a due time; None if it is not recorded."""
        document = self._runs.find_one({"_id": run_key(job, due)})
        return None if document is None else _to_run(document)

    def open_runs(self, job: str) -> list[Run]:
        """Return the unfinished runs of a job, oldest first."""
        documents = self._runs.find({"job": job, "state": {"$in": list(OPEN)}}).sort("due", 1)
        return [_to_run(document) for document in documents]

    def runs(self, job: str | None = None, *, limit: int = 0) -> list[Run]:
        """Return the runs of a job, by default of all jobs, latest first."""
        query = {} if job is None else {"job": job}
        return [_to_run(doc) for doc in self._runs.find(query).sort("due", -1).limit(limit)]

    def claim(self, run: Run, *, token: int, who: str, now: datetime) -> Run | None:
        """Start an attempt; return the updated run, or None if it needs no attempt.

        An earlier attempt without an end must have crashed, because the caller holds the lease.
        """
        attempts = tuple(
            attempt if attempt.ended else replace(attempt, ended=now, outcome="crashed")
            for attempt in run.attempts
        )
        claimed = replace(
            run, state="running", token=token, not_before=None,
            attempts=(*attempts, Attempt(began=now, who=who)),
        )  # fmt: skip
        expected = {"state": {"$in": list(OPEN)}, "token": run.token}
        return claimed if self._write(claimed, expected) else None

    def set_facts(self, run: Run, **facts: Any) -> Run:
        """Store decisions that later attempts must follow.

        Raises:
            LeaseError: Another process has taken over the run.
        """
        return self._write_own(replace(run, facts={**run.facts, **facts}))

    def end(
        self,
        run: Run,
        state: State,
        *,
        now: datetime,
        outcome: str,
        not_before: datetime | None = None,
        result: Mapping[str, Any] | None = None,
        log: Sequence[str] = (),
    ) -> Run:
        """End an attempt, and the run unless it waits for a retry.

        Raises:
            LeaseError: Another process has taken over the run.
        """
        last = replace(run.attempts[-1], ended=now, outcome=outcome)
        return self._write_own(
            replace(
                run, state=state, reason=outcome, not_before=not_before,
                attempts=(*run.attempts[:-1], last), result=dict(result or {}),
                log=(*run.log, *log)[-_LOG_LINES:],
            )
        )  # fmt: skip

    def add_notices(self, job: str, due: datetime, notices: Sequence[str]) -> None:
        """Append delivery results of notifications to a run."""
        self._runs.update_one(
            {"_id": run_key(job, due)}, {"$push": {_NOTICES_KEY: {"$each": list(notices)}}}
        )

    def _write_own(self, run: Run) -> Run:
        """Write a run that this process still holds, and return it."""
        if not self._write(run, {"token": run.token, "state": "running"}):
            raise LeaseError(
                f"Another process has taken over the run {run_key(run.job, run.due)}, so this "
                "attempt stops."
            )
        return run

    def _write(self, run: Run, expected: Mapping[str, Any]) -> bool:
        """Write a run if its stored values are as expected; return whether they were."""
        document = _to_document(run)
        query = {"_id": document.pop("_id"), **expected}
        del document[_NOTICES_KEY]  # appended by other processes
        return bool(self._runs.update_one(query, {"$set": document}).matched_count)


def run_key(job: str, due: datetime) -> str:
    """Return the identity of a run: the job and its due time."""
    return f"{job}@{due.astimezone(UTC).isoformat(timespec='seconds')}"


def _to_document(run: Run) -> dict[str, Any]:
    content = asdict(run)
    content[_NOTICES_KEY] = list(content.pop("notices"))
    content |= {name: list(content[name]) for name in ("attempts", "log")}
    return {"_id": run_key(run.job, run.due), **content}


def _to_job(document: Mapping[str, Any]) -> Job:
    names = {field.name for field in fields(Job)}
    content = {name: value for name, value in document.items() if name in names}
    return Job(**content | {"notify": tuple(content["notify"])})


def _to_run(document: Mapping[str, Any]) -> Run:
    content = {name: value for name, value in document.items() if name != "_id"}
    content["notices"] = tuple(content.pop(_NOTICES_KEY))
    content["attempts"] = tuple(Attempt(**attempt) for attempt in content["attempts"])
    return Run(**content | {"log": tuple(content["log"])})
