"""Columns from bytes against columns from documents, for all kinds of stored values."""

from dataclasses import fields
from datetime import datetime

import fiftyone as fo
import numpy as np
import pytest
from bson import Code, MinKey, ObjectId
from bson.decimal128 import Decimal128
from bson.regex import Regex

from cascade.runtime.workload import Workload
from curation.storage import box_columns, collection
from curation.storage.bson import decoder

MEMBERS = ["a", "b", "absent"]
BOX = {
    "_id": ObjectId(),
    "_cls": "Detection",
    "label": "cone",
    "bounding_box": [0.1, 0.2, 0.3, 0.4],
}
ODD = {
    "text": "x", "none": None, "truth": True, "when": datetime(2026, 1, 1), "bytes": b"\x00\x01",
    "pattern": Regex("a.b", "i"), "code": Code("x", {"y": 1}), "least": MinKey(),
    "decimal": Decimal128("1.5"), "long": 2**40, "inner": {"label": "no", "list": [1, {"x": 2}]},
}  # fmt: skip


def detections(*boxes):
    return {"_cls": "Detections", "detections": list(boxes), "fingerprint": "f"}


ROWS = {
    "not run": None,
    "no detections": detections(),
    "single box": detections({**BOX, "confidence": 0.5}),
    "whole numbers": detections({**BOX, "bounding_box": [0, 0, 1, 1], "confidence": 1}),
    "no confidence": detections(BOX, {**BOX, "confidence": None}),
    "no label": detections({**BOX, "label": None, "confidence": 0.5}),
    "no box": detections({"label": "drum", "confidence": 0.25, "bounding_box": None}),
    "three numbers": detections({**BOX, "bounding_box": [0.1, 0.2, 0.3], "confidence": 0.5}),
    "no boxes at all": {"_cls": "Detections", "detections": None},
    "attributes of all kinds": detections({**ODD, **BOX, "confidence": 0.75, "level": 3}),
    "non-ASCII label": detections({**BOX, "label": "Leitkegel groß 🚧", "confidence": 0.5}),
    "300 boxes": detections(
        *({**BOX, "label": f"l{i}", "confidence": i / 300} for i in range(300))
    ),
}


@pytest.fixture
def raw(dataset):
    """A dataset with a sample for each row in field `a`, and the next row in `b`."""
    dataset.add_samples([fo.Sample(filepath=f"/{i:03d}.jpg") for i in range(len(ROWS))])
    for name in MEMBERS:
        dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    ids, _ = collection.ids_and_paths(dataset)
    rows = list(ROWS.values())
    for i, sample_id in enumerate(ids):
        content = {"a": rows[i], "b": rows[(i + 1) % len(rows)], "other": ODD}
        dataset._sample_collection.update_one({"_id": ObjectId(sample_id)}, {"$set": content})
    return dataset


def expect_equal(columns, other):
    for part in fields(columns):
        a, b = getattr(columns, part.name), getattr(other, part.name)
        if part.name == "label_id":
            a = [columns.labels[i] if i >= 0 else None for i in a]
            b = [other.labels[i] if i >= 0 else None for i in b]
        elif part.name == "labels":
            a, b = sorted(a), sorted(b)
        np.testing.assert_array_equal(a, b, err_msg=part.name)


@pytest.mark.parametrize("capacity", [1024, 2], ids=["", "more labels than capacity"])
@pytest.mark.parametrize("attributes", [["confidence"], ["confidence", "level"], []])
def test_columns_from_bytes_equal_columns_from_documents(raw, attributes, capacity, monkeypatch):
    monkeypatch.setattr(box_columns, "_LABELS", capacity)
    ids, _ = collection.ids_and_paths(raw)
    for subset in (ids, ids[::-1], ids[:1], [*ids[3:5], str(ObjectId())], []):
        expect_equal(
            box_columns.read_from_documents(raw, subset, MEMBERS, attributes),
            box_columns.read_from_bytes(raw, subset, MEMBERS, attributes),
        )


def test_concatenate_equals_single_read(raw, monkeypatch):
    ids, _ = collection.ids_and_paths(raw)
    monkeypatch.setattr(box_columns, "_workload", Workload(enough=0))
    parts = [
        box_columns.read_boxes(raw, ids[i : i + 5], MEMBERS, ["confidence"]) for i in (0, 5, 10)
    ]
    expect_equal(
        box_columns.concatenate(parts), box_columns.read_boxes(raw, ids, MEMBERS, ["confidence"])
    )


def test_truncated_bytes_are_refused():
    data = np.frombuffer(b"\x20\x00\x00\x00\x07_id\x00", np.uint8)
    assert decoder.document_starts(data).tolist() == [decoder.BAD]
