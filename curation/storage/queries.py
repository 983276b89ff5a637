"""Queries for the pool, the labeled samples and the facts of a dataset.

The split is enforced here: the pool never contains validation or test samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cascade import taxonomy
from cascade.errors import nearest
from cascade.taxonomy import Taxonomy
from curation.errors import DatasetError, StageError
from curation.storage import collection, reader, schema, writer
from curation.storage.collection import dataset_of
from curation.storage.tags import arm_tag, parse_arm, parse_round

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView
    from fiftyone.core.collections import SampleCollection

    from cascade.engine.sinks import Tally


def load_dataset(name: str) -> Dataset:
    """Return a dataset by name.

    Raises:
        DatasetError: It does not exist; the message has the most similar name.
    """
    import fiftyone as fo

    if not fo.dataset_exists(name):
        raise DatasetError(
            f"No dataset is named {name!r}. {nearest(name, fo.list_datasets())} "
            "Create one with `curate ingest FOLDER --name NAME`."
        )
    return fo.load_dataset(name)


def has_dataset(name: str) -> bool:
    """Return whether a dataset of that name exists."""
    import fiftyone as fo

    return bool(fo.dataset_exists(name))


def dataset_id(samples: SampleCollection) -> str:
    """Return the database id of a dataset, which differs from that of a deleted namesake."""
    return str(dataset_of(samples)._doc.id)


def taxonomy_of(dataset: Dataset) -> Taxonomy | None:
    """Return the taxonomy that the dataset was ingested with, or None."""
    text = dataset_of(dataset).info.get(schema.INFO, {}).get("taxonomy")
    return taxonomy.parse(text, origin=f"the taxonomy of {dataset.name!r}") if text else None


def taxonomy_from_fields(view: DatasetView, members: Sequence[str]) -> Taxonomy:
    """Return a taxonomy with the labels in the fields as its classes.

    Every class decides: the image decision is whether the image shows any object.
    """
    reader.require_detections(view, members)
    distinct = {
        str(label) for name in members for label in view.distinct(f"{name}.detections.label")
    }
    labels = list({taxonomy.fold(label): label for label in sorted(distinct)}.values())
    if not labels:
        raise StageError(f"Cannot compare the fields {', '.join(members)}: they have no boxes.")
    return taxonomy.from_labels("own", labels, labels)


def pool(samples: SampleCollection) -> DatasetView:
    """Return the samples that may be chosen: unlabeled, and not in validation or test.

    Labeled samples have `labeled_round`. A dataset without this field was not ingested by
    us: all of its samples are in the pool, including labeled ones.
    """
    view = samples.view()
    if samples.has_field(schema.SPLIT):
        view = view.match({schema.SPLIT: {"$nin": ["val", "test"]}})
    if samples.has_field(schema.LABELED_ROUND):
        view = view.exists(schema.LABELED_ROUND, False)
    return view


def exclude_other_rounds(view: DatasetView, tag: str) -> DatasetView:
    """Return the samples of a view that rounds other than `tag` have not chosen."""
    others = [
        other for other in view.distinct("tags") if parse_round(other) is not None and other != tag
    ]
    return view.match_tags(others, bool=False) if others else view


def labeled(samples: SampleCollection, split: str) -> DatasetView:
    """Return the samples of a split that have ground truth."""
    if not (samples.has_field(schema.SPLIT) and samples.has_field(schema.LABELED_ROUND)):
        return samples.limit(0)
    return samples.match({schema.SPLIT: split}).exists(schema.LABELED_ROUND)


def tag_batch(
    dataset: Dataset, tag: str, ids: Sequence[str], arms: Sequence[str], because: Sequence[str]
) -> None:
    """Tag and rank the samples of a batch, and clear earlier samples with the tag.

    Args:
        dataset: The dataset.
        tag: Name of the round.
        ids: Samples in the order of labeling.
        arms: Arm of each sample.
        because: Reason for each sample, a sentence.
    """
    tags_of = dict(zip(*dataset.values(["id", "tags"]), strict=True))
    update: dict[str, dict[str, Any]] = {
        sample_id: {
            "tags": _without_round(tags_of[sample_id], tag),
            schema.RANK: None,
            schema.CHOSEN_BECAUSE: None,
        }
        for sample_id in dataset.match_tags(tag).values("id")
    }
    for rank, (sample_id, arm, reason) in enumerate(zip(ids, arms, because, strict=True), start=1):
        update[sample_id] = {
            "tags": [*_without_round(tags_of[sample_id], tag), tag, arm_tag(arm)],
            schema.RANK: rank,
            schema.CHOSEN_BECAUSE: reason,
        }
    collection.write_documents(dataset, update)


def move_tag(dataset: Dataset, tag: str, ids: Sequence[str]) -> None:
    """Tag these samples, and remove the tag from all others of the dataset."""
    dataset.match_tags(tag).untag_samples(tag)
    writer.add_tags(dataset, {sample_id: [tag] for sample_id in ids})


def write_info(dataset: Dataset, key: str, content: Mapping[str, Any]) -> None:
    """Store plain values in `dataset.info["curation"][key]`."""
    info = dict(dataset.info.get(schema.INFO, {}))
    dataset.info[schema.INFO] = {**info, key: dict(content)}
    dataset.save()


def read_info(dataset: Dataset, key: str) -> dict[str, Any] | None:
    """Return the values that `write_info` stored, or None."""
    content = dataset.info.get(schema.INFO, {}).get(key)
    return None if content is None else _plain(content)


def record_costs(
    dataset: Dataset, tally: Tally, *, tier: str, paths: Mapping[str, Sequence[str]]
) -> None:
    """Store the time per image of the members that ran.

    Args:
        dataset: The dataset.
        tally: Times and image counts of the run.
        tier: Tier of the members.
        paths: Paths of the cascade that include each member.
    """
    measured = {
        name: {
            "tier": tier,
            "ms": round(1000 * tally.seconds[name] / n_images, 3),
            "paths": [str(path) for path in paths[name]],
        }
        for name, n_images in tally.seen.items()
        if n_images
    }
    if measured:
        existing = read_info(dataset, schema.COSTS) or {}
        write_info(dataset, schema.COSTS, {**existing, **measured})


def require_pool(view: DatasetView, name: str) -> None:
    """Raise StageError for an empty pool."""
    if not len(view):
        raise StageError(
            f"Cannot rank or choose samples: {name!r} has no unlabeled samples outside "
            "validation and test. Ingest unlabeled images first."
        )


def require_oracle_labels(dataset: Dataset) -> None:
    """Raise StageError for a dataset without held-back ground truth."""
    if not dataset.has_field(schema.ORACLE) or not len(dataset.exists(schema.ORACLE)):
        raise StageError(
            f"The labeler 'oracle' has no answers: {dataset.name!r} has no held-back ground "
            "truth. Label it yourself with `--labeler files`, or replay a labeled project: ingest "
            "it with `--hold-back`."
        )


def float_array(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return numbers as an array, with NaN for None."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _plain(value: Any) -> Any:
    """Return mappings and lists of the database as dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _without_round(tags: Sequence[str], tag: str) -> list[str]:
    if tag not in tags:
        return list(tags)
    return [other for other in tags if other != tag and parse_arm(other) is None]
