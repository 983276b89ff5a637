"""OWLv2: predictions match transformers, with prompts embedded once."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tiny_owlv2
import torch
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from cascade import registry, taxonomy
from cascade.errors import CheckpointError, TaxonomyError
from cascade.imaging import batches
from cascade.imaging.batches import Batch
from cascade.models.huggingface.prompts import prompts_of
from cascade.protocols import predict

ROADWORK = taxonomy.load("roadwork")
PROMPTS = prompts_of(ROADWORK)
SHARED = os.environ.get("CURATION_SHARED")
STEP = 1 / 255 + 1e-6  # of a gray level


def batch_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    images = tuple(rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=images)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_owlv2.write(tmp_path_factory.mktemp("a"))


def load(folder, classes=ROADWORK):
    return registry.create("owlv2", folder, taxonomy=classes)


def official(folder):
    return (
        AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval(),
        AutoProcessor.from_pretrained(folder),
    )


# --- comparison with transformers----------------------------------------------------------------


def check_pixels(folder, batch):
    model, (_, processor) = load(folder), official(folder)
    pixels = model.prepare(batch)["pixels"]
    std = torch.tensor(processor.image_processor.image_std)[:, None, None]
    for row, image in zip(pixels, batch.images, strict=True):
        theirs = processor.image_processor([image.transpose(2, 0, 1)], return_tensors="pt")
        assert ((row - theirs.pixel_values[0]) * std).abs().max() <= STEP


def test_pixels_match_official_processor(folder):
    sizes = [(90, 160), (200, 110), (64, 64), (333, 77), (40, 41), (480, 640)]
    check_pixels(folder, batch_of(*sizes))


@pytest.mark.skipif(SHARED is None, reason="CURATION_SHARED is not set: no photographs")
def test_pixels_of_photographs_match_official_processor(folder):
    paths = sorted(Path(SHARED, "data", "roadwork_clips").rglob("*.jpg"))[::50][:4]
    assert len(paths) == 4
    shown = tuple(batches.read(path) for path in paths)
    check_pixels(folder, Batch(ids=tuple(map(str, paths)), images=shown))


def test_boxes_and_scores_match_transformers(folder):
    """Our boxes are a subset of the official ones, with equal scores, prompts and maximum."""
    model, (network, processor) = load(folder), official(folder)
    batch = batch_of((90, 160), (120, 90), (64, 64))
    text = processor(text=[list(PROMPTS)], return_tensors="pt")
    for image, ours in zip(batch.images, predict(model, batch), strict=True):
        pixels = processor.image_processor([image.transpose(2, 0, 1)], return_tensors="pt")
        with torch.no_grad():
            output = network(**pixels, **text)
        height, width = image.shape[:2]
        (theirs,) = processor.post_process_grounded_object_detection(
            output, threshold=0.01, target_sizes=[(height, width)]
        )
        inside = (theirs["boxes"][:, :2] < torch.tensor([width, height])).all(dim=1)
        boxes = theirs["boxes"] / torch.tensor([width, height, width, height])
        boxes = boxes[inside].clamp(0, 1).numpy()
        scores, labels = theirs["scores"][inside], theirs["labels"][inside]
        assert len(ours) > 10
        assert float(scores.max()) == pytest.approx(ours.scores[0], abs=1e-5)
        for box, score, label in zip(ours.boxes_xyxy, ours.scores, ours.class_ids, strict=True):
            same = np.abs(boxes - box).max(axis=1) < 1e-4
            rows = [i for i in np.flatnonzero(same) if int(labels[i]) == label]
            assert any(abs(float(scores[i]) - score) < 1e-5 for i in rows)


# --- own behavior ------------------------------------------------------------------------------


def test_classes_are_prompts(folder):
    model = load(folder)
    assert model.classes == PROMPTS
    predictions = predict(model, batch_of((90, 160), (64, 64)))
    assert all(detections.classes == PROMPTS for detections in predictions)
    assert len({label for detections in predictions for label in detections.labels}) > 3


def test_text_tower_is_dropped(folder):
    model = load(folder)
    assert model.module.queries.shape == (len(PROMPTS), 32)
    assert not any("text_model" in name for name, _ in model.module.named_parameters())
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_batch_size_does_not_change_predictions(folder):
    model, batch = load(folder), batch_of((90, 160), (120, 60), (64, 64), (90, 160))
    for i, together in enumerate(predict(model, batch)):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert len(alone) > 10
        assert np.array_equal(together.class_ids, alone.class_ids)
        assert np.allclose(together.scores, alone.scores, atol=1e-5)
        assert np.allclose(together.boxes_xyxy, alone.boxes_xyxy, atol=1e-5)


def test_empty_batch_has_no_predictions(folder):
    assert predict(load(folder), Batch(ids=(), images=())) == []


def test_box_within_border_is_dropped(folder):
    """Of two patches of an image twice as wide as high, one lies in the black lower half."""
    model, batch = load(folder), batch_of((50, 100))
    logits = torch.full((1, 2, len(PROMPTS)), -9.0)
    logits[0, :, 1] = 2.0
    centers = torch.tensor([[[0.5, 0.25, 0.2, 0.1], [0.5, 0.75, 0.2, 0.1]]])
    (detections,) = model.decode((logits, centers), batch)
    assert detections.labels == [PROMPTS[1]]
    assert np.allclose(detections.boxes_xyxy, [[0.4, 0.4, 0.6, 0.6]])


def test_boxes_stay_fp32_in_bf16(folder):
    model, batch = load(folder), batch_of((90, 160))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        logits, boxes = model.forward(model.prepare(batch))
    assert logits.dtype == boxes.dtype == torch.float32
    assert not torch.equal(boxes, boxes.bfloat16().float())


def test_too_long_prompt_is_refused(folder):
    with pytest.raises(TaxonomyError, match="must have at most 64 tokens, got 72"):
        load(folder, taxonomy.from_labels("made", ["a" * 70], ["a" * 70]))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        pytest.param("config.json", "Cannot find a checkpoint", id="config"),
        pytest.param("model.safetensors", "Cannot load the weights", id="weights"),
        pytest.param("tokenizer.json", "is incomplete: expected tokenizer.json", id="tokenizer"),
        pytest.param("processor_config.json", "is incomplete: expected prepro", id="processor"),
    ],
)
def test_incomplete_folder_is_refused(folder, tmp_path, file, message):
    for path in folder.iterdir():
        if path.name != file:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def test_other_family_is_refused(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "owlvit"}))
    with pytest.raises(CheckpointError, match="of the type 'owlvit'"):
        load(tmp_path)
