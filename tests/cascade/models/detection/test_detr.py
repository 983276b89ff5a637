"""Every family of detection transformers, from a tiny checkpoint of its true format."""

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
    """Return a copy of one checkpoint, to be spoiled."""
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


# --- what it says ------------------------------------------------------------------------------


def test_every_family_has_a_tiny_checkpoint():
    assert sorted(tiny_detr.CASES) == sorted(MODEL_TYPES)


def test_it_answers_for_every_image_of_a_batch(model):
    assert isinstance(model, Detector)
    found = predict(model, batch_of(*SIZES))
    assert len(found) == len(SIZES)
    for one in found:
        assert one.classes == CLASSES
        assert len(one) >= 20  # of 30 queries
        assert one.scores.std() > 0.01
        assert one.boxes_xyxy.std(axis=0).min() > 0.01
        assert one.boxes_xyxy.min() >= 0
        assert one.boxes_xyxy.max() <= 1
    assert len({label for one in found for label in one.labels}) > 1


def test_a_batch_says_what_its_images_say(model):
    batch = batch_of(*SIZES)
    together = predict(model, batch)
    for i, both in enumerate(together):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert (alone.class_ids == both.class_ids).all()
        assert alone.scores == pytest.approx(both.scores, abs=1e-4)
        assert alone.boxes_xyxy == pytest.approx(both.boxes_xyxy, abs=1e-4)
    assert together[0].scores[:20] != pytest.approx(together[1].scores[:20], abs=1e-4)


def test_an_empty_batch_gives_nothing(model):
    assert predict(model, batch_of()) == []


def test_it_is_for_inference_alone(model):
    assert not model.module.training
    assert not any(one.requires_grad for one in model.module.parameters())


# --- what it looks at --------------------------------------------------------------------------


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
    pytest.param(RTDetrImageProcessor, {"do_normalize": True}, 1 / 255 + 1e-6, id="normalised"),
    pytest.param(RTDetrImageProcessor, {"resample": 3}, 1 / 255 + 1e-6, id="bicubic"),
    pytest.param(DetrImageProcessor, {}, 1 / 255 + 1e-6, id="DETR"),
    pytest.param(RfDetrImageProcessor, {}, 1e-6, id="RF-DETR, which does not antialias"),
]


@pytest.mark.parametrize(("kind", "options", "tolerance"), PROCESSORS)
def test_pixels_are_those_of_the_official_processor(kind, options, tolerance, tmp_path):
    kind(size={"height": 64, "width": 96}, **options).save_pretrained(tmp_path)
    official = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(official) is kind
    fast = StretchedView.from_folder(tmp_path)
    assert_official(fast, official, batch_of(*SIZES, (64, 96)), tolerance=tolerance)


@pytest.mark.skipif("CURATION_SHARED" not in os.environ, reason="CURATION_SHARED is not set")
@pytest.mark.parametrize(("kind", "options", "tolerance"), PROCESSORS)
def test_so_they_are_of_real_photographs(kind, options, tolerance, tmp_path):
    clips = Path(os.environ["CURATION_SHARED"]) / "data" / "roadwork_clips"
    photographs = tuple(batches.read(path) for path in sorted(clips.rglob("*.jpg"))[::60][:4])
    assert len(photographs) == 4
    kind(size={"height": 320, "width": 320}, **options).save_pretrained(tmp_path)
    batch = Batch(ids=tuple("abcd"), images=photographs)
    official = AutoImageProcessor.from_pretrained(tmp_path)
    assert_official(StretchedView.from_folder(tmp_path), official, batch, tolerance=tolerance)


def test_forward_gets_the_pixels_of_its_own_processor(folders, model, family):
    tensors = model.prepare(batch_of(*SIZES))
    official = AutoImageProcessor.from_pretrained(folders[family])
    expected = official(images=list(batch_of(*SIZES).images), return_tensors="pt")["pixel_values"]
    assert list(tensors) == ["pixel_values"]
    assert (tensors["pixel_values"] - expected).abs().max() <= 1 / 255 / 0.224 + 1e-6


def test_members_of_one_size_share_the_view(models):
    batch = batch_of(*SIZES)
    for name in ("rt_detr", "rt_detr_v2", "d_fine", "deimv2"):
        models[name].prepare(batch)
    assert [key for key in batch._cache if key != "pixels"] == [("view", 64, 64, "bilinear")]


# --- how it is decoded -------------------------------------------------------------------------


