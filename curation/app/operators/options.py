"""What a dataset offers to choose from: light questions, for forms that open at once.

No stage is imported here, since those bring torch along, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.storage import schema as fields
from curation.storage.tags import parse_round, round_name

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

LEAST_BUDGET = 20  # as in `loop`
_REVIEW = "review"  # of `stages.review`: boxes that look wrong
_NO_MEMBERS = (fields.GROUND_TRUTH, fields.ORACLE, fields.CONSENSUS, _REVIEW)


def box_fields(dataset: Dataset) -> list[str]:
    """Return the Detections fields of a dataset, sorted."""
    import fiftyone as fo

    return sorted(dataset.get_field_schema(embedded_doc_type=fo.Detections))


def member_fields(dataset: Dataset) -> list[str]:
    """Return the Detections fields that hold predictions, sorted.

    Ground truth, whatever it is called, has no confidences; it is told by its name here.
    """
    adopted = (info(dataset, "adopted") or {}).get("ground_truth")
    return [name for name in box_fields(dataset) if name not in {*_NO_MEMBERS, adopted}]


def info(dataset: Dataset, key: str) -> Any:
    """Return what a stage noted with the dataset under a key; None where it noted nothing."""
    return (dataset.info.get(fields.INFO) or {}).get(key)


def has_taxonomy(dataset: Dataset) -> bool:
    """Return whether the dataset knows what its labels mean."""
    return info(dataset, "taxonomy") is not None


def pool(view: DatasetView) -> Any:
    """Return the part of a view that may be chosen, as `samples.pool` says."""
    schema = view.get_field_schema()
    if fields.SPLIT in schema:
        view = view.match({fields.SPLIT: {"$nin": ["val", "test"]}})
    return view.exists(fields.LABELED_ROUND, False) if fields.LABELED_ROUND in schema else view


def budget(view: DatasetView) -> int:
    """Return the budget that is proposed: a tenth of the pool, at least `LEAST_BUDGET`."""
    return max(LEAST_BUDGET, len(pool(view)) // 10)


def chosen_rounds(dataset: Dataset) -> dict[int, int]:
    """Return how many samples each round chose, by its number."""
    counts = {
        number: int(n)
        for tag, n in dataset.count_sample_tags().items()
        if (number := parse_round(tag)) is not None
    }
    return dict(sorted(counts.items()))


def holder(dataset: Dataset, number: int) -> str | None:
    """Return which labeler was handed the tasks of a round last; None for nobody."""
    found = info(dataset, fields.PUSHED.format(round_name(number)))
    return None if found is None else str(found["labeler"])


def next_round(dataset: Dataset) -> int:
    """Return the number of the first round that has chosen nothing yet."""
    taken, number = chosen_rounds(dataset), 1
    while number in taken:
        number += 1
    return number


def last_round(dataset: Dataset) -> int:
    """Return the number of the last round that has chosen samples; 1 where none has."""
    return max(chosen_rounds(dataset), default=1)


def predicting_manifests(dataset: Dataset) -> dict[str, list[str]]:
    """Return the members that predicted on the dataset, by the manifest that they came from."""
    found: dict[str, list[str]] = {}
    known: Mapping[str, Any] = info(dataset, "members") or {}
    for name, about in known.items():
        found.setdefault(about["manifest"], []).append(name)
    return found


def versions(dataset: Dataset) -> dict[str, str]:
    """Return the registered ensembles of a dataset, newest first: version, and what it is."""
    from curation.settings import from_environment
    from curation.tracking import Registry

    settings = from_environment()
    kind, _, file = settings.tracking_uri.partition(":///")
    if kind == "sqlite" and not Path(file).is_file():
        return {}  # asked now, MLflow would make its tables, which takes seconds
    found = Registry.of(settings).versions(dataset.name)
    return {
        one.version: " · ".join(
            part
            for part in (
                f"version {one.version}",
                ", ".join(one.aliases),
                f"round {one.tags['round']}" if one.tags.get("round") else "",
                f"verdict {one.tags['verdict']}" if one.tags.get("verdict") else "",
            )
            if part
        )
        for one in reversed(found)
    }
