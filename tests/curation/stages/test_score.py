import numpy as np
import pytest
from scipy.stats import rankdata

from cascade import taxonomy
from curation.errors import StageError, StoreError
from curation.stages.calibrate import calibrate
from curation.stages.score import score
from curation.storage import queries, reader, schema

SAME = [0.2, 0.2, 0.4, 0.4]
SHIFTED = [0.3, 0.3, 0.4, 0.4]  # overlaps SAME by 9/23


def put(dataset, *rows):
    """Add a stock sample for each row: name, and boxes by field as (label, box, confidence)."""
    import fiftyone as fo

    for name, fields_of in rows:
        labels = {
            field: fo.Detections(
                detections=[
                    fo.Detection(label=label, bounding_box=box, confidence=p)
                    for label, box, p in boxes
                ]
            )
            for field, boxes in fields_of.items()
        }
        size = fo.ImageMetadata(width=640, height=480)
        dataset.add_sample(fo.Sample(filepath=f"/{name}.jpg", metadata=size, **labels))
    return dataset


@pytest.fixture
def stock(dataset):
    """A dataset that nothing of ours has touched; its labels are its own, and it is all labeled."""
    import fiftyone as fo

    put(
        dataset,
        (
            "1 agree",
            {"yolo": [("Traffic Cone", SAME, 0.97)], "detr": [("traffic-cone", SAME, 0.97)]},
        ),
        (
            "2 unsure",
            {"yolo": [("Traffic Cone", SAME, 0.6)], "detr": [("traffic-cone", SAME, 0.95)]},
        ),
        ("3 class", {"yolo": [("Traffic Cone", SAME, 0.97)], "detr": [("dog", SAME, 0.97)]}),
        ("4 miss", {"yolo": [("Traffic Cone", SAME, 0.97)], "detr": []}),
        ("5 nothing", {"yolo": [], "detr": []}),
    )
    truth = fo.Detections(detections=[fo.Detection(label="Traffic Cone", bounding_box=SAME)])
    dataset.set_values("ground_truth", [truth] * 5)
    dataset.set_values("other", [fo.Classification(label="x")] * 5)
    return dataset


def test_plain_dataset_is_ranked_by_two_existing_fields(stock):
    result = score(stock, members=["yolo", "detr"])
    assert (result.ranked, result.scored, result.calibrated) == (5, 5, False)
    assert result.members == ("yolo", "detr")
    assert result.unknown_labels == {}
    hardness = dict(zip(stock.values("filepath"), stock.values("hardness"), strict=True))
    assert sorted(hardness.values()) == [0, 0.25, 0.5, 0.75, 1]
    ordered = [path[1:].split(".")[0] for path in sorted(hardness, key=hardness.get)]
    assert ordered == ["5 nothing", "1 agree", "2 unsure", "3 class", "4 miss"]


def test_hardness_components_explain_rank(stock):
    score(stock, members=["yolo", "detr"])
    columns = reader.read_columns(stock, [*schema.HARDNESS_PARTS, "n_voters", "expected_boxes"])
    agree, unsure, kind, miss, nothing = (
        {name: values[i] for name, values in columns.items()} for i in range(5)
    )
    assert agree["hardness_existence"] == pytest.approx(0, abs=1e-6)
    assert agree["hardness_class"] == 0
    assert kind["hardness_class"] == pytest.approx(1)
    assert kind["hardness_location"] == pytest.approx(0, abs=1e-6)
    assert miss["hardness_location"] is None, "one box only"
    assert miss["hardness_existence"] > unsure["hardness_existence"] > 0
    assert miss["expected_boxes"] == pytest.approx((0.97 + 0.02) / 2)
    assert nothing["expected_boxes"] == 0
    assert {row["n_voters"] for row in (agree, unsure, kind, miss, nothing)} == {2}


def test_location_disagreement_is_one_minus_iou(dataset):
    shifted = [SAME[0], SAME[1] + 0.1, SAME[2], SAME[3]]  # three quarters of each: IoU 0.6
    put(dataset, ("a", {"yolo": [("dog", SAME, 0.9)], "detr": [("dog", shifted, 0.9)]}))
    score(dataset, members=["yolo", "detr"])
    assert dataset.values("hardness_location") == [pytest.approx(0.4, abs=1e-5)]


def test_boxes_with_low_overlap_are_two_objects(dataset):
    put(dataset, ("a", {"yolo": [("dog", SAME, 0.9)], "detr": [("dog", SHIFTED, 0.9)]}))
    score(dataset, members=["yolo", "detr"])
    assert dataset.values("expected_boxes") == [pytest.approx(0.9 + 0.02)]


def test_score_is_idempotent(stock):
    score(stock, members=["yolo", "detr"])
    before = stock.values(list(schema.HARDNESS_PARTS))
    score(stock, members=["yolo", "yolo", "detr"])
    assert stock.values(list(schema.HARDNESS_PARTS)) == before


def test_labels_outside_taxonomy_are_ignored_and_counted(stock):
    roadwork = taxonomy.load("roadwork")
    result = score(stock, members=["yolo", "detr"], taxonomy=roadwork)
    assert result.unknown_labels == {"dog": 1}
    assert result.scored == 5


