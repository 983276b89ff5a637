"""SAM 2.1 on a tiny random checkpoint, compared with transformers."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_sam2
import torch
from transformers import Sam2Model, Sam2Processor

from cascade import registry
from cascade.errors import CheckpointError
from cascade.imaging import batches
from cascade.imaging.batches import Batch
from cascade.models.segmentation import sam2
from cascade.predictions import Detections
from cascade.protocols import Segmenter, predict

CLASSES = ("cone", "drum", "sign")
SIZES = [(120, 160), (90, 64), (64, 200), (128, 128)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sam2.CASES["sam2"].write(tmp_path_factory.mktemp("sam2") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return registry.create("sam2", folder)


def boxes(n, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (n, 2))
    corners = np.hstack([low, low + rng.uniform(0.05, 0.4, (n, 2))]).astype(np.float32)
    return Detections(corners, np.ones(n, np.float32), rng.integers(0, 3, n), CLASSES)


def batch_of(*counts, sizes=SIZES, seed=0):
    """Return images with the given numbers of boxes."""
    rng = np.random.default_rng(seed)
    return Batch(
        ids=tuple(str(i) for i in range(len(counts))),
        images=tuple(
            rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes[: len(counts)]
        ),
        detections=tuple(boxes(n, seed=i) for i, n in enumerate(counts)),
    )


def official(folder, batch):
    """Return masks and scores of every box as transformers' documentation computes them."""
    network, processor = Sam2Model.from_pretrained(folder), Sam2Processor.from_pretrained(folder)
    results = []
    for image, item in zip(batch.images, batch.detections, strict=True):
        height, width = image.shape[:2]
        corners = item.boxes_xyxy.astype(np.float64) * [width, height, width, height]
        inputs = processor(images=image, input_boxes=[corners.tolist()], return_tensors="pt")
        with torch.inference_mode():
            raw = network(**inputs, multimask_output=False)
        masks = processor.post_process_masks(raw.pred_masks, inputs["original_sizes"])[0]
        results.append((masks[:, 0].numpy(), raw.iou_scores[0, :, 0].numpy()))
    return results


def assert_equal(a, b, atol=1e-5):
    assert a.classes == b.classes
    assert (a.class_ids == b.class_ids).all()
    assert a.masks.shape == b.masks.shape
    assert np.allclose(a.scores, b.scores, atol=atol)
    assert not len(a) or (a.masks != b.masks).mean() < 1e-3  # pixels at a logit of 0


# --- predictions -------------------------------------------------------------------------------


def test_segmenter_has_no_classes(model):
    assert isinstance(model, Segmenter)
    assert model.classes == ()


def test_masks_match_official_pipeline(folder, model):
    batch = batch_of(3, 1, 5, 2)
    predictions = predict(model, batch)
    for ours, (masks, scores) in zip(predictions, official(folder, batch), strict=True):
        assert ours.masks.shape == masks.shape
        assert (ours.masks != masks).mean() < 1e-3
        assert ours.scores == pytest.approx(scores, abs=1e-5)
    shares = np.concatenate([masks.masks.mean(axis=(1, 2)) for masks in predictions])
    assert ((shares > 0.05) & (shares < 0.95)).sum() >= 8  # of 11: neither all nor nothing


def test_masks_keep_order_of_boxes(model):
    batch = batch_of(4)
    masks = predict(model, batch)[0]
    assert masks.classes == CLASSES
    assert masks.class_ids.tolist() == batch.detections[0].class_ids.tolist()
    order = [2, 0, 3, 1]
    turned = predict(model, replace(batch, detections=(batch.detections[0][order],), _cache={}))[0]
    assert (turned.masks != masks.masks[order]).mean() < 1e-3
    assert (turned.masks != masks.masks).mean() > 0.1  # boxes matter


def test_masks_belong_to_own_image(model):
    """Two images with equal boxes have their own, different masks."""
    batched = batch_of(3, 3, sizes=[(96, 96), (96, 96)])
    batched = replace(batched, detections=(batched.detections[0],) * 2)
    first, second = predict(model, batched)
    assert (first.masks != second.masks).mean() > 0.05
    assert_equal(second, predict(model, batched.part(1, 2))[0])


def test_batch_size_does_not_change_predictions(model):
    batch = batch_of(3, 0, 7, 1)
    together = predict(model, batch)
    assert [len(masks) for masks in together] == [3, 0, 7, 1]
    for i, masks in enumerate(together):
        assert_equal(masks, predict(model, batch.part(i, i + 1))[0])


@pytest.mark.parametrize("at_once", [1, 4, 1000])
def test_boxes_per_step_do_not_change_masks(model, monkeypatch, at_once):
    batch = batch_of(3, 0, 7, 1)
    expected = predict(model, batch)
    monkeypatch.setattr(sam2, "BOXES_PER_STEP", at_once)
    for masks, same in zip(expected, predict(model, batch), strict=True):
        assert_equal(masks, same)


def test_scores_are_predicted_overlaps(model):
    batch = batch_of(2)
    raw = {"maps": torch.ones(2, 32, 32), "scores": torch.tensor([1.2, -0.1])}
    assert model.decode(raw, batch)[0].scores.tolist() == [1.0, 0.0]


