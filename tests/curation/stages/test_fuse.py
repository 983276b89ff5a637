from dataclasses import replace

import numpy as np
import pytest
import torch

from cascade.fusion.calibration import Calibration
from cascade.imaging import batches
from cascade.inference.predictor import Predictor
from curation.stages.fuse import fuse
from curation.stages.predict import predict
from curation.storage import collection, reader, schema
from curation.storage.collection import read_documents

CPU = torch.device("cpu")
WRITTEN = (schema.CONSENSUS, "roadwork", schema.AGREEMENT, schema.N_VOTERS, schema.PATH)
FITTED = Calibration(
    scaling={"tiny_center": {"*": (0.5, 0.3)}},
    silence={"tiny_center": 0.1},
    relevance={"cone": 1.0, "drum": 0.9},
    quality={},
    threshold=0.3,
)


def documents(samples, names):
    ids, _ = collection.ids_and_paths(samples)
    rows = read_documents(samples, ids, dict.fromkeys(names, 1))
    return {ids[i]: {name: row.get(name) for name in names} for i, row in rows}


def test_stored_consensus_equals_prediction_of_ensemble(predicted, center):
    some = predicted.match({schema.SPLIT: "test"}).limit(8)
    assert fuse(some, center).fused == 8
    _, paths = collection.ids_and_paths(some)
    verdicts = Predictor(center, CPU).predict([batches.read(path) for path in paths])
    fused = reader.read_detections(some, schema.CONSENSUS, center.taxonomy)
    columns = reader.read_columns(some, ["roadwork.confidence", "roadwork.label", "agreement"])
    _, p, label, agreement = columns.values()
    assert p == pytest.approx([verdict.p for verdict in verdicts], abs=1e-4)
    assert label == ["yes" if verdict.yes else "no" for verdict in verdicts]
    assert agreement == [1.0] * 8
    for stored, verdict in zip(fused, verdicts, strict=True):
        assert stored.labels == verdict.objects.labels
        np.testing.assert_allclose(stored.boxes_xyxy, verdict.objects.boxes_xyxy, atol=1e-3)
    assert sum(map(len, fused)) > 5, "else nothing was compared"


def test_second_call_changes_nothing(predicted, center):
    first = fuse(predicted, center)
    before = documents(predicted, WRITTEN)
    again = fuse(predicted, center)
    assert (first.samples, first.fused, first.skipped) == (70, 70, 0)
    assert (again.samples, again.fused, again.skipped) == (70, 0, 70)
    assert documents(predicted, WRITTEN) == before
    assert {row[schema.CONSENSUS]["fingerprint"] for row in before.values()} == {center.identity}


def test_changed_calibration_rewrites_confidences_without_models(predicted, center):
    some = predicted.limit(10)
    fuse(some, center)
    before = reader.read_columns(some, ["tiny_center.detections.confidence"])
    for sample in some:
        sample.filepath = f"/gone/{sample.id}.jpg"  # whoever wants to read it fails
        sample.save()
    result = fuse(some, center.with_calibration(FITTED))
    assert (result.fused, result.skipped) == (10, 0)
    rows = documents(some, ["tiny_center", schema.CONSENSUS, "roadwork"])
    boxes = [box for row in rows.values() for box in row["tiny_center"]["detections"]]
    scores = np.array([box["score"] for box in boxes])
    expected = FITTED.calibrate_scores("tiny_center", [box["label"] for box in boxes], scores)
    assert [box["confidence"] for box in boxes] == pytest.approx(expected.tolist())
    assert before != reader.read_columns(some, ["tiny_center.detections.confidence"])
    assert {row["tiny_center"]["fingerprint"] for row in rows.values()} == {
        center.fingerprint("tiny_center")
    }
    assert {row["roadwork"]["fingerprint"] for row in rows.values()} == {
        center.with_calibration(FITTED).identity
    }


def test_single_member_is_consensus(predicted, center):
    """One voter: each cluster is its box, and the fused probability is its own."""
    fuse(predicted, center.with_calibration(FITTED))
    for row in documents(predicted, ["tiny_center", schema.CONSENSUS]).values():
        own = sorted(
            np.clip(box["confidence"], 0.02, 0.98)
            for box in row["tiny_center"]["detections"]
            if box["confidence"] >= 0.05
        )
        fused = row[schema.CONSENSUS]["detections"]
        assert len(fused) <= len(own)
        assert all(min(abs(box["confidence"] - p) for p in own) < 1e-6 for box in fused)
        assert all((box["votes"], box["members"]) == (1, ["tiny_center"]) for box in fused)


def test_threshold_changes_only_decision(predicted, center):
    some = predicted.limit(20)
    fuse(some, center)
    p = reader.read_columns(some, ["roadwork.confidence"])["roadwork.confidence"]
    middle = float(np.median(p))
    moved = replace(center.calibration, threshold=middle)
    fuse(some, center.with_calibration(moved))
    columns = reader.read_columns(some, ["roadwork.confidence", "roadwork.label"])
    assert columns["roadwork.confidence"] == p
    assert columns["roadwork.label"] == ["yes" if value >= middle else "no" for value in p]


def test_fuse_without_predictions_raises(scenes, center):
    some = scenes.limit(3)
    assert fuse(some, center).fused == 3
    rows = documents(some, WRITTEN)
    assert {row[schema.N_VOTERS] for row in rows.values()} == {0}
    assert all(row["roadwork"] is None and row[schema.AGREEMENT] is None for row in rows.values())
    assert {row[schema.PATH] for row in rows.values()} == {"precision"}
    predict(some, center, device=CPU)
    assert fuse(some, center).fused == 3, "what was fused from nothing is not up to date"


def test_progress_ends_at_number_of_stale_samples(predicted, center):
    calls = []
    fuse(predicted.limit(4), center)
    fuse(predicted, center, progress=lambda *at: calls.append(at))
    assert calls == [(66, 66)]
