"""Grounding DINO and related models: predictions match transformers, with prompts as labels."""

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_grounding_dino
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


@pytest.fixture(scope="module", params=["grounding_dino", "mm_grounding_dino"])
def folder(request, tmp_path_factory):
    return tiny_grounding_dino.CASES[request.param].write(tmp_path_factory.mktemp("a"))


def load(folder, classes=ROADWORK):
    return registry.create("grounding_dino", folder, taxonomy=classes)


def official(folder):
    return (
        AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval(),
        AutoProcessor.from_pretrained(folder),
    )


def official_pixels(processor, image):
    return processor.image_processor(images=[image.transpose(2, 0, 1)], return_tensors="pt")


# --- comparison with transformers----------------------------------------------------------------


def test_pixels_match_official_processor(folder):
    model, (_, processor) = load(folder), official(folder)
    sizes = [(90, 160), (200, 110), (96, 96), (333, 77), (40, 41), (90, 160)]
    check_pixels(model, processor, batch_of(*sizes))


@pytest.mark.skipif(SHARED is None, reason="CURATION_SHARED is not set: no photographs")
def test_pixels_of_photographs_match_official_processor(folder):
    model, (_, processor) = load(folder), official(folder)
    paths = sorted(Path(SHARED, "data", "roadwork_clips").rglob("*.jpg"))[::50][:4]
    assert len(paths) == 4
    shown = tuple(batches.read(path) for path in paths)
    check_pixels(model, processor, Batch(ids=tuple(map(str, paths)), images=shown))


def check_pixels(model, processor, batch):
    tensors = model.prepare(batch)
    rows = [row for group in tensors["pixels"] for row in group]
    std = torch.tensor(processor.image_processor.image_std)[:, None, None]
    for image, place in zip(batch.images, tensors["rows"], strict=True):
        theirs = official_pixels(processor, image).pixel_values[0]
        assert rows[place].shape == theirs.shape
        assert ((rows[place] - theirs) * std).abs().max() <= STEP


def test_text_matches_official_processor(folder):
    model, (_, processor) = load(folder), official(folder)
    theirs = processor(text=[list(PROMPTS)], return_tensors="pt")
    (text,) = model.prepare(batch_of((64, 64)))["texts"]
    assert text.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(text[name], tensor), name
    assert 100 not in theirs.input_ids  # [UNK]: the tiny vocabulary knows every word


def test_boxes_and_scores_match_transformers(folder):
    """Entire pipeline; scores are equal where the best token belongs to our prompt."""
    model, (network, processor) = load(folder), official(folder)
    text = processor(text=[list(PROMPTS)], return_tensors="pt")
    equal = 0
    for image in batch_of((90, 160), (120, 90), (96, 96)).images:
        with torch.no_grad():
            raw = network(**official_pixels(processor, image), **text)
        (theirs,) = processor.post_process_grounded_object_detection(
            raw, text.input_ids, threshold=0, text_threshold=0.25, target_sizes=[(1, 1)]
        )
        surest = model._owners[0][raw.logits[0].argmax(dim=1)]
        (ours,) = predict(model, Batch(ids=("",), images=(image,)))
        assert len(ours) > 20
        for box, score, prompt in zip(ours.boxes_xyxy, ours.scores, ours.class_ids, strict=True):
            apart = np.abs(theirs["boxes"].clamp(0, 1).numpy() - box).max(axis=1)
            row = int(apart.argmin())
            assert apart[row] < 1e-5
            assert score <= float(theirs["scores"][row]) + 1e-5
            if int(surest[row]) == prompt:
                assert score == pytest.approx(float(theirs["scores"][row]), abs=1e-5)
                equal += 1
    assert equal > 10


def made_up_predictions(model, *boxes):
    """Return raw outputs in which each box's tokens have the scores of the named words."""
    tokens = model.prepare(batch_of((64, 64)))["texts"][0]["input_ids"][0]
    logits = torch.full((1, 1, len(boxes), model.module.config.max_text_len), -math.inf)
    logits[..., : len(tokens)] = -9.0
    for i, scores in enumerate(boxes):
        for place, score in scores.items():
            logits[0, 0, i, place] = math.log(score / (1 - score))
    centers = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.3, 0.6, 0.1, 0.2], [0.5, 0.2, 0.4, 0.2]])
    return {"logits": logits, "boxes": centers[None, None, : len(boxes)]}


