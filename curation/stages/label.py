"""Send the chosen samples out to be labeled, and take over what came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation import failure_yield
from curation.active_learning.evaluation.failure_yield import Comparison, Yield
from curation.active_learning.training.labeled_images import labeled_images
from curation.active_learning.training.snapshot import snapshot
from curation.errors import StageError
from curation.labeling import app_colours, tasks
from curation.labeling.protocol import Annotated, Labeler, Remembering, Task
from curation.labeling.tasks import Columns
from curation.presentation import refresh
from curation.storage import queries, reader, schema, writer

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

_SLICED_BY = (schema.TIME_OF_DAY, schema.WEATHER)


@dataclass(frozen=True)
class Review:
    """Something submitted that a person has to look at before it can be ground truth."""

    sample: str
    what: str
    reason: str


@dataclass(frozen=True)
class LabelResult:
    """How far the labeling of a round is.

    Attributes:
        labeler: Who labels.
        where: Where the tasks are.
        chosen: Samples that the round chose.
        labeled: Those that have ground truth now.
        waiting: Those that have none yet, the ones under review among them.
        new: Those that got it by this call.
        boxes: Boxes in the ground truth of this round.
        seconds: What labeling took, where the labeler measured it for this call's samples.
        review: Submissions that could not be taken over, each with its reason.
        strangers: Names of submissions that belong to no task.
        failure_yield: How often the ensemble had failed on the labeled samples, by arm.
        dataset_hash: Of all labeled images, their splits and their ground truth: what the
            round trains on.
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
    """Push the round's samples that have no ground truth, and write what was submitted.

    May be repeated: what is labeled already is neither sent nor changed, and a submission that
    was not whole stays out until it is mended.

    Args:
        dataset: The FiftyOne dataset.
        round_number: Counts from 1.
        labeler: Where labels come from.

    Raises:
        StageError: The round has chosen nothing, or something of a frozen split.
        LabelingError: The labeler cannot take the tasks, or give back its answers.
    """
    taxonomy = _taxonomy(dataset)
    app_colours.show(dataset, taxonomy)
    batch = _batch(dataset, round_number)
    waiting = batch.exists(schema.LABELED_ROUND, False)
    annotated: list[Annotated] = []
    where = labeler.where
    strangers: tuple[str, ...] = ()
    if len(waiting):
        pushed = labeler.push(_tasks(waiting, round_number, taxonomy))
        asked = set(waiting.values("id"))
        name = schema.round_tag(round_number)
        queries.remember(dataset, schema.PUSHED.format(name), {"labeler": labeler.name})
        annotated = [one for one in labeler.pull(name) if one.sample_id in asked]
        where, strangers = pushed.where, labeler.status(name).strangers
    truths = {one.sample_id: one.boxes for one in annotated if one.complete}
    if truths:
        writer.write_ground_truth(dataset, truths, labeled_round=round_number)
        if isinstance(labeler, Remembering):
            labeler.taken_over(schema.round_tag(round_number), truths)
    refresh.after_stage(dataset)
    labeled = _batch(dataset, round_number).exists(schema.LABELED_ROUND)
    confirmed = reader.read_detections(labeled, schema.GROUND_TRUTH, taxonomy)
    return LabelResult(
        labeler=labeler.name,
        where=where,
        chosen=len(batch),
        labeled=len(confirmed),
        waiting=len(batch) - len(confirmed),
        new=len(truths),
        boxes=sum(len(one) for one in confirmed),
        seconds=_seconds(annotated),
        review=tuple(
            Review(one.sample_id, doubt.what, doubt.reason)
            for one in annotated
            for doubt in one.doubts
        ),
        strangers=strangers,
        failure_yield=_failure_yield(labeled, taxonomy),
        dataset_hash=snapshot(labeled_images(dataset, taxonomy)),
    )


def _taxonomy(dataset: Dataset) -> Taxonomy:
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None:
        raise StageError(
            f"{dataset.name!r} has no taxonomy, so labels would mean nothing. "
            "Ingest it with `--taxonomy`."
        )
    return taxonomy


def _batch(dataset: Dataset, round_number: int) -> Any:
    """Return the view of what the round chose, refusing frozen samples."""
    tag = schema.round_tag(round_number)
    batch = dataset.match_tags(tag)
    if not len(batch):
        raise StageError(
            f"{dataset.name!r} has no sample tagged {tag!r}: choose the round's samples first "
            f"(`curate choose {dataset.name}`)."
        )
    frozen = len(batch.match({schema.SPLIT: {"$in": ["val", "test"]}}))
    if frozen:
        raise StageError(
            f"{frozen} of {len(batch)} samples tagged {tag!r} belong to validation or test, "
            "which no round may label. Remove the tag from them."
        )
    return batch


def _tasks(waiting: Any, round_number: int, taxonomy: Taxonomy) -> list[Task]:
    wanted = (
        "filepath", schema.RANK, "tags", schema.HARDNESS, schema.CHOSEN_BECAUSE, schema.LUMA,
        *_SLICED_BY,
    )  # fmt: skip
    columns = reader.read_columns(waiting, wanted)
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
            slices=tasks.in_slices(sliced_by, queries.numbers(columns[schema.LUMA])),
        ),
    )


def _consensus(view: DatasetView, taxonomy: Taxonomy) -> list[Detections]:
    """Return the fused boxes of each sample; empty where the ensemble has not run."""
    if view.get_field(schema.CONSENSUS) is None:
        return [Detections.empty(taxonomy.names)] * len(view)
    return reader.read_detections(view, schema.CONSENSUS, taxonomy, absent="empty")


def _failure_yield(labeled: Any, taxonomy: Taxonomy) -> dict[str, Yield]:
    """Return what the consensus, as it was when these were chosen, got wrong, by arm."""
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
    return {arm: failure_yield.of_arm(found) for arm, found in sorted(by_arm.items())}


def _seconds(annotated: Sequence[Annotated]) -> float | None:
    known = [one.seconds for one in annotated if one.seconds is not None]
    return sum(known) if known else None
