"""Labeling: cost preview, tasks out, labels in, and review of suspicious labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.api.datasets import connected, ensemble

if TYPE_CHECKING:
    from fiftyone import Dataset

    from curation.labeling.cost.preview import Preview
    from curation.labeling.label_studio.sync import SyncResult
    from curation.labeling.protocol import PushResult
    from curation.stages.label import LabelResult
    from curation.stages.review import ReviewResult


_SERVER = "label-studio"


def preview(dataset: Dataset, budget: int | None = None, *, round_number: int = 1) -> Preview:
    """Estimate the labeling cost of a round, and the benefit of the last rounds.

    Example:
        >>> cu.preview(dataset, budget=200).cost.sentence

    Args:
        dataset: A scored FiftyOne dataset.
        budget: Samples to choose, for a round that has not chosen; None for a tenth of the pool.
        round_number: The round to label.

    Raises:
        StageError: No sample is left to label, or the pool is not scored.
    """
    from curation.labeling.cost.inputs import preview_round
    from curation.pipeline import run_round

    settings = connected()
    return preview_round(
        dataset, round_number, settings, budget=run_round.resolve_budget(dataset, budget)
    )


def push(dataset: Dataset, round_number: int = 1, *, labeler: str = _SERVER) -> PushResult:
    """Push the unlabeled samples of a round to a labeler. Idempotent.

    Example:
        >>> cu.push(dataset, labeler="files").location

    Args:
        dataset: An ingested FiftyOne dataset.
        round_number: The round that chose the samples.
        labeler: `label-studio` (configured by LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY), `cvat`,
            `files`, `yolo`, `voc` or `datumaro`.

    Raises:
        LabelingError: The dataset has no taxonomy, or the labeler rejects the tasks.
        StageError: The round has chosen no samples.
    """
    from curation.labeling import factory
    from curation.labeling.label_studio.sync import PushOnlyLabeler
    from curation.pipeline.run_stage import run_stage
    from curation.stages.label import label

    backend: Any = factory.create(labeler, dataset, connected())
    pusher = PushOnlyLabeler(backend)
    run_stage(label, dataset, round_number, pusher)
    return pusher.result


def pull(
    dataset: Dataset, round_number: int = 1, *, labeler: str | None = None
) -> SyncResult | LabelResult:
    """Pull submitted labels; from Label Studio, later changes and deletions as well.

    Example:
        >>> cu.pull(dataset).waiting

    Args:
        dataset: An ingested FiftyOne dataset.
        round_number: The pushed round.
        labeler: See `push`; None for the labeler that received the tasks.

    Returns:
        The numbers of new labels and of samples that still wait.

    Raises:
        LabelingError: The labeler cannot return its answers.
    """
    from curation.labeling import factory
    from curation.labeling.label_studio.sync import import_annotations
    from curation.pipeline.run_stage import run_stage
    from curation.stages.label import label
    from curation.storage import queries, schema
    from curation.storage.tags import round_name

    settings = connected()
    name = round_name(round_number)
    pushed = queries.read_info(dataset, schema.PUSHED.format(name)) or {}
    backend: Any = factory.create(labeler or pushed.get("labeler", _SERVER), dataset, settings)
    if backend.name != _SERVER:
        return run_stage(label, dataset, round_number, backend)
    with backend.lock():
        return import_annotations(dataset, round_number, backend, backend.fetch(name))


def review(dataset: Dataset, *, limit: int = 200, manifest: str | Path = "tiny") -> ReviewResult:
    """Mark suspicious boxes of the ground truth in the tag, field and saved view `review`.

    Example:
        >>> cu.review(dataset, limit=50).kinds
        >>> dataset.load_saved_view("review")

    Args:
        dataset: A FiftyOne dataset with ground truth and predictions of the manifest's members.
        limit: Maximal number of boxes, most confident errors first.
        manifest: Manifest of the predictions to compare with.

    Raises:
        StageError: Ground truth or consensus is missing.
    """
    from curation.stages.review import review as run

    connected()
    return run(dataset, ensemble(dataset, manifest), limit=limit)
