"""Refresh of the App's presentation after a stage: colors, active fields, views and figures.

A dataset that we did not ingest gets views and figures too; its own sidebar, colors and active
fields stay.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from curation.errors import CurationError
from curation.presentation import (
    cache,
    color_scheme,
    embedding_map,
    error_analysis,
    member_counts,
    saved_views,
)
from curation.storage import queries, schema
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

_ERROR_GROUP = "failures"  # sidebar group
_FIRST_FIELDS = (schema.GROUND_TRUTH, schema.CONSENSUS)  # shown when the App opens


def after_stage(samples: SampleCollection) -> list[str]:
    """Refresh the presentation of a dataset; return the names of new saved views. Idempotent.

    On a small dataset panels count on access, so this is fast.

    Args:
        samples: A FiftyOne dataset, or a view of it.
    """
    import fiftyone as fo

    dataset = dataset_of(samples)
    kinds = member_counts.member_fields(dataset)
    members = [name for name, kind in kinds.items() if kind == "boxes"]
    if members:
        labels = sorted(dataset.get_field_schema(embedded_doc_type=fo.Detections))
        color_scheme.write(dataset, members, labels)
    elif (taxonomy := queries.taxonomy_of(dataset)) is not None:
        color_scheme.write_class_scheme(dataset, taxonomy)
    _activate_first_fields(dataset)
    _group_error_fields(dataset)
    if cache.size(dataset) > cache.MAX_LIVE_SAMPLES:
        cache.update(dataset, member_counts.NAME, member_counts.count)
        embedding_map.update_map(dataset)
        if "tags" not in dataset.list_indexes():  # queries for rounds, and the sidebar's counts
            dataset.create_index("tags")
    return saved_views.save(dataset)


def after_evaluation(samples: SampleCollection) -> list[str]:
    """Compare the members with the ground truth for the failures panel, then refresh.

    Args:
        samples: A FiftyOne dataset, or a view of it.
    """
    try:
        error_analysis.compare(dataset_of(samples))
    except CurationError as error:  # nothing to compare: the panel shows what is missing
        logger.info("The members are not compared with the ground truth: %s", error)
    return after_stage(samples)


def _activate_first_fields(dataset: Dataset) -> None:
    """Show ground truth and consensus only; members' boxes by the hundred hide the image."""
    import fiftyone as fo
    from fiftyone.core.odm.dataset import ActiveFields

    present = dataset.get_field_schema(embedded_doc_type=fo.Detections)
    paths = [name for name in _FIRST_FIELDS if name in present]
    active = dataset.app_config.active_fields
    is_ours = active is None or (not active.exclude and set(active.paths) <= set(_FIRST_FIELDS))
    if schema.CONSENSUS in paths and is_ours and (active is None or list(active.paths) != paths):
        dataset.app_config.active_fields = ActiveFields(paths=paths)
        dataset.save()


def _group_error_fields(dataset: Dataset) -> None:
    """Move the fields of `error_analysis` to a sidebar group, unless that group already exists."""
    import fiftyone as fo

    groups = dataset.app_config.sidebar_groups
    fields = [name for name in error_analysis.FIELDS if name in dataset.get_field_schema()]
    if not fields or not groups or any(group.name == _ERROR_GROUP for group in groups):
        return
    for group in groups:
        group.paths = [path for path in group.paths or () if path not in fields]
    groups.append(fo.SidebarGroupDocument(name=_ERROR_GROUP, paths=fields))
    dataset.save()
