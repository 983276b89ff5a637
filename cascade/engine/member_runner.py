"""One member at work on one device: precision, compilation, batches, and what becomes of errors.

A member's calls are made in two steps, so that a GPU never waits for the host: `launch` prepares
and starts the forward pass, and returns while the GPU computes; `finish` waits for it and
unpacks, in any thread.

A GPU that runs out of memory halves the member's batches from then on. Whatever else a model
raises halves one batch until the image is found that it chokes on. What leaves the range of fp16
is computed again in float32: it would be NaN, or silently nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from cascade.engine.overflow import in_range
from cascade.errors import CascadeError
from cascade.imaging.batches import Batch
from cascade.manifest import Member
from cascade.predictions import Failure
from cascade.protocols import PRECISIONS

logger = logging.getLogger(__name__)

COMPILABLE = frozenset(
    {"center_point", "depth_anything_2", "detr", "dino", "owlv2", "rf_detr_seg", "siglip", "timm"}
)
"""Adapters whose `forward` is one graph without breaks, with static shapes."""

CONVOLUTIONAL = frozenset(
    {"center_point", "detr", "mobilenet", "rf_detr_seg", "rt_detr", "ultralytics", "yolo", "yoloe"}
)
"""Adapters whose backbone is convolutions: quicker with channels last."""

# What foreign model code raises on an odd image or a full device. Ctrl-C is not among them.
MEMBER_ERRORS = (CascadeError, RuntimeError, ValueError, ArithmeticError, LookupError, TypeError)


@dataclass
class Launched:
    """A part of a batch whose forward pass was started.

    Attributes:
        batch: The images.
        raw: What `forward` returned; the GPU may not have computed it yet.
        error: What it raised instead.
        began: Event (GPU) or time (CPU) at which it was started.
        ended: Likewise, when it is done.
    """

    batch: Batch
    raw: Any = None
    error: Exception | None = None
    began: Any = None
    ended: Any = None


class Runner:
    """A member at work.

    Args:
        model: Its built model.
        member: The manifest's entry: batch size and precision.
        device: Where the model is.
        size: Images at a time, instead of the manifest's number.
        compiled: Whether to compile `forward`, where its family can be.

    Attributes:
        size: Images at a time; less once memory ran out.
        seconds: Time in its calls: of the GPU in `forward`, of the host in the rest.
        seen: Images that it was handed in that time, padding left out.
    """

    def __init__(
        self,
        model: Any,
        member: Member,
        device: torch.device,
        *,
        size: int | None = None,
        compiled: bool = False,
    ) -> None:
        self.model, self.member, self.device = model, member, device
        self.size = size or member.batch_size
        self.seconds, self.seen = 0.0, 0
        self._tallying = threading.Lock()  # `finish` runs in several threads
        self._forward: Callable[[Any], Any] = model.forward
        self._trusts_forward = True
        self._overflowed = False
        if device.type == "cuda" and member.adapter in CONVOLUTIONAL:
            model.module.to(memory_format=torch.channels_last)
        if compiled and member.adapter in COMPILABLE:
            self._forward = torch.compile(model.forward, dynamic=False)
            self._trusts_forward = False

    def launch(self, batch: Batch) -> list[Launched]:
        """Start the forward passes over a batch, part by part; never raises for an image."""
        started = []
        waiting = list(reversed(split(batch, self.size)))
        while waiting:
            part = waiting.pop()
            if len(part) > self.size:  # which was halved meanwhile
                waiting += reversed(split(part, self.size))
                continue
            one = self._start(part)
            if isinstance(one.error, torch.OutOfMemoryError) and len(part) > 1:
                self._make_room(part)
                waiting.append(part)
            else:
                started.append(one)
        return started

    def finish(self, started: Sequence[Launched]) -> dict[str, Any]:
        """Wait for what was launched; return the prediction or `Failure` of each image, by id."""
        results: dict[str, Any] = {}
        for one in started:
            began = time.perf_counter()
            results |= self._unpacked(one)
            host = time.perf_counter() - began
            with self._tallying:
                self.seconds += self._forward_seconds(one)
                if self.device.type != "cuda":  # there, to wait for the GPU is no work
                    self.seconds += host
                self.seen += sum(name != "" for name in one.batch.ids)
        results.pop("", None)  # padding
        return results

    def now(self, batch: Batch) -> dict[str, Any]:
        """Return what the member says of a batch, before anything else happens."""
        return self.finish(self.launch(batch))

    def _start(self, part: Batch) -> Launched:
        if not len(part):
            return Launched(part)
        began = self._mark()
        try:
            raw = self._computed(part, self._forward)
        except torch.AcceleratorError:  # the device is lost to this process, not the image
            raise
        except MEMBER_ERRORS as error:
            if not self._trusts_forward:
                return self._without_compilation(part, error)
            return Launched(part, error=error, began=began, ended=self._mark())
        self._trusts_forward = True
        return Launched(part, raw, began=began, ended=self._mark())

    def _without_compilation(self, part: Batch, error: Exception) -> Launched:
        """Go on with the plain model, where the first call of the compiled one failed."""
        if isinstance(error, torch.OutOfMemoryError):
            return Launched(part, error=error)
        logger.warning(
            "%s could not be compiled, so it runs as it is: %s", self.member.name, _line(error)
        )
        self._forward, self._trusts_forward = self.model.forward, True
        return self._start(part)

    def _computed(self, part: Batch, forward: Callable[[Any], Any]) -> Any:
        multiply_for(self.member, self.device)
        with torch.inference_mode(), autocast(self.member, self.device):
            return forward(self.model.prepare(part))

    def _make_room(self, part: Batch) -> None:
        self.size = (len(part) + 1) // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning(
            "%s: memory ran out with %d images at a time; going on with %d.",
            self.member.name, len(part), self.size,
        )  # fmt: skip

    def _unpacked(self, one: Launched) -> dict[str, Any]:
        if not len(one.batch):
            return {}
        if one.error is not None:
            return self._halved(one.batch, one.error)
        try:
            with self._aside(one), autocast(self.member, self.device):
                found = self.model.decode(self._sound(one.raw, one.batch), one.batch)
            return dict(zip(one.batch.ids, found, strict=True))
        except torch.AcceleratorError:
            raise
        except MEMBER_ERRORS as error:
            return self._halved(one.batch, error)

    def _sound(self, raw: Any, part: Batch) -> Any:
        """Return what `forward` gave, or float32's own where it left the range of fp16."""
        if self.member.precision != "fp16" or in_range(raw):
            return raw
        if not self._overflowed:
            self._overflowed = True
            logger.warning(
                "%s leaves the range of fp16, so such batches are computed again in float32. Where "
                "that happens often, `precision: bf16` in the manifest is quicker and less exact.",
                self.member.name,
            )
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return self.model.forward(self.model.prepare(part))

    def _halved(self, batch: Batch, error: Exception) -> dict[str, Any]:
        """Find out, in halves, which images a member fails on."""
        name = self.member.name
        if len(batch) == 1:
            logger.warning("%s failed on %s: %s", name, batch.ids[0], error)
            return {batch.ids[0]: Failure(type(error).__name__, _line(error))}
        logger.info("%s failed on a batch of %d; trying halves.", name, len(batch))
        results: dict[str, Any] = {}
        for half in split(batch, (len(batch) + 1) // 2):
            try:
                raw = self._computed(half, self.model.forward)
                with autocast(self.member, self.device):
                    found = self.model.decode(self._sound(raw, half), half)
                    results |= zip(half.ids, found, strict=True)
            except torch.AcceleratorError:
                raise
            except MEMBER_ERRORS as worse:
                results |= self._halved(half, worse)
        return results

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _forward_seconds(self, one: Launched) -> float:
        if one.began is None:
            return 0.0
        if self.device.type != "cuda":
            return float(one.ended - one.began)
        one.ended.synchronize()
        return float(one.began.elapsed_time(one.ended)) / 1000

    @contextmanager
    def _aside(self, one: Launched) -> Iterator[None]:
        """Let a GPU unpack beside the next forward pass, not after it."""
        if self.device.type != "cuda":
            yield
            return
        stream = _side_stream(self.device)
        stream.wait_event(one.ended)
        with torch.cuda.stream(stream):
            yield


def of_member(model: Any, member: Member, batch: Batch, device: torch.device) -> dict[str, Any]:
    """Return the member's prediction, or its `Failure`, for every image of the batch, by id.

    Args:
        model: Its built model.
        member: The manifest's entry: batch size and precision.
        batch: The images.
        device: Where the model is.
    """
    return Runner(model, member, device).now(batch)


def autocast(member: Member, device: torch.device) -> AbstractContextManager[Any]:
    """Return what runs a member's layers in its precision."""
    if member.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[member.precision])


def multiply_for(member: Member, device: torch.device) -> None:
    """Have a GPU multiply float32, from now on, as a member's precision asks.

    What a member of bf16 leaves in float32 is multiplied in TF32: 10 bits of mantissa, three more
    than it has itself. Others are computed in full, convolutions too, which torch would round.
    """
    if device.type == "cuda":  # by the older names: torch's compiler still asks for those
        rounds = member.precision == "bf16"
        torch.set_float32_matmul_precision("high" if rounds else "highest")
        torch.backends.cudnn.allow_tf32 = rounds


def split(batch: Batch, size: int) -> list[Batch]:
    """Return a batch in parts of at most `size` images."""
    if len(batch) <= size:
        return [batch]
    return [batch.part(i, i + size) for i in range(0, len(batch), size)]


def _side_stream(device: torch.device) -> Any:
    """Return this thread's own stream: one, because each keeps memory of its own."""
    known: dict[torch.device, Any] = _streams.__dict__.setdefault("by_device", {})
    if device not in known:
        known[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return known[device]


_streams = threading.local()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
