"""Lookup of missing samples by index."""

import fiftyone as fo
import pytest

from cascade import taxonomy
from curation.storage import collection, schema

TAXONOMY = taxonomy.load("roadwork")


@pytest.fixture
def samples(dataset):
    dataset.add_samples([fo.Sample(filepath=f"/{i:03d}.jpg") for i in range(200)])
    schema.declare(dataset, TAXONOMY, ["a"])
    collection.index_fingerprints(dataset, ["a"])
    return dataset


def write_fields(samples, ids, fingerprint):
    content = {"_cls": "Detections", "detections": [], "fingerprint": fingerprint}
    collection.write_documents(samples, {sample_id: {"a": content} for sample_id in ids})


def test_missing_ids_examines_missing_samples_only(samples):
    ids = samples.values("id")
    write_fields(samples, ids[:150], "f")
    write_fields(samples, ids[150:190], "old weights")
    assert set(collection.missing_ids(samples, "a", "f")) == set(ids[150:])
    pipeline = samples.match({"a.fingerprint": {"$ne": "f"}})._pipeline()
    plan = samples._sample_collection.database.command(
        {"explain": {"aggregate": samples._sample_collection.name, "pipeline": pipeline,
                     "cursor": {}}, "verbosity": "executionStats"}
    )  # fmt: skip
    stats = plan.get("executionStats") or plan["stages"][0]["$cursor"]["executionStats"]
    assert stats["totalDocsExamined"] == 50


def test_index_fingerprints_is_idempotent(samples):
    before = samples.list_indexes()
    collection.index_fingerprints(
        samples, ["a", "a", "ground_truth"]
    )  # ground truth has no fingerprint
    assert samples.list_indexes() == before
    assert "a.fingerprint" in before


def test_missing_ids_works_without_index(samples, monkeypatch):
    monkeypatch.setattr(collection, "_MAX_INDEXES", 0)
    collection.index_fingerprints(samples, [schema.CONSENSUS])
    assert "consensus.fingerprint" not in samples.list_indexes()
    assert len(collection.missing_ids(samples, schema.CONSENSUS, "f")) == 200
