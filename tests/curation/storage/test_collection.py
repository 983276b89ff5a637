"""What is missing is found by an index, however much there is."""

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


def done(samples, ids, fingerprint):
    content = {"_cls": "Detections", "detections": [], "fingerprint": fingerprint}
    collection.write_documents(samples, {one: {"a": content} for one in ids})


def test_asking_looks_at_what_is_missing_only(samples):
    ids = samples.values("id")
    done(samples, ids[:150], "f")
    done(samples, ids[150:190], "old weights")
    assert set(collection.missing_ids(samples, "a", "f")) == set(ids[150:])
    pipeline = samples.match({"a.fingerprint": {"$ne": "f"}})._pipeline()
    plan = samples._sample_collection.database.command(
        {"explain": {"aggregate": samples._sample_collection.name, "pipeline": pipeline,
                     "cursor": {}}, "verbosity": "executionStats"}
    )  # fmt: skip
    looked_at = plan.get("executionStats") or plan["stages"][0]["$cursor"]["executionStats"]
    assert looked_at["totalDocsExamined"] == 50


def test_keeping_twice_changes_nothing(samples):
    before = samples.list_indexes()
    collection.index_fingerprints(
        samples, ["a", "a", "ground_truth"]
    )  # ground truth bears no fingerprint
    assert samples.list_indexes() == before
    assert "a.fingerprint" in before


def test_where_indexes_run_out_it_goes_on_without(samples, monkeypatch):
    monkeypatch.setattr(collection, "_MOST_INDEXES", 0)
    collection.index_fingerprints(samples, [schema.CONSENSUS])
    assert "consensus.fingerprint" not in samples.list_indexes()
    assert len(collection.missing_ids(samples, schema.CONSENSUS, "f")) == 200
