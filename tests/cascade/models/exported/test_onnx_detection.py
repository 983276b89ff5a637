"""ONNX detectors by layout, on tiny handwritten networks."""

import cv2
import numpy as np
import pytest
import tiny_onnx_detection as tiny
import torch

from cascade import registry
from cascade.errors import CascadeError, CheckpointError
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import Inset
from cascade.models.exported import coco_classes
from cascade.protocols import predict

onnx_detection = pytest.importorskip(
    "cascade.models.exported.onnx_detection", reason="onnxruntime is not installed"
)
OnnxFile = onnx_detection.OnnxFile

SIZES = [(48, 80), (200, 120), (64, 64), (97, 31)]


def batch_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    images = tuple(rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=images)


def build(folder, layout, *, images="N", **params):
    path = tiny.write(folder, layout=layout, images=images)
    return registry.create("onnx_detection", path, layout=layout, **tiny._PARAMS, **params)


@pytest.mark.parametrize("layout", ["deimv2", "yolox", "yolo"])
@pytest.mark.parametrize("images", ["N", 1])
def test_batch_size_does_not_change_predictions(tmp_path, layout, images):
    model, batch = build(tmp_path, layout, images=images), batch_of(*SIZES)
    together = predict(model, batch)
    for i, detections in enumerate(together):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert len(detections) > 5
        assert detections.boxes_xyxy == pytest.approx(alone.boxes_xyxy, abs=1e-5)
        assert detections.scores == pytest.approx(alone.scores, abs=1e-5)
        assert detections.labels == alone.labels
    assert predict(model, batch_of()) == []


def test_deimv2_returns_relative_corners(tmp_path):
    """For images of size 1 x 1 the network returns its pixel boxes in relative units."""
    model, batch = build(tmp_path, "deimv2"), batch_of((40, 100))
    pixels = (batch.view(tiny.SIZE, tiny.SIZE).float() / 255).numpy()
    in_pixels = OnnxFile(tmp_path).run(
        {"images": pixels, "orig_target_sizes": np.array([[100, 40]])}
    )["boxes"]
    raw = model.forward(model.prepare(batch))
    assert raw["boxes"].numpy() * [100, 40, 100, 40] == pytest.approx(in_pixels, abs=1e-3)


def test_deimv2_uses_shared_view(tmp_path):
    model, batch = build(tmp_path, "deimv2"), batch_of(*SIZES)
    assert model.prepare(batch)["view"] is batch.view(tiny.SIZE, tiny.SIZE)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_deimv2_resizes_with_opencv_if_requested(tmp_path, height, width):
    model, batch = build(tmp_path, "deimv2", resize="opencv"), batch_of((height, width))
    expected = cv2.resize(batch.images[0], (tiny.SIZE, tiny.SIZE)).astype(int)
    view = model.prepare(batch)["view"][0].permute(1, 2, 0).numpy()
    assert np.abs(view - expected).max() <= 1
    if height > 2 * tiny.SIZE:  # else there is little to smooth
        smooth = build(tmp_path, "deimv2", resize="antialiased").prepare(batch)["view"]
        assert np.abs(smooth[0].permute(1, 2, 0).numpy() - expected).max() > 20
    assert model.prepare(batch_of())["view"].shape == (0, 3, tiny.SIZE, tiny.SIZE)


def test_letterboxes_are_always_opencv(tmp_path):
    requested, batch = build(tmp_path, "yolox", resize="opencv"), batch_of(*SIZES)
    assert requested.prepare(batch)["view"] is build(tmp_path, "yolox").prepare(batch)["view"]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_yolox_view_matches_original_code(tmp_path, height, width):
    """Scaled by OpenCV to sizes that are cut off, at the top left of a gray square, BGR."""
    model, batch = build(tmp_path, "yolox"), batch_of((height, width))
    scale = min(tiny.SIZE / height, tiny.SIZE / width)
    inner = int(width * scale), int(height * scale)
    expected = np.full((tiny.SIZE, tiny.SIZE, 3), 114, np.uint8)
    expected[: inner[1], : inner[0]] = cv2.resize(batch.images[0], inner)
    view = model.prepare(batch)["view"][0].permute(1, 2, 0).numpy()
    assert np.abs(view.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("layout", "first_channel", "scale"), [("yolox", 2, 1), ("yolo", 0, 1 / 255)]
)
def test_layout_defines_channel_order_and_range(tmp_path, layout, first_channel, scale):
    model, batch = build(tmp_path, layout), batch_of((64, 64))
    seen = []
    model._run = lambda pixels: seen.append(pixels) or {}
    model.forward(model.prepare(batch))
    expected = batch.images[0][..., first_channel] * np.float32(scale)
    assert seen[0][0, 0].numpy() == pytest.approx(expected, abs=1e-6)


