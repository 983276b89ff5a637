import pytest

from curation.app.operators import undo
from curation.errors import StageError


@pytest.fixture
def mixed(predicted, center):
    """Scenes with our predictions, scores and review, beside fields of somebody else."""
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


def test_only_stages_that_left_something_are_offered(mixed, dataset):
    assert set(undo.undoable(mixed)) == {"predict", "score"}
    assert undo.undoable(dataset) == {}


def test_scoring_is_taken_back_and_predictions_stay(mixed):
    gone = undo.undo(mixed, "score")
    assert "hardness" in gone.whole
    assert not mixed.has_field("hardness")
    assert mixed.has_field("tiny_center")
    assert mixed.has_field("consensus")
    assert "score" not in undo.undoable(mixed)
    with pytest.raises(StageError, match="nothing that 'score' wrote"):
        undo.undo(mixed, "score")


def test_predicting_is_taken_back_and_what_is_theirs_stays(mixed, center):
    from curation.stages.predict import predict

    truths = mixed.count("ground_truth.detections")
    gone = undo.undo(mixed, "predict")
    assert {"tiny_center", "consensus", "roadwork", "agreement"} <= set(gone.whole)
    for name in gone.whole:
        assert not mixed.has_field(name)
    assert mixed.count("their_model") == 3
    assert mixed.count("ground_truth.detections") == truths > 0
    assert mixed.has_field("hardness")
    again = predict(mixed, center)
    assert (again.skipped, again.failed) == (0, 0), "nothing is taken for done"


def test_labels_of_others_in_a_field_of_ours_stay(mixed):
    import fiftyone as fo

    for one in mixed.limit(2):
        one["tiny_center"] = fo.Detections(detections=[fo.Detection(label="cone")])
        one.save()
    found = undo.traces(mixed, "predict")
    assert "tiny_center" in found.kept
    assert found.shared["tiny_center"] == len(mixed) - 2
    undo.undo(mixed, "predict")
    assert mixed.count("tiny_center.detections") == 2


def test_a_field_of_our_name_that_somebody_else_made_stays(dataset):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/a.jpg", hardness=0.3, expected_boxes=2.0))
    dataset.info["curation"] = {"score": {"members": ["a"]}}
    dataset.save()
    assert undo.traces(dataset, "score").kept == ("hardness", "expected_boxes")
    assert undo.undoable(dataset) == {}
    with pytest.raises(StageError, match="nothing"):
        undo.undo(dataset, "score")
    assert dataset.values("hardness") == [0.3]


def test_an_unknown_stage_is_refused(dataset):
    with pytest.raises(StageError, match="predict, embed, score"):
        undo.traces(dataset, "ingest")
