import pytest
from bson import ObjectId

from curation.app.operators import progress
from curation.worker.queue import COLLECTION, CancelledError, cancel


def times(*values):
    """Return a clock that reads these seconds, one per call."""
    readings = iter(values)
    return lambda: next(readings)


@pytest.mark.parametrize(
    ("clock", "calls", "expected"),
    [
        pytest.param(times(0, 1, 2, 3), [1, 2, 3, 4], [1, 3], id="first, then every two seconds"),
        pytest.param(times(0, 0.1, 0.2), [1, 2, 100], [1, 100], id="last call"),
        pytest.param(times(0, 9, 18), [1, 2, 3], [1, 2, 3], id="slow work"),
        pytest.param(times(), [], [], id="no calls"),
    ],
)
def test_reports_are_throttled(clock, calls, expected):
    reports = []
    report = progress.throttled(
        lambda done, total: reports.append((done, total)), interval_s=2.0, clock=clock
    )
    for done in calls:
        report(done, 100)
    assert reports == [(done, 100) for done in expected]


class Context:
    """The part of FiftyOne's context that reports progress."""

    def __init__(self, run=None):
        self.request_params = {} if run is None else {"run_doc": run}
        self.reports = []

    def set_progress(self, progress, label):
        self.reports.append((progress, label))


def test_queued_run_reports_progress():
    ctx = Context()
    progress.queued_progress(ctx)("score")(1, 4)
    assert ctx.reports == [(0.25, "score: 1 of 4")]


def test_empty_stage_reports_zero_progress():
    ctx = Context()
    progress.queued_progress(ctx)("score")(0, 0)
    assert ctx.reports == [(0.0, "score: 0 of 0")]


@pytest.fixture
def running(database):
    """Id of a running operation."""
    import fiftyone.core.odm as foo

    operations = foo.get_db_conn()[COLLECTION]
    inserted = operations.insert_one({"_id": ObjectId(), "operator": "o", "run_state": "running"})
    yield inserted.inserted_id
    operations.delete_one({"_id": inserted.inserted_id})


def test_cancelled_run_ends_at_next_report(running):
    import fiftyone.core.odm as foo

    ctx = Context(running)
    report = progress.queued_progress(ctx)("score")
    report(4, 4)
    assert cancel(foo.get_db_conn(), running)
    with pytest.raises(CancelledError, match="Cancelled"):
        report(4, 4)
    assert len(ctx.reports) == 1
