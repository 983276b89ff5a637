"""Counted by the database, and once more by hand."""

from collections import Counter

import fiftyone as fo
import numpy as np
import panel_dataset
import pytest

from curation.presentation import member_counts
from curation.presentation.member_counts import Counts


@pytest.fixture(scope="module")
def made(database):
    dataset = fo.Dataset()
    panel_dataset.fill(dataset, 120)
    yield dataset
    dataset.delete()


@pytest.fixture(scope="module")
def found(made):
    return Counts.from_dict(member_counts.count(made))


def test_members_are_counted_as_by_hand(made, found):
    assert [one.name for one in found.members] == [*panel_dataset.MEMBERS[:4], "qwen_vl"]
    for one in found.members[:4]:
        p = [c for row in made.values(f"{one.name}.detections.confidence") for c in row or ()]
        assert (one.samples, one.boxes) == (120, len(p))
        assert one.sure == sum(c >= 0.5 for c in p)
    assert found.members[-1].samples == len(made.exists("qwen_vl"))


def test_tiers_and_paths_are_counted_as_by_hand(made, found):
    tiers = made.values("tiers_reached")
    assert found.reached == dict(Counter(one for row in tiers for one in row))
    assert found.stopped == {
        "detection": 0, "geometry": 0, "language": 0, **Counter(row[-1] for row in tiers)
    }  # fmt: skip
    assert found.paths == made.count_values("cascade_path")
    assert next(iter(found.reached)) == "detection"


def test_agreement_is_counted_as_by_hand(made, found):
    a, b = panel_dataset.MEMBERS[:2]
    rows = [set(one) for row in made.values("consensus.detections.members") for one in row or ()]
    shares, own = found.agreement([a, b])
    assert own.tolist() == [sum(a in one for one in rows), sum(b in one for one in rows)]
    assert shares[0, 1] == pytest.approx(sum({a, b} <= one for one in rows) / own[0])
    assert shares[1, 0] == pytest.approx(sum({a, b} <= one for one in rows) / own[1])


def test_who_found_nothing_has_no_agreement(found):
    shares, own = found.agreement(["nobody", panel_dataset.MEMBERS[0]])
    assert own[0] == 0
    assert np.isnan(shares[0]).all()


def test_parts_are_means_over_all_and_over_the_hardest_tenth(made, found):
    hardness = np.array(made.values("hardness"))
    margin = np.array(made.values("hardness_margin"))
    (part,) = [one for one in found.parts if one.field == "hardness_margin"]
    assert part.everywhere == pytest.approx(margin.mean())
    assert part.hardest == pytest.approx(margin[np.argsort(-hardness)[:12]].mean())


def test_slices_are_counted(made, found):
    expected = made.count_values("time_of_day")
    assert {v: n for name, v, n in found.slices if name == "time_of_day"} == expected


def test_failures_are_counted(made, found):
    expected = sum(len(row or ()) for row in made.values("failures"))
    assert sum(n for *_, n in found.failures) == expected


def test_a_histogram_is_read_off_the_index_alone(made):
    values = np.array(made.values("hardness"))
    assert member_counts.histogram(made, 10) == np.histogram(values, 10, (0, 1))[0].tolist()
    plan = made._sample_collection.database.command(
        "explain",
        {
            "aggregate": made._sample_collection.name,
            "pipeline": [
                {"$match": {"hardness": {"$gte": 0}}},
                {"$project": {"_id": 0, "hardness": 1}},
                {"$group": {"_id": {"$floor": "$hardness"}, "n": {"$sum": 1}}},
            ],
            "cursor": {},
        },
        verbosity="executionStats",
    )
    assert "PROJECTION_COVERED" in str(plan)
    assert "'totalDocsExamined': 0" in str(plan)


def test_an_empty_dataset_counts_to_nothing(dataset):
    found = Counts.from_dict(member_counts.count(dataset))
    assert (found.samples, found.members, found.reached, found.failures) == (0, (), {}, ())
    assert member_counts.histogram(dataset, 4) == [0, 0, 0, 0]


def test_labels_without_confidence_are_no_member(dataset):
    def boxes(**more):
        one = fo.Detection(label="hat", bounding_box=[0, 0, 0.5, 0.5], **more)
        return fo.Detections(detections=[one])

    dataset.add_sample(fo.Sample(filepath="/a.jpg", labels=boxes(), model=boxes(confidence=0.4)))
    assert [one.name for one in member_counts.of(dataset)[0].members] == ["model"]
