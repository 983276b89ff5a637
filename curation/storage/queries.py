"""Which samples of a dataset are the pool, which are labeled, which are frozen.

The split is respected here, once: nothing of validation or test is ever in the pool, and
nothing that was chosen is ever in a frozen set.
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
from curation.storage import collection, reader, writer
from curation.storage import schema as fields
from curation.storage.collection import dataset_of
from curation.storage.tags import arm_tag, parse_arm, parse_round

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView
    from fiftyone.core.collections import SampleCollection

    from cascade.engine.sinks import Tally


def load_dataset(name: str) -> Dataset:
    """Return the dataset of that name.

    Raises:
        DatasetError: There is none; the message names the nearest.
    """
    import fiftyone as fo

    if not fo.dataset_exists(name):
        raise DatasetError(
            f"No dataset is named {name!r}. {nearest(name, fo.list_datasets())} "
            "Make one with `curate ingest FOLDER --name NAME`."
        )
    return fo.load_dataset(name)


def has_dataset(name: str) -> bool:
    """Return whether a dataset of that name exists."""
    import fiftyone as fo

    return bool(fo.dataset_exists(name))


def dataset_id(samples: SampleCollection) -> str:
    """Return what tells a dataset from every other, also from one that bore its name before."""
    return str(dataset_of(samples)._doc.id)


def taxonomy_of(dataset: Dataset) -> Taxonomy | None:
    """Return the taxonomy that the dataset was ingested with, None where there is none."""
    text = dataset_of(dataset).info.get(fields.INFO, {}).get("taxonomy")
    return taxonomy.parse(text, origin=f"the taxonomy of {dataset.name!r}") if text else None


def taxonomy_from_fields(view: DatasetView, members: Sequence[str]) -> Taxonomy:
    """Return the taxonomy of fields of unknown origin: each label that they use means itself.

    Every class decides, for want of better knowledge: "is anything there at all?".
    """
    reader.require_detections(view, members)
    found = sorted({str(one) for m in members for one in view.distinct(f"{m}.detections.label")})
    labels = list({taxonomy.fold(one): one for one in found}.values())
    if not labels:
        raise StageError(
            f"The fields {', '.join(members)} hold no boxes at all, so there is nothing to compare."
        )
    return taxonomy.from_labels("own", labels, labels)


def pool(samples: SampleCollection) -> Any:
    """Return the view of what may be chosen: unlabeled, and not of validation or test.

    What we label carries `labeled_round`; the labels of a dataset that was never ingested
    here are its own affair, and all of it is the pool.
    """
    schema = samples.get_field_schema()
    view = samples.view()
    if fields.SPLIT in schema:
        view = view.match({fields.SPLIT: {"$nin": ["val", "test"]}})
    if fields.LABELED_ROUND in schema:
        view = view.exists(fields.LABELED_ROUND, False)
    return view


def exclude_other_rounds(view: DatasetView, tag: str) -> Any:
    """Return the part of a view that no other round than that of `tag` has chosen."""
    others = [one for one in view.distinct("tags") if parse_round(one) is not None and one != tag]
    return view.match_tags(others, bool=False) if others else view


def labeled(samples: SampleCollection, split: str) -> Any:
    """Return the view of the split's samples that have ground truth."""
    schema = samples.get_field_schema()
    if fields.SPLIT not in schema or fields.LABELED_ROUND not in schema:
        return samples.limit(0)
    return samples.match({fields.SPLIT: split}).exists(fields.LABELED_ROUND)


def tag_batch(
    dataset: Dataset, tag: str, ids: Sequence[str], arms: Sequence[str], because: Sequence[str]
) -> None:
    """Tag a batch in its order of labeling; what an earlier try left of the tag is removed.

    Args:
        dataset: The dataset.
        tag: Of the round.
        ids: The samples, first to be labeled first.
        arms: Why each is in the batch, one word.
        because: The same as a sentence.
    """
    left_over = dataset.match_tags(tag)
    known = dict(zip(*dataset.values(["id", "tags"]), strict=True))
    update: dict[str, dict[str, Any]] = {
        one: {
            "tags": _without_round(known[one], tag),
            fields.RANK: None,
            fields.CHOSEN_BECAUSE: None,
        }
        for one in left_over.values("id")
    }
    for rank, (one, arm, why) in enumerate(zip(ids, arms, because, strict=True), start=1):
        tags = [*_without_round(known[one], tag), tag, arm_tag(arm)]
        update[one] = {"tags": tags, fields.RANK: rank, fields.CHOSEN_BECAUSE: why}
    collection.write_documents(dataset, update)


def move_tag(dataset: Dataset, tag: str, ids: Sequence[str]) -> None:
    """Have these samples bear a tag, and no other sample of the dataset."""
    dataset.match_tags(tag).untag_samples(tag)
    writer.add_tags(dataset, {one: [tag] for one in ids})


def write_info(dataset: Dataset, key: str, content: Mapping[str, Any]) -> None:
    """Keep plain facts with the dataset, under `dataset.info["curation"][key]`."""
    info = dict(dataset.info.get(fields.INFO, {}))
    dataset.info[fields.INFO] = {**info, key: dict(content)}
    dataset.save()


def read_info(dataset: Dataset, key: str) -> dict[str, Any] | None:
    """Return what `remember` kept, None where it kept nothing."""
    found = dataset.info.get(fields.INFO, {}).get(key)
    return None if found is None else _plain(found)


def record_costs(
    dataset: Dataset, tally: Tally, *, tier: str, paths: Mapping[str, Sequence[str]]
) -> None:
    """Keep with the dataset what a run of members cost for one image, where it was measured.

    Args:
        dataset: The dataset.
        tally: Of the run.
        tier: In which its members work.
        paths: On which paths of the cascade each of them is asked.
    """
    measured = {
        name: {
            "tier": tier,
            "ms": round(1000 * tally.seconds[name] / seen, 3),
            "paths": [str(one) for one in paths[name]],
        }
        for name, seen in tally.seen.items()
        if seen
    }
    if measured:
        known = read_info(dataset, fields.COSTS) or {}
        write_info(dataset, fields.COSTS, {**known, **measured})


def require_pool(view: DatasetView, name: str) -> None:
    """Refuse an empty pool.

    Raises:
        StageError: It says what to do.
    """
    if not len(view):
        raise StageError(
            f"{name!r} has no unlabeled sample outside validation and test: there is nothing to "
            "rank or choose. Ingest unlabeled images first."
        )


def require_oracle_labels(dataset: Dataset) -> None:
    """Refuse a dataset that holds nothing back: the oracle could label none of it.

    Raises:
        StageError: It says what to do.
    """
    known = fields.ORACLE in dataset.get_field_schema()
    if not known or not len(dataset.exists(fields.ORACLE)):
        raise StageError(
            f"No ground truth of {dataset.name!r} is held back, so the labeler 'oracle' has no "
            "answers. Label it yourself with `--labeler files`; or, to replay a project, ingest "
            "labeled images with `--hold-back`."
        )


def float_array(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return a column of numbers as an array, NaN where there is none."""
    return np.array([np.nan if one is None else one for one in values], np.float64)


def _plain(value: Any) -> Any:
    """Return the database's own mappings and lists as dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _without_round(tags: Sequence[str], tag: str) -> list[str]:
    if tag not in tags:
        return list(tags)
    return [one for one in tags if one != tag and parse_arm(one) is None]
