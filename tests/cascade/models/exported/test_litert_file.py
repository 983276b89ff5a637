"""TFLite files: lookup, inputs, outputs and error messages."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from cascade.errors import CascadeError, CheckpointError

pytest.importorskip("ai_edge_litert", reason="ai_edge_litert is not installed")
import tiny_litert as tiny

from cascade.models.exported.litert_file import LitertFile, Quantization

PIXELS = np.random.default_rng(1).random((1, 3, tiny.SIZE, tiny.SIZE), dtype=np.float32)
INT8 = Quantization(np.int8, scale=1 / 256, zero=-128)


def expected():
    """Return the tiny network's output, computed by torch."""
    kernel = torch.from_numpy(tiny.kernel(8, 4 + len(tiny.CLASSES))).permute(0, 3, 1, 2)
    return functional.conv2d(torch.from_numpy(PIXELS), kernel, stride=8).flatten(2).sigmoid()


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize(
    ("kind", "tolerance"), [("FLOAT32", 1e-5), ("INT8", 0.02), ("UINT8", 0.02)]
)
def test_output_matches_network(tmp_path, kind, tolerance, channels_first):
    """Quantization costs at most the rounding to integers."""
    file = LitertFile(tiny.write(tmp_path, kind=kind, channels_first=channels_first), threads=1)
    assert file.side == tiny.SIZE
    answer = file.run(PIXELS)
    assert answer.dtype == np.float32
    assert answer == pytest.approx(expected().numpy(), abs=tolerance)
    assert answer.std() > 0.1


def test_output_is_copy_of_interpreter_memory(tmp_path):
    file = LitertFile(tiny.write(tmp_path), threads=1)
    before = file.run(PIXELS)
    saved = before.copy()
    file.run(1 - PIXELS)
    assert np.array_equal(before, saved)


def test_quantized_values_are_rounded_and_clipped():
    real = np.array([0.0, 0.5, 1.0, 0.0019, 0.0021, -3, 3], np.float32)
    quantized = INT8.quantize(real)
    assert quantized.dtype == np.int8
    assert quantized.tolist() == [-128, 0, 127, -128, -127, -128, 127]


def test_dequantized_values_are_restored():
    real = INT8.dequantize(np.array([-128, 0, 127], np.int8))
    assert real.dtype == np.float32
    assert real.tolist() == [0.0, 0.5, 255 / 256]


def test_image_bytes_survive_common_scale():
    """With the common scale one step of the input is one gray level."""
    bytes_ = np.arange(256, dtype=np.float32)
    usual = Quantization(np.uint8, scale=1 / 255, zero=0)
    assert np.array_equal(usual.quantize(bytes_ / 255), bytes_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"shape": (1, 32, 64, 3)}, r"got \(1, 32, 64, 3\)", id="no square"),
        pytest.param({"shape": (2, 64, 64, 3)}, r"got \(2, 64, 64, 3\)", id="two images"),
        pytest.param({"outputs": 2}, "one input and one output; it has 1 and 2", id="two answers"),
    ],
)
def test_network_without_single_image_input_is_refused(tmp_path, options, message):
    with pytest.raises(CheckpointError, match=message):
        LitertFile(tiny.write(tmp_path, **options), threads=1)


def test_integers_without_scale_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"must be float32 .* got int8 with scale 0"):
        LitertFile(tiny.write(tmp_path, kind="INT8", unknown_scale=True), threads=1)


def test_litert_error_is_translated(tmp_path):
    file = LitertFile(tiny.write(tmp_path), threads=1)
    with pytest.raises(CascadeError, match=r"LiteRT cannot run .*model\.tflite"):
        file.run(np.zeros((1, 3, 8, 8), np.float32))


@pytest.mark.parametrize("content", [b"junk", None], ids=["junk", "half of it"])
def test_damaged_file_is_refused(tmp_path, content):
    path = tiny.write(tmp_path)
    valid = path.read_bytes()
    path.write_bytes(content or valid[: len(valid) // 2])
    with pytest.raises(CheckpointError, match="as a TFLite file"):
        LitertFile(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"A TFLite model needs a checkpoint: .* `\*\.tflite`"
    ):
        LitertFile(None)
    with pytest.raises(CheckpointError, match="found: none"):
        LitertFile(tmp_path)