def test_masks_of_large_images_are_bounded(folder):
    batch = batch_of(2, sizes=[(120, 160)])
    masks = predict(registry.create("sam2", folder, longest_side=80), batch)[0]
    assert masks.masks.shape == (2, 60, 80)
    full = predict(registry.create("sam2", folder), batch)[0]
    assert (masks.masks != full.masks[:, ::2, ::2]).mean() < 0.1


# --- empty inputs ------------------------------------------------------------------------------


def test_image_without_boxes_has_no_masks(model):
    first, second = predict(model, batch_of(0, 2))
    assert len(first) == 0
    assert first.classes == CLASSES
    assert len(second) == 2


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(replace(batch_of(1, 1), detections=()), id="nobody looked"),
        pytest.param(batch_of(0, 0), id="nothing was found"),
    ],
)
def test_batch_without_boxes_is_not_computed(model, monkeypatch, batch):
    monkeypatch.setattr(model.module, "forward", None)  # raises when called
    assert [len(masks) for masks in predict(model, batch)] == [0, 0]
    assert batch._cache == {}  # no image was resized either


def test_empty_batch_has_no_predictions(model):
    assert predict(model, Batch(ids=(), images=())) == []


def test_vision_tower_runs_once_for_images_with_boxes(model):
    seen = []
    hook = model.module.model.vision_encoder.register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0]))
    )
    predict(model, batch_of(40, 0, 7, 1))
    hook.remove()
    assert seen == [3]


# --- precision ---------------------------------------------------------------------------------


def test_predictions_in_bf16(folder, model):
    half = registry.create("sam2", folder)
    half.module.to(torch.bfloat16)
    batch = batch_of(3, 0, 5)
    with torch.autocast("cpu", torch.bfloat16):  # as the engine does
        raw = half.forward(half.prepare(batch))
        predictions = half.decode(raw, batch)
    assert raw["maps"].dtype == torch.bfloat16
    for ours, single in zip(predictions, predict(model, batch), strict=True):
        assert ours.scores.dtype == np.float32
        assert np.allclose(ours.scores, single.scores, atol=0.02)
        assert not len(ours) or (ours.masks != single.masks).mean() < 0.05


def test_boxes_stay_precise_in_bf16(folder):
    """Corners a pixel of 1024 apart stay apart; the network's own encoder in bf16 mixes them up."""
    half = registry.create("sam2", folder)
    half.module.to(torch.bfloat16)
    corners = np.float32([[0.1, 0.1, 0.9 + i / 1024, 0.9] for i in range(8)])
    boxes = Detections(corners, np.ones(8, np.float32), np.zeros(8, np.int64), CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        ours = half.prepare(replace(batch_of(0), detections=(boxes,)))["prompts"]
    theirs, _ = half._encoder.bfloat16()(None, None, torch.from_numpy(corners * 128)[:, None], None)
    assert ours.dtype == torch.float32
    assert len(ours.unique(dim=0)) == 8
    assert len(theirs.unique(dim=0)) < 6


def test_module_moves_completely(model):
    """Every other tensor in `forward` is a parameter or a buffer of the module."""
    names = {name for name, _ in model.module.named_buffers()}
    assert {"positions", "no_mask"} <= names
    assert not any("prompt_encoder" in name for name, _ in model.module.named_parameters())


# --- the view ----------------------------------------------------------------------------------


def assert_official_pixels(folder, model, batch):
    processor = Sam2Processor.from_pretrained(folder).image_processor
    expected = processor(images=list(batch.images), return_tensors="pt")["pixel_values"]
    std = torch.tensor(processor.image_std).view(3, 1, 1)
    ours = model.prepare(batch)["pixels"]
    assert ours.shape == expected.shape
    assert ((ours - expected) * std).abs().max() <= 1 / 255 + 1e-6


def test_pixels_match_official_processor(folder, model):
    assert_official_pixels(folder, model, batch_of(1, 1, 1, 1))


@pytest.mark.skipif("CURATION_SHARED" not in os.environ, reason="CURATION_SHARED is not set")
def test_pixels_of_photographs_match_official_processor(folder, model):
    clips = Path(os.environ["CURATION_SHARED"]) / "data" / "roadwork_clips"
    photographs = tuple(batches.read(path) for path in sorted(clips.rglob("*.jpg"))[::60][:4])
    assert len(photographs) == 4
    batch = Batch(ids=tuple("abcd"), images=photographs, detections=tuple(boxes(1) for _ in "abcd"))
    assert_official_pixels(folder, model, batch)


# --- checkpoints -------------------------------------------------------------------------------


def test_folder_of_video_model_is_accepted(tmp_path):
    folder = tiny_sam2.write_as_published(tmp_path / "hub")
    assert '"model_type": "sam2_video"' in (folder / "config.json").read_text()
    batch = batch_of(3, 2)
    predictions = predict(registry.create("sam2", folder), batch)
    for ours, (masks, scores) in zip(predictions, official(folder, batch), strict=True):
        assert (ours.masks != masks).mean() < 1e-3
        assert ours.scores == pytest.approx(scores, abs=1e-5)


def test_missing_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match=r"'sam2' needs a checkpoint"):
        registry.create("sam2")


def test_other_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "sam3"}')
    with pytest.raises(CheckpointError, match=r"'sam3'.* expects one of sam2, sam2_video"):
        registry.create("sam2", tmp_path)


def test_folder_without_weights_is_refused(folder, tmp_path):
    for name in ("config.json", "processor_config.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    with pytest.raises(CheckpointError, match="Cannot load the weights"):
        registry.create("sam2", tmp_path)
