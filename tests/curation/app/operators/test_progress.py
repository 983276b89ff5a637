import pytest
from bson import ObjectId

from curation.app.operators import progress
from curation.worker.queue import COLLECTION, CancelledError, cancel


def times(*values):
    """Return a clock that reads these seconds, one a call."""
    readings = iter(values)
    return lambda: next(readings)


@pytest.mark.parametrize(
    ("clock", "calls", "told"),
    [
        pytest.param(
            times(0, 1, 2, 3), [1, 2, 3, 4], [1, 3], id="one in two seconds, from the first"
        ),
        pytest.param(times(0, 0.1, 0.2), [1, 2, 100], [1, 100], id="the end is always told"),
        pytest.param(times(0, 9, 18), [1, 2, 3], [1, 2, 3], id="slow work is told each time"),
        pytest.param(times(), [], [], id="nothing happened"),
    ],
)
def test_telling_is_throttled(clock, calls, told):
    heard = []
    passed = progress.throttled(
        lambda done, total: heard.append((done, total)), every_s=2.0, clock=clock
    )
    for done in calls:
        passed(done, 100)
    assert heard == [(done, 100) for done in told]


class Context:
    """What FiftyOne hands to an operator, as far as progress goes."""

    def __init__(self, run=None):
        self.request_params = {} if run is None else {"run_doc": run}
        self.told = []

    def set_progress(self, progress, label):
        self.told.append((progress, label))


def test_a_queued_operation_tells_how_far_it_is():
    ctx = Context()
    progress.of_queued(ctx)("score")(1, 4)
    assert ctx.told == [(0.25, "score: 1 of 4")]


def test_nothing_to_do_is_no_division_by_zero():
    ctx = Context()
    progress.of_queued(ctx)("score")(0, 0)
    assert ctx.told == [(0.0, "score: 0 of 0")]


@pytest.fixture
def running(database):
    """The id of an operation that runs."""
    import fiftyone.core.odm as foo

    operations = foo.get_db_conn()[COLLECTION]
    made = operations.insert_one({"_id": ObjectId(), "operator": "o", "run_state": "running"})
    yield made.inserted_id
    operations.delete_one({"_id": made.inserted_id})


def test_a_cancelled_operation_ends_when_it_tells_how_far_it_is(running):
    import fiftyone.core.odm as foo

    ctx = Context(running)
    bar = progress.of_queued(ctx)("score")
    bar(4, 4)
    assert cancel(foo.get_db_conn(), running)
    with pytest.raises(CancelledError, match="Cancelled"):
        bar(4, 4)
    assert len(ctx.told) == 1
