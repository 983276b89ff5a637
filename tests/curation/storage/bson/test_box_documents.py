"""The bytes that compiled code writes are those of the plain documents."""

import bson
import numpy as np
import pytest

from cascade.runtime.workload import Workload
from curation.storage.bson import box_documents
from curation.storage.bson.box_documents import Boxes, Lists, Numbers, Words


def some(v, n, seed=0):
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
    ids=["nothing", "no boxes", "one", "several fields", "more than a thousand in one"],
)
def test_bytes_are_those_of_the_documents(v, n):
    boxes = some(v, n)
    plain, quick = box_documents.as_documents(boxes, "f"), box_documents.as_bytes(boxes, "f")
    assert len(plain) == len(quick) == n
    for document, made in zip(plain, quick, strict=True):
        for box, other in zip(document["detections"], made["detections"], strict=True):
            box["_id"] = other["_id"]  # new in either
        assert bson.encode(document) == made.raw


def test_every_box_has_an_id_of_its_own():
    made = [*box_documents.as_bytes(some(500, 3), "f"), *box_documents.as_bytes(some(500, 3), "f")]
    ids = [box["_id"] for one in made for box in one["detections"]]
    assert len(set(ids)) == len(ids) == 1000


def test_bytes_take_over_when_there_is_much(monkeypatch):
    monkeypatch.setattr(box_documents, "_workload", Workload(enough=100))
    assert isinstance(box_documents.label_fields(some(10, 2), "f")[0], dict)
    assert not isinstance(box_documents.label_fields(some(200, 2), "f")[0], dict)
