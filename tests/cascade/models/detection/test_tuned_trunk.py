"""Tuned trunk: it is trained with a reduced rate and stored in the checkpoint."""

import numpy as np
import pytest
import torch

from cascade import registry
from cascade.checkpoints import checkpoint, sources
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.detection.tuned_trunk import TRUNK_PACE
from cascade.models.embedding import mobilenet
from cascade.predictions import Detections
from cascade.protocols import Trainable, predict
from cascade.training.stepper import Paced, Stepper

CLASSES = ("cone", "drum")
HEADS = ("center_point", "rt_detr")


def batch(n=2, seed=0):
    rng = np.random.default_rng(seed)
    images = tuple(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(n))
    return Batch(ids=tuple(str(i) for i in range(n)), images=images)


def truth():
    return Detections(
        np.array([[0.2, 0.2, 0.6, 0.7]], np.float32), np.ones(1, np.float32), np.array([1]), CLASSES
    )


def same(detections, other):
    return all(
        np.array_equal(a.boxes_xyxy, b.boxes_xyxy) and np.array_equal(a.scores, b.scores)
        for a, b in zip(detections, other, strict=True)
    )


@pytest.fixture(params=HEADS)
def model(request):
    return registry.create("tuned_trunk", head=request.param, classes=CLASSES, size=64)


def test_trunk_and_head_are_trainable(model):
    assert isinstance(model, Trainable)
    before = {name: tensor.clone() for name, tensor in checkpoint.state(model.module).items()}
    stepper = Stepper(model, learning_rate=1e-3, device=torch.device("cpu"))
    model.module.train()
    for _ in range(2):  # RT-DETR's last layers start at zero and block the first gradient
        stepper.step(model.prepare(batch()), [truth(), truth()], share=0.1)
    after = checkpoint.state(model.module)
    moved = {name for name, tensor in after.items() if not tensor.equal(before[name])}
    assert {"trunk.0.0.weight", "trunk.17.body.2.bias"} <= moved
    assert any(name.startswith("head.") for name in moved)


def test_trunk_has_reduced_learning_rate(model):
    assert isinstance(model, Paced)
    names = [name for name, _ in model.module.named_parameters()]
    paces = {name.split(".")[0]: model.pace(name) for name in names}
    assert paces == {"trunk": TRUNK_PACE, "head": 1.0}
    stepper = Stepper(model, learning_rate=1e-3, device=torch.device("cpu"))
    stepper.step(model.prepare(batch()), [truth(), truth()], share=0.1)  # at the cycle's top
    rates = {len(group["params"]): group["lr"] for group in stepper._optimizer.param_groups}
    n_trunk = sum(name.startswith("trunk.") for name in names)
    assert rates[n_trunk] == pytest.approx(TRUNK_PACE * 1e-3)
    assert rates[len(names) - n_trunk] == pytest.approx(1e-3)


def test_saved_checkpoint_restores_model(model, tmp_path):
    with torch.no_grad():
        model.module.trunk[0][0].bias.add_(0.5)
    model.save(tmp_path / "a")
    again = registry.create("tuned_trunk", tmp_path / "a")
    assert again.classes == CLASSES
    assert same(predict(model, batch()), predict(again, batch()))
    again.save(tmp_path / "b")
    assert sources.fingerprint(tmp_path / "a") == sources.fingerprint(tmp_path / "b")


@pytest.mark.parametrize("head", HEADS)
def test_head_checkpoint_keeps_predictions_on_own_trunk(head, tmp_path):
    alone = registry.create(head, classes=CLASSES, size=64, seed=3)
    alone.save(tmp_path / "head")
    tuned = registry.create("tuned_trunk", tmp_path / "head")
    assert same(predict(alone, batch()), predict(tuned, batch()))


def test_training_does_not_change_shared_trunk_or_original(model):
    shared = mobilenet.trunk(torch.device("cpu"))
    before = shared.layers[0][0].weight.clone()
    other = model.with_classes(("drum", "sign"))
    with torch.no_grad():
        other.module.trunk[0][0].weight.add_(1.0)
    assert shared.layers[0][0].weight.equal(before)
    assert model.module.trunk[0][0].weight.equal(before)
    assert (model.classes, other.classes) == (CLASSES, ("drum", "sign"))
    assert not any(parameter.requires_grad for parameter in shared.parameters())


def test_other_checkpoint_is_refused(tmp_path):
    checkpoint.save(tmp_path / "a", {"adapter": "yolo"}, {})
    with pytest.raises(CheckpointError, match="for the adapter 'yolo', expected 'tuned_trunk'"):
        registry.create("tuned_trunk", tmp_path / "a")
    with pytest.raises(CheckpointError, match="find a checkpoint at"):
        registry.create("tuned_trunk", tmp_path / "absent")
    with pytest.raises(CheckpointError, match="needs a checkpoint, or the parameter `classes`"):
        registry.create("tuned_trunk")
