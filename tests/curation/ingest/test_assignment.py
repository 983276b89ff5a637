"""Where images belong, by hand; the leaks themselves are tested with splits."""

from pathlib import Path

import pytest

from cascade.predictions import Detections
from curation.errors import IngestError
from curation.ingest import assignment
from curation.ingest.records import Record

LABELED = Detections.empty(("cone",))


def place(records, *, resplit=None, existing=None):
    return assignment.placed(
        records,
        drive_of=lambda path: path.stem[0],
        resplit=resplit,
        existing=existing or {},
    )


def record(name, **about):
    return Record(Path(f"/{name}.jpg"), **about)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([record("a1"), record("b1")], ["train", "train"], id="unlabeled is a pool"),
        pytest.param(
            [record("a1", split="test"), record("b1")], ["test", "train"],
            id="what has no split among others that have is train",
        ),
        pytest.param(
            [record("a1", split="test"), record("a2", split="val")], ["val", "val"],
            id="a drive in two splits is brought together",
        ),
        pytest.param([], [], id="nothing is nowhere"),
    ],
)  # fmt: skip
def test_splits_by_hand(records, expected):
    placed, _ = place(records)
    assert [one.split for one in placed] == expected


def test_a_drive_that_the_source_tells_wins_over_the_name():
    placed, _ = place([record("a1", drive="elsewhere"), record("a2")])
    assert [one.drive for one in placed] == ["elsewhere", "a"]


def test_drives_that_the_dataset_has_stay_where_they_are():
    placed, _ = place([record("a1", split="train")], existing={"a": "test"})
    assert placed[0].split == "test"


def test_a_part_that_comes_again_is_placed_as_the_whole_was():
    records = [record(f"{letter}1", boxes=LABELED) for letter in "abcdefghijklmnopqrst"]
    whole, _ = place(records)
    again, _ = place(records, existing={one.drive: one.split for one in whole[:7]})
    assert [one.split for one in again] == [one.split for one in whole]


def test_folder_names_can_stand_for_splits():
    assert assignment.split_words({"Set1": "train"})["set1"] == "train"
    with pytest.raises(IngestError, match="'x' must stand for train, val or test, got 'dev'"):
        assignment.split_words({"x": "dev"})
