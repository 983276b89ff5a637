import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade import manifest, registry
from cascade.ensemble import Ensemble
from cascade.fusion.calibration import Calibration
from cascade.models.detection.center_point import CenterPoint
from cascade.planning import placement
from cascade.planning.placement import Lane, Placement
from curation.errors import StageError
from curation.stages.fuse import fuse
from curation.stages.predict import predict
from curation.storage import collection, queries, reader, schema
from curation.storage.collection import read_documents

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return three checkpoints of small untrained detectors, which find nothing."""
    folder = tmp_path_factory.mktemp("weights")
    for seed in range(3):
        CenterPoint(classes=("cone",), size=64, width=8, seed=seed).save(folder / str(seed))
    return [folder / str(seed) for seed in range(3)]


def pair_of(weights, more=""):
    rows = [
        f"{{name: {name}, tier: detection, adapter: center_point, license: MIT, "
        f"source: {folder}{more}}}"
        for name, folder in zip("ab", weights, strict=False)
    ]
    return Ensemble.from_manifest(manifest.parse(f"name: pair\nmembers: [{', '.join(rows)}]"))


@pytest.fixture(scope="module")
def pair(weights):
    return pair_of(weights)


def raw(dataset, names):
    """Return the raw documents of some fields, by sample id."""
    ids, _ = collection.ids_and_paths(dataset)
    return {ids[i]: row for i, row in read_documents(dataset, ids, dict.fromkeys(names, 1))}


def boxes_of(dataset, member):
    return [box for row in raw(dataset, [member]).values() for box in row[member]["detections"]]


def test_boxes_carry_fingerprint_of_member(predicted, center):
    documents = raw(predicted, ["tiny_center"])
    assert len(documents) == 70
    for row in documents.values():
        assert row["tiny_center"]["fingerprint"] == center.fingerprint("tiny_center")
    boxes = boxes_of(predicted, "tiny_center")
    assert len(boxes) > 50
    assert {box["label"] for box in boxes} <= set(center.taxonomy.names)
    assert all(0.05 <= box["score"] <= 1 for box in boxes)


def test_second_run_does_nothing(predicted, center):
    before = predicted.values(["id", "last_modified_at", "tiny_center.detections.id"])
    calls = []
    result = predict(predicted, center, device=CPU, progress=lambda *at: calls.append(at))
    assert (result.samples, result.ran, result.skipped, result.failed) == (70, 0, 70, 0)
    assert predicted.values(["id", "last_modified_at", "tiny_center.detections.id"]) == before
    assert calls == []


def test_empty_prediction_differs_from_missing_one(scenes, pair):
    some = scenes.limit(4)
    result = predict(some, pair, device=CPU)
    assert (result.samples, result.ran, result.skipped) == (4, 8, 0)
    looked = raw(some, ["a"])
    assert all(row["a"]["detections"] == [] for row in looked.values())
    assert all(row["a"]["_cls"] == "Detections" for row in looked.values())
    assert len(scenes.exists("a")) == 4
    assert raw(scenes.skip(4), ["a"]).popitem()[1].get("a") is None


def test_changed_weights_rerun_only_their_member(scenes, pair, weights):
    some = scenes.limit(5)
    predict(some, pair, device=CPU)
    untouched = {i: row["a"] for i, row in raw(some, ["a"]).items()}
    changed = pair.with_checkpoints({"b": weights[2]})
    result = predict(some, changed, device=CPU)
    assert (result.ran, result.skipped) == (5, 5)
    assert list(result.seconds) == ["b"]
    documents = raw(some, ["a", "b"])
    assert {i: row["a"] for i, row in documents.items()} == untouched
    assert {row["b"]["fingerprint"] for row in documents.values()} == {changed.fingerprint("b")}


def test_new_predictions_remove_derived_values(scenes, pair, weights):
    some = scenes.limit(3)
    predict(some, pair, device=CPU)
    fuse(some, pair)
    assert len(some.exists(schema.CONSENSUS)) == 3
    predict(some.limit(1), pair.with_checkpoints({"b": weights[2]}), device=CPU)
    assert len(some.exists(schema.CONSENSUS)) == 2


@pytest.fixture
def broken(scenes, tmp_path):
    """Return five samples on copies of their images, one of which is damaged, and its path."""
    copies = scenes.limit(5).clone()
    for sample in copies:
        path = tmp_path / Path(sample.filepath).name
        shutil.copy(sample.filepath, path)
        sample.filepath = str(path)
        sample.save()
    ids, paths = collection.ids_and_paths(copies)
    content = Path(paths[2]).read_bytes()
    Path(paths[2]).write_bytes(b"no image")
    yield copies, ids[2], Path(paths[2]), content
    copies.delete()


def test_damaged_image_is_recorded_and_others_are_predicted(broken, pair):
    copies, damaged, path, _ = broken
    result = predict(copies, pair, device=CPU)
    assert (result.ran, result.failed) == (8, 2)
    failures = reader.read_failures(copies)
    assert {(failure["sample"], failure["stage"], failure["member"]) for failure in failures} == {
        (damaged, "predict", "a"),
        (damaged, "predict", "b"),
    }
    assert {failure["error"] for failure in failures} == {"ImageError"}
    assert failures[0]["message"] == f"Cannot decode image `{path}`."
    assert copies[damaged]["a"] is None


def test_only_failures_are_retried_and_their_records_cleared(broken, pair):
    copies, damaged, path, content = broken
    predict(copies, pair, device=CPU)
    fuse(copies, pair)
    assert predict(copies, pair, device=CPU).failed == 2
    assert len(copies.exists(schema.CONSENSUS)) == 4, "its neighbours keep what was fused"
    path.write_bytes(content)
    result = predict(copies, pair, device=CPU)
    assert (result.ran, result.skipped, result.failed) == (2, 8, 0)
    assert reader.read_failures(copies) == []
    assert copies[damaged]["a"].detections == []


def test_confidence_is_calibrated_and_raw_score_is_stored(scenes, center):
    fitted = Calibration(
        scaling={"tiny_center": {"*": (0.5, 1.0)}},
        silence={},
        relevance={},
        quality={},
        threshold=0.5,
    )
    some = scenes.limit(6)
    predict(some, center.with_calibration(fitted), device=CPU)
    boxes = boxes_of(some, "tiny_center")
    scores = np.array([box["score"] for box in boxes])
    expected = fitted.calibrate_scores("tiny_center", [box["label"] for box in boxes], scores)
    assert [box["confidence"] for box in boxes] == pytest.approx(expected.tolist())
    assert np.abs(scores - expected).max() > 0.1


def test_uncalibrated_confidence_equals_score(predicted):
    boxes = boxes_of(predicted, "tiny_center")
    scores = [box["score"] for box in boxes]
    assert [box["confidence"] for box in boxes] == pytest.approx(scores)


def test_unavailable_member_is_left_out_and_reported(scenes, weights, monkeypatch, caplog):
    adapter = registry.Adapter("foreign", "detection", "no.such:Thing", needs=("no_such_package",))
    monkeypatch.setitem(registry._adapters, "foreign", adapter)
    text = f"""
        name: one
        members:
          - {{name: a, tier: detection, adapter: center_point, license: MIT, source: {weights[0]}}}
          - {{name: f, tier: detection, adapter: foreign, license: MIT, optional: true}}
        """
    ensemble = Ensemble.from_manifest(manifest.parse(text))
    with caplog.at_level(logging.WARNING):
        result = predict(scenes.limit(1), ensemble, device=CPU)
    assert list(result.left_out) == ["f"]
    assert "'no_such_package', which is not installed" in caplog.text
    assert scenes.get_field("f") is None


def test_provenance_of_fields_is_kept_after_later_runs(scenes, pair, center):
    predict(scenes.limit(1), pair, device=CPU)
    predict(scenes.limit(1), center, device=CPU)
    provenance = queries.read_info(scenes, "members")
    assert sorted(provenance) == ["a", "b", "tiny_center"]
    assert provenance["tiny_center"] == {
        "adapter": "center_point",
        "source": "package:tiny_center",
        "licence": "Apache-2.0",
        "manifest": "center",
        "fingerprint": center.fingerprint("tiny_center"),
    }


def test_progress_ends_at_number_of_images(scenes, weights):
    calls = []
    few = pair_of(weights, more=", batch_size: 2")
    predict(scenes.limit(5), few, device=CPU, progress=lambda *at: calls.append(at))
    assert calls == [(2, 5), (4, 5), (5, 5)]


def boxes_by_sample(dataset, member):
    return {
        i: [(box["bounding_box"], box["score"], box["label"]) for box in row[member]["detections"]]
        for i, row in raw(dataset, [member]).items()
    }


def test_two_processes_store_same_as_one(scenes, predicted, center, monkeypatch):
    """On two CPU "devices"; both open the database themselves."""
    some = scenes.limit(40)
    two = Placement(((Lane(("tiny_center",), ("cpu", "cpu")),),), {})
    monkeypatch.setattr(placement, "place", lambda *_: two)
    calls = []
    result = predict(some, center, progress=lambda *at: calls.append(at))
    assert (result.samples, result.ran, result.skipped, result.failed) == (40, 40, 0, 0)
    assert calls[-1] == (40, 40)
    expected = boxes_by_sample(predicted.select(some.values("id")), "tiny_center")
    result_boxes = boxes_by_sample(some, "tiny_center")
    assert result_boxes.keys() == expected.keys()
    assert sum(map(len, result_boxes.values())) > 20
    for i, rows in result_boxes.items():
        boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
        wanted = zip(*expected[i], strict=True) if rows else ((), (), ())
        wanted_boxes, wanted_scores, wanted_labels = wanted
        assert labels == wanted_labels
        assert np.allclose(boxes, wanted_boxes, atol=1e-5)  # threads decide on the last digits
        assert np.allclose(scores, wanted_scores, atol=1e-5)
    assert predict(some, center, device=CPU).ran == 0, "and the ledger knows of it"


def test_member_that_fits_on_no_gpu_raises(scenes, pair, monkeypatch):
    monkeypatch.setattr(placement, "place", lambda *_: Placement((), {}, ("b",)))
    with pytest.raises(StageError, match="'b' fits on no GPU of this machine"):
        predict(scenes.limit(2), pair)
