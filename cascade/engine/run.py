"""The engine: images in, every member's predictions out.

Batches always hold the same images, whatever is left to do: a run that was cut off and goes
on computes each image beside the same neighbours, and so to the same last digit. What was done
before is not handed on again.

On a CPU one step follows the other. On a GPU they overlap (`engine/pipeline.py`), JPEG is decoded
there, and where there is enough to do for it to pay, members are compiled and their batch sizes
found by trying. Several GPUs are `engine/fleet.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cascade.engine import batch_sizes, pipeline
from cascade.engine.member_runner import Runner, of_member
from cascade.engine.pipeline import Pace, Work
from cascade.engine.sinks import Memory, Sink, Tally
from cascade.errors import ImageError
from cascade.imaging.batches import Batch, Group, Image, read
from cascade.manifest import Member
from cascade.planning.resources import Gpu
from cascade.predictions import Failure
from cascade.runtime.progress import Progress

__all__ = [
    "Failure", "Memory", "Progress", "Sink", "Tally", "default_device", "gpus_here", "of_member",
    "run",
]  # fmt: skip

BATCHES_A_WRITE = 8  # what is lost by a crash, against what a write costs
COMPILED_FROM = 20_000  # images: to compile takes a minute a member, once on a machine


def default_device() -> torch.device:
    """Return the first GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def gpus_here() -> list[Gpu]:
    """Return the CUDA GPUs of this machine, in the order of their numbers."""
    known = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [Gpu(one.name, one.total_memory / 2**20) for one in known]


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
    compiled: bool | None = None,
) -> Tally:
    """Run every model over the images and hand the results to `sink` as they come.

    An image that cannot be read, or on which a member fails, is a `Failure` at its place and
    never stops the others.

    Args:
        models: The built model of each member.
        members: The manifest's entry of each.
        ids: One name per image; their order decides who shares a batch.
        paths: The image files.
        sink: Where results go; on a GPU it is called in a thread.
        device: Where the models are.
        todo: The ids that each member has yet to do; None for all.
        known: Adds to a batch what is known of its images (`found`, `focals_px`); None for
            members of the first tiers, which need nothing.
        batches_a_write: How many batches are held in memory before `sink` gets them.
        progress: Told after every batch.
        compiled: Whether models are compiled and batch sizes tried, on a GPU; None for where
            there are images enough.
    """
    if compiled is None:
        compiled = len(ids) >= COMPILED_FROM
    runners = runners_of(
        models, members, device, compiled=compiled, example=_readable(paths) if compiled else None
    )
    size = max((one.size for one in runners.values()), default=1)
    groups = [
        Group(ids[i : i + size], paths[i : i + size])
        for i in range(0, len(ids), size)
        if _has_work(ids[i : i + size], todo)
    ]
    done = len(ids) - sum(len(one.ids) for one in groups)

    def advance(images: int) -> None:
        nonlocal done
        done += images
        if progress:
            progress(done, len(ids))

    return pipeline.run(
        runners,
        groups,
        sink,
        Work(todo=todo, known=known, done=advance),
        device=device,
        batches_a_write=batches_a_write,
        pace=pace_of(device, size if compiled else 0),
    )


def runners_of(
    models: Mapping[str, Any],
    members: Mapping[str, Member],
    device: torch.device,
    *,
    compiled: bool = False,
    example: Image | None = None,
) -> dict[str, Runner]:
    """Return every model ready to run on its device.

    Args:
        models: The built models.
        members: The manifest's entry of each.
        device: Where they are.
        compiled: Whether to compile what can be, on a GPU.
        example: An image to find the best batch sizes with; None to take the manifest's.
    """
    compiled = compiled and device.type == "cuda"
    sizes = {name: members[name].batch_size for name in models}
    if compiled and example is not None:
        sizes = {name: _size(models[name], members[name], device, example) for name in models}
    return {
        name: Runner(model, members[name], device, size=sizes[name], compiled=compiled)
        for name, model in models.items()
    }


def pace_of(device: torch.device, pad_to: int) -> Pace:
    """Return how much happens at once on a device."""
    if device.type != "cuda":
        return pipeline.IN_TURN
    return replace(pipeline.OVERLAPPED, pad_to=pad_to)


def _size(model: Any, member: Member, device: torch.device, example: Image) -> int:
    """Return the best batch size of a member, found now where it is not remembered."""
    remembered, key = batch_sizes.default(), batch_sizes.key_of(member, device)
    size = remembered.get(key)
    if size is None:
        tried = batch_sizes.rate_of(Runner(model, member, device), example)
        size = batch_sizes.best(tried, member.batch_size)
        remembered.put(key, size)
    return size


def _readable(paths: Sequence[str | Path]) -> Image | None:
    """Return the first image that can be read."""
    for path in paths:
        try:
            return read(path)
        except ImageError:
            continue
    return None


def _has_work(ids: Sequence[str], todo: Mapping[str, set[str]] | None) -> bool:
    return todo is None or any(name in waiting for waiting in todo.values() for name in ids)
