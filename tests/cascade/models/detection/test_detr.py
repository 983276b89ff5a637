"""Every family of detection transformers, from a tiny checkpoint in its real format."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_detr
import torch
from torchvision.ops import box_convert
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    DetrImageProcessor,
    RfDetrImageProcessor,
    RTDetrImageProcessor,
)

from cascade import registry
from cascade.checkpoints import checkpoint, sources
from cascade.errors import CheckpointError
from cascade.imaging import batches
from cascade.imaging.batches import Batch
from cascade.models.detection import detector_head
from cascade.models.detection.detr import MODEL_TYPES, DetrDetector, StretchedView, top_predictions
from cascade.predictions import Detections
from cascade.protocols import Detector, Trainable, predict
from cascade.training.augmentation.augment import NO_EFFECTS
from cascade.training.examples import Example, ViewBatch
from cascade.training.fit import fit

CLASSES = ("traffic cone", "barrier", "worker")
SIZES = ((90, 160), (64, 64), (200, 120), (40, 30))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return the checkpoint of each family, written once."""
    root = tmp_path_factory.mktemp("detr")
    return {name: case.write(root / name) for name, case in tiny_detr.CASES.items()}


@pytest.fixture(scope="module")
def models(folders):
    return {name: registry.create("detr", folder) for name, folder in folders.items()}


@pytest.fixture(params=MODEL_TYPES)
def family(request):
    return request.param


@pytest.fixture
def model(models, family):
    return models[family]


@pytest.fixture
def folder(folders, tmp_path):
    """Return a copy of one checkpoint that tests damage."""
    return Path(shutil.copytree(folders["rt_detr_v2"], tmp_path / "spoiled"))


def batch_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    pixels = tuple(rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=pixels)


def raw_of(model, batch):
    with torch.inference_mode():
        return model.forward(model.prepare(batch))


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


# --- predictions -------------------------------------------------------------------------------


def test_every_family_has_tiny_checkpoint():
    assert sorted(tiny_detr.CASES) == sorted(MODEL_TYPES)


def test_every_image_of_batch_has_predictions(model):
    assert isinstance(model, Detector)
    predictions = predict(model, batch_of(*SIZES))
    assert len(predictions) == len(SIZES)
    for detections in predictions:
        assert detections.classes == CLASSES
        assert len(detections) >= 20  # of 30 queries
        assert detections.scores.std() > 0.01
        assert detections.boxes_xyxy.std(axis=0).min() > 0.01
        assert detections.boxes_xyxy.min() >= 0
        assert detections.boxes_xyxy.max() <= 1
    assert len({label for detections in predictions for label in detections.labels}) > 1


def test_batch_size_does_not_change_predictions(model):
    batch = batch_of(*SIZES)
    together = predict(model, batch)
    for i, batched in enumerate(together):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert (alone.class_ids == batched.class_ids).all()
        assert alone.scores == pytest.approx(batched.scores, abs=1e-4)
        assert alone.boxes_xyxy == pytest.approx(batched.boxes_xyxy, abs=1e-4)
    assert together[0].scores[:20] != pytest.approx(together[1].scores[:20], abs=1e-4)


def test_empty_batch_has_no_predictions(model):
    assert predict(model, batch_of()) == []


def test_loaded_model_is_frozen(model):
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


# --- preprocessing -----------------------------------------------------------------------------


def assert_official(stretched, processor, batch, *, tolerance):
    """Compare pixels in 0..1, before mean and deviation."""
    with torch.inference_mode():
        fast = stretched.pixels(batch)
        official = processor(images=list(batch.images), return_tensors="pt")["pixel_values"]
    deviation = torch.tensor(processor.image_std if processor.do_normalize else [1.0] * 3)
    assert fast.shape == official.shape
    assert fast.dtype == torch.float32
    assert ((fast - official).abs() * deviation.view(1, 3, 1, 1)).max() <= tolerance


PROCESSORS = [
    pytest.param(RTDetrImageProcessor, {}, 1 / 255 + 1e-6, id="RT-DETR and D-FINE"),
    pytest.param(RTDetrImageProcessor, {"do_normalize": True}, 1 / 255 + 1e-6, id="normalized"),
    pytest.param(RTDetrImageProcessor, {"resample": 3}, 1 / 255 + 1e-6, id="bicubic"),
    pytest.param(DetrImageProcessor, {}, 1 / 255 + 1e-6, id="DETR"),
    pytest.param(RfDetrImageProcessor, {}, 1e-6, id="RF-DETR, which does not antialias"),
]


