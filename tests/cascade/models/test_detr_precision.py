"""Detection transformers in half precision and compiled, from tiny checkpoints."""

import numpy as np
import pytest
import tiny_detr
import torch
from transformers import AutoModelForObjectDetection

from cascade import registry
from cascade.imaging.batches import Batch
from cascade.models.detection.detr import MODEL_TYPES

SIZES = ((90, 160), (64, 64), (200, 120), (40, 30))


@pytest.fixture(scope="module", params=MODEL_TYPES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return tiny_detr.CASES[family].write(tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def model(folder):
    return registry.create("detr", folder)


@pytest.fixture(scope="module")
def plain(folder):
    """Return the network as transformers loads it."""
    return AutoModelForObjectDetection.from_pretrained(folder)


def batch_of(*sizes):
    rng = np.random.default_rng(0)
    pixels = tuple(rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=pixels)


def raw_of(model, batch):
    with torch.inference_mode():
        return model.forward(model.prepare(batch))


def test_boxes_stay_precise_under_autocast(model, plain, family):
    """The order of queries may change: each box needs a near counterpart."""
    batch = batch_of(*SIZES)
    exact = raw_of(model, batch)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.float16):
        half = raw_of(model, batch)
        predictions = model.decode(half, batch)
        unwrapped = plain(pixel_values=model.prepare(batch)["pixel_values"]).pred_boxes
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in half.values())
    assert not torch.equal(half["logits"], exact["logits"])  # other layers ran in float16
    error = off(exact["boxes"], half["boxes"])
    if family in ("d_fine", "deimv2"):  # their random weights amplify every change of a feature
        assert error < 3e-3
    else:
        assert error < 1e-4  # a fifth of a pixel of a full HD image's width
        assert error < off(exact["boxes"], unwrapped.float()) / 2
    for detections in predictions:
        assert len(detections) >= 20
        assert detections.boxes_xyxy.dtype == np.float32
        assert detections.boxes_xyxy.min() >= 0
        assert detections.boxes_xyxy.max() <= 1


def off(boxes, others):
    """Return the median distance to the nearest box of the same image."""
    apart = (boxes[:, :, None] - others[:, None]).abs().amax(dim=-1)
    return float(apart.amin(dim=-1).median())


def test_wrapped_heads_do_not_change_full_precision(model, plain, family):
    batch = batch_of(*SIZES)
    with torch.inference_mode():
        expected = plain(pixel_values=model.prepare(batch)["pixel_values"])
    raw = raw_of(model, batch)
    assert torch.equal(raw["logits"], expected.logits)
    assert torch.equal(raw["boxes"], expected.pred_boxes)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["d_fine", "rf_detr"], indirect=True)
def test_forward_is_one_graph(model):
    tensors = model.prepare(batch_of(*SIZES[:2]))
    torch.compiler.reset()
    compiled = torch.compile(model.forward, fullgraph=True, backend="eager")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        raw, expected = compiled(tensors), model.forward(tensors)
    for name, tensor in raw.items():
        assert torch.allclose(tensor, expected[name], atol=1e-5)
