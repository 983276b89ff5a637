"""Jobs and their runs in the MongoDB: one document for each job, one for each time it was due.

The id of a run's document is the job and the time, so a time is on record once, whoever notes
it. Who runs it bears a fencing token (see `lease`): a write with an older one does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any

from cascade.errors import nearest
from curation.jobs.catch_up import Entry
from curation.jobs.models import OPEN, Attempt, Job, JobError, Run, State
from curation.storage.database.lease import LeaseError

JOBS, RUNS = "curation_jobs", "curation_job_runs"
_LOG_LINES = 400


class History:
    """The record of one database.

    Args:
        database: A MongoDB database (of pymongo).
    """

    def __init__(self, database: Any) -> None:
        from bson.codec_options import CodecOptions

        aware: Any = CodecOptions(tz_aware=True)
        self.database = database
        self._jobs = database.get_collection(JOBS, codec_options=aware)
        self._runs = database.get_collection(RUNS, codec_options=aware)

    def prepare(self) -> None:
        """Make the index that runs are found by. May be repeated."""
        self._runs.create_index([("job", 1), ("due", -1)])

    def add(self, job: Job, *, replacing: bool = False) -> None:
        """Keep a job.

        Raises:
            JobError: There is one of that name, and it is not to be replaced.
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
                f"A job is named {job.name!r} already. Remove it, or give `--replace`."
            ) from None

    def remove(self, name: str) -> None:
        """Forget a job; what is on record of its runs stays, and what waits is not run any more."""
        self.job(name)
        self._jobs.delete_one({"_id": name})
        waits: dict[str, Any] = {"job": name, "state": {"$in": ["due", "waiting"]}}
        self._runs.update_many(
            waits, {"$set": {"state": "skipped", "reason": "The job was removed."}}
        )

    def pause(self, name: str, *, paused: bool) -> None:
        """Note whether a job rests.

        Raises:
            JobError: There is no such job.
        """
        self.job(name)
        self._jobs.update_one({"_id": name}, {"$set": {"paused": paused}})

    def job(self, name: str) -> Job:
        """Return the job of that name.

        Raises:
            JobError: There is none; the message names the nearest.
        """
        found = self._jobs.find_one({"_id": name})
        if found is None:
            known = [one.name for one in self.jobs()]
            raise JobError(f"No job is named {name!r}. {nearest(name, known)}")
        return _job(found)

    def jobs(self) -> list[Job]:
        """Return all jobs, by name."""
        return [_job(one) for one in self._jobs.find().sort("_id", 1)]

    def last(self, job: str) -> datetime | None:
        """Return the latest time of the schedule that something is on record of."""
        found = self._runs.find_one({"job": job, "scheduled": True}, sort=[("due", -1)])
        return None if found is None else found["due"]

    def note(
        self, job: str, entries: Sequence[Entry], *, scheduled: bool = True, **facts: Any
    ) -> list[Entry]:
        """Put times on record, oldest first; return those that were not on record before.

        Oldest first, so that whoever is cut off leaves no gap behind the latest.

        Args:
            job: Whose.
            entries: What becomes of each time.
            scheduled: Whether the schedule asked for them, and not a person.
            facts: What every attempt must keep to.
        """
        new = []
        for one in sorted(entries, key=lambda entry: entry.due):
            run = Run(job, one.due, one.state, scheduled=scheduled, reason=one.reason, facts=facts)
            content = _document(run)
            done = self._runs.update_one(
                {"_id": content.pop("_id")}, {"$setOnInsert": content}, upsert=True
            )
            if done.upserted_id is not None:
                new.append(one)
        return new

    def run(self, job: str, due: datetime) -> Run | None:
        """Return what is on record of a time."""
        found = self._runs.find_one({"_id": key(job, due)})
        return None if found is None else _run(found)

    def unfinished(self, job: str) -> list[Run]:
        """Return the runs that are not at their end, oldest first."""
        found = self._runs.find({"job": job, "state": {"$in": list(OPEN)}}).sort("due", 1)
        return [_run(one) for one in found]

    def runs(self, job: str | None = None, *, limit: int = 0) -> list[Run]:
        """Return what is on record, latest first; of all jobs where none is named."""
        found = self._runs.find({} if job is None else {"job": job}).sort("due", -1).limit(limit)
        return [_run(one) for one in found]

    def claim(self, run: Run, *, token: int, who: str, now: datetime) -> Run | None:
        """Begin an attempt; return the run as it is now, or None where it needs none.

        An attempt before this one that is not at its end has ended without a word: whoever
        asks holds the lease that the other would have to hold.
        """
        attempts = tuple(
            one if one.ended else replace(one, ended=now, outcome="ended without a word (a crash)")
            for one in run.attempts
        )
        mine = replace(
            run, state="running", token=token, not_before=None,
            attempts=(*attempts, Attempt(began=now, who=who)),
        )  # fmt: skip
        before = {"state": {"$in": list(OPEN)}, "token": run.token}
        return mine if self._write(mine, before) else None

    def keep(self, run: Run, **facts: Any) -> Run:
        """Keep what a later attempt must keep to.

        Raises:
            LeaseError: Somebody else has taken the run over.
        """
        new = replace(run, facts={**run.facts, **facts})
        self._expect(self._write(new, {"token": run.token, "state": "running"}), run)
        return new

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
        """End an attempt, and the run with it unless it waits for another.

        Raises:
            LeaseError: Somebody else has taken the run over.
        """
        last = replace(run.attempts[-1], ended=now, outcome=outcome)
        new = replace(
            run, state=state, reason=outcome, not_before=not_before,
            attempts=(*run.attempts[:-1], last), result=dict(result or {}),
            log=(*run.log, *log)[-_LOG_LINES:],
        )  # fmt: skip
        self._expect(self._write(new, {"token": run.token, "state": "running"}), run)
        return new

    def told(self, job: str, due: datetime, said: Sequence[str]) -> None:
        """Note what became of the events that were sent."""
        self._runs.update_one({"_id": key(job, due)}, {"$push": {"told": {"$each": list(said)}}})

    def _write(self, run: Run, before: Mapping[str, Any]) -> bool:
        content = _document(run)
        found = {"_id": content.pop("_id"), **before}
        del content["told"]  # others add to it
        return bool(self._runs.update_one(found, {"$set": content}).matched_count)

    @staticmethod
    def _expect(written: bool, run: Run) -> None:
        if not written:
            raise LeaseError(
                f"The run {key(run.job, run.due)} was taken over by somebody else, so this "
                "attempt goes no further."
            )


def key(job: str, due: datetime) -> str:
    """Return the identity of a run: the job and the time at which it was due."""
    return f"{job}@{due.astimezone(UTC).isoformat(timespec='seconds')}"


def _document(run: Run) -> dict[str, Any]:
    content = asdict(run)
    content |= {name: list(content[name]) for name in ("attempts", "log", "told")}
    return {"_id": key(run.job, run.due), **content}


def _job(found: Mapping[str, Any]) -> Job:
    known = {one.name for one in fields(Job)}
    content = {name: value for name, value in found.items() if name in known}
    return Job(**content | {"notify": tuple(content["notify"])})


def _run(found: Mapping[str, Any]) -> Run:
    content = {name: value for name, value in found.items() if name != "_id"}
    return Run(
        **content
        | {
            "attempts": tuple(Attempt(**one) for one in content["attempts"]),
            "log": tuple(content["log"]),
            "told": tuple(content["told"]),
        }
    )
