"""Every family that the registry and the manifests name, on a tiny checkpoint, without a network.

The makers of the checkpoints are `tests/tiny/tiny_<family>.py`; one that is missing fails here.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade import manifest as manifests
from cascade import registry, taxonomy
from cascade.engine.overflow import in_range
from cascade.imaging.batches import Batch
from cascade.predictions import DepthMap, Detections, Embedding, Masks, Tracks
from cascade.protocols import PRECISIONS, predict

MAKERS = [
    import_module(path.stem) for path in sorted(Path(__file__).parents[2].glob("tiny/tiny_*.py"))
]
CASES = {name: case for one in MAKERS for name, case in getattr(one, "CASES", {}).items()}
SERVED = {name: where for one in MAKERS for name, where in getattr(one, "SERVED", {}).items()}
UNCHECKED = {name: why for one in MAKERS for name, why in getattr(one, "UNCHECKED", {}).items()}
OURS = {"center_point", "rt_detr", "tuned_trunk", "yolo", "mobilenet"}  # small, or on what ships
ROADWORK = taxonomy.load("roadwork")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the builder of a family's model, once per family."""
    models = {}

    def build(name):
        case = CASES[name]
        adapter = registry.get(case.adapter)
        if adapter.missing:
            pytest.skip(str(adapter.missing_error))
        if name not in models:
            context = {"taxonomy": ROADWORK} if adapter.takes_taxonomy else {}
            path = case.write(tmp_path_factory.mktemp(name))
            models[name] = registry.create(case.adapter, path, **context, **case.params)
        return models[name]

    return build


def picture(height, width, seed):
    """Return an image with structure: bright boxes on a gradient, and noise."""
    rng = np.random.default_rng(seed)
    image = np.linspace(0, 120, width)[None, :, None] + rng.integers(0, 60, (height, width, 3))
    top, left = height // 4, width // 3
    image[top : 3 * top, left : 2 * left] = rng.integers(150, 255, 3)
    return image.astype(np.uint8)


IMAGES = tuple(picture(*size, seed) for seed, size in enumerate([(96, 128), (130, 70), (64, 64)]))
FOUND = tuple(
    Detections(
        boxes_xyxy=np.array([[0.3, 0.2, 0.7, 0.8], [0.1, 0.1, 0.3, 0.5]][: 2 - i % 2], np.float32),
        scores=np.ones(2 - i % 2, np.float32),
        class_ids=np.arange(2 - i % 2),
        classes=ROADWORK.names,
    )
    for i in range(3)
)


def batch_of(rows):
    return Batch(
        ids=tuple(str(i) for i in rows),
        images=tuple(IMAGES[i] for i in rows),
        detections=tuple(FOUND[i] for i in rows),
    )


def answers(model, rows):
    """Return what the model says about these images; a tracker, about them as a clip."""
    batch = batch_of(rows)
    return (
        model.track(batch.detections, batch) if hasattr(model, "track") else predict(model, batch)
    )


@pytest.mark.parametrize("name", CASES)
def test_one_image_many_and_none(built, name):
    model = built(name)
    (one,) = answers(model, [0])
    many = answers(model, [0, 1, 2])
    assert len(many) == 3
    assert {type(said) for said in many} == {type(one)}
    assert answers(model, []) == []
    for said in (one, *many):
        if isinstance(said, Detections | Tracks):
            boxes = said.detections.boxes_xyxy if isinstance(said, Tracks) else said.boxes_xyxy
            assert ((boxes >= 0) & (boxes <= 1)).all()


@pytest.mark.parametrize("name", CASES)
def test_a_batch_says_what_the_single_images_say(built, name):
    model = built(name)
    if hasattr(model, "track"):
        pytest.skip("a tracker needs frames in order")
    many = answers(model, [0, 1, 2])
    single = [answers(model, [i])[0] for i in range(3)]
    assert any(
        compare(one, other, CASES[name].tolerance) for one, other in zip(many, single, strict=True)
    ), "nothing was compared"


def compare(one, other, tolerance):
    """Compare two predictions, and return how much there was to compare."""
    if isinstance(one, Embedding):
        np.testing.assert_allclose(one.vector, other.vector, atol=tolerance)
        return len(one.vector)
    if isinstance(one, DepthMap):
        np.testing.assert_allclose(one.depth, other.depth, rtol=max(tolerance, 1e-6))
        return one.depth.size
    if isinstance(one, Masks):
        assert one.masks.shape == other.masks.shape
        np.testing.assert_allclose(one.scores, other.scores, atol=tolerance)
        assert (one.masks != other.masks).mean() < 0.01 if len(one) else True
        return len(one)
    np.testing.assert_allclose(one.scores, other.scores, atol=tolerance)
    np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=tolerance)
    assert one.labels == other.labels
    return len(one)


PACKAGED = [manifests.load(name) for name in manifests.packaged_names()]
HALVES = {
    (name, manifest.member(member).precision)
    for name, case in CASES.items()
    for member in case.members
    for manifest in PACKAGED
    if member in {one.name for one in manifest.members}
} - {(name, "fp32") for name in CASES}


@pytest.mark.parametrize(("name", "precision"), sorted(HALVES))
def test_it_runs_in_the_half_precision_of_its_members(built, name, precision):
    """Near what float32 says, where random weights are smooth enough; in range everywhere."""
    model = built(name)
    whole = answers(model, [0, 1, 2])
    with torch.autocast("cpu", dtype=PRECISIONS[precision]):
        with torch.inference_mode():
            raw = model.forward(model.prepare(batch_of([0, 1, 2])))
        half = model.decode(raw, batch_of([0, 1, 2]))
    assert in_range(raw)
    for one, other in zip(half, whole, strict=True):
        if isinstance(one, Embedding):
            assert one.vector @ other.vector > 0.995
        elif isinstance(one, Detections) and len(other):
            assert abs(one.scores.max() - other.scores.max()) < 0.05


def test_every_adapter_is_exercised_somewhere():
    covered = {case.adapter for case in CASES.values()} | OURS | SERVED.keys() | UNCHECKED.keys()
    assert set(registry.names()) <= covered


@pytest.mark.parametrize("name", manifests.packaged_names())
def test_every_member_of_a_manifest_has_a_case_of_its_family(name):
    stands_for = {member: case.adapter for case in CASES.values() for member in case.members}
    for member in manifests.load(name).members:
        if member.adapter in OURS | SERVED.keys() | UNCHECKED.keys():
            continue
        assert stands_for.get(member.name) == member.adapter, member.name


def test_what_is_exercised_elsewhere_is_really_there():
    for where in SERVED.values():
        assert (Path(__file__).parents[3] / where).is_file()


def test_nothing_is_built_on_a_graph_of_gradients(built):
    for name in CASES:
        if registry.get(CASES[name].adapter).missing or hasattr(built(name), "track"):
            continue
        parameters = list(built(name).module.parameters())
        assert not any(one.requires_grad for one in parameters), name
        assert all(torch.isfinite(one).all() for one in parameters), name
