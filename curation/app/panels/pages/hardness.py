"""Page of the hardness panel: distribution, components, and map of the embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from curation import formatting
from curation.app.panels import plotly_figures
from curation.app.panels.components import Button, Buttons, Notice, Page, Plot, Text, TextInput
from curation.app.panels.pages import empty_dataset
from curation.presentation import cache, embedding_map, member_counts
from curation.presentation.member_counts import HardnessComponent
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

BINS = 20
TAG = "tag"  # state: text of the input line
_MAX_SHOWN = 500  # samples with the highest value of a component
_COMPONENTS = {
    schema.HARDNESS_EXISTENCE: "existence",
    schema.HARDNESS_CLASS: "class",
    schema.HARDNESS_LOCATION: "location",
    schema.HARDNESS_MARGIN: "margin",
    schema.HARDNESS_IMAGE: "image decision",
}


def build_page(dataset: Dataset) -> Page:
    """Return the page of a dataset."""
    if not cache.size(dataset):
        return empty_dataset(dataset)
    histogram = member_counts.hardness_histogram(dataset, BINS)
    if not sum(histogram):
        return Page.message(
            "No sample has a hardness score yet",
            "Run “Curation: score hardness” (press the backtick key and type it), or "
            f"`curate score {dataset.name}`. It compares the predictions of members: run "
            "“Curation: predict” first, or name fields of your own with `--members a,b`.",
        )
    entry = member_counts.read_counts(dataset)
    plot, notice = _map(dataset)
    is_current = entry is not None and not entry[1].stale and notice is None
    recount = Buttons("again", (Button("recount", "Count again", "refresh"),))
    head = (
        f"**{formatting.quantity(sum(histogram), 'sample')}** of {cache.size(dataset):,} ranked by "
        "hardness; samples with labels and those of validation and test are not ranked."
    )
    return Page.of(
        Text("head", f"{head} {entry[1].describe_age()}" if entry else head),
        None if is_current else recount,
        _distribution(histogram),
        _components(entry[0].components if entry else ()),
        plot,
        notice,
        TextInput(TAG, "Tag", "A tag such as `look-again`"),
        Buttons("tagging", (Button("tag", "Tag the selected samples, or the whole grid", "sell"),)),
    )


def recount(dataset: Dataset) -> str:
    """Count the samples and compute the map again, and return a message."""
    seconds = cache.update(dataset, member_counts.NAME, member_counts.count).seconds
    embedding_map.update_map(dataset)
    return f"Counted in {seconds:.1f} s."


def column_view(dataset: Dataset, center: float) -> DatasetView:
    """Return the samples in a column of the histogram, hardest first."""
    low, high = column_edges(center, BINS)
    interval = {"$gte": low, "$lt": high} if high < 1 else {"$gte": low}
    return dataset.match({schema.HARDNESS: interval}).sort_by(schema.HARDNESS, reverse=True)


def column_edges(center: float, bins: int) -> tuple[float, float]:
    """Return the edges of the column around a center, for `bins` equal columns in [0, 1]."""
    i = min(max(int(float(center) * bins), 0), bins - 1)
    return i / bins, (i + 1) / bins


def component_view(dataset: Dataset, label: str) -> DatasetView:
    """Return the samples with the highest value of a component, given its label in the plot."""
    field = {name: field for field, name in _COMPONENTS.items()}[label]
    return dataset.exists(field).sort_by(field, reverse=True).limit(_MAX_SHOWN)


def cells_view(dataset: Dataset, cells: Sequence[int]) -> DatasetView:
    """Return the samples of some cells of the map."""
    entry = embedding_map.read_map(dataset)
    return dataset.select([] if entry is None else entry[0].sample_ids(cells))


def tag(dataset: Dataset, view: DatasetView, selected: Sequence[str], label: str | None) -> str:
    """Tag the selected samples, or without a selection the whole view, and return a message."""
    label = (label or "").strip()
    if not label:
        return "Nothing was tagged: enter a tag first."
    target = dataset.select(list(selected)) if selected else view
    n = target.count()
    target.tag_samples(label)
    return f"{formatting.quantity(n, 'sample')} tagged “{label}”."


def _distribution(histogram: Sequence[int]) -> Plot:
    centers = [(i + 0.5) / BINS for i in range(BINS)]
    return plotly_figures.histogram(
        "distribution", "Distribution", centers, histogram, x="hardness (higher is harder)",
        on_click="show_column", hint="Click a column to see its samples, hardest first.",
        xaxis={"range": [0, 1]},
    )  # fmt: skip


def _components(components: Sequence[HardnessComponent]) -> Plot | None:
    shown = [component for component in components if component.everywhere is not None]
    if not shown:
        return None
    series = {
        "all samples": [round(component.everywhere or 0.0, 4) for component in shown],
        "the hardest tenth": [round(component.hardest or 0.0, 4) for component in shown],
    }
    texts = {trace: [f"{value:.2f}" for value in values] for trace, values in series.items()}
    return plotly_figures.bar_chart(
        "parts", "Components of hardness", [_COMPONENTS[component.field] for component in shown],
        series, texts=texts, x="mean disagreement", on_click="show_component",
        hint="Click a bar to see the samples with the highest value.",
    )  # fmt: skip


def _map(dataset: Dataset) -> tuple[Plot | None, Notice | None]:
    """Return the plot of the map, or a notice on what is missing."""
    if embedding_map.brain_key(dataset) is None:
        return None, Notice(
            "no_plane",
            "The samples are not embedded yet",
            f"Run `curate embed {dataset.name}` to see hardness on a map, and to select there.",
        )
    entry = embedding_map.read_map(dataset)
    if entry is None:
        return None, Notice(
            "no_plane", "The map has not been computed yet", "“Count again” computes it."
        )
    cells, figures = entry
    hints = ["Draw a lasso around marks, or click one, to see their samples; then tag them."]
    if len(cells) < cells.samples:
        hints.insert(
            0,
            f"{len(cells):,} marks for {cells.samples:,} samples, each as hard as its hardest "
            "sample.",
        )
    if figures.stale:
        hints.append("Samples have changed since it was drawn.")
    plot = plotly_figures.scatter(
        "plane", "Map of hardness", cells.xy, np.asarray(cells.hardness), cells.n,
        on_selected="select_cells", on_click="select_cell", hint=" ".join(hints),
    )  # fmt: skip
    return plot, None