@pytest.mark.parametrize(("kind", "options", "tolerance"), PROCESSORS)
def test_pixels_match_official_processor(kind, options, tolerance, tmp_path):
    kind(size={"height": 64, "width": 96}, **options).save_pretrained(tmp_path)
    official = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(official) is kind
    fast = StretchedView.from_folder(tmp_path)
    assert_official(fast, official, batch_of(*SIZES, (64, 96)), tolerance=tolerance)


@pytest.mark.skipif("CURATION_SHARED" not in os.environ, reason="CURATION_SHARED is not set")
@pytest.mark.parametrize(("kind", "options", "tolerance"), PROCESSORS)
def test_pixels_of_photographs_match_official_processor(kind, options, tolerance, tmp_path):
    clips = Path(os.environ["CURATION_SHARED"]) / "data" / "roadwork_clips"
    photographs = tuple(batches.read(path) for path in sorted(clips.rglob("*.jpg"))[::60][:4])
    assert len(photographs) == 4
    kind(size={"height": 320, "width": 320}, **options).save_pretrained(tmp_path)
    batch = Batch(ids=tuple("abcd"), images=photographs)
    official = AutoImageProcessor.from_pretrained(tmp_path)
    assert_official(StretchedView.from_folder(tmp_path), official, batch, tolerance=tolerance)


def test_prepare_uses_processor_of_checkpoint(folders, model, family):
    tensors = model.prepare(batch_of(*SIZES))
    official = AutoImageProcessor.from_pretrained(folders[family])
    expected = official(images=list(batch_of(*SIZES).images), return_tensors="pt")["pixel_values"]
    assert list(tensors) == ["pixel_values"]
    assert (tensors["pixel_values"] - expected).abs().max() <= 1 / 255 / 0.224 + 1e-6


def test_members_with_equal_size_share_view(models):
    batch = batch_of(*SIZES)
    for name in ("rt_detr", "rt_detr_v2", "d_fine", "deimv2"):
        models[name].prepare(batch)
    assert [key for key in batch._cache if key != "pixels"] == [("view", 64, 64, "bilinear")]


# --- decoding ----------------------------------------------------------------------------------


def official_detections(folder, raw):
    """Return the official post-processing of raw outputs."""
    processor = AutoImageProcessor.from_pretrained(folder)
    predictions = processor.post_process_object_detection(
        SimpleNamespace(logits=raw["logits"], pred_boxes=raw["boxes"]),
        threshold=detector_head.MIN_SCORE,
        target_sizes=[(1, 1)] * len(raw["logits"]),
    )
    return [
        detector_head.to_detections(
            detections["boxes"], detections["scores"], detections["labels"], CLASSES, nms_iou=None
        )
        for detections in predictions
    ]


def assert_same(predictions, expected):
    for detections, other in zip(predictions, expected, strict=True):
        assert len(detections) == len(other) > 0
        assert (detections.class_ids == other.class_ids).all()
        assert (detections.scores == other.scores).all()
        assert (detections.boxes_xyxy == other.boxes_xyxy).all()


def test_decoding_matches_official_processor(folders, model, family):
    batch = batch_of(*SIZES)
    raw = raw_of(model, batch)
    assert_same(model.decode(raw, batch), official_detections(folders[family], raw))


@pytest.mark.parametrize("family", ["d_fine", "rf_detr"], indirect=True)
def test_decoding_of_more_boxes_than_maximum_matches_official_processor(folders, model, family):
    dice = torch.Generator().manual_seed(0)
    raw = {
        "logits": 3 * torch.randn(4, 300, 3, generator=dice) - 2,
        "boxes": torch.rand(4, 300, 4, generator=dice),
    }
    predictions = model.decode(raw, batch_of(*SIZES))
    assert [len(detections) for detections in predictions] == [detector_head.MAX_BOXES] * 4
    assert_same(predictions, official_detections(folders[family], raw))


def test_top_predictions_by_hand():
    logits = torch.tensor([[[0.0, 2.0], [-1.0, -2.0], [-3.0, 1.0]]])
    scores, class_ids, queries = top_predictions(logits)
    assert scores[0].tolist() == pytest.approx([0.8808, 0.7311, 0.5], abs=1e-4)
    assert class_ids[0].tolist() == [1, 1, 0]
    assert queries[0].tolist() == [0, 2, 0]


