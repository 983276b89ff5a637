"""The App shows classes in the colours that the labeling tools give them.

Left alone, the App picks a colour by a hash of the label, so that two classes may share one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.taxonomy import Taxonomy
from curation.labeling.label_studio.label_config import colours

if TYPE_CHECKING:
    from fiftyone import Dataset


def scheme(taxonomy: Taxonomy, paths: Sequence[str]) -> dict[str, Any]:
    """Return the keyword arguments of a `fiftyone.ColorScheme` with a taxonomy's colours.

    Args:
        taxonomy: The classes.
        paths: The label fields that hold boxes of these classes.
    """
    return {
        "color_by": "value",
        "color_pool": list(colours(taxonomy).values()),
        "fields": [_of_field(taxonomy, path) for path in paths],
    }


def show(dataset: Dataset, taxonomy: Taxonomy) -> bool:
    """Give a dataset's App the colours of its classes; return whether anything changed.

    May be repeated: fields that came since get them, too. A scheme that somebody else chose
    stays as it is.

    Args:
        dataset: The FiftyOne dataset.
        taxonomy: Its classes.
    """
    import fiftyone as fo

    paths = sorted(dataset.get_field_schema(embedded_doc_type=fo.Detections))
    wanted = scheme(taxonomy, paths)
    there = dataset.app_config.color_scheme
    if there is not None:
        if not _is_ours(there, wanted):
            return False
        known = {one["path"] for one in there.fields or ()}
        if known >= set(paths) and len(there.color_pool) == len(wanted["color_pool"]):
            return False
    dataset.app_config.color_scheme = fo.ColorScheme(**wanted)
    dataset.save()
    return True


def _of_field(taxonomy: Taxonomy, path: str) -> dict[str, Any]:
    values = [{"value": name, "color": one} for name, one in colours(taxonomy).items()]
    return {"path": path, "colorByAttribute": "label", "valueColors": values}


def _is_ours(there: Any, wanted: Mapping[str, Any]) -> bool:
    """Return whether we made a scheme, for this taxonomy or when it had fewer classes."""
    pool = list(there.color_pool or ())
    return bool(
        pool and there.color_by == wanted["color_by"] and pool == wanted["color_pool"][: len(pool)]
    )
