import json
from dataclasses import asdict

import numpy as np
import pytest

from cascade.ensemble import Ensemble
from cascade.predictions import Detections
from curation.errors import LabelingError, StageError
from curation.stages.review import REASONS, REVIEW, SCORE, review
from curation.storage import collection, conversions, schema

A, BESIDE_A = ("cone", 0.1, 0.1, 0.3, 0.3), ("cone", 0.15, 0.1, 0.35, 0.3)


@pytest.fixture(scope="module")
def ensemble():
    return Ensemble.from_manifest("tiny")


def boxes(ensemble, *rows):
    return Detections(
        boxes_xyxy=np.array([row[1:5] for row in rows], float).reshape(-1, 4),
        scores=np.full(len(rows), 0.95),
        class_ids=np.array(ensemble.taxonomy.ids_of([row[0] for row in rows]), np.int64),
        classes=ensemble.taxonomy.names,
    )


@pytest.fixture
def compared(dataset, ensemble):
    """Return samples on which two members agree: right, a cone missing, one shifted, new."""
    import fiftyone as fo

    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    truths = [(A,), (), (BESIDE_A,), None]
    for i in range(4):
        dataset.add_sample(fo.Sample(filepath=f"/images/{i}.png", tags=["mine"]))
    ids, _ = collection.ids_and_paths(dataset)
    seen = conversions.raw_detections(boxes(ensemble, A), scored=True)
    fused = conversions.raw_detections(boxes(ensemble, A), scored=True)
    fused["detections"][0]["votes"] = 2
    update = {
        sample_id: dict.fromkeys(ensemble.detectors, seen) | {schema.CONSENSUS: fused}
        for sample_id in ids
    }
    for sample_id, truth in zip(ids, truths, strict=True):
        if truth is not None:
            update[sample_id][schema.GROUND_TRUTH] = conversions.raw_detections(
                boxes(ensemble, *truth), scored=False
            )
    collection.write_documents(dataset, update)
    dataset.reload()
    return dataset, ids


def test_suspicious_boxes_are_tagged_with_reasons(compared, ensemble):
    dataset, ids = compared
    result = review(dataset, ensemble)
    assert (result.looked_at, result.boxes, result.samples, result.left_out) == (3, 2, 2, 0)
    assert result.kinds == {"missing": 1, "shifted": 1}
    view = dataset.match_tags(REVIEW)
    assert sorted(view.values("id")) == sorted(ids[1:3])
    missing = dataset[ids[1]]
    (box,) = missing[REVIEW].detections
    assert (box.label, box.kind) == ("cone", "missing")
    assert box.bounding_box == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert box.confidence == pytest.approx(missing[SCORE])
    assert missing[REASONS][0].startswith("missing: 2 members see a cone")
    assert dataset[ids[0]][REVIEW] is None


def test_saved_view_starts_with_most_confident_error(compared, ensemble):
    dataset, ids = compared
    review(dataset, ensemble)
    shown = dataset.load_saved_view(REVIEW)
    assert shown.values("id") == [ids[1], ids[2]]
    assert shown.values(SCORE) == sorted(shown.values(SCORE), reverse=True)


def test_second_call_replaces_first(compared, ensemble):
    dataset, ids = compared
    review(dataset, ensemble)
    fixed = conversions.raw_detections(boxes(ensemble, A), scored=False)
    collection.write_documents(
        dataset, {sample_id: {schema.GROUND_TRUTH: fixed} for sample_id in ids[1:2]}
    )
    assert review(dataset, ensemble).samples == 1
    dataset.reload()
    assert dataset[ids[1]].tags == ["mine"]
    assert (dataset[ids[1]][REVIEW], dataset[ids[1]][SCORE]) == (None, None)
    assert dataset[ids[2]].tags == ["mine", REVIEW]


def test_limit_keeps_most_confident_and_counts_others(compared, ensemble):
    dataset, ids = compared
    result = review(dataset, ensemble, limit=1)
    assert (result.boxes, result.left_out) == (1, 1)
    assert dataset.match_tags(REVIEW).values("id") == [ids[1]]
    with pytest.raises(StageError, match="at least 1"):
        review(dataset, ensemble, limit=0)


def test_review_does_not_change_ground_truth(compared, ensemble):
    dataset, _ = compared
    before = dataset.values("ground_truth.detections.id")
    review(dataset, ensemble)
    assert dataset.values("ground_truth.detections.id") == before


def test_result_is_json_serializable(compared, ensemble):
    content = json.loads(json.dumps(asdict(review(compared[0], ensemble))))
    assert content["worst"][0].startswith("/images/1.png: cone: 2 members")


def test_missing_input_names_command(dataset, ensemble):
    with pytest.raises(StageError, match="has no ground truth"):
        review(dataset, ensemble)


def test_video_dataset_raises(dataset, ensemble):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/videos/a.mp4"))
    with pytest.raises(LabelingError, match="media type 'video'"):
        review(dataset, ensemble)