# --- training ----------------------------------------------------------------------------------


def truth(n, classes, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (n, 2))
    boxes = np.hstack([low, low + rng.uniform(0.1, 0.4, (n, 2))]).astype(np.float32)
    return Detections(boxes, np.ones(n, np.float32), rng.integers(0, len(classes), n), classes)


def squares(n, classes):
    """Gray images with one bright square each, of a class by its color."""
    rng, made = np.random.default_rng(0), []
    for i in range(n):
        image = np.full((64, 64, 3), 90, np.uint8)
        x, y = rng.integers(4, 36, 2)
        image[y : y + 24, x : x + 24] = 0
        image[y : y + 24, x : x + 24, i % len(classes)] = 250
        box = np.array([[x, y, x + 24, y + 24]], np.float32) / 64
        ids = np.array([i % len(classes)])
        made.append(Example(image, Detections(box, np.ones(1, np.float32), ids, classes)))
    return made


def test_copy_with_equal_classes_is_equal_and_trainable(model):
    other, batch = model.with_classes(CLASSES), batch_of(*SIZES)
    assert isinstance(other, Trainable)
    before, after = raw_of(model, batch), raw_of(other, batch)
    assert torch.equal(before["logits"], after["logits"])
    assert torch.equal(before["boxes"], after["boxes"])
    assert any(parameter.requires_grad for parameter in other.module.parameters())
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_reordered_classes_keep_predictions(model):
    other, batch = model.with_classes(("WORKER", "traffic cone", "barrier")), batch_of((64, 64))
    before, after = raw_of(model, batch), raw_of(other, batch)
    assert other.classes == ("WORKER", "traffic cone", "barrier")
    assert torch.allclose(after["logits"], before["logits"][..., [2, 0, 1]], atol=1e-5)


def test_known_classes_are_transferred_and_new_ones_are_initialized(model, tmp_path):
    words = {"traffic cone": "cone"}
    batch = batch_of((64, 64))
    for name in "ab":
        other = model.with_classes(("horse", "cone"), meaning=words.get)
        raw = raw_of(other, batch)
        assert raw["logits"].shape[-1] == 2
        other.save(tmp_path / name)
    a, b = (sources.fingerprint(tmp_path / name) for name in "ab")
    assert a == b
    assert model.classes == CLASSES
    weights = [name for name in checkpoint.state(other.module) if "class_embed" in name]
    assert weights


@pytest.mark.parametrize("counts", [(3, 1), (0, 2), (0, 0)])
def test_loss_is_finite_and_has_gradients(model, counts):
    other = model.with_classes(("cone", "drum"))
    other.module.train()
    targets = [truth(n, other.classes, seed=n) for n in counts]
    loss = other.loss(other.prepare(batch_of((64, 64), (50, 90))), targets)
    loss.backward()
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    touched = [n for n, parameter in other.module.named_parameters() if parameter.grad is not None]
    assert any("backbone" in name or "conv_encoder" in name for name in touched)
    assert any("class_embed" in name for name in touched)


def test_loss_matches_transformers(folders, model, family):
    plain = AutoModelForObjectDetection.from_pretrained(folders[family])
    other, targets = model.with_classes(CLASSES), [truth(2, CLASSES), truth(1, CLASSES)]
    tensors = other.prepare(batch_of((64, 64), (64, 64)))
    labels = [
        {
            "class_labels": torch.from_numpy(target.class_ids),
            "boxes": box_convert(torch.from_numpy(target.boxes_xyxy), "xyxy", "cxcywh"),
        }
        for target in targets
    ]
    expected = plain.eval()(pixel_values=tensors["pixel_values"], labels=labels).loss
    assert other.loss(tensors, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_loss_is_float32_under_autocast(model):
    other = model.with_classes(CLASSES)
    tensors, targets = other.prepare(batch_of((64, 64))), [truth(2, CLASSES)]
    exact = other.loss(tensors, targets).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = other.loss(tensors, targets)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact, rel=0.1)


def test_saved_checkpoint_restores_model(model, tmp_path):
    other, batch = model.with_classes(("cone", "traffic cone")), batch_of(*SIZES)
    other.save(tmp_path / "saved")
    again = registry.create("detr", tmp_path / "saved")
    assert again.classes == ("cone", "traffic cone")
    assert torch.equal(raw_of(other, batch)["logits"], raw_of(again, batch)["logits"])
    assert torch.equal(raw_of(other, batch)["boxes"], raw_of(again, batch)["boxes"])
    again.save(tmp_path / "again")
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert sources.fingerprint(tmp_path / "saved") == sources.fingerprint(tmp_path / "again")


