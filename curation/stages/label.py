"""Send the chosen samples to a labeler, and store the labels that come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation import failure_yield
from curation.active_learning.evaluation.failure_yield import Comparison, Yield
from curation.active_learning.training.labeled_images import labeled_images
from curation.active_learning.training.snapshot import snapshot
from curation.errors import StageError
from curation.labeling import tasks
from curation.labeling.protocol import ImportTrackingLabeler, Labeler, SampleAnnotation, Task
from curation.labeling.tasks import Columns
from curation.storage import queries, reader, schema, writer
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

_SLICED_BY = (schema.TIME_OF_DAY, schema.WEATHER)


@dataclass(frozen=True)
class Review:
    """A submission that a person has to check before it can become ground truth."""

    sample: str
    what: str
    reason: str


@dataclass(frozen=True)
class LabelResult:
    """Labeling progress of a round.

    Attributes:
        labeler: Name of the labeler.
        where: Location of the tasks.
        chosen: Samples that the round chose.
        labeled: Chosen samples with ground truth.
        waiting: Chosen samples without ground truth, including those under review.
        new: Samples that this call labeled.
        boxes: Boxes in the ground truth of the round.
        seconds: Labeling time of this call's samples; None if the labeler did not measure it.
        review: Rejected submissions, each with the reason.
        strangers: Names of submissions without a task.
        failure_yield: Failures of the ensemble on the labeled samples, by arm.
        dataset_hash: Hash of the round's training data: labeled images, splits, ground truth.
    """

    labeler: str
    where: str
    chosen: int
    labeled: int
    waiting: int
    new: int
    boxes: int
    seconds: float | None
    review: tuple[Review, ...]
    strangers: tuple[str, ...]
    failure_yield: Mapping[str, Yield]
    dataset_hash: str


def label(dataset: Dataset, round_number: int, labeler: Labeler) -> LabelResult:
    """Push the round's unlabeled samples, and store submitted labels as ground truth.

    Idempotent: labeled samples are neither pushed nor changed, and an incomplete submission is
    ignored until it is fixed.

    Args:
        dataset: A FiftyOne dataset.
        round_number: The round, from 1.
        labeler: Source of labels.

    Raises:
        StageError: The round has chosen no samples, or samples of a frozen split.
        LabelingError: The labeler cannot accept the tasks or return its answers.
    """
    taxonomy = _taxonomy(dataset)
    batch = _batch(dataset, round_number)
    waiting = batch.exists(schema.LABELED_ROUND, False)
    annotated: list[SampleAnnotation] = []
    location = labeler.instructions
    strangers: tuple[str, ...] = ()
    if len(waiting):
        pushed = labeler.push(_tasks(waiting, round_number, taxonomy))
        waiting_ids = set(waiting.values("id"))
        name = round_name(round_number)
        queries.write_info(dataset, schema.PUSHED.format(name), {"labeler": labeler.name})
        annotated = [task for task in labeler.pull(name) if task.sample_id in waiting_ids]
        location, strangers = pushed.location, labeler.status(name).strangers
    truths = {task.sample_id: task.boxes for task in annotated if task.complete}
    if truths:
        writer.write_ground_truth(dataset, truths, labeled_round=round_number)
        if isinstance(labeler, ImportTrackingLabeler):
            labeler.mark_imported(round_name(round_number), truths)
    labeled = _batch(dataset, round_number).exists(schema.LABELED_ROUND)
    confirmed = reader.read_detections(labeled, schema.GROUND_TRUTH, taxonomy)
    return LabelResult(
        labeler=labeler.name,
        where=location,
        chosen=len(batch),
        labeled=len(confirmed),
        waiting=len(batch) - len(confirmed),
        new=len(truths),
        boxes=sum(map(len, confirmed)),
        seconds=_seconds(annotated),
        review=tuple(
            Review(task.sample_id, doubt.subject, doubt.reason)
            for task in annotated
            for doubt in task.doubts
        ),
        strangers=strangers,
        failure_yield=_failure_yield(labeled, taxonomy),
        dataset_hash=snapshot(labeled_images(dataset, taxonomy)),
    )


def _taxonomy(dataset: Dataset) -> Taxonomy:
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None:
        raise StageError(
            f"{dataset.name!r} has no taxonomy that defines its labels. "
            "Ingest it with `--taxonomy`."
        )
    return taxonomy


def _batch(dataset: Dataset, round_number: int) -> DatasetView:
    """Return the chosen samples of a round.

    Raises:
        StageError: There are none, or some belong to a frozen split.
    """
    tag = round_name(round_number)
    batch = dataset.match_tags(tag)
    if not len(batch):
        raise StageError(
            f"{dataset.name!r} has no sample tagged {tag!r}. Choose the round's samples first: "
            f"`curate choose {dataset.name}`."
        )
    frozen = len(batch.match({schema.SPLIT: {"$in": ["val", "test"]}}))
    if frozen:
        raise StageError(
            f"{frozen} of {len(batch)} samples tagged {tag!r} belong to validation or test, "
            "which no round may label. Remove the tag from them."
        )
    return batch


def _tasks(waiting: DatasetView, round_number: int, taxonomy: Taxonomy) -> list[Task]:
    names = (
        "filepath", schema.RANK, "tags", schema.HARDNESS, schema.CHOSEN_BECAUSE, schema.LUMA,
        *_SLICED_BY,
    )  # fmt: skip
    columns = reader.read_columns(waiting, names)
    sliced_by = {name: columns[name] for name in _SLICED_BY}
    sizes = [(int(width), int(height)) for height, width in reader.sizes_px(waiting)]
    return tasks.build(
        round_number,
        Columns(
            ids=columns["id"],
            filepaths=columns["filepath"],
            sizes_wh=sizes,
            ranks=columns[schema.RANK],
            tags=columns["tags"],
            hardness=columns[schema.HARDNESS],
            because=columns[schema.CHOSEN_BECAUSE],
            predictions=_consensus(waiting, taxonomy),
            slices=tasks.slice_names(sliced_by, queries.float_array(columns[schema.LUMA])),
        ),
    )


def _consensus(view: DatasetView, taxonomy: Taxonomy) -> list[Detections]:
    """Return the fused boxes of each sample; empty if the ensemble has not run."""
    if view.get_field(schema.CONSENSUS) is None:
        return [Detections.empty(taxonomy.names)] * len(view)
    return reader.read_detections(view, schema.CONSENSUS, taxonomy, absent="empty")


def _failure_yield(labeled: DatasetView, taxonomy: Taxonomy) -> dict[str, Yield]:
    """Return the failures of the consensus on the labeled samples, by arm."""
    if labeled.get_field(schema.CONSENSUS) is None:
        return {}
    compared = labeled.exists(schema.CONSENSUS)
    decided = f"{taxonomy.decision.name}.label"
    columns = reader.read_columns(compared, ["tags", decided])
    rows = zip(
        reader.read_detections(compared, schema.GROUND_TRUTH, taxonomy),
        reader.read_detections(compared, schema.CONSENSUS, taxonomy),
        columns[decided],
        columns["tags"],
        strict=True,
    )
    by_arm: dict[str, list[Comparison]] = {}
    for truth, consensus, answer, tags in rows:
        comparison = failure_yield.compare(
            truth, consensus, says_yes=answer == "yes", deciding=taxonomy.deciding
        )
        by_arm.setdefault(tasks.arm_of(tags) or "other", []).append(comparison)
    return {
        arm: failure_yield.arm_yield(comparisons) for arm, comparisons in sorted(by_arm.items())
    }


def _seconds(annotated: Sequence[SampleAnnotation]) -> float | None:
    seconds = [task.seconds for task in annotated if task.seconds is not None]
    return sum(seconds) if seconds else None
