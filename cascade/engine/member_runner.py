"""Execution of one member on one device: precision, compilation, batches and error recovery.

A member is called in two steps, because a GPU must never wait for the host: `launch` prepares
the inputs, starts the forward pass and returns while the GPU computes; `finish` waits for the
GPU and decodes the outputs, in any thread.

* Out of memory: the member's batches are halved from then on.
* Any other error: the failing batch is halved until the faulty image is isolated.
* Overflow of fp16: the batch is computed again in float32, instead of yielding NaN or nothing.
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
from cascade.predictions import Failure, Prediction
from cascade.protocols import PRECISIONS, Model

logger = logging.getLogger(__name__)

COMPILABLE = frozenset(
    {"center_point", "depth_anything_2", "detr", "dino", "owlv2", "rf_detr_seg", "siglip", "timm"}
)
"""Adapters whose `forward` compiles to one graph with static shapes."""

CONVOLUTIONAL = frozenset(
    {"center_point", "detr", "mobilenet", "rf_detr_seg", "rt_detr", "ultralytics", "yolo", "yoloe"}
)
"""Adapters with a convolutional backbone: faster in the channels-last layout."""

# Errors of third-party model code on an odd image or a full device. Ctrl-C is not among them.
MEMBER_ERRORS = (CascadeError, RuntimeError, ValueError, ArithmeticError, LookupError, TypeError)

MemberResults = dict[str, Prediction | Failure]
"""Results of one member by image id."""


@dataclass
class LaunchedBatch:
    """Part of a batch whose forward pass has started.

    Attributes:
        batch: The images.
        raw: Output of `forward`, possibly still being computed.
        error: Error that `forward` raised instead.
        start: CUDA event or CPU time of the launch.
        end: CUDA event or CPU time of its completion.
    """

    batch: Batch
    raw: Any = None
    error: Exception | None = None
    start: Any = None
    end: Any = None


class Runner:
    """Runs one member on one device.

    Args:
        model: The built model.
        member: The manifest entry: batch size and precision.
        device: Device of the model.
        size: Batch size, instead of the manifest's.
        compiled: Whether to compile `forward`, where the adapter allows it.

    Attributes:
        size: Batch size; smaller after running out of memory.
        seconds: Seconds in the member's calls: GPU time of `forward`, CPU time of all calls.
        seen: Number of images in that time, without padding.
    """

    def __init__(
        self,
        model: Model,
        member: Member,
        device: torch.device,
        *,
        size: int | None = None,
        compiled: bool = False,
    ) -> None:
        self.model, self.member, self.device = model, member, device
        self.size = size or member.batch_size
        self.seconds, self.seen = 0.0, 0
        self._lock = threading.Lock()  # `finish` runs in several threads
        self._forward: Callable[[Any], Any] = model.forward
        self._forward_works = True
        self._has_overflowed = False
        if device.type == "cuda" and member.adapter in CONVOLUTIONAL:
            model.module.to(memory_format=torch.channels_last)
        if compiled and member.adapter in COMPILABLE:
            self._forward = torch.compile(model.forward, dynamic=False)
            self._forward_works = False

    def launch(self, batch: Batch) -> list[LaunchedBatch]:
        """Start the forward passes over a batch, part by part; never raises for an image."""
        launched = []
        pending = list(reversed(split_batch(batch, self.size)))
        while pending:
            part = pending.pop()
            if len(part) > self.size:  # the size was halved after this part was split
                pending += reversed(split_batch(part, self.size))
                continue
            started = self._start(part)
            if isinstance(started.error, torch.OutOfMemoryError) and len(part) > 1:
                self._halve_size(part)
                pending.append(part)
            else:
                launched.append(started)
        return launched

    def finish(self, launched: Sequence[LaunchedBatch]) -> MemberResults:
        """Wait for launched batches; return the prediction or `Failure` of each image, by id."""
        results: MemberResults = {}
        for part in launched:
            start = time.perf_counter()
            results |= self._decode_or_retry(part)
            host_seconds = time.perf_counter() - start
            with self._lock:
                self.seconds += self._forward_seconds(part)
                if self.device.type != "cuda":  # on a GPU the host only waited
                    self.seconds += host_seconds
                self.seen += sum(image_id != "" for image_id in part.batch.ids)
        results.pop("", None)  # padding
        return results

    def predict(self, batch: Batch) -> MemberResults:
        """Launch and finish a batch; return the prediction or `Failure` of each image, by id."""
        return self.finish(self.launch(batch))

    def _start(self, part: Batch) -> LaunchedBatch:
        if not len(part):
            return LaunchedBatch(part)
        start = self._timestamp()
        try:
            raw = self._compute(part, self._forward)
        except torch.AcceleratorError:  # this process has lost the device
            raise
        except MEMBER_ERRORS as error:
            if not self._forward_works:
                return self._start_uncompiled(part, error)
            return LaunchedBatch(part, error=error, start=start, end=self._timestamp())
        self._forward_works = True
        return LaunchedBatch(part, raw, start=start, end=self._timestamp())

    def _start_uncompiled(self, part: Batch, error: Exception) -> LaunchedBatch:
        """Fall back to the plain model after the first call of the compiled one has failed."""
        if isinstance(error, torch.OutOfMemoryError):
            return LaunchedBatch(part, error=error)
        logger.warning(
            "Cannot compile %s; running it uncompiled: %s", self.member.name, _one_line(error)
        )
        self._forward, self._forward_works = self.model.forward, True
        return self._start(part)

    def _compute(self, part: Batch, forward: Callable[[Any], Any]) -> Any:
        set_matmul_precision(self.member, self.device)
        with torch.inference_mode(), autocast(self.member, self.device):
            return forward(self.model.prepare(part))

    def _halve_size(self, part: Batch) -> None:
        self.size = (len(part) + 1) // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning(
            "%s: out of memory at batch size %d; continuing with %d.",
            self.member.name, len(part), self.size,
        )  # fmt: skip

    def _decode_or_retry(self, part: LaunchedBatch) -> MemberResults:
        if not len(part.batch):
            return {}
        if part.error is not None:
            return self._retry_in_halves(part.batch, part.error)
        try:
            with self._side_stream(part):
                return self._decode(part.raw, part.batch)
        except torch.AcceleratorError:
            raise
        except MEMBER_ERRORS as error:
            return self._retry_in_halves(part.batch, error)

    def _decode(self, raw: Any, part: Batch) -> MemberResults:
        with autocast(self.member, self.device):
            predictions = self.model.decode(self._without_overflow(raw, part), part)
        return dict(zip(part.ids, predictions, strict=True))

    def _without_overflow(self, raw: Any, part: Batch) -> Any:
        """Return the output, computed again in float32 if it overflowed fp16."""
        if self.member.precision != "fp16" or in_range(raw):
            return raw
        if not self._has_overflowed:
            self._has_overflowed = True
            logger.warning(
                "%s overflows fp16; such batches are computed again in float32. If this happens "
                "often, `precision: bf16` in the manifest is faster and less exact.",
                self.member.name,
            )
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return self.model.forward(self.model.prepare(part))

    def _retry_in_halves(self, batch: Batch, error: Exception) -> MemberResults:
        """Isolate the images on which the member fails."""
        name = self.member.name
        if len(batch) == 1:
            logger.warning("%s failed on %s: %s", name, batch.ids[0], error)
            return {batch.ids[0]: Failure(type(error).__name__, _one_line(error))}
        logger.info("%s failed on a batch of %d; trying halves.", name, len(batch))
        results: MemberResults = {}
        for half in split_batch(batch, (len(batch) + 1) // 2):
            try:
                results |= self._decode(self._compute(half, self.model.forward), half)
            except torch.AcceleratorError:
                raise
            except MEMBER_ERRORS as half_error:
                results |= self._retry_in_halves(half, half_error)
        return results

    def _timestamp(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _forward_seconds(self, part: LaunchedBatch) -> float:
        if part.start is None:
            return 0.0
        if self.device.type != "cuda":
            return float(part.end - part.start)
        part.end.synchronize()
        return float(part.start.elapsed_time(part.end)) / 1000

    @contextmanager
    def _side_stream(self, part: LaunchedBatch) -> Iterator[None]:
        """Let a GPU decode in parallel with the next forward pass."""
        if self.device.type != "cuda":
            yield
            return
        stream = _thread_stream(self.device)
        stream.wait_event(part.end)
        with torch.cuda.stream(stream):
            yield


def predict_member(
    model: Model, member: Member, batch: Batch, device: torch.device
) -> MemberResults:
    """Return the member's prediction or `Failure` for every image of the batch, by id.

    Args:
        model: The built model.
        member: The manifest entry: batch size and precision.
        batch: The images.
        device: Device of the model.
    """
    return Runner(model, member, device).predict(batch)


def autocast(member: Member, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a member's layers run in its precision."""
    if member.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[member.precision])


def set_matmul_precision(member: Member, device: torch.device) -> None:
    """Set the precision of float32 multiplications on a GPU for a member.

    For bf16 members the remaining float32 operations use TF32, with 10 bits of mantissa: three
    more than bf16. For all others they are exact, convolutions included, which torch would round.
    """
    if device.type == "cuda":  # the older names: torch's compiler still reads them
        rounds = member.precision == "bf16"
        torch.set_float32_matmul_precision("high" if rounds else "highest")
        torch.backends.cudnn.allow_tf32 = rounds


def split_batch(batch: Batch, size: int) -> list[Batch]:
    """Return a batch in parts of at most `size` images."""
    if len(batch) <= size:
        return [batch]
    return [batch.part(i, i + size) for i in range(0, len(batch), size)]


_streams = threading.local()


def _thread_stream(device: torch.device) -> Any:
    """Return the stream of this thread; only one, because each stream holds memory."""
    streams: dict[torch.device, Any] = _streams.__dict__.setdefault("by_device", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return streams[device]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
