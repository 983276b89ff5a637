import pytest

from curation.errors import LabelingError
from curation.labeling.oracle import Oracle
from curation.labeling.protocol import Labeler


class Archive:
    """Held-back ground truth that remembers what it was asked for."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def __call__(self, ids):
        self.asked += ids
        return {one: self.answers.get(one) for one in ids}


@pytest.fixture
def archive(detections):
    return Archive({"id1": detections(("cone", 0, 0, 1, 1)), "id2": detections()})


def test_it_answers_for_what_was_pushed(archive, make_task):
    oracle = Oracle(archive)
    oracle.push([make_task(1), make_task(2), make_task(3)])
    first, second = oracle.pull("round-01")
    assert first.boxes.labels == ["cone"]
    assert len(second.boxes) == 0, "nothing there is an answer"
    assert {(one.annotator, one.complete, one.seconds) for one in (first, second)} == {
        ("oracle", True, None)
    }
    assert oracle.status("round-01").waiting == 1, "nothing is held back for the third"


def test_it_never_looks_beyond_the_chosen(archive, make_task):
    oracle = Oracle(archive)
    oracle.push([make_task(1)])
    oracle.push([make_task(2, round_number=2)])
    assert [one.sample_id for one in oracle.pull("round-01")] == ["id1"]
    assert archive.asked == ["id1"]


def test_pushing_again_changes_nothing(archive, make_task):
    oracle = Oracle(archive)
    assert oracle.push([make_task(1)]).pushed == 1
    again = oracle.push([make_task(1), make_task(2)])
    assert (again.pushed, again.existing) == (1, 1)
    assert len(oracle.pull("round-01")) == 2


def test_a_round_that_was_not_pushed_is_refused(archive):
    with pytest.raises(LabelingError, match="was not given round-02: push"):
        Oracle(archive).pull("round-02")


def test_it_is_a_labeler(archive):
    assert isinstance(Oracle(archive), Labeler)
