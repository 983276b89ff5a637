"""Contract of our trainable detectors, and tests of single ones."""

import json
import os
import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from cascade import registry
from cascade.checkpoints import checkpoint, sources
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.predictions import Detections
from cascade.protocols import Trainable, predict

CLASSES = ("cone", "drum", "sign")
SIZE = 64
FROM_NOTHING = ("center_point", "rt_detr", "yolo")  # the others start from a checkpoint
NO_ULTRALYTICS = find_spec("ultralytics") is None


@pytest.fixture(
    params=[
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                bool(registry.get(name).missing), reason=f"{name} needs a package that is absent"
            ),
        )
        for name in FROM_NOTHING
    ]
)
def adapter(request):
    return request.param


def fresh(adapter, classes=CLASSES, **params):
    return registry.create(adapter, classes=classes, size=SIZE, **params)


def batch_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    images = tuple(rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=images)


def truth(n, classes=CLASSES, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (n, 2))
    boxes = np.hstack([low, low + rng.uniform(0.1, 0.4, (n, 2))]).astype(np.float32)
    return Detections(
        boxes, np.ones(n, np.float32), rng.integers(0, len(classes), n), tuple(classes)
    )


def leaves(raw):
    """Return the tensors of a raw output that have one row per image, by name."""
    if isinstance(raw, torch.Tensor):
        return {"": raw}
    if isinstance(raw, dict):
        return {k: v for k, v in raw.items() if isinstance(v, torch.Tensor)}
    assert is_dataclass(raw)
    outputs = {field.name: getattr(raw, field.name) for field in fields(raw)}
    return {k: v for k, v in outputs.items() if isinstance(v, torch.Tensor) and v.ndim > 1}


def raw_of(model, batch):
    with torch.inference_mode():
        return leaves(model.forward(model.prepare(batch)))


# Scores of every class in every place, shape (B, C, places), of a raw output.
SCORES = {
    "center_point": lambda raw: raw["heat"].flatten(2),
    "rt_detr": lambda raw: raw["logits"].transpose(1, 2),
    "yolo": lambda raw: raw[""][:, 4:],
}


# --- all detectors ----------------------------------------------------------------------------


def test_every_trainable_detector_is_tested():
    others = set(registry.names("detection", trainable=True)) - set(FROM_NOTHING)
    assert others <= {"detr", "tuned_trunk", "ultralytics"}


def test_detector_is_trainable(adapter):
    model = fresh(adapter)
    assert isinstance(model, Trainable)
    assert model.classes == CLASSES
    assert model.view_size == (SIZE, SIZE)


def test_every_image_of_batch_has_predictions(adapter):
    predictions = predict(fresh(adapter), batch_of((40, 90), (64, 64), (120, 50)))
    assert len(predictions) == 3
    for detections in predictions:
        assert detections.classes == CLASSES
        assert len(detections) <= 100
        assert (np.diff(detections.scores) <= 0).all()
        assert (detections.scores >= 0.01).all()
        assert (detections.boxes_xyxy >= 0).all()
        assert (detections.boxes_xyxy <= 1).all()


def test_batch_size_does_not_change_predictions(adapter):
    model, sizes = fresh(adapter), [(40, 90), (64, 64), (120, 50)]
    batch = batch_of(*sizes)
    together = raw_of(model, batch)
    for i, image in enumerate(batch.images):
        alone = raw_of(model, Batch(ids=("",), images=(image,)))
        for name, tensor in alone.items():
            assert torch.allclose(tensor[0], together[name][i], atol=1e-3), name


