"""Merged results of a pull, and its memory use."""

import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pytest

from curation.labeling.label_studio import pull
from curation.labeling.label_studio.annotations.reader import AnnotationReader, SampleImage
from curation.labeling.label_studio.pull import RoundTasks
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
    """Return `read(*tasks)`: the tasks, the merged result, and the stored rows."""

    def make(*all_tasks, overlap=1, sample_ids=("a", "b")):
        sizes = {sample_id: SampleImage(64, 48, "/nothing.png") for sample_id in sample_ids}
        tasks = RoundTasks(sizes, tmp_path)
        for row in all_tasks:
            tasks.add(row)
        rows = []
        merged = pull.merge(
            tasks, samples=sizes, reader=AnnotationReader(roadwork, {1: "ann", 2: "bob"}),
            overlap=overlap, folder=tmp_path, write_row=rows.append,
        )  # fmt: skip
        return tasks, merged, rows

    return make


def test_submissions_are_merged_and_stored(read):
    tasks, merged, rows = read(task(1, "a", annotation(7, box()), annotation(8, box(12), who=2)))
    (row,) = merged.annotations
    assert (row.sample_id, row.annotator, row.seconds) == ("a", "ann, bob", 4.0)
    np.testing.assert_allclose(row.boxes.boxes_xyxy, [[0.11, 0.25, 0.36, 0.75]], atol=1e-9)
    assert next(iter(merged.annotations)).boxes.labels == ["cone"], "it can be read again"
    assert merged.agreement == {"a": 1.0}
    assert [version["annotator"] for version in rows[0]["versions"]] == ["ann", "bob"]
    assert rows[0]["boxes_xyxy"] == row.boxes.boxes_xyxy.tolist()
    assert tasks.owners() == {7: "a", 8: "a"}


def test_repeated_task_replaces_earlier_version(read):
    tasks, merged, _ = read(
        task(1, "a", annotation(7, box()), annotation(8)), task(1, "a", annotation(7, box(50.0)))
    )
    (row,) = merged.annotations
    assert row.boxes.boxes_xyxy[0, 0] == 0.5
    assert tasks.owners() == {7: "a"}
    _, merged, _ = read(task(1, "a", annotation(7, box())), task(1, "a"))
    assert list(merged.annotations) == []


def test_duplicated_tasks_are_one_sample(read):
    _, merged, _ = read(
        task(1, "a", annotation(7, box())), task(2, "a", annotation(8, box(), who=2)), overlap=2
    )
    assert [row.annotator for row in merged.annotations] == ["ann, bob"]


def test_partial_sample_is_stored_but_not_imported(read):
    _, merged, rows = read(task(1, "a", annotation(7, box())), overlap=2)
    assert (len(merged.annotations), merged.partial, len(rows)) == (0, ("a",), 1)


def test_skips_doubts_and_unknown_samples_are_separated(read):
    tasks, merged, rows = read(
        task(1, "a", annotation(7, was_cancelled=True)),
        task(2, "b", annotation(8, box() | {"type": "magic"})),
        task(3, "z", annotation(9, box())),
    )
    assert (merged.skipped, merged.doubtful) == (("a",), 1)
    (row,) = merged.annotations
    assert (row.sample_id, row.complete, len(row.doubts)) == ("b", False, 1)
    assert tasks.strangers() == ["task 3"]
    assert [row["sample_id"] for row in rows] == ["b"]


def test_partial_read_does_not_affect_other_samples(read):
    stored = {7: (BEFORE, "a"), 8: (BEFORE, "a"), 9: (BEFORE, "b")}
    tasks, _, _ = read(task(1, "a", annotation(7, box()), annotation(10, box(), who=2)))
    changes = pull.compare(tasks, stored, complete=False)
    assert (changes.new, changes.changed, changes.deleted) == ((10,), (7,), (8,))
    assert changes.state.keys() == {7, 9, 10}
    assert changes.begun.keys() == {7, 8, 9, 10}, "pending and earlier imports"
    assert pull.compare(tasks, stored, complete=True).deleted == (8, 9)


def test_memory_does_not_grow_with_boxes(tmp_path, roadwork):
    """Ids and stamps stay in memory, boxes do not: a tenth of the text of a task with 30 boxes."""
    drawn = [box(x / 10) for x in range(30)]

    def peak(count):
        sizes = {f"{i:024x}": SampleImage(64, 48, "/nothing.png") for i in range(count)}
        tracemalloc.start()
        tasks = RoundTasks(sizes, tmp_path)
        for i, sample_id in enumerate(sizes):
            tasks.add(task(i, sample_id, annotation(i, *drawn)))
        merged = pull.merge(
            tasks, samples=sizes, reader=AnnotationReader(roadwork, {}), overlap=1, folder=tmp_path,
            write_row=lambda row: None,
        )  # fmt: skip
        assert sum(len(row.boxes) for row in merged.annotations) == 30 * count
        changes = pull.compare(tasks, {}, complete=True)
        assert len(changes.new) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(20)
    assert (peak(160) - peak(60)) / 100 < 1500  # bytes per task; its annotation's JSON has 5 kB
