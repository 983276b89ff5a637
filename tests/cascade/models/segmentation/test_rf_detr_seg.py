"""RF-DETR's masks, from a tiny checkpoint in its real format."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_detr
import tiny_rf_detr_seg
import torch
from transformers import AutoImageProcessor

from cascade import registry
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.segmentation.rf_detr_seg import RfDetrSegmenter
from cascade.protocols import Segmenter, predict

CLASSES = ("traffic cone", "barrier", "worker")
SIZES = ((90, 160), (64, 64), (200, 120))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_rf_detr_seg.CASES["rf_detr_seg"].write(tmp_path_factory.mktemp("rf_detr_seg"))


@pytest.fixture(scope="module")
def model(folder):
    return registry.create("rf_detr_seg", folder)


def batch_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    pixels = tuple(rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=pixels)


def raw_of(model, batch):
    with torch.inference_mode():
        return model.forward(model.prepare(batch))


def test_every_image_of_batch_has_predictions(model):
    assert isinstance(model, Segmenter)
    predictions = predict(model, batch_of(*SIZES))
    assert len(predictions) == len(SIZES)
    for masks in predictions:
        assert masks.classes == CLASSES
        assert len(masks) >= 20  # of 30 queries
        assert masks.masks.shape[1:] == (64, 64)
        assert (np.diff(masks.scores) <= 0).all()
        assert (masks.scores >= 0.05).all()
        assert 0.01 < masks.masks.mean() < 0.99


def test_batch_size_does_not_change_predictions(model):
    batch = batch_of(*SIZES)
    together = predict(model, batch)
    for i, batched in enumerate(together):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert (alone.class_ids == batched.class_ids).all()
        assert alone.scores == pytest.approx(batched.scores, abs=1e-4)
        assert (alone.masks != batched.masks).mean() < 1e-4
    assert together[0].scores[:20] != pytest.approx(together[1].scores[:20], abs=1e-4)


def test_empty_batch_has_no_predictions(model):
    assert predict(model, batch_of()) == []


def test_masks_match_official_post_processing(folder, model):
    batch = batch_of(*SIZES)
    raw = raw_of(model, batch)
    expected = AutoImageProcessor.from_pretrained(folder).post_process_instance_segmentation(
        SimpleNamespace(logits=raw["logits"], pred_masks=raw["masks"]),
        threshold=0.05,
        target_sizes=[(64, 64)] * len(batch),
        return_binary_maps=True,
    )
    for masks, other in zip(model.decode(raw, batch), expected, strict=True):
        segments = other["segments_info"]
        assert len(masks) == len(segments) >= 20
        assert masks.class_ids.tolist() == [segment["label_id"] for segment in segments]
        assert masks.scores == pytest.approx([segment["score"] for segment in segments], abs=1e-6)
        assert (masks.masks == other["segmentation"].numpy()).all()


def test_pixels_match_official_processor(folder, model):
    batch = batch_of(*SIZES)
    official = AutoImageProcessor.from_pretrained(folder)
    expected = official(images=list(batch.images), return_tensors="pt")["pixel_values"]
    assert (model.prepare(batch)["pixel_values"] - expected).abs().max() < 1e-5


def test_empty_and_low_score_masks_are_dropped(model):
    raw = {
        "logits": torch.tensor([[[3.0, -9, -9], [2.0, -9, -9], [-5.0, -9, -9]]]),
        "masks": torch.stack([torch.full((16, 16), value) for value in (-1.0, 1.0, 1.0)])[None],
    }
    (masks,) = model.decode(raw, batch_of((64, 64)))
    assert masks.scores == pytest.approx([0.8808], abs=1e-4)
    assert masks.masks.all()


def test_image_with_low_scores_has_no_masks(folder):
    (masks,) = predict(RfDetrSegmenter(folder, min_score=1.0), batch_of((64, 64)))
    assert len(masks) == 0
    assert masks.classes == CLASSES


def test_predictions_under_autocast(model):
    batch = batch_of(*SIZES)
    exact = raw_of(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = raw_of(model, batch)
        predictions = model.decode(half, batch)
    assert half["logits"].dtype == torch.float32
    assert all(tensor.isfinite().all() for tensor in half.values())
    assert (half["logits"] - exact["logits"]).abs().median() < 0.02
    assert [len(masks) >= 20 for masks in predictions] == [True] * len(SIZES)


@pytest.mark.slow
def test_forward_is_one_graph(model):
    tensors = model.prepare(batch_of(*SIZES[:2]))
    torch.compiler.reset()
    compiled = torch.compile(model.forward, fullgraph=True, backend="eager")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        raw, expected = compiled(tensors), model.forward(tensors)
    for name, tensor in raw.items():
        assert torch.allclose(tensor, expected[name], atol=1e-5)


def test_checkpoint_without_mask_head_is_refused(tmp_path):
    folder = tiny_detr.CASES["rf_detr"].write(tmp_path)
    with pytest.raises(CheckpointError, match=r"\d+ tensors are missing"):
        RfDetrSegmenter(folder)


def test_other_family_is_refused(tmp_path):
    folder = tiny_detr.CASES["rt_detr"].write(tmp_path)
    with pytest.raises(CheckpointError, match=r"of the type 'rt_detr'; .* one of rf_detr"):
        RfDetrSegmenter(folder)


def test_missing_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="'rf_detr_seg' needs a checkpoint"):
        RfDetrSegmenter()


def test_detector_reads_same_checkpoint(folder, model):
    assert json.loads((folder / "config.json").read_text())["model_type"] == "rf_detr"
    detector = registry.create("detr", folder)
    batch = batch_of(*SIZES)
    assert torch.equal(raw_of(detector, batch)["logits"], raw_of(model, batch)["logits"])
