"""Example caches: equal results with any memory limit, and errors."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cascade import registry
from cascade.errors import TrainingError
from cascade.imaging.batches import Batch
from cascade.predictions import Detections
from cascade.training.examples import Example, ExampleCache, ViewBatch

CPU = torch.device("cpu")
CLASSES = ("cone",)
KEYS = [(0, 0), (2, 1), (1, 3), (2, 0)]


def model():
    return registry.create("center_point", classes=CLASSES, size=64)


def examples(n=3):
    rng = np.random.default_rng(0)
    box = np.array([[0.3, 0.3, 0.7, 0.7]], np.float32)
    truth = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64), CLASSES)
    return [Example(rng.integers(0, 256, (48, 80, 3), dtype=np.uint8), truth) for _ in range(n)]


def cache(**options):
    return ExampleCache(model(), examples(), seed=5, device=CPU, **options)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="everything is cached"),
        pytest.param({"prepared_bytes": 0}, id="views are cached"),
        pytest.param({"view_bytes": 0, "prepared_bytes": 0}, id="nothing is cached"),
        pytest.param({"prepared_bytes": 50_000}, id="some are cached"),
    ],
)
def test_memory_limit_does_not_change_results(options):
    reference, _ = cache().batch(KEYS)
    small = cache(**options)
    for _ in range(2):
        tensors, targets = small.batch(KEYS)
        for ours, theirs in zip(tensors["features"], reference["features"], strict=True):
            assert torch.equal(ours, theirs)
        assert len(targets) == len(KEYS)


def test_variant_zero_is_the_original():
    tensors, targets = cache().batch([(1, 0)])
    expected = model().prepare(Batch(ids=("",), images=(examples()[1].image,)))
    for ours, theirs in zip(tensors["features"], expected["features"], strict=True):
        assert torch.equal(ours, theirs)
    assert targets[0] is not None
    assert (targets[0].boxes_xyxy == examples()[1].target.boxes_xyxy).all()


def test_variants_differ_by_example_and_number():
    _, targets = cache().batch([(0, 1), (0, 2), (1, 1)])
    boxes = {tuple(target.boxes_xyxy[0].tolist()) for target in targets}
    assert len(boxes) == 3


def test_files_equal_pixels(tmp_path):
    pixels = examples()[0].image
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    from_file = ExampleCache(
        model(), [Example(tmp_path / "a.png", examples()[0].target)], seed=0, device=CPU
    )
    assert torch.equal(from_file.view_batch([0]).views, cache().view_batch([0]).views)


def test_unreadable_file_is_left_out_and_recorded(tmp_path, caplog):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    target = examples()[0].target
    files = [Example(tmp_path / "broken.jpg", target), Example(tmp_path / "absent.jpg", target)]
    mixed = ExampleCache(model(), [*files, *examples()], seed=5, device=CPU)
    tensors, targets = mixed.batch([(0, 0), (2, 0), (1, 1), (3, 0)])
    assert len(targets) == len(tensors["features"][0]) == 2
    assert re.search(r"Cannot decode image .*broken\.jpg", mixed.unreadable[0])
    assert re.search(r"Cannot read image .*absent\.jpg", mixed.unreadable[1])
    assert "broken.jpg" in caplog.text
    assert len(mixed.view_batch([0, 2, 3])) == 2
    assert mixed.batch([(0, 0), (1, 0)]) == ({}, [])


def test_view_batch_rejects_other_size():
    batch = ViewBatch.of(torch.zeros(2, 3, 32, 64, dtype=torch.uint8))
    assert len(batch) == 2
    assert batch.sizes == [(32, 64), (32, 64)]
    assert batch.view(32, 64) is batch.views
    with pytest.raises(
        TrainingError, match=r"\(32, 64\) pixels, but the model requests \(64, 64\)"
    ):
        batch.view(64, 64)


def test_hidden_part_is_masked_except_for_objects():
    """The left half is hidden; the object reaches into it and keeps all its pixels."""
    (plain, *_) = examples(1)
    hidden = replace(plain, hidden=((0.0, 0.0, 0.5, 1.0),))
    views = [
        ExampleCache(model(), [example], seed=0, device=CPU).view_batch([0]).views[0].float()
        for example in (plain, hidden)
    ]
    same = (views[0] - views[1]).abs().amax(0) == 0
    assert same[:, 34:].all(), "the right half, except for the border that resizing blurs"
    assert same[24:40, 24:].all(), "the object"
    assert (views[1][:, :16, :30] == 114).all()
    assert (plain.image != 114).any(), "the image itself is unchanged"
