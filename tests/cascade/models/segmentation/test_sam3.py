"""SAM 3 on a tiny random checkpoint, compared with transformers."""

import gc
import os
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import tiny_sam3
import torch
from transformers import Sam3Model, Sam3Processor

from cascade import registry, taxonomy
from cascade.errors import CheckpointError, TaxonomyError
from cascade.imaging import batches
from cascade.imaging.batches import Batch
from cascade.models.segmentation import mask_resizing, sam3
from cascade.protocols import Segmenter, predict

SIZES = [(120, 160), (90, 64), (64, 200)]
CLASSES = taxonomy.parse(
    """
    name: three
    decision: {name: any, question: "Any?"}
    classes:
      - {name: cone, prompts: [a traffic cone, cone], decides: true}
      - {name: work_vehicle}
      - {name: drum, prompts: [a striped orange drum]}
    """
)  # the official processor pads to 32 tokens, which are letters here


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sam3.CASES["sam3"].write(tmp_path_factory.mktemp("sam3") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return registry.create("sam3", folder, taxonomy=CLASSES)


def create(folder, **params):
    return registry.create("sam3", folder, taxonomy=CLASSES, **params)


def batch_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    drawn = tuple(rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=drawn)


def official(folder, batch, prompt, threshold):
    """Return the result of transformers' documented code: one prompt, single images."""
    network, processor = Sam3Model.from_pretrained(folder), Sam3Processor.from_pretrained(folder)
    results = []
    for image in batch.images:
        inputs = processor(images=image, text=prompt, return_tensors="pt")
        with torch.inference_mode():
            raw = network(
                pixel_values=inputs["pixel_values"],
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
            )
        predictions = processor.post_process_instance_segmentation(
            raw, threshold=threshold, mask_threshold=0.5, target_sizes=[image.shape[:2]]
        )[0]
        order = predictions["scores"].argsort(descending=True)
        masks = predictions["masks"][order].bool().numpy()
        results.append((masks, predictions["scores"][order].numpy()))
    return results


def assert_equal(a, b):
    assert a.classes == b.classes
    assert a.class_ids.tolist() == b.class_ids.tolist()
    assert a.masks.shape == b.masks.shape
    assert np.allclose(a.scores, b.scores, atol=1e-4)
    assert not len(a) or (a.masks != b.masks).mean() < 1e-3  # pixels at a probability of 0.5


# --- predictions -------------------------------------------------------------------------------


def test_segmenter_classes_are_prompts(model):
    assert isinstance(model, Segmenter)
    assert model.classes == ("a traffic cone", "cone", "work_vehicle", "a striped orange drum")


@pytest.mark.parametrize("threshold", [0.05, 0.3])
def test_masks_match_official_pipeline(folder, threshold):
    batch = batch_of(*SIZES)
    predictions = predict(create(folder, threshold=threshold), batch)
    selected = 0
    for i, prompt in enumerate(
        (*CLASSES.classes[0].prompts, "work vehicle", "a striped orange drum")
    ):
        for ours, (masks, scores) in zip(
            predictions, official(folder, batch, prompt, threshold), strict=True
        ):
            of_prompt = ours.class_ids == i
            assert ours.scores[of_prompt] == pytest.approx(scores, abs=1e-5)
            assert ours.masks[of_prompt].shape == masks.shape
            assert not len(masks) or (ours.masks[of_prompt] != masks).mean() < 1e-3
            selected += len(masks)
    assert 20 < selected < 3 * 4 * 10  # some of the ten queries of each prompt, not all


def test_predictions_depend_on_prompts_and_images(folder):
    """Otherwise a model that mixes them up would pass the comparisons."""
    first, second = predict(create(folder, threshold=0.0), batch_of((96, 96), (96, 96)))
    best = [first.scores[first.class_ids == i].max() for i in range(4)]
    assert np.ptp(best) > 0.01
    assert (first.masks != second.masks).mean() > 0.05


def test_masks_are_sorted_and_limited(folder):
    batch = batch_of(*SIZES)
    everything = predict(create(folder, threshold=0.0, max_masks=1000), batch)
    few = predict(create(folder, threshold=0.0, max_masks=7), batch)
    for masks, same in zip(few, everything, strict=True):
        assert (len(masks), len(same)) == (7, 40)
        assert (np.diff(same.scores) <= 0).all()
        assert masks.class_ids.tolist() == same.class_ids[:7].tolist()
        assert masks.scores == pytest.approx(same.scores[:7])
        assert (masks.masks == same.masks[:7]).all()


def test_batch_size_does_not_change_predictions(model):
    batch = batch_of(*SIZES)
    together = predict(model, batch)
    assert min(len(masks) for masks in together) >= 10
    for i, masks in enumerate(together):
        assert masks.masks.shape[1:] == SIZES[i]
        assert_equal(masks, predict(model, batch.part(i, i + 1))[0])


def test_low_score_masks_are_dropped_before_enlarging(folder, monkeypatch):
    sizes = []
    enlarged = mask_resizing.enlarge_masks
    monkeypatch.setattr(
        mask_resizing,
        "enlarge_masks",
        lambda maps, size, above: sizes.append(len(maps)) or enlarged(maps, size, above=above),
    )
    predictions = predict(create(folder, threshold=0.4), batch_of(*SIZES))
    assert sizes == [len(masks) for masks in predictions]
    assert all(0 < n < 40 for n in sizes)
    assert min(masks.scores.min() for masks in predictions) > 0.4


def test_image_with_low_scores_has_no_masks(folder):
    predictions = predict(create(folder, threshold=0.9), batch_of(*SIZES))
    assert [len(masks) for masks in predictions] == [0, 0, 0]


def test_masks_of_large_images_are_bounded(folder, model):
    batch = batch_of((120, 160))
    bounded, full = predict(create(folder, longest_side=80), batch)[0], predict(model, batch)[0]
    assert bounded.masks.shape[1:] == (60, 80)
    assert (bounded.masks != full.masks[:, ::2, ::2]).mean() < 0.1


def test_empty_batch_has_no_predictions(model):
    assert predict(model, Batch(ids=(), images=())) == []


# --- cost --------------------------------------------------------------------------------------


def test_vision_tower_runs_once_for_all_prompts(model):
    seen = []
    hook = model.module.model.vision_encoder.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len((*args, *kwargs.values())[0])), with_kwargs=True
    )
    predict(model, batch_of(*SIZES))
    hook.remove()
    assert seen == [3]


