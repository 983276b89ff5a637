import numpy as np
import pytest
import torch
from torch import nn

from cascade.engine.member_runner import Runner, predict_member, set_matmul_precision
from cascade.imaging.batches import Batch
from cascade.manifest import Member
from cascade.predictions import Detections, Embedding, Failure

CPU = torch.device("cpu")


class Level:
    """Embedder of the mean brightness, with an optional hook in `forward`."""

    dimensions = 2

    def __init__(self, forward=None):
        self.module = nn.Identity()
        self.batches = []
        self._hook = forward or (lambda view: None)

    def prepare(self, batch):
        return {"view": batch.view(4, 4)}

    def forward(self, tensors):
        view = tensors["view"]
        self.batches.append(len(view))
        self._hook(view)
        level = view.float().mean(dim=(1, 2, 3)) / 255
        return torch.stack([level, 1 - level], dim=1)

    def decode(self, raw, batch):
        return [Embedding(vector / np.linalg.norm(vector)) for vector in raw.numpy()]


def member(batch_size=4, adapter="dino"):
    return Member(
        name="level", tier="embedding", adapter=adapter, license="MIT", batch_size=batch_size
    )


def batch(n, start=10):
    images = [np.full((6, 8, 3), start + 10 * i, np.uint8) for i in range(n)]
    return Batch(tuple(f"i{i}" for i in range(n)), tuple(images))


def levels(results):
    return {name: round(float(result.vector[0]), 6) for name, result in results.items()}


def test_batch_is_split_by_the_batch_size_of_the_member():
    model = Level()
    results = predict_member(model, member(2), batch(5), CPU)
    assert model.batches == [2, 2, 1]
    assert list(results) == ["i0", "i1", "i2", "i3", "i4"]
    assert levels(results) == levels(predict_member(Level(), member(8), batch(5), CPU))


def test_empty_batch():
    assert predict_member(Level(), member(), batch(0), CPU) == {}


def test_padding_adds_no_result():
    model = Level()
    runner = Runner(model, member(4), CPU)
    results = runner.predict(batch(3).padded(8))
    assert model.batches == [4, 4]
    assert levels(results) == levels(predict_member(Level(), member(4), batch(3), CPU))
    assert runner.seen == 3


def test_out_of_memory_halves_the_batch_size(caplog):
    def full(view):
        if len(view) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = Level(full)
    runner = Runner(model, member(8), CPU)
    results = runner.predict(batch(8))
    assert model.batches == [8, 4, 2, 2, 2, 2]
    assert levels(results) == levels(predict_member(Level(), member(8), batch(8), CPU))
    assert runner.size == 2
    runner.predict(batch(4))
    assert model.batches[6:] == [2, 2]
    assert "out of memory at batch size 8; continuing with 4" in caplog.text


def test_image_that_exceeds_the_memory_fails_alone(caplog):
    def full(view):
        if (view == 30).all(dim=1).all(dim=1).all(dim=1).any():
            raise torch.OutOfMemoryError("CUDA out of\nmemory")

    results = Runner(Level(full), member(4), CPU).predict(batch(4))
    assert results["i2"] == Failure("OutOfMemoryError", "CUDA out of memory")
    assert [type(result) for result in results.values()].count(Embedding) == 3


def test_lost_device_raises():
    def lost(view):
        raise torch.AcceleratorError("CUDA error: an illegal memory access")

    with pytest.raises(torch.AcceleratorError):
        Runner(Level(lost), member(), CPU).predict(batch(2))


def test_failed_compilation_falls_back_to_the_plain_model(monkeypatch, caplog):
    def refuse(forward, **_):
        def compiled(tensors):
            raise RuntimeError("no graph")

        return compiled

    monkeypatch.setattr(torch, "compile", refuse)
    results = Runner(Level(), member(), CPU, compiled=True).predict(batch(3))
    assert levels(results) == levels(predict_member(Level(), member(), batch(3), CPU))
    assert "Cannot compile level; running it uncompiled: no graph" in caplog.text


@pytest.mark.parametrize(
    ("adapter", "compiled"), [("detr", True), ("worker", False), ("grounding_dino", False)]
)
def test_only_compilable_adapters_are_compiled(monkeypatch, adapter, compiled):
    calls = []

    def compile_(forward, **options):
        calls.append(options)
        return forward

    monkeypatch.setattr(torch, "compile", compile_)
    Runner(Level(), member(adapter=adapter), CPU, compiled=True)
    assert calls == ([{"dynamic": False}] if compiled else [])


def test_failing_image_is_isolated_by_halving():
    def choke(view):
        if (view == 40).all(dim=1).all(dim=1).all(dim=1).any():
            raise ValueError("odd")

    model = Level(choke)
    results = Runner(model, member(8), CPU).predict(batch(6))
    assert results["i3"] == Failure("ValueError", "odd")
    assert len(results) == 6
    assert not isinstance(results["i4"], Failure | Detections)


@pytest.mark.parametrize(
    ("precision", "rounds"), [("fp32", False), ("fp16", False), ("bf16", True)]
)
def test_matmul_precision_is_set_under_both_of_torchs_names(precision, rounds):
    """torch has two names for it; if they differ, reading the older one raises."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    member = Member(name="m", tier="detection", adapter="a", license="MIT", precision=precision)
    try:
        set_matmul_precision(member, torch.device("cuda"))
        assert torch.backends.cuda.matmul.allow_tf32 == rounds
        assert torch.backends.cudnn.allow_tf32 == rounds
        assert (torch.backends.cuda.matmul.fp32_precision == "tf32") == rounds
        assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == rounds
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


class Loud(Level):
    """Multiplies in the autocast precision; gray levels of 100 and more overflow fp16."""

    def forward(self, tensors):
        flat = tensors["view"].float().flatten(1)
        self.batches.append(len(flat))
        return torch.nn.functional.linear(flat, torch.full((2, flat.shape[1]), 20.0))

    def decode(self, raw, batch):
        return super().decode(raw.float() / 1000, batch)


def half(batch_size):
    return member(batch_size).model_copy(update={"precision": "fp16"})


def test_fp16_overflow_is_computed_again_in_float32(caplog):
    model, reference = Loud(), Loud()
    runner = Runner(model, half(4), CPU)
    quiet = runner.predict(batch(4, start=5))
    assert model.batches == [4]
    assert not caplog.records
    loud = [runner.predict(batch(4, start=200)) for _ in range(2)]
    assert model.batches == [4, 4, 4, 4, 4]
    assert levels(loud[0]) == levels(Runner(reference, member(4), CPU).predict(batch(4, start=200)))
    assert levels(loud[0]) == levels(loud[1])
    assert len(quiet) == 4
    assert [record.message for record in caplog.records if "fp16" in record.message] == [
        "level overflows fp16; such batches are computed again in float32. If this happens often, "
        "`precision: bf16` in the manifest is faster and less exact."
    ]