def officially(folder, raw):
    """Return what transformers' own post-processing makes of raw outputs."""
    processor = AutoImageProcessor.from_pretrained(folder)
    found = processor.post_process_object_detection(
        SimpleNamespace(logits=raw["logits"], pred_boxes=raw["boxes"]),
        threshold=detector_head.MIN_SCORE,
        target_sizes=[(1, 1)] * len(raw["logits"]),
    )
    return [
        detector_head.to_detections(
            one["boxes"], one["scores"], one["labels"], CLASSES, nms_iou=None
        )
        for one in found
    ]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other) > 0
        assert (one.class_ids == other.class_ids).all()
        assert (one.scores == other.scores).all()
        assert (one.boxes_xyxy == other.boxes_xyxy).all()


def test_decoding_is_the_official_one(folders, model, family):
    batch = batch_of(*SIZES)
    raw = raw_of(model, batch)
    assert_same(model.decode(raw, batch), officially(folders[family], raw))


@pytest.mark.parametrize("family", ["d_fine", "rf_detr"], indirect=True)
def test_so_it_is_where_there_are_more_boxes_than_are_kept(folders, model, family):
    dice = torch.Generator().manual_seed(0)
    raw = {
        "logits": 3 * torch.randn(4, 300, 3, generator=dice) - 2,
        "boxes": torch.rand(4, 300, 4, generator=dice),
    }
    found = model.decode(raw, batch_of(*SIZES))
    assert [len(one) for one in found] == [detector_head.MAX_BOXES] * 4
    assert_same(found, officially(folders[family], raw))


def test_the_surest_pairs_by_hand():
    logits = torch.tensor([[[0.0, 2.0], [-1.0, -2.0], [-3.0, 1.0]]])
    scores, class_ids, queries = top_predictions(logits)
    assert scores[0].tolist() == pytest.approx([0.8808, 0.7311, 0.5], abs=1e-4)
    assert class_ids[0].tolist() == [1, 1, 0]
    assert queries[0].tolist() == [0, 2, 0]


# --- how it is trained -------------------------------------------------------------------------


def truth(n, classes, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (n, 2))
    boxes = np.hstack([low, low + rng.uniform(0.1, 0.4, (n, 2))]).astype(np.float32)
    return Detections(boxes, np.ones(n, np.float32), rng.integers(0, len(classes), n), classes)


def squares(n, classes):
    """Grey images with one bright square each, of a class by its colour."""
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


def test_with_its_classes_again_it_is_the_same_model_and_can_be_trained(model):
    other, batch = model.with_classes(CLASSES), batch_of(*SIZES)
    assert isinstance(other, Trainable)
    before, after = raw_of(model, batch), raw_of(other, batch)
    assert torch.equal(before["logits"], after["logits"])
    assert torch.equal(before["boxes"], after["boxes"])
    assert any(one.requires_grad for one in other.module.parameters())
    assert not any(one.requires_grad for one in model.module.parameters())


def test_classes_in_another_order_are_the_same_model(model):
    other, batch = model.with_classes(("WORKER", "traffic cone", "barrier")), batch_of((64, 64))
    before, after = raw_of(model, batch), raw_of(other, batch)
    assert other.classes == ("WORKER", "traffic cone", "barrier")
    assert torch.allclose(after["logits"], before["logits"][..., [2, 0, 1]], atol=1e-5)


def test_what_means_the_same_is_carried_over_and_new_classes_start_anew(model, tmp_path):
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
    weights = [one for one in checkpoint.state(other.module) if "class_embed" in one]
    assert weights


@pytest.mark.parametrize("counts", [(3, 1), (0, 2), (0, 0)])
def test_the_loss_is_finite_and_reaches_the_parameters(model, counts):
    other = model.with_classes(("cone", "drum"))
    other.module.train()
    targets = [truth(n, other.classes, seed=n) for n in counts]
    loss = other.loss(other.prepare(batch_of((64, 64), (50, 90))), targets)
    loss.backward()
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    touched = [n for n, one in other.module.named_parameters() if one.grad is not None]
    assert any("backbone" in one or "conv_encoder" in one for one in touched)
    assert any("class_embed" in one for one in touched)


def test_its_loss_is_transformers_own(folders, model, family):
    plain = AutoModelForObjectDetection.from_pretrained(folders[family])
    other, targets = model.with_classes(CLASSES), [truth(2, CLASSES), truth(1, CLASSES)]
    tensors = other.prepare(batch_of((64, 64), (64, 64)))
    labels = [
        {
            "class_labels": torch.from_numpy(one.class_ids),
            "boxes": box_convert(torch.from_numpy(one.boxes_xyxy), "xyxy", "cxcywh"),
        }
        for one in targets
    ]
    expected = plain.eval()(pixel_values=tensors["pixel_values"], labels=labels).loss
    assert other.loss(tensors, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_is_exact_under_autocast(model):
    other = model.with_classes(CLASSES)
    tensors, targets = other.prepare(batch_of((64, 64))), [truth(2, CLASSES)]
    exact = other.loss(tensors, targets).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = other.loss(tensors, targets)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact, rel=0.1)


