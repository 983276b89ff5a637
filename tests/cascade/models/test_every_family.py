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
CASES = {name: case for maker in MAKERS for name, case in getattr(maker, "CASES", {}).items()}
SERVED = {name: file for maker in MAKERS for name, file in getattr(maker, "SERVED", {}).items()}
UNCHECKED = {name: why for maker in MAKERS for name, why in getattr(maker, "UNCHECKED", {}).items()}
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
    """Return the model's predictions of these images; a tracker treats them as a clip."""
    batch = batch_of(rows)
    return (
        model.track(batch.detections, batch) if hasattr(model, "track") else predict(model, batch)
    )


@pytest.mark.parametrize("name", CASES)
def test_one_image_several_and_none(built, name):
    model = built(name)
    (first,) = answers(model, [0])
    many = answers(model, [0, 1, 2])
    assert len(many) == 3
    assert {type(answer) for answer in many} == {type(first)}
    assert answers(model, []) == []
    for answer in (first, *many):
        if isinstance(answer, Detections | Tracks):
            detections = answer.detections if isinstance(answer, Tracks) else answer
            boxes = detections.boxes_xyxy
            assert ((boxes >= 0) & (boxes <= 1)).all()


@pytest.mark.parametrize("name", CASES)
def test_batch_size_does_not_change_predictions(built, name):
    model = built(name)
    if hasattr(model, "track"):
        pytest.skip("a tracker needs frames in order")
    many = answers(model, [0, 1, 2])
    single = [answers(model, [i])[0] for i in range(3)]
    assert any(
        compare(answer, other, CASES[name].tolerance)
        for answer, other in zip(many, single, strict=True)
    ), "nothing was compared"


def compare(answer, other, tolerance):
    """Compare two predictions, and return the number of compared values."""
    if isinstance(answer, Embedding):
        np.testing.assert_allclose(answer.vector, other.vector, atol=tolerance)
        return len(answer.vector)
    if isinstance(answer, DepthMap):
        np.testing.assert_allclose(answer.depth, other.depth, rtol=max(tolerance, 1e-6))
        return answer.depth.size
    if isinstance(answer, Masks):
        assert answer.masks.shape == other.masks.shape
        np.testing.assert_allclose(answer.scores, other.scores, atol=tolerance)
        assert (answer.masks != other.masks).mean() < 0.01 if len(answer) else True
        return len(answer)
    np.testing.assert_allclose(answer.scores, other.scores, atol=tolerance)
    np.testing.assert_allclose(answer.boxes_xyxy, other.boxes_xyxy, atol=tolerance)
    assert answer.labels == other.labels
    return len(answer)


PACKAGED = [manifests.load(name) for name in manifests.packaged_names()]
HALVES = {
    (name, manifest.member(member).precision)
    for name, case in CASES.items()
    for member in case.members
    for manifest in PACKAGED
    if member in {member.name for member in manifest.members}
} - {(name, "fp32") for name in CASES}


@pytest.mark.parametrize(("name", "precision"), sorted(HALVES))
def test_members_run_in_half_precision(built, name, precision):
    """Near float32 where random weights are smooth enough; in range everywhere."""
    model = built(name)
    full = answers(model, [0, 1, 2])
    with torch.autocast("cpu", dtype=PRECISIONS[precision]):
        with torch.inference_mode():
            raw = model.forward(model.prepare(batch_of([0, 1, 2])))
        half = model.decode(raw, batch_of([0, 1, 2]))
    assert in_range(raw)
    for answer, other in zip(half, full, strict=True):
        if isinstance(answer, Embedding):
            assert answer.vector @ other.vector > 0.995
        elif isinstance(answer, Detections) and len(other):
            assert abs(answer.scores.max() - other.scores.max()) < 0.05


def test_every_adapter_is_tested():
    covered = {case.adapter for case in CASES.values()} | OURS | SERVED.keys() | UNCHECKED.keys()
    assert set(registry.names()) <= covered


@pytest.mark.parametrize("name", manifests.packaged_names())
def test_every_manifest_member_has_case_of_family(name):
    stands_for = {member: case.adapter for case in CASES.values() for member in case.members}
    for member in manifests.load(name).members:
        if member.adapter in OURS | SERVED.keys() | UNCHECKED.keys():
            continue
        assert stands_for.get(member.name) == member.adapter, member.name


def test_tests_of_other_files_exist():
    for file in SERVED.values():
        assert (Path(__file__).parents[3] / file).is_file()


def test_predictions_have_no_gradients(built):
    for name in CASES:
        if registry.get(CASES[name].adapter).missing or hasattr(built(name), "track"):
            continue
        parameters = list(built(name).module.parameters())
        assert not any(parameter.requires_grad for parameter in parameters), name
        assert all(torch.isfinite(parameter).all() for parameter in parameters), name
