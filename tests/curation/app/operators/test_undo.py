import pytest

from curation.app.operators import undo
from curation.errors import StageError


@pytest.fixture
def mixed(predicted, center):
    """Scenes with our predictions and scores, and a field of another author."""
    import fiftyone as fo

    from curation.stages.fuse import fuse
    from curation.stages.score import score

    predicted.add_sample_field(
        "their_model", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections
    )
    predicted.limit(3).set_field("their_model", fo.Detections()).save()
    fuse(predicted, center)
    score(predicted, members=["tiny_center"])
    return predicted


def test_only_stages_with_traces_are_undoable(mixed, dataset):
    assert set(undo.undoable_stages(mixed)) == {"predict", "score"}
    assert undo.undoable_stages(dataset) == {}


def test_undo_of_score_keeps_predictions(mixed):
    removed = undo.undo(mixed, "score")
    assert "hardness" in removed.fields
    assert not mixed.has_field("hardness")
    assert mixed.has_field("tiny_center")
    assert mixed.has_field("consensus")
    assert "score" not in undo.undoable_stages(mixed)
    with pytest.raises(StageError, match="nothing written by 'score'"):
        undo.undo(mixed, "score")


def test_undo_of_predict_keeps_foreign_fields(mixed, center):
    from curation.stages.predict import predict

    truths = mixed.count("ground_truth.detections")
    removed = undo.undo(mixed, "predict")
    assert {"tiny_center", "consensus", "roadwork", "agreement"} <= set(removed.fields)
    for name in removed.fields:
        assert not mixed.has_field(name)
    assert mixed.count("their_model") == 3
    assert mixed.count("ground_truth.detections") == truths > 0
    assert mixed.has_field("hardness")
    again = predict(mixed, center)
    assert (again.skipped, again.failed) == (0, 0), "nothing counts as done"


def test_foreign_labels_in_our_field_stay(mixed):
    import fiftyone as fo

    for sample in mixed.limit(2):
        sample["tiny_center"] = fo.Detections(detections=[fo.Detection(label="cone")])
        sample.save()
    traces = undo.find_traces(mixed, "predict")
    assert "tiny_center" in traces.foreign_fields
    assert traces.shared_fields["tiny_center"] == len(mixed) - 2
    undo.undo(mixed, "predict")
    assert mixed.count("tiny_center.detections") == 2


def test_foreign_field_with_our_name_stays(dataset):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/a.jpg", hardness=0.3, expected_boxes=2.0))
    dataset.info["curation"] = {"score": {"members": ["a"]}}
    dataset.save()
    assert undo.find_traces(dataset, "score").foreign_fields == ("hardness", "expected_boxes")
    assert undo.undoable_stages(dataset) == {}
    with pytest.raises(StageError, match="nothing"):
        undo.undo(dataset, "score")
    assert dataset.values("hardness") == [0.3]


def test_unknown_stage_is_rejected(dataset):
    with pytest.raises(StageError, match="predict, embed, score"):
        undo.find_traces(dataset, "ingest")
