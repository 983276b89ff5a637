"""What every stage that wrote something does last: the App shows it as it should be shown.

Colours, saved views and, on a large dataset, the figures that panels show. A dataset that
nobody of us ingested gets the views and figures, too; its own sidebar and colours stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curation.presentation import (
    cache,
    color_scheme,
    embedding_map,
    error_analysis,
    member_counts,
    saved_views,
)
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

_OUTCOMES = "failures"  # of the sidebar


def after_stage(samples: SampleCollection) -> list[str]:
    """Bring the look of a dataset up to date; return the names of the views that are new.

    May be repeated. On a small dataset panels count by themselves, so this takes moments.

    Args:
        samples: A FiftyOne dataset, or a view of it.
    """
    dataset = dataset_of(samples)
    named = member_counts.member_fields(dataset)
    members = [name for name, kind in named.items() if kind == "boxes"]
    if members:
        color_scheme.write(dataset, members, sorted(_boxed(dataset)))
    _group_outcomes(dataset)
    if cache.size(dataset) > cache.LIVE:
        cache.keep(dataset, member_counts.NAME, member_counts.count)
        embedding_map.keep(dataset)
        _index_tags(dataset)
    return saved_views.save(dataset)


def _boxed(dataset: Dataset) -> list[str]:
    import fiftyone as fo

    return list(dataset.get_field_schema(embedded_doc_type=fo.Detections))


def _group_outcomes(dataset: Dataset) -> None:
    """Put what comparing with ground truth wrote into a group of its own, in our sidebar."""
    import fiftyone as fo

    groups = dataset.app_config.sidebar_groups
    ours = [one for one in error_analysis.WRITTEN if one in dataset.get_field_schema()]
    if not ours or not groups or any(one.name == _OUTCOMES for one in groups):
        return
    for one in groups:
        one.paths = [path for path in one.paths or () if path not in ours]
    groups.append(fo.SidebarGroupDocument(name=_OUTCOMES, paths=ours))
    dataset.save()


def _index_tags(dataset: Dataset) -> None:
    """Index tags, by which rounds are found and the sidebar counts."""
    if "tags" not in dataset.list_indexes():
        dataset.create_index("tags")
