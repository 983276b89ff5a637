from datetime import UTC, datetime, timedelta

import pytest

from curation.worker import run_history
from curation.worker.queue import COLLECTION
from curation.worker.run_history import RunError

NOON = datetime(2026, 1, 1, 12)


@pytest.fixture
def server(database):
    from curation.storage.database.mongod import client_of

    with client_of(database) as client:
        yield client["runs-of-tests"]
        client.drop_database("runs-of-tests")


@pytest.fixture
def put(server):
    """Return what puts an operation there, and returns its id."""

    def queue(state, minute=0, dataset="site", **more):
        at = NOON + timedelta(minutes=minute)
        row = {
            "operator": "@curation/x/y",
            "label": f"{state} {minute}",
            "run_state": state,
            "queued_at": at,
            "updated_at": at,
            "context": {"request_params": {"dataset_name": dataset}},
            **more,
        }
        return str(server[COLLECTION].insert_one(row).inserted_id)

    return queue


def test_what_runs_comes_first_then_the_queue_in_its_order_then_the_past(server, put):
    put("completed", 1, completed_at=NOON), put("completed", 2, completed_at=NOON)
    put("queued", 5), put("queued", 4)
    put("running", 3, started_at=NOON)
    found = run_history.list_runs(database=server)
    assert [one.label for one in found] == [
        "running 3", "queued 4", "queued 5", "completed 2", "completed 1",
    ]  # fmt: skip
    assert [one.place for one in found] == [None, 1, 2, None, None]
    assert len(run_history.list_runs(limit=2, database=server)) == 2


def test_runs_of_one_dataset(server, put):
    put("queued", 1, dataset="site"), put("queued", 0, dataset="other")
    (one,) = run_history.list_runs("site", database=server)
    assert (one.dataset, one.place) == ("site", 2), "its place is among all"


SOON, PAST = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, -1))


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ({"run_state": "queued"}, "queued"),
        ({"run_state": "scheduled"}, "queued"),
        ({"run_state": "running"}, "running"),
        ({"run_state": "running", "curation": {"lease_until": SOON}}, "running"),
        ({"run_state": "running", "curation": {"lease_until": SOON, "cancel": True}}, "cancelling"),
        ({"run_state": "running", "curation": {"lease_until": PAST}}, "lost"),
        ({"run_state": "completed"}, "done"),
        ({"run_state": "failed"}, "failed"),
        ({"run_state": "failed", "curation": {"cancelled": True}}, "cancelled"),
    ],
)
def test_states(server, put, row, state):
    one = put(row.pop("run_state"), **row)
    assert run_history.get(one, database=server).state == state


def test_how_far_and_how_long(server, put):
    told = {"progress": 0.4, "label": "predict: 4 of 10"}
    one = run_history.get(put("running", started_at=NOON, status=told), database=server)
    assert (one.progress, one.note, one.seconds > 0) == (0.4, "predict: 4 of 10", True)
    ended = put("completed", started_at=NOON, completed_at=NOON + timedelta(seconds=90))
    assert run_history.get(ended, database=server).seconds == 90


def test_an_error_is_its_last_line(server, put):
    story = "Traceback (most recent call last):\n  File x\nValueError: too small"
    one = put("failed", result={"error": story, "result": None})
    assert run_history.get(one, database=server).error == "ValueError: too small"


def test_the_log_is_the_file_else_what_the_database_keeps(server, put, tmp_path):
    file = tmp_path / "log"
    file.write_text("all of it\n")
    here, gone = (put("failed", log_path=str(p), log_tail="its end") for p in (file, "/none"))
    assert run_history.log_of(here, database=server) == "all of it\n"
    assert run_history.log_of(gone, database=server) == "its end"
    assert run_history.log_of(put("completed"), database=server) == ""


def test_the_result_is_what_the_operator_returned(server, put):
    done = put("completed", result={"result": {"n": 3}, "error": None})
    assert run_history.result_of(done, database=server) == {"n": 3}
    assert run_history.result_of(put("failed"), database=server) == {}


def test_cancelling_says_how_it_is_then(server, put):
    assert run_history.cancel(put("queued"), database=server).state == "cancelled"
    held = put("running", curation={"lease_until": SOON, "claim": "c"})
    assert run_history.cancel(held, database=server).state == "cancelling"
    with pytest.raises(RunError, match="is done; there is nothing to cancel"):
        run_history.cancel(put("completed"), database=server)


@pytest.mark.parametrize("run", ["no id at all", "0" * 24])
def test_a_run_that_is_not_there(server, run):
    with pytest.raises(RunError, match="id"):
        run_history.get(run, database=server)