def test_single_member_is_ranked_by_its_uncertainty(stock):
    score(stock, members=["yolo"])
    columns = reader.read_columns(stock, ["hardness", "hardness_margin", "hardness_existence"])
    assert int(np.argmax(columns["hardness"])) == 1, "0.6 is the nearest to a coin toss"
    assert columns["hardness_margin"][1] == pytest.approx(0.8)
    assert columns["hardness_existence"] == [None] * 5


def test_sample_without_predictions_has_no_hardness(stock):
    put(stock, ("6 new", {}))
    result = score(stock, members=["yolo", "detr"])
    assert (result.ranked, result.scored) == (6, 5)
    assert reader.read_columns(stock, ["hardness", "expected_boxes"])["hardness"][5] is None


def test_view_restricts_ranking(stock):
    result = score(stock.limit(3), members=["yolo", "detr"])
    assert (result.ranked, result.scored) == (3, 3)
    assert sorted(stock.limit(3).values("hardness")) == [0, 0.5, 1]
    assert stock.skip(3).values("hardness") == [None, None]


ERRORS = [
    pytest.param(["yolo", "nobody"], "has no field 'nobody'", id="no such field"),
    pytest.param(
        ["yolo", "other"], "'other' must hold Detections, got Classification", id="no boxes"
    ),
    pytest.param(["yolo", "filepath"], "'filepath' must hold Detections, got no labels", id="text"),
    pytest.param(["ground_truth"], "No box of ground_truth has a confidence", id="ground truth"),
]


@pytest.mark.parametrize(("members", "message"), ERRORS)
def test_incomparable_fields_raise(stock, members, message):
    with pytest.raises(StoreError, match=message):
        score(stock, members=members)
    assert not stock.has_field("hardness"), "nothing was written"


def test_confidences_outside_unit_interval_raise(dataset):
    put(dataset, ("a", {"yolo": [("dog", SAME, 87.0)]}))
    with pytest.raises(StoreError, match=r"Confidences of yolo must be in \[0, 1\], got 87..87"):
        score(dataset, members=["yolo"])


@pytest.mark.parametrize("with_both", [False, True])
def test_both_or_neither_of_ensemble_and_fields_raise(stock, center, with_both):
    arguments = {"members": ["yolo"], "ensemble": center} if with_both else {"members": []}
    with pytest.raises(StageError, match="either an ensemble or label fields"):
        score(stock, **arguments)


def test_ensemble_ranks_pool_but_not_frozen_splits(predicted, center):
    result = score(predicted, ensemble=center)
    assert (result.ranked, result.scored, result.calibrated) == (34, 34, False)
    assert result.members == ("tiny_center",)
    splits = predicted.exists(schema.HARDNESS).distinct(schema.SPLIT)
    assert splits == ["train"]
    hardness = np.array(predicted.exists(schema.HARDNESS).values(schema.HARDNESS))
    margin = predicted.exists(schema.HARDNESS).values(schema.HARDNESS_MARGIN)
    assert (hardness.min(), hardness.max()) == (0, 1)
    # One member: the margin of the hardest box orders them, and an image without boxes is last.
    values = np.array([-1.0 if value is None else value for value in margin])
    assert hardness == pytest.approx((rankdata(values) - 1) / 33)


def test_calibrated_ensemble_weights_classes_by_difficulty(predicted, center):
    fitted = calibrate(predicted, center)
    result = score(predicted, ensemble=fitted)
    assert result.calibrated
    assert queries.read_info(predicted, "score") == {
        "members": ["tiny_center"],
        "ensemble": fitted.identity,
    }


def test_ensemble_without_predictions_raises(scenes, center):
    with pytest.raises(StoreError, match="has no field 'tiny_center'"):
        score(scenes, ensemble=center)


def all_labeled(dataset):
    dataset.set_values(schema.LABELED_ROUND, [0] * len(dataset))
    return dataset


def test_fields_rank_all_samples_of_fully_labeled_dataset(predicted):
    result = score(all_labeled(predicted), members=["tiny_center"])
    assert (result.ranked, result.scored) == (70, 70)


def test_ensemble_with_fully_labeled_dataset_raises(predicted, center):
    with pytest.raises(StageError, match="has no unlabeled samples outside validation and test"):
        score(all_labeled(predicted), ensemble=center)


def test_progress_is_reported_per_chunk(stock, monkeypatch):
    monkeypatch.setattr("curation.stages.score._CHUNK", 1)
    calls = []
    score(stock, members=["yolo"], progress=lambda *at: calls.append(at))
    assert calls == [(i + 1, len(stock)) for i in range(len(stock))]


def test_chunk_size_does_not_change_result(stock, monkeypatch):
    names = [schema.HARDNESS, *schema.HARDNESS_PARTS, schema.N_VOTERS, schema.EXPECTED_BOXES]
    score(stock, members=["yolo"])
    expected = stock.values(names)
    monkeypatch.setattr("curation.stages.score._CHUNK", 2)
    score(stock, members=["yolo"])
    assert stock.values(names) == expected
