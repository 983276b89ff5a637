import pytest

from curation import operators


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
    progress = operators.throttled(
        lambda done, total: heard.append((done, total)), every_s=2.0, clock=clock
    )
    for done in calls:
        progress(done, 100)
    assert heard == [(done, 100) for done in told]


class Context:
    """What FiftyOne hands to an operator, as far as progress goes."""

    def __init__(self, *, delegated):
        self.delegated = delegated
        self.told = []

    def set_progress(self, progress, label):
        self.told.append((progress, label))


def test_a_queued_operation_tells_how_far_it_is():
    ctx = Context(delegated=True)
    operators.progress_of(ctx, "score")(1, 4)
    assert ctx.told == [(0.25, "score: 1 of 4")]


def test_nothing_to_do_is_no_division_by_zero():
    ctx = Context(delegated=True)
    operators.progress_of(ctx, "score")(0, 0)
    assert ctx.told == [(0.0, "score: 0 of 0")]


def test_an_immediate_operation_has_nobody_to_tell():
    assert operators.progress_of(Context(delegated=False), "score") is None


def test_members_are_the_fields_with_predicted_boxes(dataset):
    import fiftyone as fo

    dataset.add_sample(
        fo.Sample(
            filepath="/a.jpg",
            yolo=fo.Detections(),
            detr=fo.Detections(),
            scene=fo.Classification(label="day"),
            ground_truth=fo.Detections(),
            oracle=fo.Detections(),
            consensus=fo.Detections(),
        )
    )
    assert operators.member_fields(dataset) == ["detr", "yolo"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        pytest.param([], 1, id="the first"),
        pytest.param(["round-01", "arm:hard"], 2, id="after the first"),
        pytest.param(["round-02"], 1, id="a gap is filled"),
    ],
)
def test_next_round(dataset, tags, expected):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/a.jpg", tags=tags))
    assert operators.next_round(dataset) == expected