def test_text_tower_is_dropped(folder, monkeypatch):
    towers = []
    features = Sam3Model.get_text_features

    def watched(self, **tokens):
        towers.append(weakref.ref(self.text_encoder))
        return features(self, **tokens)

    monkeypatch.setattr(Sam3Model, "get_text_features", watched)
    built = create(folder)
    gc.collect()
    assert [tower() for tower in towers] == [None] * 4  # called once per prompt, then freed
    parts = {name.split(".")[1] for name, _ in built.module.named_parameters()}
    assert {"vision_encoder", "detr_decoder"} < parts
    assert parts.isdisjoint({"text_encoder", "text_projection"})
    predict(built, batch_of(*SIZES))
    assert len(towers) == 4


def test_masks_stay_small_until_selection(folder):
    small = create(folder, max_masks=7)
    raw = small.forward(small.prepare(batch_of(*SIZES)))
    assert {name: tuple(tensor.shape) for name, tensor in raw.items()} == {
        "scores": (3, 7),
        "class_ids": (3, 7),
        "maps": (3, 7, 32, 32),
    }


# --- precision ---------------------------------------------------------------------------------


def test_predictions_in_bf16(folder):
    single, half = create(folder, threshold=0.0), create(folder, threshold=0.0)
    half.module.to(torch.bfloat16)
    assert {buffer.dtype for buffer in half.module.buffers() if buffer.is_floating_point()} == {
        torch.bfloat16
    }
    batch = batch_of(*SIZES)
    with torch.autocast("cpu", torch.bfloat16):  # as the engine does
        raw = half.forward(half.prepare(batch))
        predictions = half.decode(raw, batch)
    assert raw["scores"].dtype == torch.float32
    assert raw["maps"].dtype == torch.bfloat16
    for ours, exact in zip(predictions, predict(single, batch), strict=True):
        assert len(ours) == len(exact) == 40
        assert np.abs(ours.scores - exact.scores).max() < 0.05
        assert (np.bincount(ours.class_ids) == np.bincount(exact.class_ids)).all()


# --- the view ----------------------------------------------------------------------------------


def assert_official_pixels(folder, model, batch):
    processor = Sam3Processor.from_pretrained(folder).image_processor
    expected = processor(images=list(batch.images), return_tensors="pt")["pixel_values"]
    std = torch.tensor(processor.image_std).view(3, 1, 1)
    ours = model.prepare(batch)["pixels"]
    assert ours.shape == expected.shape
    assert ((ours - expected) * std).abs().max() <= 1 / 255 + 1e-6


def test_pixels_match_official_processor(folder, model):
    assert_official_pixels(folder, model, batch_of(*SIZES, (112, 112)))


@pytest.mark.skipif("CURATION_SHARED" not in os.environ, reason="CURATION_SHARED is not set")
def test_pixels_of_photographs_match_official_processor(folder, model):
    clips = Path(os.environ["CURATION_SHARED"]) / "data" / "roadwork_clips"
    photographs = tuple(batches.read(path) for path in sorted(clips.rglob("*.jpg"))[::60][:4])
    assert len(photographs) == 4
    assert_official_pixels(folder, model, Batch(ids=tuple("abcd"), images=photographs))


# --- prompts and checkpoints -------------------------------------------------------------------


def test_too_long_prompt_is_refused(folder):
    endless = taxonomy.from_labels("endless", ["cone " * 30], ["cone " * 30])
    with pytest.raises(TaxonomyError, match=r"has 122 tokens, SAM 3 reads at most 96"):
        registry.create("sam3", folder, taxonomy=endless)


def test_folder_of_video_model_contains_same_model(folder, model, tmp_path):
    published = tiny_sam3.write_as_published(tmp_path / "hub")
    assert '"model_type": "sam3_video"' in (published / "config.json").read_text()
    batch = batch_of(*SIZES)
    for masks, same in zip(predict(create(published), batch), predict(model, batch), strict=True):
        assert_equal(masks, same)


def test_missing_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match=r"'sam3' needs a checkpoint"):
        create(None)


def test_other_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}')
    with pytest.raises(CheckpointError, match=r"'sam2'.* expects one of sam3, sam3_video"):
        create(tmp_path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        pytest.param("model.safetensors", "Cannot load the weights", id="weights"),
        pytest.param("processor_config.json", "no image processor", id="processor"),
        pytest.param("tokenizer.json", "no tokenizer", id="tokenizer"),
    ],
)
def test_incomplete_folder_is_refused(folder, tmp_path, missing, message):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / missing).unlink()
    with pytest.raises(CheckpointError, match=message):
        create(copy)


def test_registry_name_matches_adapter():
    assert registry.get(sam3.ADAPTER).factory == "cascade.models.segmentation.sam3:Sam3"
