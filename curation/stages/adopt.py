"""Take a dataset that somebody made without us into our rounds, with its own names of things.

Label fields of the dataset stay as they are. What our stages read is written beside them: what the
classes mean, which split a sample belongs to, and the ground truth in canonical classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade import taxonomy as taxonomies
from cascade.engine.run import Progress
from cascade.taxonomy import Taxonomy
from curation.errors import StageError
from curation.ingest import assignment
from curation.labeling.media import require_images
from curation.storage import collection, conversions, queries, reader, schema, writer

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

TAGS = "tags"  # as `split_from`: the samples' tags say the split
_STEPS = 3


@dataclass(frozen=True)
class AdoptResult:
    """What a call did.

    Attributes:
        samples: Samples of the dataset.
        splits: How many are in each split now.
        labeled: Samples with ground truth now.
        held_back: Samples whose ground truth only the labeler `oracle` knows.
        unknown_labels: Boxes whose label means no class, by label; they are left out.
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
    """Note what a dataset's labels mean, and write its splits and ground truth where we look.

    May be repeated with the same taxonomy; ground truth of our rounds is never overwritten.

    Args:
        dataset: A FiftyOne dataset of images.
        taxonomy: What labels mean.
        ground_truth: A Detections field that people confirmed; None where nothing is labeled.
        split_from: The field with the split of each sample, or `tags`; None where there is none:
            then all of it is the pool.
        hold_back: Keep the ground truth of train for the labeler `oracle`, to replay a project.
        progress: Told when fields are declared, splits and labels written.

    Raises:
        LabelingError: The dataset is not of images.
        StageError: It has another taxonomy already, or the field of splits names none.
        StoreError: `ground_truth` is no Detections field.
    """
    require_images(dataset.name, dataset.media_type)
    _expect_same(dataset, taxonomy)
    if ground_truth is not None:
        reader.require_detections(dataset, [ground_truth])
    splits = _splits(dataset, split_from)
    if hold_back and ground_truth == schema.GROUND_TRUTH:
        raise StageError(
            "What lies in the field `ground_truth` already cannot be held back, since every stage "
            "reads it. Rename the field first: `dataset.rename_sample_field(...)`."
        )
    schema.declare(dataset, taxonomy)
    _tell(progress, 1)
    ids = list(splits)
    writer.write_columns(dataset, ids, {schema.SPLIT: [splits[one] for one in ids]})
    _tell(progress, 2)
    labeled = held = 0
    unknown: Counter[str] = Counter()
    if ground_truth is not None:
        unknown = _unknown(dataset, ground_truth, taxonomy)
        labeled, held = _write_truth(dataset, ground_truth, taxonomy, hold_back=hold_back)
    queries.remember(dataset, "adopted", {"ground_truth": ground_truth, "split_from": split_from})
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
    known = queries.taxonomy_of(dataset)
    if known is not None and known.identity != taxonomy.identity:
        raise StageError(
            f"{dataset.name!r} has the taxonomy {known.name!r} already, and labels rest on it. "
            f"Give that one, or clone the dataset without it."
        )


def _note_taxonomy(dataset: Dataset, taxonomy: Taxonomy) -> None:
    """Keep what labels mean; last, since it says that the dataset is one of ours."""
    about = dict(dataset.info.get(schema.INFO) or {})
    dataset.info[schema.INFO] = {**about, "taxonomy": taxonomies.to_yaml(taxonomy)}
    dataset.save()


def _splits(dataset: Dataset, split_from: str | None) -> dict[str, str]:
    """Return the split of each sample; one that nothing is said of is in train."""
    if split_from is None or split_from == schema.SPLIT:
        name = schema.SPLIT if dataset.get_field(schema.SPLIT) is not None else None
        known = dataset.values(name) if name else [None] * len(dataset)
        said = [[one] if one else [] for one in known]
    elif split_from == TAGS:
        said = dataset.values("tags")
    elif dataset.get_field(split_from) is None:
        raise StageError(f"{dataset.name!r} has no field {split_from!r} that says the split.")
    else:
        said = [[str(one)] if one is not None else [] for one in dataset.values(split_from)]
    words = assignment.split_words(None)
    found = [
        next((words[w.lower()] for w in one or () if w.lower() in words), None) for one in said
    ]
    if split_from not in (None, schema.SPLIT) and not any(found):
        raise StageError(
            f"Nothing in {split_from!r} is a split. Known words: {', '.join(sorted(words))}."
        )
    return {i: split or "train" for i, split in zip(dataset.values("id"), found, strict=True)}


def _unknown(dataset: Dataset, name: str, taxonomy: Taxonomy) -> Counter[str]:
    counts = dataset.count_values(f"{name}.detections.label")
    return Counter(
        {label: n for label, n in counts.items() if label and taxonomy.canonical(label) is None}
    )


def _write_truth(
    dataset: Dataset, name: str, taxonomy: Taxonomy, *, hold_back: bool
) -> tuple[int, int]:
    """Write the ground truth that came with the dataset; return how many are labeled and held."""
    known = dataset.exists(name)
    fresh = known.match({schema.LABELED_ROUND: {"$in": [None, 0]}})
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
            one: {target: conversions.raw_detections(found, scored=False)}
            for one, found in zip(ids, boxes, strict=True)
        },
    )


def _tell(progress: Progress | None, done: int) -> None:
    if progress:
        progress(done, _STEPS)
