"""Measure champion and challenger side by side on the frozen test split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import torch

from cascade import latency
from cascade.ensemble import Ensemble
from cascade.errors import ImageError
from cascade.images import Image, read
from cascade.predictor import Predictor
from cascade.run import Memory, Progress, default_device, run
from curation import evaluation
from curation import samples as query
from curation.errors import StageError

_TIMED_IMAGES = 20


def evaluate(
    dataset: Any,
    ensembles: Mapping[str, Ensemble],
    *,
    split: str = "test",
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the evaluation of each ensemble, by its name, as plain JSON.

    The images are those of the split whose ground truth came with the data: a sample that was
    chosen by hardness is never among them.

    Args:
        dataset: The FiftyOne dataset.
        ensembles: What to compare, for example champion and challenger.
        split: `test`, or `val` for a look before the gate.
        device: Where to run; the first GPU, else the CPU.
        progress: Told after every batch, over all ensembles.

    Raises:
        StageError: The split has no labeled image.
    """
    device = device or default_device()
    first = next(iter(ensembles.values()))
    frozen = query.frozen_set(dataset, split, first.taxonomy)
    if not len(frozen):
        raise StageError(
            f"The split {split!r} of {dataset.name!r} has no labeled image, so nothing can be "
            "measured. Ingest labeled images with that split."
        )
    timed = _time(ensembles, frozen, device)
    results: dict[str, dict[str, Any]] = {}
    total = len(frozen) * len(ensembles)
    for number, (name, ensemble) in enumerate(ensembles.items()):
        before = number * len(frozen)
        memory = Memory()
        models = {member: ensemble.build(member, device) for member in ensemble.voters}
        members = {member: ensemble.manifest.member(member) for member in models}
        run(
            models, members, frozen.ids, frozen.paths, memory, device=device,
            progress=progress and (lambda done, _, b=before: progress(b + done, total)),
        )  # fmt: skip
        rows = [memory.results[one] for one in frozen.ids]
        results[name] = evaluation.evaluate(rows, ensemble, frozen, timed[name])
    return results


def _time(
    ensembles: Mapping[str, Ensemble], frozen: evaluation.FrozenSet, device: torch.device
) -> dict[str, dict[str, float]]:
    images = list(islice(_readable(frozen.paths), _TIMED_IMAGES))
    predictors = {name: Predictor(one, device) for name, one in ensembles.items()}
    return latency.measure(predictors, images)


def _readable(paths: Sequence[str]) -> Iterator[Image]:
    """Give the images that can be read; the others are failures in the evaluation."""
    for path in paths:
        with suppress(ImageError):
            yield read(path)
