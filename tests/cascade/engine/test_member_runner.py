import numpy as np
import pytest
import torch
from torch import nn

from cascade.engine.member_runner import Runner, multiply_for, of_member
from cascade.imaging.batches import Batch
from cascade.manifest import Member
from cascade.predictions import Detections, Embedding, Failure

CPU = torch.device("cpu")


class Level:
    """Embeds an image by its brightness; what happens in `forward` can be added to."""

    dimensions = 2

    def __init__(self, forward=None):
        self.module = nn.Identity()
        self.batches = []
        self._more = forward or (lambda view: None)

    def prepare(self, batch):
        return {"view": batch.view(4, 4)}

    def forward(self, tensors):
        view = tensors["view"]
        self.batches.append(len(view))
        self._more(view)
        level = view.float().mean(dim=(1, 2, 3)) / 255
        return torch.stack([level, 1 - level], dim=1)

    def decode(self, raw, batch):
        return [Embedding(one / np.linalg.norm(one)) for one in raw.numpy()]


def member(batch_size=4, adapter="dino"):
    return Member(
        name="level", tier="embedding", adapter=adapter, licence="MIT", batch_size=batch_size
    )


def batch(n, start=10):
    images = [np.full((6, 8, 3), start + 10 * i, np.uint8) for i in range(n)]
    return Batch(tuple(f"i{i}" for i in range(n)), tuple(images))


def levels(found):
    return {name: round(float(one.vector[0]), 6) for name, one in found.items()}


def test_a_batch_is_done_in_parts_of_the_members_size():
    model = Level()
    found = of_member(model, member(2), batch(5), CPU)
    assert model.batches == [2, 2, 1]
    assert list(found) == ["i0", "i1", "i2", "i3", "i4"]
    assert levels(found) == levels(of_member(Level(), member(8), batch(5), CPU))


def test_an_empty_batch_gives_nothing():
    assert of_member(Level(), member(), batch(0), CPU) == {}


def test_padding_changes_nothing_and_is_nobodys_result():
    model = Level()
    runner = Runner(model, member(4), CPU)
    found = runner.now(batch(3).padded(8))
    assert model.batches == [4, 4]
    assert levels(found) == levels(of_member(Level(), member(4), batch(3), CPU))
    assert runner.seen == 3


def test_memory_that_runs_out_halves_the_batches_from_then_on(caplog):
    def full(view):
        if len(view) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = Level(full)
    runner = Runner(model, member(8), CPU)
    found = runner.now(batch(8))
    assert model.batches == [8, 4, 2, 2, 2, 2]
    assert levels(found) == levels(of_member(Level(), member(8), batch(8), CPU))
    assert runner.size == 2
    runner.now(batch(4))
    assert model.batches[6:] == [2, 2]
    assert "memory ran out with 8 images at a time; going on with 4" in caplog.text


def test_an_image_that_alone_is_too_much_fails_alone(caplog):
    def full(view):
        if (view == 30).all(dim=1).all(dim=1).all(dim=1).any():
            raise torch.OutOfMemoryError("CUDA out of\nmemory")

    found = Runner(Level(full), member(4), CPU).now(batch(4))
    assert found["i2"] == Failure("OutOfMemoryError", "CUDA out of memory")
    assert [type(one) for one in found.values()].count(Embedding) == 3


def test_a_device_that_is_lost_is_no_fault_of_the_image():
    def lost(view):
        raise torch.AcceleratorError("CUDA error: an illegal memory access")

    with pytest.raises(torch.AcceleratorError):
        Runner(Level(lost), member(), CPU).now(batch(2))


def test_what_cannot_be_compiled_runs_as_it_is(monkeypatch, caplog):
    def refuse(forward, **_):
        def compiled(tensors):
            raise RuntimeError("no graph")

        return compiled

    monkeypatch.setattr(torch, "compile", refuse)
    found = Runner(Level(), member(), CPU, compiled=True).now(batch(3))
    assert levels(found) == levels(of_member(Level(), member(), batch(3), CPU))
    assert "level could not be compiled, so it runs as it is: no graph" in caplog.text


@pytest.mark.parametrize(
    ("adapter", "compiled"), [("detr", True), ("worker", False), ("grounding_dino", False)]
)
def test_only_families_of_one_graph_are_compiled(monkeypatch, adapter, compiled):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda forward, **how: asked.append(how) or forward)
    Runner(Level(), member(adapter=adapter), CPU, compiled=True)
    assert asked == ([{"dynamic": False}] if compiled else [])


def test_images_are_handed_in_halves_until_the_one_that_fails_is_found():
    def choke(view):
        if (view == 40).all(dim=1).all(dim=1).all(dim=1).any():
            raise ValueError("odd")

    model = Level(choke)
    found = Runner(model, member(8), CPU).now(batch(6))
    assert found["i3"] == Failure("ValueError", "odd")
    assert len(found) == 6
    assert not isinstance(found["i4"], Failure | Detections)


@pytest.mark.parametrize(
    ("precision", "rounds"), [("fp32", False), ("fp16", False), ("bf16", True)]
)
def test_float32_is_multiplied_as_the_precision_asks_and_compilers_can_ask_how(precision, rounds):
    """torch keeps it under two names; where these differ, to ask by the older one is an error."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    member = Member(name="m", tier="detection", adapter="a", licence="MIT", precision=precision)
    try:
        multiply_for(member, torch.device("cuda"))
        assert torch.backends.cuda.matmul.allow_tf32 == rounds
        assert torch.backends.cudnn.allow_tf32 == rounds
        assert (torch.backends.cuda.matmul.fp32_precision == "tf32") == rounds
        assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == rounds
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


class Loud(Level):
    """Multiplies in whatever autocast says; grey levels of 100 and more leave the range of fp16."""

    def forward(self, tensors):
        flat = tensors["view"].float().flatten(1)
        self.batches.append(len(flat))
        return torch.nn.functional.linear(flat, torch.full((2, flat.shape[1]), 20.0))

    def decode(self, raw, batch):
        return super().decode(raw.float() / 1000, batch)


def half(batch_size):
    return member(batch_size).model_copy(update={"precision": "fp16"})


def test_what_leaves_the_range_of_fp16_is_computed_again_in_float32(caplog):
    model, whole = Loud(), Loud()
    runner = Runner(model, half(4), CPU)
    quiet = runner.now(batch(4, start=5))
    assert model.batches == [4]
    assert not caplog.records
    loud = [runner.now(batch(4, start=200)) for _ in range(2)]
    assert model.batches == [4, 4, 4, 4, 4]
    assert levels(loud[0]) == levels(Runner(whole, member(4), CPU).now(batch(4, start=200)))
    assert levels(loud[0]) == levels(loud[1])
    assert len(quiet) == 4
    assert [one.message for one in caplog.records if "range of fp16" in one.message] == [
        "level leaves the range of fp16, so such batches are computed again in float32. Where that "
        "happens often, `precision: bf16` in the manifest is quicker and less exact."
    ]
