"""The queue against a real database, in a collection of its own."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from curation.worker import queue as queues
from curation.worker.constants import MOST_ATTEMPTS
from curation.worker.queue import COLLECTION, Queue

NOON = datetime(2026, 1, 1, 12)


@pytest.fixture
def server(database):
    """An empty database beside that of the tests."""
    from curation.storage.database.mongod import client_of

    with client_of(database) as client:
        yield client["queue-of-tests"]
        client.drop_database("queue-of-tests")


@pytest.fixture
def put(server):
    """Return what queues an operation so many minutes past noon, and returns its id."""

    def queue(minute=0, **more):
        row = {
            "operator": f"@test/at-{minute}",
            "run_state": "queued",
            "queued_at": NOON + timedelta(minutes=minute),
            **more,
        }
        return server[COLLECTION].insert_one(row).inserted_id

    return queue


def row_of(server, one):
    return server[COLLECTION].find_one({"_id": one})


def lapse(server, one):
    """Have an operation's lease end now."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    server[COLLECTION].update_one({"_id": one}, {"$set": {"curation.lease_until": past}})


def test_the_oldest_comes_first(server, put):
    put(2), put(0), put(1)
    queue = Queue(server)
    operators = [queue.claim("w").operator for _ in range(3)]
    assert operators == ["@test/at-0", "@test/at-1", "@test/at-2"]
    assert queue.claim("w") is None


def test_what_is_claimed_runs_as_fiftyone_says_it(server, put):
    one = put()
    job = Queue(server).claim("host:1 gpu0")
    row = row_of(server, one)
    assert (job.id, job.attempt, row["run_state"]) == (one, 1, "running")
    assert abs(datetime.now(UTC).replace(tzinfo=None) - row["started_at"]) < timedelta(minutes=1)
    assert row["curation"]["worker"] == "host:1 gpu0"


def test_two_hundred_workers_and_fifty_operations_give_fifty_runs(server, put):
    known = {put(minute) for minute in range(50)}
    got, queue = [], Queue(server)
    threads = [
        threading.Thread(target=lambda n=n: got.append(queue.claim(f"w{n}"))) for n in range(200)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    ids = [job.id for job in got if job is not None]
    assert len(ids) == len(set(ids)) == 50
    assert set(ids) == known


@pytest.mark.parametrize(
    ("target", "gpu", "taken"),
    [
        pytest.param(None, None, True, id="for anybody"),
        pytest.param("local", 1, True, id="for this machine"),
        pytest.param("gpu1", 1, True, id="for this GPU"),
        pytest.param("gpu1", 0, False, id="for another GPU"),
        pytest.param("gpu1", None, False, id="for a GPU, where there is none"),
        pytest.param("gpu10", 1, False, id="names are not cut off"),
    ],
)
def test_an_operation_goes_to_the_gpu_that_it_is_meant_for(server, put, target, gpu, taken):
    put(delegation_target=target)
    assert (Queue(server).claim("w", gpu=gpu) is not None) == taken


def test_archived_operations_stay(server, put):
    put(archived=True)
    assert Queue(server).claim("w") is None


def test_a_beat_keeps_the_lease(server, put):
    one, queue = put(), Queue(server, lease_s=5)
    job = queue.claim("w")
    lapse(server, one)
    assert queue.beat(job, log_tail="$said") == "held"
    assert queue.reap() == 0
    assert row_of(server, one)["log_tail"] == "$said"


def test_who_is_silent_loses_it_and_it_is_the_oldest_again(server, put):
    one, _, queue = put(0), put(1), Queue(server, lease_s=0.3)
    job = queue.claim("dead")
    time.sleep(0.5)
    assert queue.reap() == 1
    assert row_of(server, one)["run_state"] == "queued"
    again = queue.claim("next")
    assert (again.id, again.attempt) == (one, 2)
    assert queue.beat(job) == "lost"
    assert not queue.complete(job, {"result": 1})
    assert not queue.fail(job, "late")
    assert not queue.give_back(job)
    assert row_of(server, one)["run_state"] == "running"


def test_nothing_is_tried_more_often_than_that(server, put):
    one, queue = put(), Queue(server)
    for _ in range(MOST_ATTEMPTS):
        assert queue.claim("w") is not None
        lapse(server, one)
        queue.reap()
    assert queue.claim("w") is None
    row = row_of(server, one)
    assert row["run_state"] == "failed"
    assert f"died {MOST_ATTEMPTS} times" in row["result"]["error"]


def test_an_operation_of_fiftyones_own_worker_is_not_reaped(server, put):
    put(run_state="running", started_at=NOON)
    assert Queue(server).reap() == 0


def test_what_is_given_back_keeps_its_place_and_its_attempts(server, put):
    one, queue = put(0), Queue(server)
    put(1)
    assert queue.give_back(queue.claim("stopped"))
    assert (queue.claim("next").id, row_of(server, one)["curation"]["attempts"]) == (one, 1)


def test_what_may_pass_is_tried_later(server, put):
    one, queue = put(), Queue(server)
    assert queue.give_back(queue.claim("w"), later_s=0.3)
    assert queue.claim("w") is None
    time.sleep(0.5)
    assert queue.claim("w").attempt == 2
    assert row_of(server, one)["curation"]["attempts"] == 2


def test_a_result_is_kept_as_it_is(server, put):
    one, queue = put(), Queue(server)
    result = {"result": {"$set": "a name with a dollar", "n": 1}, "error": None}
    assert queue.complete(queue.claim("w"), result, outputs={"type": {"name": "Object"}})
    row = row_of(server, one)
    assert (row["run_state"], row["result"]) == ("completed", result)
    assert row["metadata"]["outputs_schema"] == {"type": {"name": "Object"}}
    assert "claim" not in row["curation"]


@pytest.mark.parametrize("state", ["queued", "scheduled", "running"])
def test_cancelling_ends_what_no_worker_of_ours_holds(server, put, state):
    one = put(run_state=state)
    assert queues.cancel(server, one)
    row = row_of(server, one)
    assert (row["run_state"], row["curation"]["cancelled"]) == ("failed", True)


def test_cancelling_what_runs_asks_its_worker(server, put):
    one, queue = put(), Queue(server)
    job = queue.claim("w")
    assert queues.is_wanted(server, one)
    assert queues.cancel(server, one)
    assert not queues.is_wanted(server, one)
    assert (queue.beat(job), row_of(server, one)["run_state"]) == ("unwanted", "running")
    assert queue.fail(job, "Cancelled.", cancelled=True)
    assert not queues.cancel(server, one)


def test_what_was_cancelled_is_not_put_back_when_its_worker_dies(server, put):
    one, queue = put(), Queue(server)
    queue.claim("w")
    queues.cancel(server, one)
    lapse(server, one)
    assert queue.reap() == 1
    row = row_of(server, one)
    assert (row["run_state"], row["curation"]["cancelled"]) == ("failed", True)


def test_what_is_over_cannot_be_cancelled(server, put):
    assert not queues.cancel(server, put(run_state="completed"))
