"""Measure champion and challenger side by side on the frozen test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from cascade.ensemble import Ensemble
from cascade.runtime.devices import default_device
from cascade.runtime.progress import Progress, subtask
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

    Uses the images of the split whose ground truth came with the data, never samples that were
    chosen by hardness.

    Args:
        dataset: A FiftyOne dataset.
        ensembles: Ensembles to compare, for example champion and challenger.
        split: `test`, or `val` for a preview of the gate.
        device: Device of all models; None for the first GPU, else the CPU.
        progress: Callback after every batch, over all ensembles.

    Raises:
        StageError: The split has no labeled image.
    """
    device = device or default_device()
    first = next(iter(ensembles.values()))
    frozen = frozen_set(dataset, split, first.taxonomy)
    if not len(frozen):
        raise StageError(
            f"Split {split!r} of {dataset.name!r} has no labeled image to evaluate on. "
            "Ingest labeled images with that split."
        )
    latencies = prediction.measure_latency(ensembles, frozen.paths, device)
    results: dict[str, dict[str, Any]] = {}
    total = len(frozen) * len(ensembles)
    for number, (name, ensemble) in enumerate(ensembles.items()):
        rows = prediction.predict_rows(
            ensemble, ensemble.voters, frozen.ids, frozen.paths, device,
            subtask(progress, number * len(frozen), total),
        )  # fmt: skip
        results[name] = evaluation.evaluate(rows, ensemble, frozen, latencies[name])
    return results
