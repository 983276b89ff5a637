"""Values that a dataset offers to choose from, read by cheap queries for forms.

No stage is imported here: stages import torch, which takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.storage import schema
from curation.storage.tags import parse_round, round_name

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

LEAST_BUDGET = 20  # same as in `pipeline.run_round`
_REVIEW = "review"  # field of `stages.review`
_NOT_MEMBERS = (schema.GROUND_TRUTH, schema.ORACLE, schema.CONSENSUS, _REVIEW)


def box_fields(dataset: Dataset) -> list[str]:
    """Return the Detections fields of a dataset, sorted."""
    import fiftyone as fo

    return sorted(dataset.get_field_schema(embedded_doc_type=fo.Detections))


def member_fields(dataset: Dataset) -> list[str]:
    """Return the Detections fields that hold predictions, sorted.

    Ground truth is recognized by its field's name, ours or adopted, without reading labels.
    """
    adopted = (read_info(dataset, "adopted") or {}).get("ground_truth")
    return [name for name in box_fields(dataset) if name not in {*_NOT_MEMBERS, adopted}]


def read_info(dataset: Dataset, key: str) -> Any:
    """Return what a stage stored in the dataset's info under a key, or None."""
    return (dataset.info.get(schema.INFO) or {}).get(key)


def has_taxonomy(dataset: Dataset) -> bool:
    """Return whether the dataset has a taxonomy."""
    return read_info(dataset, "taxonomy") is not None


def pool(view: DatasetView) -> DatasetView:
    """Return the samples of a view that may be chosen, as `queries.pool` does."""
    fields = view.get_field_schema()
    if schema.SPLIT in fields:
        view = view.match({schema.SPLIT: {"$nin": ["val", "test"]}})
    return view.exists(schema.LABELED_ROUND, False) if schema.LABELED_ROUND in fields else view


def default_budget(view: DatasetView) -> int:
    """Return a tenth of the pool, at least `LEAST_BUDGET`."""
    return max(LEAST_BUDGET, len(pool(view)) // 10)


def chosen_rounds(dataset: Dataset) -> dict[int, int]:
    """Return the number of chosen samples by round."""
    counts = {
        number: int(n)
        for tag, n in dataset.count_sample_tags().items()
        if (number := parse_round(tag)) is not None
    }
    return dict(sorted(counts.items()))


def last_labeler(dataset: Dataset, number: int) -> str | None:
    """Return the labeler that got the tasks of a round last, or None."""
    push = read_info(dataset, schema.PUSHED.format(round_name(number)))
    return None if push is None else str(push["labeler"])


def next_round(dataset: Dataset) -> int:
    """Return the number of the first round without chosen samples."""
    rounds, number = chosen_rounds(dataset), 1
    while number in rounds:
        number += 1
    return number


def last_round(dataset: Dataset) -> int:
    """Return the number of the last round with chosen samples; 1 without any."""
    return max(chosen_rounds(dataset), default=1)


def predicting_manifests(dataset: Dataset) -> dict[str, list[str]]:
    """Return the members that predicted on the dataset, by the name of their manifest."""
    members: dict[str, list[str]] = {}
    for name, source in (read_info(dataset, "members") or {}).items():
        members.setdefault(source["manifest"], []).append(name)
    return members


def registered_versions(dataset: Dataset) -> dict[str, str]:
    """Return a label for each registered version of the dataset's ensemble, newest first."""
    from curation.settings import from_environment
    from curation.tracking import Registry

    settings = from_environment()
    kind, _, file = settings.tracking_uri.partition(":///")
    if kind == "sqlite" and not Path(file).is_file():
        return {}  # MLflow would create its tables, which takes seconds
    labels = {}
    for version in reversed(Registry.from_settings(settings).versions(dataset.name)):
        parts = [f"version {version.version}"]
        parts += [", ".join(version.aliases)] if version.aliases else []
        for key in ("round", "verdict"):
            parts += [f"{key} {value}"] if (value := version.tags.get(key)) else []
        labels[version.version] = " · ".join(parts)
    return labels