def test_what_was_saved_is_what_was_there(model, tmp_path):
    other, batch = model.with_classes(("cone", "traffic cone")), batch_of(*SIZES)
    other.save(tmp_path / "saved")
    again = registry.create("detr", tmp_path / "saved")
    assert again.classes == ("cone", "traffic cone")
    assert torch.equal(raw_of(other, batch)["logits"], raw_of(again, batch)["logits"])
    assert torch.equal(raw_of(other, batch)["boxes"], raw_of(again, batch)["boxes"])
    again.save(tmp_path / "again")
    names = sorted(one.name for one in (tmp_path / "saved").iterdir())
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert sources.fingerprint(tmp_path / "saved") == sources.fingerprint(tmp_path / "again")


def test_names_that_the_manifest_gives_give_way_to_those_it_was_trained_on(folder, tmp_path):
    change(folder / "config.json", id2label={i: f"LABEL_{i}" for i in range(3)})
    names = ("cone", "drum", "sign")
    DetrDetector(folder, classes=names).with_classes(("drum",)).save(tmp_path / "a")
    assert DetrDetector(tmp_path / "a", classes=names).classes == ("drum",)


def test_it_gets_better(model, tmp_path):
    classes = ("red", "green")
    images = squares(4, classes)
    result = fit(model.with_classes(classes), images, images, out=tmp_path / "a", epochs=6,
                 batch_size=4, learning_rate=2e-3, effects=NO_EFFECTS)  # fmt: skip
    assert result.train_loss[-1] < result.train_loss[0]
    assert len(result.val_map50) == 6
    assert registry.create("detr", tmp_path / "a").classes == classes


@pytest.mark.parametrize("family", ["rt_detr_v2", "rf_detr"], indirect=True)
def test_training_sees_what_prediction_sees(model):
    batch = batch_of((90, 160), (64, 64))
    views, _ = model.training_view(batch)
    seen = model.prepare(ViewBatch.of(views, framed=True))["pixel_values"]
    assert (seen - model.prepare(batch)["pixel_values"]).abs().max() <= 0.5 / 255 / 0.224 + 1e-6


# --- what is refused ---------------------------------------------------------------------------


def test_a_checkpoint_in_half_precision_is_read_in_full(folder):
    module = AutoModelForObjectDetection.from_pretrained(folder)
    module.to(torch.bfloat16).save_pretrained(folder)
    assert {one.dtype for one in DetrDetector(folder).module.parameters()} == {torch.float32}


def test_names_can_be_given_where_the_checkpoint_has_none(folder):
    change(folder / "config.json", id2label={i: f"LABEL_{i}" for i in range(3)})
    names = ("cone", "drum", "sign")
    (found,) = predict(DetrDetector(folder, classes=names), batch_of((64, 64)))
    assert found.classes == names
    with pytest.raises(CheckpointError, match=r"does not name its 3 classes.* got 0"):
        DetrDetector(folder)
    with pytest.raises(CheckpointError, match=r"does not name its 3 classes.* got 2"):
        DetrDetector(folder, classes=("cone", "drum"))


def test_names_cannot_be_given_where_it_has_some(folder):
    with pytest.raises(CheckpointError, match="leave out `classes`"):
        DetrDetector(folder, classes=("cone", "drum", "sign"))


def test_no_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="'detr' needs a checkpoint"):
        DetrDetector()


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        DetrDetector(folder)


def test_another_family_is_refused(folder):
    change(folder / "config.json", model_type="yolos")
    with pytest.raises(CheckpointError, match=r"of the type 'yolos'; .* one of d_fine, deimv2"):
        DetrDetector(folder)


def test_a_damaged_configuration_is_named(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        DetrDetector(folder)


def test_a_damaged_processor_is_named(folder):
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
def test_a_processor_that_does_something_else_is_refused(folder, values):
    change(folder / "preprocessor_config.json", **values)
    with pytest.raises(CheckpointError, match="the image processor must"):
        DetrDetector(folder)


def test_damaged_weights_are_named(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"Cannot load the weights in .*spoiled"):
        DetrDetector(folder)


def test_weights_of_another_shape_are_refused(folder):
    change(folder / "config.json", decoder_ffn_dim=32)
    with pytest.raises(CheckpointError, match=r"Cannot load the weights in .*spoiled"):
        DetrDetector(folder)


def test_weights_that_are_not_all_there_are_refused(folder):
    change(folder / "config.json", decoder_layers=3)
    with pytest.raises(CheckpointError, match=r"\d+ tensors are missing"):
        DetrDetector(folder)
