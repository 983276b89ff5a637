"""Compiled encoding of label fields against plain documents."""

import bson
import numpy as np
import pytest

from cascade.runtime.workload import Workload
from curation.storage.bson import box_documents
from curation.storage.bson.box_documents import Boxes, Lists, Numbers, Words


def make_boxes(v, n, seed=0):
    """Return `v` boxes in `n` fields with every kind of attribute, some of them missing."""
    rng = np.random.default_rng(seed)
    gaps = np.where(rng.random(v) < 0.3, np.nan, rng.random(v))
    return Boxes(
        n=n,
        owner=np.sort(rng.integers(0, n, v)) if v else np.zeros(0, np.int64),
        label=Words(rng.integers(0, 3, v), ("cone", "Leitkegel groß", "警示")),
        boxes_xywh=rng.random((v, 4)),
        attributes={
            "confidence": Numbers(rng.random(v)),
            "votes": Numbers(rng.integers(-1, 300, v), "int"),
            "members": Lists(rng.random((v, 3)) < 0.5, ("a", "dfine_x", "yolo26x")),
            "height_m": Numbers(gaps),
            "plausible": Numbers(np.where(np.isnan(gaps), np.nan, gaps > 0.5), "bool"),
            "raw_label": Words(rng.integers(-1, 2, v), ("Traffic Cone", "")),
        },
    )


@pytest.mark.parametrize(
    ("v", "n"),
    [(0, 0), (0, 3), (1, 1), (200, 7), (2500, 2)],
    ids=["no fields", "no boxes", "single box", "several fields", "over a thousand in a field"],
)
def test_bytes_equal_encoded_documents(v, n):
    boxes = make_boxes(v, n)
    documents, encoded = box_documents.to_documents(boxes, "f"), box_documents.to_bytes(boxes, "f")
    assert len(documents) == len(encoded) == n
    for document, field in zip(documents, encoded, strict=True):
        for box, other in zip(document["detections"], field["detections"], strict=True):
            box["_id"] = other["_id"]  # random in both
        assert bson.encode(document) == field.raw


def test_boxes_have_distinct_ids():
    fields = [
        *box_documents.to_bytes(make_boxes(500, 3), "f"),
        *box_documents.to_bytes(make_boxes(500, 3), "f"),
    ]
    ids = [box["_id"] for field in fields for box in field["detections"]]
    assert len(set(ids)) == len(ids) == 1000


def test_large_inputs_are_encoded(monkeypatch):
    monkeypatch.setattr(box_documents, "_workload", Workload(enough=100))
    assert isinstance(box_documents.label_fields(make_boxes(10, 2), "f")[0], dict)
    assert not isinstance(box_documents.label_fields(make_boxes(200, 2), "f")[0], dict)
