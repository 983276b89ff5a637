"""Counts of the database, compared with counts in Python."""

from collections import Counter

import fiftyone as fo
import numpy as np
import panel_dataset
import pytest

from curation.presentation import member_counts
from curation.presentation.member_counts import Counts


@pytest.fixture(scope="module")
def scenes(database):
    dataset = fo.Dataset()
    panel_dataset.fill(dataset, 120)
    yield dataset
    dataset.delete()


@pytest.fixture(scope="module")
def counts(scenes):
    return Counts.from_dict(member_counts.count(scenes))


def test_members(scenes, counts):
    assert [member.name for member in counts.members] == [*panel_dataset.MEMBERS[:4], "qwen_vl"]
    for member in counts.members[:4]:
        p = [c for row in scenes.values(f"{member.name}.detections.confidence") for c in row or ()]
        assert (member.samples, member.boxes) == (120, len(p))
        assert member.sure == sum(c >= 0.5 for c in p)
    assert counts.members[-1].samples == len(scenes.exists("qwen_vl"))


def test_tiers_and_paths(scenes, counts):
    tiers = scenes.values("tiers_reached")
    assert counts.reached == dict(Counter(tier for row in tiers for tier in row))
    assert counts.stopped == {
        "detection": 0, "geometry": 0, "language": 0, **Counter(row[-1] for row in tiers)
    }  # fmt: skip
    by_path = Counter()
    for path, _, n in counts.paths:
        by_path[path] += n
    assert by_path == scenes.count_values("cascade_path")
    assert next(iter(counts.reached)) == "detection"


def test_agreement(scenes, counts):
    a, b = panel_dataset.MEMBERS[:2]
    objects = [
        set(names) for row in scenes.values("consensus.detections.members") for names in row or ()
    ]
    shares, own = counts.agreement([a, b])
    assert own.tolist() == [
        sum(a in names for names in objects),
        sum(b in names for names in objects),
    ]
    assert shares[0, 1] == pytest.approx(sum({a, b} <= names for names in objects) / own[0])
    assert shares[1, 0] == pytest.approx(sum({a, b} <= names for names in objects) / own[1])


def test_agreement_without_objects_is_undefined(counts):
    shares, own = counts.agreement(["absent", panel_dataset.MEMBERS[0]])
    assert own[0] == 0
    assert np.isnan(shares[0]).all()


def test_components_are_means_over_all_and_over_the_hardest_tenth(scenes, counts):
    hardness = np.array(scenes.values("hardness"))
    margin = np.array(scenes.values("hardness_margin"))
    (part,) = [part for part in counts.components if part.field == "hardness_margin"]
    assert part.everywhere == pytest.approx(margin.mean())
    assert part.hardest == pytest.approx(margin[np.argsort(-hardness)[:12]].mean())


def test_slices(scenes, counts):
    expected = scenes.count_values("time_of_day")
    assert {v: n for name, v, n in counts.slices if name == "time_of_day"} == expected


def test_failures(scenes, counts):
    expected = sum(len(row or ()) for row in scenes.values("failures"))
    assert sum(n for *_, n in counts.failures) == expected


def test_histogram_is_covered_by_index(scenes):
    values = np.array(scenes.values("hardness"))
    assert (
        member_counts.hardness_histogram(scenes, 10) == np.histogram(values, 10, (0, 1))[0].tolist()
    )
    plan = scenes._sample_collection.database.command(
        "explain",
        {
            "aggregate": scenes._sample_collection.name,
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


def test_empty_dataset_has_empty_counts(dataset):
    counts = Counts.from_dict(member_counts.count(dataset))
    assert (counts.samples, counts.members, counts.reached, counts.failures) == (0, (), {}, ())
    assert member_counts.hardness_histogram(dataset, 4) == [0, 0, 0, 0]


def test_labels_without_confidence_are_not_a_member(dataset):
    def boxes(**more):
        box = fo.Detection(label="hat", bounding_box=[0, 0, 0.5, 0.5], **more)
        return fo.Detections(detections=[box])

    dataset.add_sample(fo.Sample(filepath="/a.jpg", labels=boxes(), model=boxes(confidence=0.4)))
    assert [member.name for member in member_counts.read_counts(dataset)[0].members] == ["model"]
