import os
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from curation.jobs.execution import runner
from curation.jobs.models import Job
from curation.jobs.store import JobStore
from curation.storage.database import mongod
from curation.storage.database.lease import LeaseError


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now

    def forward(self, **span):
        self.now += timedelta(**span)


class Here:
    """Makes each attempt at once, in this process."""

    def __init__(self, work, store, clock):
        self.work, self.store, self.clock = work, store, clock

    def launch(self, job, run):
        with suppress(LeaseError):  # another scheduler was quicker
            runner.attempt(job, run.due, self.work, self.store, clock=self.clock, lease_s=5)

    def is_busy(self, job):
        return False


class Child:
    """Makes each attempt in a forked process, with a connection of its own, and waits for it."""

    def __init__(self, work, uri, clock):
        self.work, self.uri, self.clock = work, uri, clock

    def launch(self, job, run):
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            return
        try:
            with mongod.open_client(self.uri) as client:
                Here(self.work, JobStore(client.jobs), self.clock).launch(job, run)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)  # nothing of pytest's runs here

    def is_busy(self, job):
        return False


@pytest.fixture
def clock():
    return Clock(datetime(2027, 3, 25, 12, tzinfo=UTC))


@pytest.fixture
def store(database):
    """Return the record of jobs in a database of the test's own."""
    with mongod.open_client(database) as client:
        client.drop_database("jobs")
        jobs = JobStore(client.jobs)
        jobs.prepare()
        yield jobs
        client.drop_database("jobs")


@pytest.fixture
def make_job(clock):
    """Return the maker of jobs that exist from now on."""

    def make(**more):
        given = {"name": "nightly", "kind": "nightly", "created": clock(), "backoff_s": 60}
        return Job(**given | ({} if "cron" in more else {"every_s": 3600}) | more)

    return make


@pytest.fixture
def launchers():
    """Return the ways in which tests have attempts made."""
    return {"here": Here, "child": Child}