def test_trained_classes_override_parameter(folder, tmp_path):
    change(folder / "config.json", id2label={i: f"LABEL_{i}" for i in range(3)})
    names = ("cone", "drum", "sign")
    DetrDetector(folder, classes=names).with_classes(("drum",)).save(tmp_path / "a")
    assert DetrDetector(tmp_path / "a", classes=names).classes == ("drum",)


def test_training_reduces_loss(model, tmp_path):
    classes = ("red", "green")
    images = squares(4, classes)
    result = fit(model.with_classes(classes), images, images, out=tmp_path / "a", epochs=6,
                 batch_size=4, learning_rate=2e-3, effects=NO_EFFECTS)  # fmt: skip
    assert result.train_loss[-1] < result.train_loss[0]
    assert len(result.val_map50) == 6
    assert registry.create("detr", tmp_path / "a").classes == classes


@pytest.mark.parametrize("family", ["rt_detr_v2", "rf_detr"], indirect=True)
def test_training_view_matches_prediction_view(model):
    batch = batch_of((90, 160), (64, 64))
    views, _ = model.training_view(batch)
    seen = model.prepare(ViewBatch.of(views, framed=True))["pixel_values"]
    assert (seen - model.prepare(batch)["pixel_values"]).abs().max() <= 0.5 / 255 / 0.224 + 1e-6


# --- refusals ----------------------------------------------------------------------------------


def test_half_precision_checkpoint_is_read_as_float32(folder):
    module = AutoModelForObjectDetection.from_pretrained(folder)
    module.to(torch.bfloat16).save_pretrained(folder)
    parameters = DetrDetector(folder).module.parameters()
    assert {parameter.dtype for parameter in parameters} == {torch.float32}


def test_classes_parameter_names_unnamed_outputs(folder):
    change(folder / "config.json", id2label={i: f"LABEL_{i}" for i in range(3)})
    names = ("cone", "drum", "sign")
    (detections,) = predict(DetrDetector(folder, classes=names), batch_of((64, 64)))
    assert detections.classes == names
    with pytest.raises(CheckpointError, match=r"does not name its 3 classes.* got 0"):
        DetrDetector(folder)
    with pytest.raises(CheckpointError, match=r"does not name its 3 classes.* got 2"):
        DetrDetector(folder, classes=("cone", "drum"))


def test_classes_parameter_is_refused_for_named_outputs(folder):
    with pytest.raises(CheckpointError, match="leave out `classes`"):
        DetrDetector(folder, classes=("cone", "drum", "sign"))


def test_missing_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="'detr' needs a checkpoint"):
        DetrDetector()


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_missing_file_is_named_in_error(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        DetrDetector(folder)


def test_other_family_is_refused(folder):
    change(folder / "config.json", model_type="yolos")
    with pytest.raises(CheckpointError, match=r"of the type 'yolos'; .* one of d_fine, deimv2"):
        DetrDetector(folder)


def test_damaged_configuration_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        DetrDetector(folder)


def test_damaged_processor_is_refused(folder):
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="image processor"):
        DetrDetector(folder)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"size": {"shortest_edge": 64, "longest_edge": 96}}, id="proportions"),
        pytest.param({"size": {"shortest_edge": 64}}, id="the shortest edge"),
        pytest.param({"do_resize": False}, id="no size"),
        pytest.param({"resample": 0}, id="nearest"),
    ],
)
def test_unsupported_processor_is_refused(folder, values):
    change(folder / "preprocessor_config.json", **values)
    with pytest.raises(CheckpointError, match="the image processor must"):
        DetrDetector(folder)


def test_damaged_weights_are_refused(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"Cannot load the weights in .*spoiled"):
        DetrDetector(folder)


def test_weights_of_other_shape_are_refused(folder):
    change(folder / "config.json", decoder_ffn_dim=32)
    with pytest.raises(CheckpointError, match=r"Cannot load the weights in .*spoiled"):
        DetrDetector(folder)


def test_incomplete_weights_are_refused(folder):
    change(folder / "config.json", decoder_layers=3)
    with pytest.raises(CheckpointError, match=r"\d+ tensors are missing"):
        DetrDetector(folder)
