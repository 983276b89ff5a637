import pytest

from cascade import taxonomy
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.errors import StageError, StoreError
from curation.stages.adopt import TAGS, adopt
from curation.storage import queries, schema

ROADWORK = taxonomy.load("roadwork_core")


@pytest.fixture
def theirs(dataset, scenes_folder):
    """A dataset as a stranger has it: fields and tags of their own names."""
    import fiftyone as fo

    def boxes(*labels):
        detections = [
            fo.Detection(label=label, bounding_box=[0.1, 0.1, 0.2, 0.3]) for label in labels
        ]
        return fo.Detections(detections=detections)

    images = sorted((scenes_folder / "images").glob("*.jpg"))[:6]
    dataset.add_samples(
        [
            fo.Sample(filepath=str(path), tags=[tag] if tag else [], subset=tag, people=truth)
            for path, tag, truth in zip(
                images,
                ("training", "validation", "test", None, "training", "test"),
                (
                    boxes("cone", "dragon"),
                    boxes(),
                    boxes("drum"),
                    None,
                    None,
                    boxes("Traffic Cone"),
                ),
                strict=True,
            )
        ]
    )
    return dataset


@pytest.mark.parametrize("split_from", [TAGS, "subset"])
def test_adopt_writes_splits_and_ground_truth_fields(theirs, split_from):
    result = adopt(theirs, taxonomy=ROADWORK, ground_truth="people", split_from=split_from)
    assert result.splits == {"test": 2, "train": 3, "val": 1}
    assert (result.labeled, result.held_back) == (4, 0)
    assert dict(result.unknown_labels) == {"dragon": 1}
    assert len(queries.pool(theirs)) == 2
    assert theirs.count_values("ground_truth.detections.label") == {"cone": 2, "drum": 1}
    assert queries.taxonomy_of(theirs).identity == ROADWORK.identity
    assert len(frozen_set(theirs, "test", ROADWORK)) == 2


def test_adopt_keeps_own_fields(theirs):
    before = theirs.values("people.detections.label")
    adopt(theirs, taxonomy=ROADWORK, ground_truth="people", split_from="subset")
    assert theirs.values("people.detections.label") == before


def test_adopt_holds_back_labels_of_train(theirs):
    result = adopt(
        theirs, taxonomy=ROADWORK, ground_truth="people", split_from=TAGS, hold_back=True
    )
    assert (result.labeled, result.held_back) == (3, 1)
    assert theirs.count("oracle.detections") == 1
    assert len(queries.pool(theirs)) == 3


def test_adopt_is_idempotent(theirs):
    def all_of():
        return theirs.values(["split", "labeled_round", "ground_truth.detections.label"])

    adopt(theirs, taxonomy=ROADWORK, ground_truth="people", split_from=TAGS)
    before = all_of()
    adopt(theirs, taxonomy=ROADWORK, ground_truth="people", split_from=TAGS)
    assert all_of() == before


def test_adopt_keeps_ground_truth_of_round(theirs):
    adopt(theirs, taxonomy=ROADWORK, ground_truth="people", split_from=TAGS)
    first = theirs.first()
    first[schema.LABELED_ROUND] = 1
    first.ground_truth = None
    first.save()
    adopt(theirs, taxonomy=ROADWORK, ground_truth="people", split_from=TAGS)
    theirs.reload()
    assert theirs.first().ground_truth is None


def test_adopted_dataset_without_labels_is_pool(theirs):
    result = adopt(theirs, taxonomy=ROADWORK)
    assert (result.labeled, result.splits) == (0, {"train": 6})
    assert len(queries.pool(theirs)) == 6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ground_truth": "nobody"}, StoreError, "no field 'nobody'"),
        ({"split_from": "nowhere"}, StageError, "no field 'nowhere'"),
        ({"split_from": "filepath"}, StageError, "is a split. Expected"),
    ],
)
def test_invalid_options_raise_before_writing(theirs, options, error, message):
    before = set(theirs.get_field_schema())
    with pytest.raises(error, match=message):
        adopt(theirs, taxonomy=ROADWORK, **options)
    assert set(theirs.get_field_schema()) == before
    assert queries.taxonomy_of(theirs) is None


def test_other_taxonomy_raises(theirs):
    adopt(theirs, taxonomy=ROADWORK)
    other = taxonomy.from_labels("own", ["cone"], ["cone"])
    with pytest.raises(StageError, match="has the taxonomy 'roadwork_core', which"):
        adopt(theirs, taxonomy=other)


def test_holding_back_field_ground_truth_raises(scenes):
    with pytest.raises(StageError, match="Cannot hold back the field"):
        adopt(scenes, taxonomy=ROADWORK, ground_truth=schema.GROUND_TRUTH, hold_back=True)
