"""The page about hardness: its distribution, its components, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.app.panels import plotly_figures
from curation.app.panels import text as words
from curation.app.panels.components import Button, Buttons, Entry, Notice, Page, Plot, Text
from curation.presentation import cache, embedding_map, member_counts
from curation.presentation.member_counts import Part
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

BINS = 20
SHOWN = 500  # of a component: the samples where it is greatest
EVERYWHERE, HARDEST = "all samples", "the hardest tenth"
TAG = "tag"  # state: what is written into the line
_NAMES = {
    schema.HARDNESS_EXISTENCE: "existence",
    schema.HARDNESS_CLASS: "class",
    schema.HARDNESS_LOCATION: "location",
    schema.HARDNESS_MARGIN: "margin",
    schema.HARDNESS_IMAGE: "image decision",
}


def page(dataset: Dataset) -> Page:
    """Return the page of a dataset."""
    if not cache.size(dataset):
        return Page.saying(
            "The dataset is empty", f"Ingest images: `curate ingest FOLDER --name {dataset.name}`."
        )
    histogram = member_counts.histogram(dataset, BINS)
    if not sum(histogram):
        return Page.saying(
            "No sample has a hardness yet",
            "Run “Curation: score hardness” (press ` and type it), or "
            f"`curate score {dataset.name}`. It compares what members predicted: run "
            f"“Curation: predict” before, or name fields of your own with `--members a,b`.",
        )
    found = member_counts.of(dataset)
    parts = found[0].parts if found else ()
    where, note = _plane(dataset)
    again = found is None or found[1].stale or note is not None
    return Page.of(
        Text("head", _head(dataset, histogram, found and words.age(found[1]))),
        Buttons("again", (Button("count_again", "Count again", "refresh"),)) if again else None,
        _distribution(histogram),
        _parts(parts),
        where,
        note,
        Entry(TAG, "Tag", "A word to tag with, such as `look-again`"),
        Buttons(
            "tagging",
            (Button("tag", "Tag what the grid shows, or what is selected there", "sell"),),
        ),
    )


def count_again(dataset: Dataset) -> str:
    """Count the samples and draw the plane anew, and say so."""
    seconds = cache.keep(dataset, member_counts.NAME, member_counts.count).seconds
    embedding_map.keep(dataset)
    return f"Counted in {seconds:.1f} s."


def between(dataset: Dataset, centre: float) -> Any:
    """Return the view of the samples in a column of the histogram, hardest first."""
    low, high = edges(centre, BINS)
    within = {"$gte": low, "$lt": high} if high < 1 else {"$gte": low}
    return dataset.match({schema.HARDNESS: within}).sort_by(schema.HARDNESS, reverse=True)


def edges(centre: float, bins: int) -> tuple[float, float]:
    """Return the ends of the column around a centre, of so many equal ones in [0, 1]."""
    i = min(max(int(float(centre) * bins), 0), bins - 1)
    return i / bins, (i + 1) / bins


def greatest(dataset: Dataset, part: str) -> Any:
    """Return the view of the samples where a component, as the plot names it, is greatest."""
    field = {name: field for field, name in _NAMES.items()}[part]
    return dataset.exists(field).sort_by(field, reverse=True).limit(SHOWN)


def picked(dataset: Dataset, cells: Sequence[int]) -> Any:
    """Return the view of the samples of some cells of the plane."""
    found = embedding_map.of(dataset)
    return dataset.select([] if found is None else found[0].chosen(cells))


def tag(dataset: Dataset, view: DatasetView, selected: Sequence[str], word: str | None) -> str:
    """Tag what is selected, else what the grid shows; say how many that were."""
    word = (word or "").strip()
    if not word:
        return "Nothing was tagged: write a word into the line first."
    target = dataset.select(list(selected)) if selected else view
    n = target.count()
    target.tag_samples(word)
    return f"{words.counted(n, 'sample')} tagged “{word}”."


def _head(dataset: Dataset, histogram: Sequence[int], age: str | None) -> str:
    known, total = sum(histogram), cache.size(dataset)
    text = (
        f"**{words.counted(known, 'sample')}** of {total:,} ranked by hardness; labeled samples "
        "and those of validation and test are not."
    )
    return text if age is None else f"{text} {age}"


def _distribution(histogram: Sequence[int]) -> Plot:
    centres = [(i + 0.5) / BINS for i in range(BINS)]
    return plotly_figures.columns(
        "distribution", "Distribution", centres, histogram, x="hardness (higher is harder)",
        on_click="show_column", hint="Click a column to see its samples, hardest first.",
        xaxis={"range": [0, 1]},
    )  # fmt: skip


def _parts(parts: Sequence[Part]) -> Plot | None:
    shown = [one for one in parts if one.everywhere is not None]
    if not shown:
        return None
    names = [_NAMES[one.field] for one in shown]
    series = {
        EVERYWHERE: [round(one.everywhere or 0.0, 4) for one in shown],
        HARDEST: [round(one.hardest or 0.0, 4) for one in shown],
    }
    texts = {name: [f"{one:.2f}" for one in values] for name, values in series.items()}
    return plotly_figures.bars(
        "parts", "What makes samples hard", names, series, texts=texts, x="mean disagreement",
        on_click="show_part", hint="Click a bar to see the samples where it is greatest.",
    )  # fmt: skip


def _plane(dataset: Dataset) -> tuple[Plot | None, Notice | None]:
    """Return the plane, or why there is none."""
    if embedding_map.brain_key(dataset) is None:
        return None, Notice(
            "no_plane",
            "The samples are not embedded yet",
            f"Run `curate embed {dataset.name}` to see where the hard ones lie, and pick there.",
        )
    found = embedding_map.of(dataset)
    if found is None:
        return None, Notice(
            "no_plane", "The plane has not been drawn yet", "“Count again” draws it."
        )
    drawn, age = found
    many = f"{len(drawn):,} marks for {drawn.samples:,} samples, each as hard as its hardest. "
    hint = "Draw around marks with the lasso, or click one, to see their samples; then tag them."
    return (
        plotly_figures.points(
            "plane", "Where hardness lies",
            drawn.xy, np.asarray(drawn.hardness), drawn.n,
            on_selected="pick", on_click="pick_one",
            hint=(many if len(drawn) < drawn.samples else "") + hint
            + (" Samples have changed since it was drawn." if age.stale else ""),
        ),
        None,
    )  # fmt: skip
