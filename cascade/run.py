"""The engine: images in, every member's predictions out.

Batches always hold the same images, whatever is left to do: a run that was cut off and goes
on computes each image beside the same neighbours, and so to the same last digit. What was done
before is not handed on again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from cascade.errors import CascadeError
from cascade.images import Batch, batches
from cascade.manifest import Member
from cascade.model import PRECISIONS
from cascade.model import predict as predict_batch
from cascade.predictions import Failure

logger = logging.getLogger(__name__)

BATCHES_A_WRITE = 8  # what is lost by a crash, against what a write costs


class Sink(Protocol):
    """Where predictions go."""

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Store `{image id: {member: prediction or Failure}}`, whole or not at all."""
        ...


class Progress(Protocol):
    """Told how far a long work is."""

    def __call__(self, done: int, total: int) -> None:
        """Take note that `done` of `total` images are finished."""
        ...


@dataclass
class Tally:
    """What a run did.

    Attributes:
        images: Images that were looked at.
        predicted: Predictions that were made.
        failed: Predictions that failed, each on record at its image.
        seconds: Time in each member's own calls.
        seen: Images that each member looked at in that time, those for their neighbours' sake
            included.
    """

    images: int = 0
    predicted: int = 0
    failed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)


@dataclass
class Memory:
    """A sink that keeps everything in memory, for a few thousand images."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep `results`."""
        for name, row in results.items():
            self.results.setdefault(name, {}).update(row)


def default_device() -> torch.device:
    """Return the first GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def run(
    models: Mapping[str, Any],
    members: Mapping[str, Member],
    ids: Sequence[str],
    paths: Sequence[str | Path],
    sink: Sink,
    *,
    device: torch.device,
    todo: Mapping[str, set[str]] | None = None,
    known: Callable[[Batch], Batch] | None = None,
    batches_a_write: int = BATCHES_A_WRITE,
    progress: Progress | None = None,
) -> Tally:
    """Run every model over the images and hand the results to `sink` as they come.

    An image that cannot be read, or on which a member fails, is a `Failure` at its place and
    never stops the others.

    Args:
        models: The built model of each member.
        members: The manifest's entry of each.
        ids: One name per image; their order decides who shares a batch.
        paths: The image files.
        sink: Where results go.
        device: Where the models are.
        todo: The ids that each member has yet to do; None for all.
        known: Adds to a batch what is known of its images (`found`, `focals_px`); None for
            members of the first tiers, which need nothing.
        batches_a_write: How many batches are held in memory before `sink` gets them.
        progress: Told after every batch.
    """
    size = max((members[name].batch_size for name in models), default=1)
    starts = [i for i in range(0, len(ids), size) if _has_work(ids[i : i + size], todo)]
    tally = Tally(seconds=dict.fromkeys(models, 0.0), seen=dict.fromkeys(models, 0))
    pending: dict[str, dict[str, Any]] = {}
    wanted = [i for start in starts for i in range(start, min(start + size, len(ids)))]
    reader = batches(
        [ids[i] for i in wanted], [paths[i] for i in wanted], batch_size=size, device=device
    )
    done = len(ids) - len(wanted)
    for number, (batch, unreadable) in enumerate(reader, start=1):
        failed = {one.id: Failure("ImageError", one.reason) for one in unreadable}
        batch = known(batch) if known else batch
        for name, model in models.items():
            began = time.perf_counter()
            wanting = None if todo is None else todo[name]
            found = _wanted_of(model, members[name], batch, device, wanting)
            tally.seen[name] += len(batch) if found else 0
            tally.seconds[name] += time.perf_counter() - began
            for image_id, result in (found | _only(failed, wanting)).items():
                pending.setdefault(image_id, {})[name] = result
        done += len(batch) + len(unreadable)
        if number % batches_a_write == 0:
            _flush(pending, sink, tally)
        if progress:
            progress(done, len(ids))
    _flush(pending, sink, tally)
    return tally


def of_member(model: Any, member: Member, batch: Batch, device: torch.device) -> dict[str, Any]:
    """Return the member's prediction, or its `Failure`, for every image of the batch, by id.

    Args:
        model: Its built model.
        member: The manifest's entry: batch size and precision.
        batch: The images.
        device: Where the model is.
    """
    results: dict[str, Any] = {}
    for part in _split(batch, member.batch_size):
        results |= _of_part(model, member, part, device)
    return results


def _has_work(ids: Sequence[str], todo: Mapping[str, set[str]] | None) -> bool:
    return todo is None or any(name in waiting for waiting in todo.values() for name in ids)


def _wanted_of(
    model: Any, member: Member, batch: Batch, device: torch.device, wanting: set[str] | None
) -> dict[str, Any]:
    """Return what is wanted of a batch; the model sees all of it, or nothing."""
    if wanting is not None and wanting.isdisjoint(batch.ids):
        return {}
    return _only(of_member(model, member, batch, device), wanting)


def _only(found: Mapping[str, Any], wanting: set[str] | None) -> dict[str, Any]:
    return {one: result for one, result in found.items() if wanting is None or one in wanting}


def _of_part(model: Any, member: Member, batch: Batch, device: torch.device) -> dict[str, Any]:
    if not len(batch):
        return {}
    try:
        with _autocast(member, device):
            return dict(zip(batch.ids, predict_batch(model, batch), strict=True))
    except _MEMBER_ERRORS as error:
        if len(batch) == 1:
            logger.warning("%s failed on %s: %s", member.name, batch.ids[0], error)
            return {batch.ids[0]: Failure(type(error).__name__, " ".join(str(error).split()))}
        logger.info("%s failed on a batch of %d; trying halves.", member.name, len(batch))
        results: dict[str, Any] = {}
        for half in _split(batch, (len(batch) + 1) // 2):
            results |= _of_part(model, member, half, device)
        return results


# What foreign model code raises on an odd image or a full device. Ctrl-C is not among them.
_MEMBER_ERRORS = (CascadeError, RuntimeError, ValueError, ArithmeticError, LookupError, TypeError)


def _autocast(member: Member, device: torch.device) -> AbstractContextManager[Any]:
    if member.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[member.precision])


def _split(batch: Batch, size: int) -> list[Batch]:
    if len(batch) <= size:
        return [batch]
    return [batch.part(i, i + size) for i in range(0, len(batch), size)]


def _flush(pending: dict[str, dict[str, Any]], sink: Sink, tally: Tally) -> None:
    if not pending:
        return
    sink.write(pending)
    tally.images += len(pending)
    for row in pending.values():
        failures = sum(isinstance(result, Failure) for result in row.values())
        tally.failed += failures
        tally.predicted += len(row) - failures
    pending.clear()
