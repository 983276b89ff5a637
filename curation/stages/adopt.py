"""Adopt an existing FiftyOne dataset, so that rounds can run on it.

Its own label fields stay unchanged. The fields that stages read are added: the taxonomy, the split
of each sample, and the ground truth in canonical classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade.runtime.progress import Progress
from cascade.taxonomy import Taxonomy
from curation.errors import StageError
from curation.ingest import assignment
from curation.labeling.protocol import require_images
from curation.storage import collection, conversions, queries, reader, schema, writer

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

TAGS = "tags"  # value of `split_from` for splits given by sample tags
_STEPS = 3


@dataclass(frozen=True)
class AdoptResult:
    """Outcome of a call of `adopt`.

    Attributes:
        samples: Samples of the dataset.
        splits: Samples of each split.
        labeled: Samples with ground truth.
        held_back: Samples whose ground truth is held back for the labeler `oracle`.
        unknown_labels: Ignored boxes, by their label outside the taxonomy.
    """

    samples: int
    splits: Mapping[str, int]
    labeled: int
    held_back: int
    unknown_labels: Mapping[str, int]


def adopt(
    dataset: Dataset,
    *,
    taxonomy: Taxonomy,
    ground_truth: str | None = None,
    split_from: str | None = None,
    hold_back: bool = False,
    progress: Progress | None = None,
) -> AdoptResult:
    """Store the taxonomy of a dataset, and write its splits and ground truth for our stages.

    Idempotent for the same taxonomy; ground truth from rounds is never overwritten.

    Args:
        dataset: A FiftyOne dataset of images.
        taxonomy: Classes of the labels.
        ground_truth: A confirmed Detections field; None if nothing is labeled.
        split_from: Field with the split of each sample, or `tags`; None to put all samples into
            the pool.
        hold_back: Whether to hold back the ground truth of train for the labeler `oracle`.
        progress: Callback after declaring fields, writing splits and writing labels.

    Raises:
        LabelingError: The dataset does not hold images.
        StageError: The dataset has another taxonomy, or `split_from` names no split.
        StoreError: `ground_truth` is not a Detections field.
    """
    require_images(dataset.name, dataset.media_type)
    _expect_same(dataset, taxonomy)
    if ground_truth is not None:
        reader.require_detections(dataset, [ground_truth])
    splits = _splits(dataset, split_from)
    if hold_back and ground_truth == schema.GROUND_TRUTH:
        raise StageError(
            "Cannot hold back the field `ground_truth`, because every stage reads it. Rename the "
            "field first: `dataset.rename_sample_field(...)`."
        )
    schema.declare(dataset, taxonomy)
    _tell(progress, 1)
    ids = list(splits)
    writer.write_columns(dataset, ids, {schema.SPLIT: list(splits.values())})
    _tell(progress, 2)
    labeled = held = 0
    unknown: Counter[str] = Counter()
    if ground_truth is not None:
        unknown = _unknown(dataset, ground_truth, taxonomy)
        labeled, held = _write_truth(dataset, ground_truth, taxonomy, hold_back=hold_back)
    queries.write_info(dataset, "adopted", {"ground_truth": ground_truth, "split_from": split_from})
    _note_taxonomy(dataset, taxonomy)
    _tell(progress, 3)
    return AdoptResult(
        samples=len(dataset),
        splits=dict(sorted(Counter(splits.values()).items())),
        labeled=labeled,
        held_back=held,
        unknown_labels=dict(unknown.most_common()),
    )


def _expect_same(dataset: Dataset, taxonomy: Taxonomy) -> None:
    existing = queries.taxonomy_of(dataset)
    if existing is not None and existing.identity != taxonomy.identity:
        raise StageError(
            f"{dataset.name!r} has the taxonomy {existing.name!r}, which its labels depend on. "
            "Use that one, or clone the dataset without it."
        )


def _note_taxonomy(dataset: Dataset, taxonomy: Taxonomy) -> None:
    """Store the taxonomy; last, because it marks the dataset as adopted."""
    info = dict(dataset.info.get(schema.INFO) or {})
    dataset.info[schema.INFO] = {**info, "taxonomy": taxonomy.to_yaml()}
    dataset.save()


def _splits(dataset: Dataset, split_from: str | None) -> dict[str, str]:
    """Return the split of each sample; `train` for samples without one."""
    if split_from is None or split_from == schema.SPLIT:
        name = schema.SPLIT if dataset.get_field(schema.SPLIT) is not None else None
        stored = dataset.values(name) if name else [None] * len(dataset)
        candidates = [[split] if split else [] for split in stored]
    elif split_from == TAGS:
        candidates = dataset.values("tags")
    elif dataset.get_field(split_from) is None:
        raise StageError(f"{dataset.name!r} has no field {split_from!r} to read the split from.")
    else:
        stored = dataset.values(split_from)
        candidates = [[str(split)] if split is not None else [] for split in stored]
    aliases = assignment.split_aliases()
    splits = [
        next((aliases[w.lower()] for w in names or () if w.lower() in aliases), None)
        for names in candidates
    ]
    if split_from not in (None, schema.SPLIT) and not any(splits):
        raise StageError(
            f"No value of {split_from!r} is a split. Expected one of {', '.join(sorted(aliases))}."
        )
    return {i: split or "train" for i, split in zip(dataset.values("id"), splits, strict=True)}


def _unknown(dataset: Dataset, name: str, taxonomy: Taxonomy) -> Counter[str]:
    counts = dataset.count_values(f"{name}.detections.label")
    return Counter(
        {label: n for label, n in counts.items() if label and taxonomy.canonical(label) is None}
    )


def _write_truth(
    dataset: Dataset, name: str, taxonomy: Taxonomy, *, hold_back: bool
) -> tuple[int, int]:
    """Write the dataset's ground truth; return the numbers of labeled and held-back samples."""
    fresh = dataset.exists(name).match({schema.LABELED_ROUND: {"$in": [None, 0]}})
    train = {schema.SPLIT: "train"}
    parts = [(fresh, schema.GROUND_TRUTH)]
    if hold_back:
        parts = [
            (fresh.match({schema.SPLIT: {"$ne": "train"}}), schema.GROUND_TRUTH),
            (fresh.match(train), schema.ORACLE),
        ]
    written = []
    for view, target in parts:
        ids, _ = collection.ids_and_paths(view)
        written.append(len(ids))
        if target == schema.ORACLE:
            _copy(view, ids, name, taxonomy, target)
        elif target == name:
            writer.write_columns(dataset, ids, {schema.LABELED_ROUND: [0] * len(ids)})
        else:
            truths = dict(zip(ids, reader.read_detections(view, name, taxonomy), strict=True))
            writer.write_ground_truth(dataset, truths, labeled_round=0)
    return written[0], sum(written[1:])


def _copy(view: DatasetView, ids: list[str], name: str, taxonomy: Taxonomy, target: str) -> None:
    boxes = reader.read_detections(view, name, taxonomy)
    collection.write_documents(
        view,
        {
            sample_id: {target: conversions.raw_detections(detections, scored=False)}
            for sample_id, detections in zip(ids, boxes, strict=True)
        },
    )


def _tell(progress: Progress | None, done: int) -> None:
    if progress:
        progress(done, _STEPS)
