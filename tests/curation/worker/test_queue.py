"""The queue in a real database, with a separate collection."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from curation.worker import queue
from curation.worker.constants import MAX_ATTEMPTS
from curation.worker.queue import COLLECTION, Queue

NOON = datetime(2026, 1, 1, 12)


@pytest.fixture
def server(database):
    """An empty database next to that of the tests."""
    from curation.storage.database.mongod import open_client

    with open_client(database) as client:
        yield client["queue-of-tests"]
        client.drop_database("queue-of-tests")


@pytest.fixture
def put(server):
    """Return a function that queues an operation at a minute past noon and returns its id."""

    def insert(minute=0, **more):
        row = {
            "operator": f"@test/at-{minute}",
            "run_state": "queued",
            "queued_at": NOON + timedelta(minutes=minute),
            **more,
        }
        return server[COLLECTION].insert_one(row).inserted_id

    return insert


def row_of(server, operation):
    return server[COLLECTION].find_one({"_id": operation})


def expire(server, operation):
    """Expire the lease of an operation."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    server[COLLECTION].update_one({"_id": operation}, {"$set": {"curation.lease_until": past}})


def test_oldest_operation_is_claimed_first(server, put):
    put(2), put(0), put(1)
    jobs = Queue(server)
    operators = [jobs.claim("w").operator for _ in range(3)]
    assert operators == ["@test/at-0", "@test/at-1", "@test/at-2"]
    assert jobs.claim("w") is None


def test_claimed_operation_is_running_for_fiftyone(server, put):
    operation = put()
    job = Queue(server).claim("host:1 gpu0")
    row = row_of(server, operation)
    assert (job.id, job.attempt, row["run_state"]) == (operation, 1, "running")
    assert abs(datetime.now(UTC).replace(tzinfo=None) - row["started_at"]) < timedelta(minutes=1)
    assert row["curation"]["worker"] == "host:1 gpu0"


def test_concurrent_workers_claim_each_operation_once(server, put):
    operations = {put(minute) for minute in range(50)}
    jobs, shared = [], Queue(server)
    threads = [
        threading.Thread(target=lambda n=n: jobs.append(shared.claim(f"w{n}"))) for n in range(200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [job.id for job in jobs if job is not None]
    assert len(ids) == len(set(ids)) == 50
    assert set(ids) == operations


@pytest.mark.parametrize(
    ("target", "gpu", "claimed"),
    [
        pytest.param(None, None, True, id="without a target"),
        pytest.param("local", 1, True, id="for this machine"),
        pytest.param("gpu1", 1, True, id="for this GPU"),
        pytest.param("gpu1", 0, False, id="for another GPU"),
        pytest.param("gpu1", None, False, id="for a GPU, without operation"),
        pytest.param("gpu10", 1, False, id="for a GPU with a longer number"),
    ],
)
def test_operation_goes_to_its_target_gpu(server, put, target, gpu, claimed):
    put(delegation_target=target)
    assert (Queue(server).claim("w", gpu=gpu) is not None) == claimed


def test_archived_operation_is_not_claimed(server, put):
    put(archived=True)
    assert Queue(server).claim("w") is None


def test_renewal_extends_lease(server, put):
    operation, jobs = put(), Queue(server, lease_s=5)
    job = jobs.claim("w")
    expire(server, operation)
    assert jobs.renew(job, log_tail="$text") == "held"
    assert jobs.requeue_expired() == 0
    assert row_of(server, operation)["log_tail"] == "$text"


def test_expired_lease_requeues_job_at_front(server, put):
    operation, _, jobs = put(0), put(1), Queue(server, lease_s=0.3)
    job = jobs.claim("dead")
    time.sleep(0.5)
    assert jobs.requeue_expired() == 1
    assert row_of(server, operation)["run_state"] == "queued"
    again = jobs.claim("next")
    assert (again.id, again.attempt) == (operation, 2)
    assert jobs.renew(job, log_tail="") == "lost"
    assert not jobs.complete(job, {"result": 1})
    assert not jobs.fail(job, "late")
    assert not jobs.release(job)
    assert row_of(server, operation)["run_state"] == "running"


def test_operation_fails_after_maximal_attempts(server, put):
    operation, jobs = put(), Queue(server)
    for _ in range(MAX_ATTEMPTS):
        assert jobs.claim("w") is not None
        expire(server, operation)
        jobs.requeue_expired()
    assert jobs.claim("w") is None
    row = row_of(server, operation)
    assert row["run_state"] == "failed"
    assert f"died {MAX_ATTEMPTS} times" in row["result"]["error"]


def test_operation_of_fiftyones_worker_is_not_requeued(server, put):
    put(run_state="running", started_at=NOON)
    assert Queue(server).requeue_expired() == 0


def test_released_operation_keeps_place_and_attempts(server, put):
    operation, jobs = put(0), Queue(server)
    put(1)
    assert jobs.release(jobs.claim("stopped"))
    assert (jobs.claim("next").id, row_of(server, operation)["curation"]["attempts"]) == (
        operation,
        1,
    )


def test_temporary_error_delays_next_attempt(server, put):
    operation, jobs = put(), Queue(server)
    assert jobs.release(jobs.claim("w"), retry_after_s=0.3)
    assert jobs.claim("w") is None
    time.sleep(0.5)
    assert jobs.claim("w").attempt == 2
    assert row_of(server, operation)["curation"]["attempts"] == 2


def test_result_is_stored_unchanged(server, put):
    operation, jobs = put(), Queue(server)
    result = {"result": {"$set": "a name with a dollar", "n": 1}, "error": None}
    assert jobs.complete(jobs.claim("w"), result, outputs={"type": {"name": "Object"}})
    row = row_of(server, operation)
    assert (row["run_state"], row["result"]) == ("completed", result)
    assert row["metadata"]["outputs_schema"] == {"type": {"name": "Object"}}
    assert "claim" not in row["curation"]


@pytest.mark.parametrize("state", ["queued", "scheduled", "running"])
def test_cancel_ends_operation_without_lease(server, put, state):
    operation = put(run_state=state)
    assert queue.cancel(server, operation)
    row = row_of(server, operation)
    assert (row["run_state"], row["curation"]["cancelled"]) == ("failed", True)


def test_cancel_of_running_operation_is_requested(server, put):
    operation, jobs = put(), Queue(server)
    job = jobs.claim("w")
    assert queue.should_continue(server, operation)
    assert queue.cancel(server, operation)
    assert not queue.should_continue(server, operation)
    assert (jobs.renew(job, log_tail=""), row_of(server, operation)["run_state"]) == (
        "cancelled",
        "running",
    )
    assert jobs.fail(job, "Cancelled.", cancelled=True)
    assert not queue.cancel(server, operation)


def test_cancelled_operation_of_dead_worker_is_not_requeued(server, put):
    operation, jobs = put(), Queue(server)
    jobs.claim("w")
    queue.cancel(server, operation)
    expire(server, operation)
    assert jobs.requeue_expired() == 1
    row = row_of(server, operation)
    assert (row["run_state"], row["curation"]["cancelled"]) == ("failed", True)


def test_finished_operation_cannot_be_cancelled(server, put):
    assert not queue.cancel(server, put(run_state="completed"))