def test_equal_seed_gives_equal_model(adapter, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fresh(adapter, seed=seed).save(tmp_path / name)
    a, b, c = (sources.fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c


def test_saved_checkpoint_restores_model(adapter, tmp_path):
    model, batch = fresh(adapter, seed=3), batch_of((64, 64), (50, 70))
    model.loss(model.prepare(batch), [truth(2), truth(1)])  # updates running statistics
    model.save(tmp_path / "saved")
    again = registry.create(adapter, tmp_path / "saved")
    assert again.classes == CLASSES
    for name, tensor in raw_of(model, batch).items():
        assert torch.equal(tensor, raw_of(again, batch)[name]), name
    again.save(tmp_path / "again")
    assert sources.fingerprint(tmp_path / "saved") == sources.fingerprint(tmp_path / "again")


def test_checkpoint_is_below_two_megabytes(adapter, tmp_path):
    registry.create(adapter, classes=[str(i) for i in range(12)]).save(tmp_path / "a")
    assert sum(path.stat().st_size for path in (tmp_path / "a").iterdir()) <= 2_000_000


@pytest.mark.parametrize(
    "counts", [pytest.param((3, 1), id="boxes"), pytest.param((0, 2), id="one image without"),
               pytest.param((0, 0), id="no boxes at all")],
)  # fmt: skip
def test_loss_is_finite_and_has_gradients(adapter, counts):
    model, batch = fresh(adapter), batch_of((64, 64), (64, 64))
    predict(model, batch)  # inference must not leave state that blocks training
    model.module.train()
    loss = model.loss(model.prepare(batch_of((64, 64), (64, 64))), [truth(n) for n in counts])
    loss.backward()
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    gradients = [parameter.grad for parameter in model.module.parameters()]
    assert any(gradient is not None and gradient.any() for gradient in gradients)


def test_reordered_classes_keep_predictions(adapter):
    model, batch = fresh(adapter), batch_of((64, 64))
    other = model.with_classes(("SIGN", "cone", "drum"))
    assert other.classes == ("SIGN", "cone", "drum")
    before, after = (SCORES[adapter](raw_of(detector, batch)) for detector in (model, other))
    assert torch.allclose(after, before[:, [2, 0, 1]], atol=1e-5)


def test_classes_with_equal_meaning_are_transferred(adapter):
    words = {"traffic cone": "cone", "barrel": "drum", "board": "sign"}
    model, batch = fresh(adapter, classes=tuple(words)), batch_of((64, 64))
    other = model.with_classes(CLASSES, meaning=words.get)
    for name, tensor in raw_of(model, batch).items():
        assert torch.equal(tensor, raw_of(other, batch)[name]), name


def test_new_classes_are_initialized_reproducibly(adapter, tmp_path):
    model = fresh(adapter, seed=5)
    for name in "ab":
        model.with_classes(("cone", "horse", "dog", "cat")).save(tmp_path / name)
    assert sources.fingerprint(tmp_path / "a") == sources.fingerprint(tmp_path / "b")
    assert model.classes == CLASSES


def test_classes_or_checkpoint_are_required(adapter, tmp_path):
    with pytest.raises(CheckpointError, match="needs a checkpoint, or the parameter `classes`"):
        registry.create(adapter)
    with pytest.raises(CheckpointError, match="find a checkpoint at"):
        registry.create(adapter, tmp_path / "absent")


def test_checkpoint_of_other_adapter_is_refused(adapter, tmp_path):
    checkpoint.save(tmp_path / "a", {"adapter": "foreign"}, {})
    with pytest.raises(CheckpointError, match=f"of the adapter 'foreign', expected '{adapter}'"):
        registry.create(adapter, tmp_path / "a")


# --- single detectors -------------------------------------------------------------------------


def test_center_point_decodes_its_target():
    """Ideal maps of one box decode to that box."""
    model = registry.create("center_point", classes=CLASSES, size=SIZE)
    heat = torch.full((1, 3, 8, 8), -9.0)
    reach = torch.full((1, 4, 8, 8), 0.5)
    heat[0, 1, 2, 5] = 4.0  # the cell whose center is at x = 5.5 / 8, y = 2.5 / 8
    reach[0, :, 2, 5] = torch.tensor([1.5, 0.5, 0.5, 1.5])
    predictions = model.decode({"heat": heat, "reach": reach}, None)[0]
    assert predictions.labels == ["drum"]
    assert predictions.boxes_xyxy[0] == pytest.approx([4 / 8, 2 / 8, 6 / 8, 4 / 8])
    assert predictions.scores[0] == pytest.approx(0.982, abs=1e-3)


class Ideal(nn.Module):
    """Network with a constant output."""

    def __init__(self, **answer):
        super().__init__()
        self.answer = answer

    def forward(self, _):
        return self.answer


def test_center_point_loss_of_ideal_maps_is_small():
    """The loss of ideal maps is far below that of the same maps one class off."""
    model = registry.create("center_point", classes=CLASSES, size=SIZE)
    box = np.array([[4 / 8, 2 / 8, 6 / 8, 4 / 8]], np.float32)  # around the corner of 4 cells
    losses = []
    for class_id in (1, 2):
        target = Detections(box, np.ones(1, np.float32), np.array([class_id]), CLASSES)
        heat = torch.full((1, 3, 8, 8), -9.0)
        heat[0, 1, 3, 5] = 9.0
        reach = torch.ones(1, 4, 8, 8)
        model.module = Ideal(heat=heat, reach=reach)
        losses.append(float(model.loss({"features": []}, [target])))
    assert losses[0] < 2 < losses[1]


@pytest.mark.skipif(NO_ULTRALYTICS, reason="ultralytics is not installed")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"activation": "__import__('os')"}, "must have the keys", id="evaluated"),
        pytest.param({"head": [[-1, 1, "torch_load", []]]}, "is not a layer of", id="looked up"),
    ],
)
def test_yolo_checkpoint_cannot_run_code(tmp_path, change, message):
    fresh("yolo").save(tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    config["architecture"] |= change
    (tmp_path / "a" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        registry.create("yolo", tmp_path / "a")


_UNDISTURBED = """
import os, warnings, cv2, torch
from PIL import Image
from cascade.models.ultralytics.yolo import Yolo
def state():
    return dict(os.environ), cv2.getNumThreads(), torch.save, Image.open, list(warnings.filters)
before = state()
Yolo(classes=["cone"], size=64)
assert before == state()
"""


@pytest.mark.skipif(NO_ULTRALYTICS, reason="ultralytics is not installed")
def test_ultralytics_import_has_no_side_effects(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO", "XDG", "OMP"))}
    done = subprocess.run(
        [sys.executable, "-c", _UNDISTURBED],
        env=environment | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    assert list(tmp_path.iterdir()) == []