def test_unambiguous_phrase_has_official_box_and_score(folder):
    model, (_, processor) = load(folder), official(folder)
    text = processor(text=[list(PROMPTS)], return_tensors="pt")
    owners = model._owners[0]
    last, first = (torch.nonzero(owners == i).flatten().tolist() for i in (len(PROMPTS) - 1, 0))
    raw = made_up_predictions(
        model, dict.fromkeys(last, 0.7) | {last[0]: 0.8}, {first[-1]: 0.6}, {first[0]: 0.3}
    )
    theirs = processor.post_process_grounded_object_detection(
        SimpleNamespace(logits=raw["logits"][:, 0], pred_boxes=raw["boxes"][:, 0]),
        text.input_ids, threshold=0.01, text_threshold=0.25, target_sizes=[(1, 1)],
    )[0]  # fmt: skip
    (ours,) = model.decode(raw, batch_of((64, 64)))
    assert theirs["text_labels"][0].replace(" - ", "-") == PROMPTS[-1]
    assert ours.labels == [PROMPTS[-1], PROMPTS[0], PROMPTS[0]]
    assert np.allclose(ours.scores, theirs["scores"], atol=1e-6)
    assert np.allclose(ours.boxes_xyxy, theirs["boxes"], atol=1e-6)
    assert np.allclose(ours.scores, [0.8, 0.6, 0.3], atol=1e-6)


def test_phrase_of_two_prompts_goes_to_prompt_with_more_words(folder):
    model = load(folder)
    owners = model._owners[0]
    many = max(range(len(PROMPTS)), key=lambda i: int((owners == i).sum()))
    words = torch.nonzero(owners == many).flatten().tolist()
    other = torch.nonzero(owners == (many + 1) % len(PROMPTS)).flatten().tolist()
    raw = made_up_predictions(model, dict.fromkeys(words[:3], 0.5) | {other[0]: 0.6})
    (ours,) = model.decode(raw, batch_of((64, 64)))
    assert ours.labels == [PROMPTS[many]]
    assert ours.scores == pytest.approx([0.5])


# --- own behavior ------------------------------------------------------------------------------


def test_classes_are_prompts(folder):
    model = load(folder)
    assert model.classes == PROMPTS
    predictions = predict(model, batch_of((90, 160), (64, 64)))
    assert all(detections.classes == PROMPTS for detections in predictions)
    assert len({label for detections in predictions for label in detections.labels}) > 2


def test_batch_size_does_not_change_predictions(folder):
    model, batch = load(folder), batch_of((90, 160), (120, 60), (64, 64), (90, 160))
    for i, together in enumerate(predict(model, batch)):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert len(alone) > 20
        assert np.array_equal(together.class_ids, alone.class_ids)
        assert np.allclose(together.scores, alone.scores, atol=1e-5)
        assert np.allclose(together.boxes_xyxy, alone.boxes_xyxy, atol=1e-5)


def test_images_of_equal_size_are_computed_together(folder):
    tensors = load(folder).prepare(batch_of((90, 160), (120, 60), (180, 320)))
    assert [group.shape for group in tensors["pixels"]] == [(2, 3, 90, 160), (1, 3, 160, 80)]
    assert tensors["rows"].tolist() == [0, 2, 1]


def test_empty_batch_has_no_predictions(folder):
    assert predict(load(folder), Batch(ids=(), images=())) == []


def test_prompts_beyond_one_text_are_split(tmp_path):
    folder = tiny_grounding_dino.write(tmp_path, "MMGroundingDino", max_text_len=40)
    model, batch = load(folder), batch_of((90, 160), (64, 64))
    texts = model.prepare(batch)["texts"]
    assert len(texts) > 2
    assert all(text["input_ids"].shape[1] <= 40 for text in texts)
    for detections in predict(model, batch):
        assert len(detections) > 20
        assert len(set(detections.labels)) > 3
    first = [int(owners.max()) + 1 for owners in model._owners]
    assert sum(first) == len(PROMPTS)
    raw = said_of_each(model, first)
    (ours,) = model.decode(raw, batch_of((64, 64)))
    assert ours.labels == [PROMPTS[sum(first[:k])] for k in range(len(first))]


def said_of_each(model, counts):
    """Return raw outputs in which the k-th text's only box depicts its first prompt."""
    length = model.module.config.max_text_len
    logits = torch.full((1, len(counts), 1, length), -9.0)
    for k, owners in enumerate(model._owners):
        logits[0, k, 0, int(torch.nonzero(owners == 0)[0])] = 2.0 - k / 100
    return {"logits": logits, "boxes": torch.full((1, len(counts), 1, 4), 0.5)}


def test_prompt_longer_than_text_is_refused(tmp_path):
    folder = tiny_grounding_dino.write(tmp_path, max_text_len=5)
    with pytest.raises(TaxonomyError, match="must have at most 5 tokens"):
        load(folder)


def test_predictions_in_bf16(folder):
    model = load(folder)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (detections,) = predict(model, batch_of((90, 160)))
    assert len(detections) > 20
    assert detections.boxes_xyxy.dtype == np.float32


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
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "owlv2"}))
    with pytest.raises(CheckpointError, match="of the type 'owlv2'"):
        load(tmp_path)
