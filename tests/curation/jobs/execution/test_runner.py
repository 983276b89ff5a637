import logging
import os
import signal
import time
from datetime import timedelta

import pytest

from curation.errors import LabelingError
from curation.jobs.catch_up import Entry
from curation.jobs.execution import runner
from curation.jobs.execution.timeout import DeadlineError, deadline
from curation.jobs.models import JobError, Refused, Run
from curation.storage.database import lease
from curation.storage.database.lease import LeaseError


@pytest.fixture
def attempt(store, clock, make_job):
    """Return what tries a run that is on record already."""
    job = make_job(retries=2)
    store.add(job)
    store.record("nightly", [Entry(clock(), "due")])
    due = clock()

    def make(work, **more):
        return runner.attempt(store.job("nightly"), due, work, store, clock=clock, **more)

    return make


def fails(context):
    raise LabelingError("The server is away.")


def test_result_and_log_are_recorded(attempt, store, caplog):
    def work(context):
        logging.getLogger("curation.somewhere").info("ranked %s", 3)
        logging.getLogger("foreign").info("not ours")
        return {"pushed": 3}

    attempt(work)
    (run,) = store.runs()
    assert (run.state, run.result) == ("done", {"pushed": 3})
    assert [line.partition(" INFO ")[2] for line in run.log] == ["curation.somewhere: ranked 3"]


def test_attempt_at_finished_run_does_nothing(attempt):
    attempt(lambda context: {})
    assert attempt(fails).state == "done"


def test_retries_back_off_and_end(attempt, clock):
    first = attempt(fails)
    assert (first.state, first.not_before) == ("waiting", clock() + timedelta(seconds=60))
    assert attempt(fails).not_before == clock() + timedelta(seconds=120)
    last = attempt(fails)
    assert (last.state, last.reason) == ("failed", "LabelingError: The server is away.")
    assert [one.outcome for one in last.attempts] == [last.reason] * 3


def test_unexpected_error_logs_traceback(attempt, store):
    attempt(lambda context: 1 / 0)
    (run,) = store.runs()
    assert run.reason == "ZeroDivisionError: division by zero"
    assert any("Traceback" in line for line in run.log)


def test_refused_run_is_not_retried(attempt):
    def refuses(context):
        raise Refused("Look at it first.")

    assert attempt(refuses).state == "refused"
    assert attempt(fails).state == "refused"


def test_long_attempt_is_interrupted(store, clock, make_job):
    job = make_job(timeout_s=0.2)
    store.record("nightly", [Entry(clock(), "due")])
    began = time.monotonic()
    run = runner.attempt(job, clock(), lambda _: time.sleep(20), store, clock=clock)
    assert time.monotonic() - began < 5
    assert (run.state, run.reason) == (
        "waiting", "DeadlineError: The attempt took longer than 0.2 s.",
    )  # fmt: skip


def test_deadline_is_not_caught_as_exception():
    """pymongo takes an OSError that comes out of a read for the network's, and reads again."""

    def as_drivers_do():
        try:
            time.sleep(5)
        except Exception:  # noqa: BLE001
            time.sleep(5)

    with pytest.raises(DeadlineError), deadline(0.1):
        as_drivers_do()


def test_sigterm_leaves_run_waiting(attempt, store):
    def work(context):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)

    with runner.stop_on_sigterm(), pytest.raises(runner.Stopped):
        attempt(work)
    (run,) = store.runs()
    assert (run.state, run.reason) == ("waiting", "stopped on request")
    for _ in range(5):  # however often it is stopped, that is no failure
        with runner.stop_on_sigterm(), pytest.raises(runner.Stopped):
            attempt(work)
    assert attempt(lambda context: {}).state == "done"


def test_facts_are_passed_to_next_attempt(attempt):
    def decides(context):
        context.set_facts(round=7)
        fails(context)

    attempt(decides)
    assert attempt(lambda context: {"round": context.facts["round"]}).result == {"round": 7}


def test_attempt_with_expired_lease_writes_nothing(attempt, store, clock):
    """Its lease runs out in the middle; another does the work; the first comes back."""
    pushed = []

    def late(context):
        leases = store.database[lease.COLLECTION]
        leases.update_one(
            {"_id": "job nightly"}, {"$set": {"expires": clock() - timedelta(days=900)}}
        )
        attempt(other)
        context.renew_lease()
        pushed.append("late")

    def other(context):
        context.renew_lease()
        pushed.append("other")
        return {"by": "other"}

    with pytest.raises(LeaseError):
        attempt(late)
    (run,) = store.runs()
    assert pushed == ["other"]
    assert (run.state, run.result) == ("done", {"by": "other"})


def test_long_run_renews_its_lease(attempt, store):
    def work(context):
        time.sleep(1.2)
        return {"free": runner.is_free(store, "nightly")}

    assert attempt(work, lease_s=0.6).result == {"free": False}
    assert runner.is_free(store, "nightly")


def test_crashes_count_as_failures(attempt, store):
    (run,) = store.runs()
    for token in range(1, 4):
        assert store.claim(store.run("nightly", run.due), token=token, who="x", now=run.due)
    for _ in range(3):
        attempt(lambda context: {})
    (run,) = store.runs()
    assert (run.state, len(run.attempts)) == ("failed", 4)
    assert run.reason == "3 attempts failed or crashed."


def test_unrecorded_time_is_not_run(store, clock, make_job):
    run = runner.attempt(make_job(), clock(), fails, store, clock=clock)
    assert run == Run("nightly", clock(), "missed", reason="The run is not recorded.")


def test_unknown_job_suggests_similar_name(store, make_job):
    store.add(make_job())
    with pytest.raises(JobError, match=r"Unknown job 'nigthly'.*nightly"):
        store.job("nigthly")
    with pytest.raises(JobError, match="named 'nightly' already exists"):
        store.add(make_job())
