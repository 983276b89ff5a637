"""Color scheme of a dataset in the App: one color per member and per class.

The App colors by field, which tells the boxes of members apart. Switched to color by value,
classes have the same colors as in Label Studio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.taxonomy import Taxonomy
from curation.labeling import palette
from curation.labeling.label_studio.label_config import class_colors
from curation.storage import queries, schema
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import Dataset

_WRITTEN = "colours"  # info key of our last scheme: a different one is the user's and stays
_FIXED_COLORS = {schema.GROUND_TRUTH: "#ffffff", schema.CONSENSUS: "#f0e442"}  # in every dataset


def member_colors(names: Sequence[str]) -> dict[str, str]:
    """Return the color of each member as `#rrggbb`, with ground truth and consensus.

    A member keeps its color when others are appended.
    """
    others = [name for name in names if name not in _FIXED_COLORS]
    consensus = _FIXED_COLORS[schema.CONSENSUS]
    colors = [color for color in palette.distinct_colors(len(others) + 1) if color != consensus]
    return _FIXED_COLORS | dict(zip(others, colors, strict=False))


def build_scheme(
    members: Sequence[str], labels: Sequence[str], taxonomy: Taxonomy | None
) -> dict[str, Any]:
    """Return the keyword arguments of a `fiftyone.ColorScheme`.

    Args:
        members: Label fields of the members, in the order of colors.
        labels: All label fields of boxes.
        taxonomy: The classes, or None.
    """
    colors = member_colors([*members, *(name for name in labels if name not in members)])
    plain: dict[str, Any] = {"fields": [{"path": name} for name in labels]}
    classes = class_scheme(taxonomy, labels) if taxonomy else plain
    return {
        "color_pool": list(palette.distinct_colors(max(len(colors), 1))),
        **classes,
        "color_by": "field",
        "fields": [{**field, "fieldColor": colors[field["path"]]} for field in classes["fields"]],
    }


def write(dataset: Dataset, members: Sequence[str], labels: Sequence[str]) -> bool:
    """Write our scheme, unless the user has chosen another; return whether it changed."""
    import fiftyone as fo

    dataset = dataset_of(dataset)
    taxonomy = queries.taxonomy_of(dataset)
    wanted = build_scheme(members, labels, taxonomy)
    present = dataset.app_config.color_scheme
    if present is not None:
        current = {key: _plain(getattr(present, key)) for key in wanted}
        if current == wanted or not _is_ours(current, dataset, taxonomy):
            return False
    dataset.app_config.color_scheme = fo.ColorScheme(**wanted)
    queries.write_info(dataset, _WRITTEN, wanted)  # saves the dataset
    return True


def class_scheme(taxonomy: Taxonomy, paths: Sequence[str]) -> dict[str, Any]:
    """Return the keyword arguments of a `fiftyone.ColorScheme` with the colors of the classes.

    Without it, the App chooses colors by a hash of the label, and two classes may share one.

    Args:
        taxonomy: The classes.
        paths: Label fields with boxes of these classes.
    """
    colors = class_colors(taxonomy)
    values = [{"value": name, "color": color} for name, color in colors.items()]
    return {
        "color_by": "value",
        "color_pool": list(colors.values()),
        "fields": [
            {"path": path, "colorByAttribute": "label", "valueColors": values} for path in paths
        ],
    }


def write_class_scheme(dataset: Dataset, taxonomy: Taxonomy) -> bool:
    """Write the colors of the classes; return whether the scheme changed.

    Idempotent: fields that were added since are included. A scheme that the user has chosen is
    kept.

    Args:
        dataset: The FiftyOne dataset.
        taxonomy: Its classes.
    """
    import fiftyone as fo

    paths = sorted(dataset.get_field_schema(embedded_doc_type=fo.Detections))
    wanted = class_scheme(taxonomy, paths)
    present = dataset.app_config.color_scheme
    if present is not None:
        colors, pool = list(present.color_pool or ()), wanted["color_pool"]
        # Ours, possibly from when the taxonomy had fewer classes.
        is_ours = colors and colors == pool[: len(colors)]
        if not is_ours or present.color_by != wanted["color_by"]:
            return False
        existing = {field["path"] for field in present.fields or ()}
        if existing >= set(paths) and len(colors) == len(pool):
            return False
    dataset.app_config.color_scheme = fo.ColorScheme(**wanted)
    dataset.save()
    return True


def _is_ours(current: Mapping[str, Any], dataset: Dataset, taxonomy: Taxonomy | None) -> bool:
    """Return whether a scheme was written by this module, or by labeling."""
    if current == queries.read_info(dataset, _WRITTEN):
        return True
    paths = [field["path"] for field in current["fields"]]
    return taxonomy is not None and current == class_scheme(taxonomy, paths)


def _plain(value: Any) -> Any:
    """Return a part of a stored scheme as plain values."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str):
        return value or []
    return [_plain(item) for item in value]
