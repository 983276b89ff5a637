"""Packaged weights: small, documented, and functional."""

import json
from itertools import islice

import numpy as np
import pytest
import torch

from cascade import manifest, registry, taxonomy
from cascade.checkpoints import checkpoint, sources
from cascade.imaging.batches import Batch
from cascade.metrics.average_precision import average_precision
from cascade.predictions import Detections
from cascade.protocols import predict
from curation.demo import CLASSES, PRETRAIN, scenes

SHIPPED = {
    member.name: member
    for member in manifest.load("tiny").members
    if (member.source or "").startswith("pack")
}
PROVENANCE = sources.resolve("package:tiny_center").parent / "provenance.json"


@pytest.fixture(params=sorted(SHIPPED))
def member(request):
    return SHIPPED[request.param]


@pytest.fixture(scope="module")
def road():
    """A few rendered frames of different drives, with their boxes."""
    frames = list(islice(scenes(8, seed=77, domain=PRETRAIN), 0, None, 3))
    truths = [
        Detections(
            frame.boxes_xyxy,
            np.ones(len(frame.labels), np.float32),
            np.array([CLASSES.index(label) for label in frame.labels], np.int64),
            CLASSES,
        )
        for frame in frames
    ]
    images = tuple(frame.image for frame in frames)
    return Batch(ids=tuple(str(i) for i in range(len(images))), images=images), truths


def test_weights_are_small(member):
    folder = sources.resolve(member.source)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2_000_000


def test_weights_match_documentation(member):
    documented = json.loads(PROVENANCE.read_text())["members"][member.name]
    folder = sources.resolve(member.source)
    assert sources.fingerprint(folder) == documented["fingerprint"]
    assert documented["fingerprint"] in PROVENANCE.with_name("PROVENANCE.md").read_text()


def test_classes_match_taxonomy(member):
    config, _ = checkpoint.load(sources.resolve(member.source))
    assert tuple(config["classes"]) == taxonomy.load("roadwork_core").names == CLASSES


def test_weights_are_finite(member):
    _, tensors = checkpoint.load(sources.resolve(member.source))
    assert all(torch.isfinite(tensor.float()).all() for tensor in tensors.values())


def test_rendered_road_work_is_detected(member, road):
    if registry.get(member.adapter).missing:
        pytest.skip(f"{member.adapter} needs a package that is absent")
    batch, truths = road
    model = registry.create(member.adapter, sources.resolve(member.source), **member.params)
    measured = average_precision(predict(model, batch), truths, CLASSES)
    assert 0.2 < measured.map50 < 0.99
