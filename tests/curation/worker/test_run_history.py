from datetime import UTC, datetime, timedelta

import pytest

from curation.worker import run_history
from curation.worker.queue import COLLECTION
from curation.worker.run_history import RunError

NOON = datetime(2026, 1, 1, 12)


@pytest.fixture
def server(database):
    from curation.storage.database.mongod import open_client

    with open_client(database) as client:
        yield client["runs-of-tests"]
        client.drop_database("runs-of-tests")


@pytest.fixture
def put(server):
    """Return a function that inserts an operation and returns its id."""

    def insert(state, minute=0, dataset="site", **more):
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

    return insert


def test_runs_are_listed_running_then_queued_then_finished(server, put):
    put("completed", 1, completed_at=NOON), put("completed", 2, completed_at=NOON)
    put("queued", 5), put("queued", 4)
    put("running", 3, started_at=NOON)
    runs = run_history.list_runs(database=server)
    assert [run.label for run in runs] == [
        "running 3", "queued 4", "queued 5", "completed 2", "completed 1",
    ]  # fmt: skip
    assert [run.place for run in runs] == [None, 1, 2, None, None]
    assert len(run_history.list_runs(limit=2, database=server)) == 2


def test_runs_are_filtered_by_dataset(server, put):
    put("queued", 1, dataset="site"), put("queued", 0, dataset="other")
    (run,) = run_history.list_runs("site", database=server)
    assert (run.dataset, run.place) == ("site", 2), "the place counts all datasets"


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
def test_state_of_run(server, put, row, state):
    run = put(row.pop("run_state"), **row)
    assert run_history.get_run(run, database=server).state == state


def test_progress_and_duration(server, put):
    status = {"progress": 0.4, "label": "predict: 4 of 10"}
    running = put("running", started_at=NOON, status=status)
    run = run_history.get_run(running, database=server)
    assert (run.progress, run.note, run.seconds > 0) == (0.4, "predict: 4 of 10", True)
    ended = put("completed", started_at=NOON, completed_at=NOON + timedelta(seconds=90))
    assert run_history.get_run(ended, database=server).seconds == 90


def test_error_is_last_line_of_traceback(server, put):
    text = "Traceback (most recent call last):\n  File x\nValueError: too small"
    run = put("failed", result={"error": text, "result": None})
    assert run_history.get_run(run, database=server).error == "ValueError: too small"


def test_log_is_read_from_file_or_database(server, put, tmp_path):
    file = tmp_path / "log"
    file.write_text("all of it\n")
    local, remote = (put("failed", log_path=str(p), log_tail="its end") for p in (file, "/none"))
    assert run_history.read_log(local, database=server) == "all of it\n"
    assert run_history.read_log(remote, database=server) == "its end"
    assert run_history.read_log(put("completed"), database=server) == ""


def test_result_is_output_of_operator(server, put):
    done = put("completed", result={"result": {"n": 3}, "error": None})
    assert run_history.get_result(done, database=server) == {"n": 3}
    assert run_history.get_result(put("failed"), database=server) == {}


def test_cancel_returns_updated_run(server, put):
    assert run_history.cancel(put("queued"), database=server).state == "cancelled"
    held = put("running", curation={"lease_until": SOON, "claim": "c"})
    assert run_history.cancel(held, database=server).state == "cancelling"
    with pytest.raises(RunError, match="is done; there is nothing to cancel"):
        run_history.cancel(put("completed"), database=server)


@pytest.mark.parametrize("run", ["no id at all", "0" * 24])
def test_unknown_run_is_rejected(server, run):
    with pytest.raises(RunError, match="id"):
        run_history.get_run(run, database=server)
