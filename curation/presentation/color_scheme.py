"""The colour scheme of a dataset in the App: a colour for each member, and for each class.

The App colours by field, so that the boxes of members can be told apart side by side; switched
to colour by value, classes have the colours that they have in Label Studio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.taxonomy import Taxonomy
from curation.labeling import app_colours, palette
from curation.storage import queries, schema
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import Dataset

_KEPT = "colours"  # what we wrote last: a scheme that is another is the user's, and stays
FIRST = (schema.GROUND_TRUTH, schema.CONSENSUS)  # they have the same colour in every dataset
_TRUTH_COLOUR, _CONSENSUS_COLOUR = "#ffffff", "#f0e442"  # show on dark and on bright pictures


def by_member(names: Sequence[str]) -> dict[str, str]:
    """Return the colour of each member as `#rrggbb`, ground truth and consensus among them.

    A member keeps its colour when others come after it.
    """
    fixed = {schema.GROUND_TRUTH: _TRUTH_COLOUR, schema.CONSENSUS: _CONSENSUS_COLOUR}
    others = [one for one in names if one not in FIRST]
    colours = [one for one in palette.distinct(len(others) + 1) if one != _CONSENSUS_COLOUR]
    return fixed | dict(zip(others, colours, strict=False))


def scheme(
    members: Sequence[str], labels: Sequence[str], taxonomy: Taxonomy | None
) -> dict[str, Any]:
    """Return the keyword arguments of a `fiftyone.ColorScheme`.

    Args:
        members: The label fields of the members, in the order that colours are given in.
        labels: All label fields of boxes.
        taxonomy: The classes; None where they are not known.
    """
    chosen = by_member([*members, *(one for one in labels if one not in members)])
    plain: dict[str, Any] = {"fields": [{"path": one} for one in labels]}
    classes = app_colours.scheme(taxonomy, labels) if taxonomy else plain
    return {
        "color_pool": list(palette.distinct(max(len(chosen), 1))),
        **classes,
        "color_by": "field",
        "fields": [{**one, "fieldColor": chosen[one["path"]]} for one in classes["fields"]],
    }


def write(dataset: Dataset, members: Sequence[str], labels: Sequence[str]) -> bool:
    """Give the dataset our scheme, unless its user chose another; return whether it changed."""
    import fiftyone as fo

    dataset = dataset_of(dataset)
    taxonomy = queries.taxonomy_of(dataset)
    wanted = scheme(members, labels, taxonomy)
    present = dataset.app_config.color_scheme
    if present is not None:
        there = {key: _plain(getattr(present, key)) for key in wanted}
        if there == wanted or not _is_ours(there, dataset, taxonomy):
            return False
    dataset.app_config.color_scheme = fo.ColorScheme(**wanted)
    queries.remember(dataset, _KEPT, wanted)  # saves the dataset
    return True


def _is_ours(there: Mapping[str, Any], dataset: Dataset, taxonomy: Taxonomy | None) -> bool:
    """Return whether a scheme is what we wrote last, here or when something was labeled."""
    if there == queries.remembered(dataset, _KEPT):
        return True
    paths = [one["path"] for one in there["fields"]]
    return taxonomy is not None and there == app_colours.scheme(taxonomy, paths)


def _plain(value: Any) -> Any:
    """Return a part of a stored scheme as plain values."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if value is None or isinstance(value, str):
        return value or []
    return [_plain(one) for one in value]