def test_yolo_cells_become_boxes_of_image(tmp_path):
    """By hand: one cell in the middle of the left half of a letterboxed 100 x 50 image."""
    model, batch = build(tmp_path, "yolo"), batch_of((50, 100))
    raw = torch.zeros(1, 7, 2)
    raw[0, :, 0] = torch.tensor([16.0, 32, 8, 16, 0.1, 0.9, 0.2])
    (detections,) = model.decode({"output0": raw}, batch)
    assert detections.labels == ["drum"]
    assert detections.scores == pytest.approx([0.9])
    assert detections.boxes_xyxy[0] == pytest.approx([12 / 64, 8 / 32, 20 / 64, 24 / 32])


def test_letterbox_offset_is_removed():
    place = Inset(left=0, top=16, width=64, height=32)
    corners = place.to_relative(torch.tensor([[0.0, 16, 64, 48], [32, 32, 64, 48]]))
    assert corners.tolist() == [[0, 0, 1, 1], [0.5, 0.5, 1, 1]]


def test_coco_is_default_vocabulary(tmp_path):
    path = tiny.write(tmp_path, layout="yolo", classes=80)
    assert registry.create("onnx_detection", path, layout="yolo").classes == coco_classes.NAMES


def test_folder_with_one_file_is_accepted(tmp_path):
    tiny.write(tmp_path, layout="yolo")
    model = registry.create("onnx_detection", tmp_path, layout="yolo", **tiny._PARAMS)
    assert model.size == tiny.SIZE
    tiny.write(tmp_path, layout="yolo").rename(tmp_path / "b.onnx")
    tiny.write(tmp_path, layout="yolo")
    with pytest.raises(CheckpointError, match=r"exactly one; found: b.onnx, model.onnx"):
        registry.create("onnx_detection", tmp_path, layout="yolo", **tiny._PARAMS)


@pytest.mark.parametrize(
    ("written", "params", "message"),
    [
        pytest.param("yolo", {"layout": "yolov9"}, "Did you mean 'yolo", id="unknown layout"),
        pytest.param("yolo", {"classes": "coko"}, "Did you mean 'coco'", id="unknown vocabulary"),
        pytest.param("yolo", {"classes": ["a"]}, r"5 channels.*\(1, 7, 64\)", id="other classes"),
        pytest.param("yolo", {"size": 96}, r"input is .*64, 64.* is 96", id="another size"),
        pytest.param("yolo", {"layout": "deimv2"}, "the outputs labels, boxes", id="not deimv2"),
        pytest.param("deimv2", {"resize": "opncv"}, "Did you mean 'opencv'", id="unknown resize"),
        pytest.param("yolo", {"resize": "antialiased"}, "leave out `resize`", id="no such view"),
        pytest.param("deimv2", {"layout": "yolo"}, "one input and one output", id="not yolo"),
        pytest.param("yolox", {"layout": "yolo"}, r"7 channels.*\(1, 84, 8\)", id="yolox"),
    ],
)
def test_mismatched_parameters_are_refused(tmp_path, written, params, message):
    path = tiny.write(tmp_path, layout=written)
    with pytest.raises(CheckpointError, match=message):
        registry.create(
            "onnx_detection", path, **{"layout": written, "classes": tiny.CLASSES, **params}
        )


def test_fixed_batch_size_and_missing_checkpoint_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="fixed batch size of 4"):
        build(tmp_path, "yolo", images=4)
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        registry.create("onnx_detection", layout="yolo")


def test_damaged_file_is_refused(tmp_path):
    path = tiny.write(tmp_path, layout="yolo")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="as an ONNX file"):
        registry.create("onnx_detection", path, layout="yolo", **tiny._PARAMS)


def test_onnxruntime_error_is_translated(tmp_path):
    model = build(tmp_path, "yolo")
    with pytest.raises(CascadeError, match=r"cannot run .*model\.onnx"):
        model.forward({"view": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)})
