"""The weights that ship: small, documented, and able to see."""

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
    one.name: one for one in manifest.load("tiny").members if (one.source or "").startswith("pack")
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
            one.boxes_xyxy,
            np.ones(len(one.labels), np.float32),
            np.array([CLASSES.index(label) for label in one.labels], np.int64),
            CLASSES,
        )
        for one in frames
    ]
    images = tuple(one.image for one in frames)
    return Batch(ids=tuple(str(i) for i in range(len(images))), images=images), truths


def test_it_is_small(member):
    folder = sources.resolve(member.source)
    assert sum(one.stat().st_size for one in folder.iterdir()) <= 2_000_000


def test_it_is_the_one_that_is_documented(member):
    documented = json.loads(PROVENANCE.read_text())["members"][member.name]
    folder = sources.resolve(member.source)
    assert sources.fingerprint(folder) == documented["fingerprint"]
    assert documented["fingerprint"] in PROVENANCE.with_name("PROVENANCE.md").read_text()


def test_it_names_what_the_taxonomy_names(member):
    config, _ = checkpoint.load(sources.resolve(member.source))
    assert tuple(config["classes"]) == taxonomy.load("roadwork_core").names == CLASSES


def test_it_holds_finite_numbers(member):
    _, tensors = checkpoint.load(sources.resolve(member.source))
    assert all(torch.isfinite(one.float()).all() for one in tensors.values())


def test_it_sees_rendered_road_work(member, road):
    if registry.get(member.adapter).missing:
        pytest.skip(f"{member.adapter} needs a package that is absent")
    batch, truths = road
    model = registry.create(member.adapter, sources.resolve(member.source), **member.params)
    measured = average_precision(predict(model, batch), truths, CLASSES)
    assert 0.2 < measured.map50 < 0.99
