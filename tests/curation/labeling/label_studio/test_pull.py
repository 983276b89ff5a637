"""What stays of a pull: by hand, and how much memory it takes."""

import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pytest

from curation.labeling.label_studio import pull
from curation.labeling.label_studio.annotations.reader import Known, Reader
from curation.labeling.label_studio.pull import Tasks
from curation.labeling.label_studio.pull_state import Stamp

BEFORE = Stamp(datetime(2026, 1, 1, tzinfo=UTC), "before")


def box(x=10.0):
    return {
        "type": "rectanglelabels", "from_name": "box", "to_name": "image",
        "value": {"x": x, "y": 25.0, "width": 25.0, "height": 50.0, "rectanglelabels": ["cone"]},
    }  # fmt: skip


def annotation(number, *boxes, who=1, **more):
    return {
        "id": number, "task": 1, "updated_at": "2026-01-02T00:00:00Z", "completed_by": who,
        "lead_time": 2.0, "was_cancelled": False, "result": list(boxes), **more,
    }  # fmt: skip


def task(number, sample, *annotations):
    return {"id": number, "data": {"sample_id": sample}, "annotations": list(annotations)}


@pytest.fixture
def read(tmp_path, roadwork):
    """Return `read(*tasks)`: them taken in, merged, and the rows that were kept."""

    def make(*given, overlap=1, known=("a", "b")):
        sizes = {one: Known(64, 48, "/nothing.png") for one in known}
        tasks = Tasks(sizes, tmp_path)
        for one in given:
            tasks.take(one)
        rows = []
        merged = pull.merge(
            tasks, known=sizes, reader=Reader(roadwork, {1: "ann", 2: "bob"}), overlap=overlap,
            folder=tmp_path, keep=rows.append,
        )  # fmt: skip
        return tasks, merged, rows

    return make


def test_what_people_say_is_merged_kept_and_given(read):
    tasks, merged, rows = read(task(1, "a", annotation(7, box()), annotation(8, box(12), who=2)))
    (one,) = merged.annotated
    assert (one.sample_id, one.annotator, one.seconds) == ("a", "ann, bob", 4.0)
    np.testing.assert_allclose(one.boxes.boxes_xyxy, [[0.11, 0.25, 0.36, 0.75]], atol=1e-9)
    assert next(iter(merged.annotated)).boxes.labels == ["cone"], "it can be read again"
    assert merged.agreement == {"a": 1.0}
    assert [version["annotator"] for version in rows[0]["versions"]] == ["ann", "bob"]
    assert rows[0]["boxes_xyxy"] == one.boxes.boxes_xyxy.tolist()
    assert tasks.owners() == {7: "a", 8: "a"}


def test_a_task_that_is_read_again_replaces_its_former_self(read):
    tasks, merged, _ = read(
        task(1, "a", annotation(7, box()), annotation(8)), task(1, "a", annotation(7, box(50.0)))
    )
    (one,) = merged.annotated
    assert one.boxes.boxes_xyxy[0, 0] == 0.5
    assert tasks.owners() == {7: "a"}
    _, merged, _ = read(task(1, "a", annotation(7, box())), task(1, "a"))
    assert list(merged.annotated) == []


def test_twins_that_two_people_worked_on_are_one_sample(read):
    _, merged, _ = read(
        task(1, "a", annotation(7, box())), task(2, "a", annotation(8, box(), who=2)), overlap=2
    )
    assert [one.annotator for one in merged.annotated] == ["ann, bob"]


def test_who_waits_for_others_is_kept_and_not_given(read):
    _, merged, rows = read(task(1, "a", annotation(7, box())), overlap=2)
    assert (len(merged.annotated), merged.partial, len(rows)) == (0, ("a",), 1)


def test_skips_doubts_and_strangers(read):
    tasks, merged, rows = read(
        task(1, "a", annotation(7, was_cancelled=True)),
        task(2, "b", annotation(8, box() | {"type": "magic"})),
        task(3, "z", annotation(9, box())),
    )
    assert (merged.skipped, merged.doubtful) == (("a",), 1)
    (one,) = merged.annotated
    assert (one.sample_id, one.complete, len(one.doubts)) == ("b", False, 1)
    assert tasks.strangers() == ["task 3"]
    assert [row["sample_id"] for row in rows] == ["b"]


def test_a_part_of_the_tasks_says_nothing_of_the_others(read):
    stored = {7: (BEFORE, "a"), 8: (BEFORE, "a"), 9: (BEFORE, "b")}
    tasks, _, _ = read(task(1, "a", annotation(7, box()), annotation(10, box(), who=2)))
    found = pull.changes(tasks, stored, complete=False)
    assert (found.new, found.changed, found.deleted) == ((10,), (7,), (8,))
    assert found.state.keys() == {7, 9, 10}
    assert found.begun.keys() == {7, 8, 9, 10}, "what is about to be taken over, and all before"
    assert pull.changes(tasks, stored, complete=True).deleted == (8, 9)


def test_memory_does_not_grow_with_what_was_drawn(tmp_path, roadwork):
    """Ids and stamps stay, boxes do not: of a task with 30 boxes, a tenth of its text."""
    drawn = [box(x / 10) for x in range(30)]

    def peak(count):
        sizes = {f"{i:024x}": Known(64, 48, "/nothing.png") for i in range(count)}
        tracemalloc.start()
        tasks = Tasks(sizes, tmp_path)
        for i, one in enumerate(sizes):
            tasks.take(task(i, one, annotation(i, *drawn)))
        merged = pull.merge(
            tasks, known=sizes, reader=Reader(roadwork, {}), overlap=1, folder=tmp_path,
            keep=lambda row: None,
        )  # fmt: skip
        assert sum(len(one.boxes) for one in merged.annotated) == 30 * count
        found = pull.changes(tasks, {}, complete=True)
        assert len(found.new) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(20)
    assert (peak(160) - peak(60)) / 100 < 1500  # bytes a task; its annotation's JSON has 5 kB
