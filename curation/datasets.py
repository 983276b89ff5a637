"""Datasets by name, and the parts of one that the stages work on.

A sample is labeled exactly when `labeled_round` says by which round. Whatever other labels a
dataset came with, from plain FiftyOne for instance, say nothing about our rounds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade import taxonomy as taxonomies
from cascade.errors import nearest
from cascade.taxonomy import Taxonomy
from curation import fields
from curation.collection import dataset_of, ids_and_paths, update_documents
from curation.columns import read_columns, read_detections, sizes_px
from curation.errors import DatasetError, StoreError
from curation.settings import code_version

if TYPE_CHECKING:
    from curation.evaluation import FrozenSet

_FROZEN = ("val", "test")


def load_dataset(name: str) -> Any:
    """Return the FiftyOne dataset of that name.

    Raises:
        DatasetError: There is none; says which there are.
    """
    import fiftyone as fo

    names = fo.list_datasets()
    if name not in names:
        raise DatasetError(
            f"There is no dataset {name!r}. {nearest(name, names)} "
            "`curate ingest FOLDER` makes one."
        )
    return fo.load_dataset(name)


def has_dataset(name: str) -> bool:
    """Return whether there is a dataset of that name."""
    import fiftyone as fo

    return bool(fo.dataset_exists(name))


def taxonomy_text(samples: Any) -> str | None:
    """Return the YAML of the taxonomy that the dataset was ingested with, or None."""
    text = (dataset_of(samples).info.get(fields.INFO) or {}).get("taxonomy")
    return None if text is None else str(text)


def taxonomy_of(samples: Any, label_fields: Sequence[str]) -> Taxonomy:
    """Return a taxonomy in which every label of the fields means itself, and decides.

    Labels that differ only in case, hyphens, underscores or spaces are one class.

    Raises:
        StoreError: The fields have no boxes at all.
    """
    spellings: dict[str, list[str]] = {}
    for name in label_fields:
        for label in samples.distinct(f"{name}.detections.label"):
            folded = re.sub(r"[\s_-]+", "", label).casefold()
            spellings.setdefault(folded, []).append(label)
    if not spellings:
        raise StoreError(f"{', '.join(label_fields)} have no boxes, so there is nothing to rank.")
    classes = [
        {"name": words[0], "synonyms": sorted(set(words[1:]) - {words[0]}), "decides": True}
        for _, words in sorted(spellings.items())
    ]
    question = "Does this image show any of the labeled things?"
    content = {
        "name": "labels",
        "decision": {"name": "decision", "question": question},
        "classes": classes,
    }
    return Taxonomy.model_validate(content)


def pool(samples: Any, *, but_for: str | None = None) -> Any:
    """Return a view of what may be chosen: unlabeled, outside validation and test.

    What a round has chosen already and nobody has labeled yet is left out.

    Args:
        samples: The dataset, or a view of it.
        but_for: The tag of the one round whose choice counts as not made.
    """
    chosen = {"$regex": "^round-"} | ({"$ne": but_for} if but_for else {})
    return samples.match(
        {
            fields.LABELED_ROUND: None,
            fields.SPLIT: {"$nin": list(_FROZEN)},
            "tags": {"$not": {"$elemMatch": chosen}},
        }
    )


def labeled_ids(samples: Any, split: str) -> list[str]:
    """Return the ids of the labeled samples of one split."""
    labeled = samples.match({fields.LABELED_ROUND: {"$ne": None}, fields.SPLIT: split})
    return ids_and_paths(labeled)[0]


def frozen_set(samples: Any, split: str, taxonomy: Taxonomy) -> FrozenSet:
    """Return the images that ensembles are compared on, with their ground truth.

    Those of the split whose ground truth came with the data: none was chosen by hardness.
    A sample without a drive is a drive of its own.
    """
    from curation import slices
    from curation.evaluation import FrozenSet

    view = samples.match({fields.LABELED_ROUND: 0, fields.SPLIT: split})
    ids, paths = ids_and_paths(view)
    truths = read_detections(view, fields.GROUND_TRUTH, taxonomy) if ids else []
    columns = read_columns(view, [fields.DRIVE, fields.TIME_OF_DAY, fields.WEATHER, fields.LUMA])
    image = np.repeat(np.arange(len(ids)), [len(one) for one in truths]).astype(np.int64)
    corners = np.concatenate([np.zeros((0, 4)), *(one.boxes_xyxy for one in truths)])
    luma = [np.nan if one is None else one for one in columns[fields.LUMA]]
    return FrozenSet(
        split=split,
        ids=tuple(ids),
        paths=tuple(paths),
        drives=tuple(drive or one for drive, one in zip(columns[fields.DRIVE], ids, strict=True)),
        sizes_px=sizes_px(view),
        truths=tuple(truths),
        slices=slices.build(
            {name: columns[name] for name in (fields.TIME_OF_DAY, fields.WEATHER)},
            tallest=slices.tallest(len(ids), image, corners),
            mean_luma=np.array(luma, np.float64),
        ),
    )


def tag_chosen(
    samples: Any, tag: str, ids: Sequence[str], arms: Sequence[str], because: Sequence[str]
) -> None:
    """Mark a round's choice: its tag, the arm's tag, the rank and the reason.

    An earlier choice under the same tag is taken back first.

    Args:
        samples: The dataset, or a view of it.
        tag: Of the round, such as `round-01`.
        ids: The chosen samples, the first to be labeled first.
        arms: Why each is in the batch: `hard`, `coverage`, `slice` or `random`.
        because: The same in words.
    """
    dataset = dataset_of(samples)
    stale = [one for one in dataset.match_tags(tag).values("id") if one not in set(ids)]
    arm_tags = sorted({one for one in dataset.distinct("tags") if one.startswith("arm:")})
    nothing = {fields.RANK: None, fields.CHOSEN_BECAUSE: None}
    update_documents(
        dataset, {one: {"$pullAll": {"tags": [tag, *arm_tags]}, "$set": nothing} for one in stale}
    )
    update_documents(
        dataset,
        {
            one: {
                "$addToSet": {"tags": {"$each": [tag, f"arm:{arms[i]}"]}},
                "$set": {fields.RANK: i + 1, fields.CHOSEN_BECAUSE: because[i]},
            }
            for i, one in enumerate(ids)
        },
    )


def note_run(samples: Any, stage: str, config: dict[str, Any]) -> None:
    """Keep on the dataset, as a FiftyOne run, with what a stage last worked, when and by whom."""
    dataset = dataset_of(samples)
    about = dataset.init_run(method=f"curation.{stage}", **config)
    about.version = code_version()
    about.finished = datetime.now(UTC).isoformat(timespec="seconds")
    dataset.register_run(f"curation_{stage}", about, overwrite=True)


def note_taxonomy(dataset: Any, taxonomy: Taxonomy) -> None:
    """Keep the taxonomy with the dataset."""
    dataset.info[fields.INFO] = {
        **(dataset.info.get(fields.INFO) or {}),
        "taxonomy": taxonomies.to_yaml(taxonomy),
    }
    dataset.save()
