import numpy as np
import pytest
import torch

from cascade import manifest
from cascade.engine.run import run
from cascade.engine.sinks import MemorySink
from cascade.ensemble import Ensemble
from cascade.fusion.calibration import Calibration
from cascade.inference import decision
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.errors import StoreError
from curation.stages.calibrate import calibrate
from curation.storage import collection, schema

CPU = torch.device("cpu")


def test_calibration_is_fitted_on_validation_predictions(predicted, center):
    fitted = calibrate(predicted, center)
    frozen = frozen_set(predicted, "val", center.taxonomy)
    memory, name = MemorySink(), "tiny_center"
    models, members = {name: center.build(name, CPU)}, {name: center.manifest.member(name)}
    run(models, members, frozen.ids, frozen.paths, memory, device=CPU)
    rows = [memory.results[i] for i in frozen.ids]
    expected = decision.recalibrate(rows, center, frozen.truths, frozen.sizes_px).calibration
    assert fitted.calibration.calibrated_members == (name,)
    assert fitted.calibration.relevance == expected.relevance
    assert fitted.calibration.threshold == pytest.approx(expected.threshold, abs=0.05)
    scores = np.array([0.1, 0.5, 0.9])  # boxes under 0.05 are not stored: nearly the same fit
    assert fitted.calibration.calibrate_scores(name, ["cone"] * 3, scores) == pytest.approx(
        expected.calibrate_scores(name, ["cone"] * 3, scores), abs=0.05
    )


def test_calibrate_changes_only_calibration(predicted, center):
    fitted = calibrate(predicted, center)
    assert fitted.manifest == center.manifest
    assert fitted.checkpoints == center.checkpoints
    assert fitted.identity != center.identity
    assert fitted.fingerprint("tiny_center") == center.fingerprint("tiny_center")


def few_images(dataset, center):
    """Leave only nine validation images."""
    dataset.delete_samples(list(frozen_set(dataset, "val", center.taxonomy).ids)[9:])


def labeled_by_a_round(dataset, center):
    """Say that a round labeled validation: what was chosen is no fair sample."""
    dataset.match({schema.SPLIT: "val"}).set_values(schema.LABELED_ROUND, [1] * 17)


@pytest.mark.parametrize("change", [few_images, labeled_by_a_round])
def test_too_few_labels_keep_ensemble_uncalibrated(predicted, center, change):
    change(predicted, center)
    assert calibrate(predicted, center) is center


def test_calibrate_without_predictions_names_missing_field(scenes, center):
    with pytest.raises(StoreError, match="has no field 'tiny_center'"):
        calibrate(scenes, center)


def test_member_without_prediction_is_not_counted_as_silent(predicted, center):
    """Counted as silent, `late` would have missed every object that the other sees."""
    text = """
        name: two
        members:
          - {name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: MIT}
          - {name: late, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: MIT}
        """
    two = Ensemble.from_manifest(manifest.parse(text))
    schema.declare(predicted, two.taxonomy, two.detectors)
    fitted = calibrate(predicted, two).calibration
    assert fitted.calibrated_members == ("tiny_center",)
    assert fitted.silence["late"] == two.manifest.fusion.silence
    looked = {i: {"late": row} for i, row in _fields(predicted, "tiny_center").items()}
    collection.write_documents(predicted, looked)
    assert calibrate(predicted, two).calibration.calibrated_members == ("late", "tiny_center")


def _fields(dataset, name):
    from curation.storage.collection import read_documents

    ids, _ = collection.ids_and_paths(dataset)
    return {ids[i]: row[name] for i, row in read_documents(dataset, ids, {name: 1})}


def test_uncalibrated_scores_are_used_unchanged(center):
    assert center.calibration == Calibration.uncalibrated(deciding=center.taxonomy.deciding)
