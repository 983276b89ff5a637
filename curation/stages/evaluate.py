"""Measure champion and challenger side by side on the frozen test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from cascade.engine.run import Progress, default_device
from cascade.ensemble import Ensemble
from curation.active_learning.evaluation import evaluate as evaluation
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.errors import StageError
from curation.inference import prediction

if TYPE_CHECKING:
    from fiftyone import Dataset


def evaluate(
    dataset: Dataset,
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
    frozen = frozen_set(dataset, split, first.taxonomy)
    if not len(frozen):
        raise StageError(
            f"The split {split!r} of {dataset.name!r} has no labeled image, so nothing can be "
            "measured. Ingest labeled images with that split."
        )
    timed = prediction.timed(ensembles, frozen.paths, device)
    results: dict[str, dict[str, Any]] = {}
    total = len(frozen) * len(ensembles)
    for number, (name, ensemble) in enumerate(ensembles.items()):
        before = number * len(frozen)
        rows = prediction.rows(
            ensemble, ensemble.voters, frozen.ids, frozen.paths, device,
            progress and (lambda done, _, b=before: progress(b + done, total)),
        )  # fmt: skip
        results[name] = evaluation.evaluate(rows, ensemble, frozen, timed[name])
    return results
