"""RF-DETR's masks, from a tiny checkpoint of its true format."""

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


def test_it_answers_for_every_image_of_a_batch(model):
    assert isinstance(model, Segmenter)
    found = predict(model, batch_of(*SIZES))
    assert len(found) == len(SIZES)
    for one in found:
        assert one.classes == CLASSES
        assert len(one) >= 20  # of 30 queries
        assert one.masks.shape[1:] == (64, 64)
        assert (np.diff(one.scores) <= 0).all()
        assert (one.scores >= 0.05).all()
        assert 0.01 < one.masks.mean() < 0.99


def test_a_batch_says_what_its_images_say(model):
    batch = batch_of(*SIZES)
    together = predict(model, batch)
    for i, both in enumerate(together):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert (alone.class_ids == both.class_ids).all()
        assert alone.scores == pytest.approx(both.scores, abs=1e-4)
        assert (alone.masks != both.masks).mean() < 1e-4
    assert together[0].scores[:20] != pytest.approx(together[1].scores[:20], abs=1e-4)


def test_an_empty_batch_gives_nothing(model):
    assert predict(model, batch_of()) == []


def test_masks_are_those_of_the_official_post_processing(folder, model):
    batch = batch_of(*SIZES)
    raw = raw_of(model, batch)
    expected = AutoImageProcessor.from_pretrained(folder).post_process_instance_segmentation(
        SimpleNamespace(logits=raw["logits"], pred_masks=raw["masks"]),
        threshold=0.05,
        target_sizes=[(64, 64)] * len(batch),
        return_binary_maps=True,
    )
    for one, other in zip(model.decode(raw, batch), expected, strict=True):
        segments = other["segments_info"]
        assert len(one) == len(segments) >= 20
        assert one.class_ids.tolist() == [segment["label_id"] for segment in segments]
        assert one.scores == pytest.approx([segment["score"] for segment in segments], abs=1e-6)
        assert (one.masks == other["segmentation"].numpy()).all()


def test_pixels_are_those_of_the_official_processor(folder, model):
    batch = batch_of(*SIZES)
    official = AutoImageProcessor.from_pretrained(folder)
    expected = official(images=list(batch.images), return_tensors="pt")["pixel_values"]
    assert (model.prepare(batch)["pixel_values"] - expected).abs().max() < 1e-5


def test_a_mask_without_a_pixel_and_one_that_is_unsure_are_left_out(model):
    raw = {
        "logits": torch.tensor([[[3.0, -9, -9], [2.0, -9, -9], [-5.0, -9, -9]]]),
        "masks": torch.stack([torch.full((16, 16), value) for value in (-1.0, 1.0, 1.0)])[None],
    }
    (found,) = model.decode(raw, batch_of((64, 64)))
    assert found.scores == pytest.approx([0.8808], abs=1e-4)
    assert found.masks.all()


def test_an_image_without_anything_sure_has_no_masks(folder):
    (found,) = predict(RfDetrSegmenter(folder, min_score=1.0), batch_of((64, 64)))
    assert len(found) == 0
    assert found.classes == CLASSES


def test_it_stays_sane_under_autocast(model):
    batch = batch_of(*SIZES)
    exact = raw_of(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = raw_of(model, batch)
        found = model.decode(half, batch)
    assert half["logits"].dtype == torch.float32
    assert all(one.isfinite().all() for one in half.values())
    assert (half["logits"] - exact["logits"]).abs().median() < 0.02
    assert [len(one) >= 20 for one in found] == [True] * len(SIZES)


@pytest.mark.slow
def test_forward_is_one_graph(model):
    tensors = model.prepare(batch_of(*SIZES[:2]))
    torch.compiler.reset()
    compiled = torch.compile(model.forward, fullgraph=True, backend="eager")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        raw, expected = compiled(tensors), model.forward(tensors)
    for name, one in raw.items():
        assert torch.allclose(one, expected[name], atol=1e-5)


def test_a_checkpoint_without_a_mask_head_is_refused(tmp_path):
    folder = tiny_detr.CASES["rf_detr"].write(tmp_path)
    with pytest.raises(CheckpointError, match=r"\d+ tensors are missing"):
        RfDetrSegmenter(folder)


def test_another_family_is_refused(tmp_path):
    folder = tiny_detr.CASES["rt_detr"].write(tmp_path)
    with pytest.raises(CheckpointError, match=r"of the type 'rt_detr'; .* one of rf_detr"):
        RfDetrSegmenter(folder)


def test_no_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="'rf_detr_seg' needs a checkpoint"):
        RfDetrSegmenter()


def test_a_detector_reads_the_same_checkpoint(folder, model):
    assert json.loads((folder / "config.json").read_text())["model_type"] == "rf_detr"
    detector = registry.create("detr", folder)
    batch = batch_of(*SIZES)
    assert torch.equal(raw_of(detector, batch)["logits"], raw_of(model, batch)["logits"])
