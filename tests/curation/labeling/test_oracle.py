import pytest

from curation.errors import LabelingError
from curation.labeling.oracle import Oracle
from curation.labeling.protocol import Labeler


class Archive:
    """Held-back ground truth that records the requested samples."""

    def __init__(self, answers):
        self.answers = answers
        self.requested = []

    def __call__(self, ids):
        self.requested += ids
        return {sample_id: self.answers.get(sample_id) for sample_id in ids}


@pytest.fixture
def archive(detections):
    return Archive({"id1": detections(("cone", 0, 0, 1, 1)), "id2": detections()})


def test_pushed_samples_are_answered(archive, make_task):
    oracle = Oracle(archive)
    oracle.push([make_task(1), make_task(2), make_task(3)])
    first, second = oracle.pull("round-01")
    assert first.boxes.labels == ["cone"]
    assert len(second.boxes) == 0, "nothing there is an answer"
    assert {(row.annotator, row.complete, row.seconds) for row in (first, second)} == {
        ("oracle", True, None)
    }
    assert oracle.status("round-01").waiting == 1, "nothing is held back for the third"


def test_only_chosen_samples_are_read(archive, make_task):
    oracle = Oracle(archive)
    oracle.push([make_task(1)])
    oracle.push([make_task(2, round_number=2)])
    assert [row.sample_id for row in oracle.pull("round-01")] == ["id1"]
    assert archive.requested == ["id1"]


def test_push_is_idempotent(archive, make_task):
    oracle = Oracle(archive)
    assert oracle.push([make_task(1)]).pushed == 1
    again = oracle.push([make_task(1), make_task(2)])
    assert (again.pushed, again.existing) == (1, 1)
    assert len(oracle.pull("round-01")) == 2


def test_unpushed_round_is_rejected(archive):
    with pytest.raises(LabelingError, match="has no tasks of round-02"):
        Oracle(archive).pull("round-02")


def test_oracle_is_a_labeler(archive):
    assert isinstance(Oracle(archive), Labeler)
