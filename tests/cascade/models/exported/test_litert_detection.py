"""TFLite detectors by layout, on tiny networks that LiteRT's own schema writes."""

import numpy as np
import pytest
import torch

from cascade import registry
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import linear_letterbox
from cascade.protocols import predict

pytest.importorskip("ai_edge_litert", reason="ai_edge_litert is not installed")
import tiny_litert as tiny

SIZES = [(48, 80), (200, 120), (64, 64), (97, 31)]


def batch_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    images = tuple(rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=images)


def build(folder, layout="yolo", **written):
    path = tiny.write(folder, layout=layout, **written)
    return registry.create("litert_detection", path, layout=layout, **tiny._PARAMS)


@pytest.mark.parametrize(("layout", "kind"), [("yolo", "FLOAT32"), ("yolo", "INT8"),
                                              ("yolox", "FLOAT32")])  # fmt: skip
def test_batch_size_does_not_change_predictions(tmp_path, layout, kind):
    model, batch = build(tmp_path, layout, kind=kind), batch_of(*SIZES)
    for i, detections in enumerate(predict(model, batch)):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert len(detections) > 5
        assert np.array_equal(detections.boxes_xyxy, alone.boxes_xyxy)
        assert np.array_equal(detections.scores, alone.scores)
        assert detections.labels == alone.labels
    assert predict(model, batch_of()) == []


def test_relative_and_pixel_boxes_are_equal(tmp_path):
    batch = batch_of(*SIZES)
    relative = predict(build(tmp_path), batch)
    in_pixels = predict(build(tmp_path, in_pixels=True), batch)
    for detections, other in zip(relative, in_pixels, strict=True):
        assert detections.boxes_xyxy == pytest.approx(other.boxes_xyxy, abs=1e-5)
        assert detections.labels == other.labels


def test_cells_become_boxes_of_image(tmp_path):
    """By hand: one cell in the middle of the left half of a letterboxed 100 x 50 image."""
    model, batch = build(tmp_path), batch_of((50, 100))
    raw = torch.zeros(1, 7, 2)
    raw[0, :, 0] = torch.tensor([0.25, 0.5, 0.125, 0.25, 0.1, 0.9, 0.2])
    (detections,) = model.decode(raw, batch)
    assert detections.labels == ["drum"]
    assert detections.scores == pytest.approx([0.9])
    assert detections.boxes_xyxy[0] == pytest.approx([12 / 64, 8 / 32, 20 / 64, 24 / 32])


def test_quantization_changes_predictions_little(tmp_path):
    batch = batch_of(*SIZES)
    real, quantized = (build(tmp_path, kind=kind) for kind in ("FLOAT32", "INT8"))
    tensors = real.prepare(batch)
    difference = real.forward(tensors) - quantized.forward(tensors)
    assert 0 < difference.abs().max() < 0.02


@pytest.mark.parametrize(("layout", "style"), [("yolo", "ultralytics"), ("yolox", "yolox")])
def test_view_is_letterbox_of_layout(tmp_path, layout, style):
    model, batch = build(tmp_path, layout), batch_of(*SIZES)
    assert model.prepare(batch)["view"] is linear_letterbox(batch, tiny.SIZE, style)[0]


@pytest.mark.parametrize(
    ("layout", "first_channel", "scale"), [("yolox", 2, 1), ("yolo", 0, 1 / 255)]
)
def test_layout_defines_channel_order_and_range(tmp_path, layout, first_channel, scale):
    model, batch = build(tmp_path, layout), batch_of((64, 64))
    seen, run = [], model._file.run
    model._file.run = lambda pixels: seen.append(pixels) or run(pixels)
    model.forward(model.prepare(batch))
    expected = batch.images[0][..., first_channel] * np.float32(scale)
    assert seen[0][0, 0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"layout": "deimv2"}, "Unknown layout 'deimv2'", id="unknown layout"),
        pytest.param({"layout": "yolox"}, r"8 channels on axis 2.*\(1, 7, 64\)", id="not yolox"),
        pytest.param({"classes": ["a"]}, r"1 classes has 5 channels.*\(1, 7, 64\)", id="classes"),
        pytest.param({"classes": "coko"}, "Did you mean 'coco'", id="unknown vocabulary"),
    ],
)
def test_mismatched_parameters_are_refused(tmp_path, params, message):
    with pytest.raises(CheckpointError, match=message):
        registry.create(
            "litert_detection", tiny.write(tmp_path), **{"classes": tiny.CLASSES, **params}
        )
