"""The engine on one device: images in, the predictions of every member out.

Batches always hold the same images, regardless of the remaining work. A run that continues an
interrupted one computes each image in the same batch, and so to the same last digit. Earlier
results are not passed on again.

On a CPU the steps follow each other. On a GPU they overlap (`engine/pipeline.py`); for a large
run the members are compiled and their batch sizes tuned. `engine/multiprocess.py` runs several
GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cascade.engine import batch_sizes, pipeline
from cascade.engine.member_runner import Runner
from cascade.engine.pipeline import Pace, Work
from cascade.engine.sinks import Sink, Tally
from cascade.errors import ImageError
from cascade.imaging.batches import Batch, Group, Image, read
from cascade.manifest import Member
from cascade.protocols import Model
from cascade.runtime.progress import Progress

BATCHES_A_WRITE = 8  # a crash loses these; a write has a fixed cost
COMPILED_FROM = 20_000  # images; compiling takes a minute per member, once per machine


def run(
    models: Mapping[str, Model],
    members: Mapping[str, Member],
    ids: Sequence[str],
    paths: Sequence[str | Path],
    sink: Sink,
    *,
    device: torch.device,
    todo: Mapping[str, set[str]] | None = None,
    add_context: Callable[[Batch], Batch] | None = None,
    batches_a_write: int = BATCHES_A_WRITE,
    progress: Progress | None = None,
    compiled: bool | None = None,
) -> Tally:
    """Run every model over the images and pass the results to `sink` in order.

    An unreadable image, or one on which a member fails, becomes a `Failure` and never stops the
    others.

    Args:
        models: The built model of each member.
        members: The manifest entry of each member.
        ids: One name per image; their order decides which images share a batch.
        paths: The image files.
        sink: Destination of the results; on a GPU it is called in a thread.
        device: Device of the models.
        todo: Remaining ids by member; None for all.
        add_context: Adds the detections and focal lengths of earlier tiers to a batch; None for
            members of the first tiers.
        batches_a_write: Number of batches kept in memory between two writes.
        progress: Callback after every batch.
        compiled: Whether to compile models and tune batch sizes on a GPU; None decides by the
            number of images.
    """
    if compiled is None:
        compiled = len(ids) >= COMPILED_FROM
    runners = build_runners(
        models, members, device, compiled=compiled, example=_readable(paths) if compiled else None
    )
    size = max((runner.size for runner in runners.values()), default=1)
    groups = [
        Group(ids[i : i + size], paths[i : i + size])
        for i in range(0, len(ids), size)
        if _has_work(ids[i : i + size], todo)
    ]
    done = len(ids) - sum(len(group.ids) for group in groups)

    def advance(images: int) -> None:
        nonlocal done
        done += images
        if progress:
            progress(done, len(ids))

    return pipeline.run(
        runners,
        groups,
        sink,
        Work(todo=todo, add_context=add_context, on_done=advance),
        device=device,
        batches_a_write=batches_a_write,
        pace=pace_for(device, size if compiled else 0),
    )


def build_runners(
    models: Mapping[str, Model],
    members: Mapping[str, Member],
    device: torch.device,
    *,
    compiled: bool = False,
    example: Image | None = None,
) -> dict[str, Runner]:
    """Return a runner for every model.

    Args:
        models: The built models.
        members: The manifest entry of each member.
        device: Device of the models.
        compiled: Whether to compile the models that support it, on a GPU.
        example: Image for tuning the batch sizes; None uses the manifest's.
    """
    compiled = compiled and device.type == "cuda"
    sizes = {name: members[name].batch_size for name in models}
    if compiled and example is not None:
        sizes = {name: _tuned_size(models[name], members[name], device, example) for name in models}
    return {
        name: Runner(model, members[name], device, size=sizes[name], compiled=compiled)
        for name, model in models.items()
    }


def pace_for(device: torch.device, pad_to: int) -> Pace:
    """Return the degree of overlap that suits a device."""
    if device.type != "cuda":
        return pipeline.IN_TURN
    return replace(pipeline.OVERLAPPED, pad_to=pad_to)


def _tuned_size(model: Model, member: Member, device: torch.device, example: Image) -> int:
    """Return the fastest batch size of a member, from the cache or measured now."""
    cache, key = batch_sizes.user_cache(), batch_sizes.cache_key(member, device)
    size = cache.get(key)
    if size is None:
        rate = batch_sizes.throughput(Runner(model, member, device), example)
        size = batch_sizes.fastest(rate, member.batch_size)
        cache.put(key, size)
    return size


def _readable(paths: Sequence[str | Path]) -> Image | None:
    """Return the first readable image."""
    for path in paths:
        try:
            return read(path)
        except ImageError:
            continue
    return None


def _has_work(ids: Sequence[str], todo: Mapping[str, set[str]] | None) -> bool:
    return todo is None or any(name in remaining for remaining in todo.values() for name in ids)
