"""Assignment of drives and splits; leaks are tested with `splits`."""

from pathlib import Path

import pytest

from cascade.predictions import Detections
from curation.errors import IngestError
from curation.ingest import assignment
from curation.ingest.records import Record

LABELED = Detections.empty(("cone",))


def assign(records, *, resplit=None, existing=None):
    return assignment.assign(
        records,
        drive_of=lambda path: path.stem[0],
        resplit=resplit,
        existing=existing or {},
    )


def make_record(name, **about):
    return Record(Path(f"/{name}.jpg"), **about)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param(
            [make_record("a1"), make_record("b1")], ["train", "train"], id="unlabeled is a pool"
        ),
        pytest.param(
            [make_record("a1", split="test"), make_record("b1")], ["test", "train"],
            id="missing splits among given ones are train",
        ),
        pytest.param(
            [make_record("a1", split="test"), make_record("a2", split="val")], ["val", "val"],
            id="a drive in two splits is merged",
        ),
        pytest.param([], [], id="no records"),
    ],
)  # fmt: skip
def test_splits_are_assigned(records, expected):
    assigned, _ = assign(records)
    assert [record.split for record in assigned] == expected


def test_drive_of_source_takes_precedence_over_name():
    assigned, _ = assign([make_record("a1", drive="elsewhere"), make_record("a2")])
    assert [record.drive for record in assigned] == ["elsewhere", "a"]


def test_existing_drives_keep_their_split():
    assigned, _ = assign([make_record("a1", split="train")], existing={"a": "test"})
    assert assigned[0].split == "test"


def test_repeated_call_assigns_the_same_splits():
    records = [make_record(f"{letter}1", boxes=LABELED) for letter in "abcdefghijklmnopqrst"]
    first, _ = assign(records)
    existing = {record.drive: record.split for record in first[:7]}
    second, _ = assign(records, existing=existing)
    assert [record.split for record in second] == [record.split for record in first]


def test_extra_folder_names_stand_for_splits():
    assert assignment.split_aliases({"Set1": "train"})["set1"] == "train"
    with pytest.raises(IngestError, match="'x' must stand for train, val or test, got 'dev'"):
        assignment.split_aliases({"x": "dev"})
