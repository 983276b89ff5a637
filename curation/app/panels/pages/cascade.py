"""The page about the ensemble: tiers, members, agreement, time and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.app.panels import plotly_figures, text
from curation.app.panels.components import Action, Button, Buttons, Notice, Page, Plot, Table, Text
from curation.presentation import cache, member_counts
from curation.presentation.member_counts import Counts, Member
from curation.storage import queries, schema

if TYPE_CHECKING:
    from fiftyone import Dataset

STOPPED, LOOKED = "went no further", "looked at"
_TIERS = ("detection", "geometry", "segmentation", "language", "adjudication")
_NOBODY = (
    "Nobody has looked at these images yet",
    "Run “Curation: predict” (press ` and type it), or `curate predict {name}` in a terminal.",
)
_MOST_FAILURES = 12  # kinds that are shown


def page(dataset: Dataset) -> Page:
    """Return the page of a dataset."""
    if not cache.size(dataset):
        return Page.saying(
            "The dataset is empty", f"Ingest images: `curate ingest FOLDER --name {dataset.name}`."
        )
    found = member_counts.of(dataset)
    if found is None:
        return uncounted(dataset)
    figures, age = found
    if not any(one.samples for one in figures.members):
        label, what = _NOBODY
        return Page.saying(label, what.format(name=dataset.name))
    members = [one for one in figures.members if one.samples]
    costs = queries.read_info(dataset, schema.COSTS) or {}
    return Page.of(
        Text("head", f"**{text.counted(figures.samples, 'sample')}**, "
                     f"{text.counted(len(members), 'member')}. {text.age(age)}"),
        Buttons("again", (Button("count_again", "Count again", "refresh"),)) if age.stale else None,
        _tiers(figures),
        _members(members, costs, figures),
        _agreement(figures, [one.name for one in members if one.kind == "boxes"]),
        _time(members, costs),
        _failures(figures),
    )  # fmt: skip


def uncounted(dataset: Dataset) -> Page:
    """Return the page of a large dataset that nobody has counted yet."""
    return Page.of(
        Notice(
            "uncounted",
            f"The {cache.size(dataset):,} samples have not been counted yet",
            "Counting reads every sample once, which takes some seconds; the figures are kept.",
        ),
        Buttons("again", (Button("count_again", "Count now", "refresh", main=True),)),
    )


def count_again(dataset: Dataset) -> str:
    """Count the samples anew, and say so."""
    found = cache.keep(dataset, member_counts.NAME, member_counts.count)
    return f"Counted in {found.seconds:.1f} s."


def of_tier(dataset: Dataset, tier: str, trace: str) -> Any:
    """Return the view of the samples that a tier looked at, or that went no further than it."""
    if trace == LOOKED:
        return dataset.match({schema.TIERS_REACHED: tier})
    last = {"$arrayElemAt": [f"${schema.TIERS_REACHED}", -1]}
    return dataset.match({schema.TIERS_REACHED: tier}).match({"$expr": {"$eq": [last, tier]}})


def found_without(dataset: Dataset, a: str, b: str) -> Any:
    """Return the view of the samples on which `a` found an object that `b` did not.

    Of those on which `a` found anything where both are the same.
    """
    if schema.CONSENSUS in dataset.get_field_schema():
        by = {"$in": [a]} if a == b else {"$in": [a], "$nin": [b]}
        return dataset.match({f"{schema.CONSENSUS}.detections": {"$elemMatch": {"members": by}}})
    view = dataset.match({f"{a}.detections.0": {"$exists": True}})
    return view if a == b else view.match({f"{b}.detections": []})


def failed(dataset: Dataset, key: str) -> Any:
    """Return the view of the samples with a kind of failure, as the plot names it."""
    member, _, error = key.partition(": ")
    kind = {"member": member, "error": error}
    return dataset.match({schema.FAILURES: {"$elemMatch": kind}})


def seen_by(dataset: Dataset, row: int) -> tuple[str, Any]:
    """Return the member of a row of the table, and the view of the samples that it looked at."""
    found = member_counts.of(dataset)
    members = [one.name for one in (found[0].members if found else ()) if one.samples]
    return members[row], dataset.exists(members[row])


def _tiers(figures: Counts) -> Plot | None:
    reached, stopped = figures.reached, figures.stopped
    if not reached:
        return None
    order = sorted(reached, key=lambda one: _TIERS.index(one) if one in _TIERS else len(_TIERS))
    total = max(figures.samples, 1)
    series = {
        LOOKED: [reached[one] for one in order],
        STOPPED: [stopped[one] for one in order],
    }
    texts = {
        name: [f"{n:,} ({text.share(n, total)})" for n in values] for name, values in series.items()
    }
    return plotly_figures.bars(
        "tiers", "Tiers", order, series, texts=texts, x="samples",
        on_click="show_tier", hint="Click a bar to see its samples.",
    )  # fmt: skip


def _members(members: Sequence[Member], costs: Mapping[str, Any], figures: Counts) -> Table:
    failures: dict[str, int] = {}
    for _, member, _, n in figures.failures:
        failures[member] = failures.get(member, 0) + n
    rows = [
        {
            "member": one.name,
            "tier": costs.get(one.name, {}).get("tier", text.UNKNOWN),
            "samples": f"{one.samples:,}",
            "boxes": f"{one.boxes:,}" if one.kind == "boxes" else text.UNKNOWN,
            "each": f"{one.boxes / one.samples:.2f}" if one.kind == "boxes" else text.UNKNOWN,
            "sure": text.share(one.sure, one.boxes),
            "ms": text.number(costs.get(one.name, {}).get("ms"), 1),
            "failures": f"{failures.get(one.name, 0):,}",
        }
        for one in members
    ]
    headings = {
        "member": "member", "tier": "tier", "samples": "samples", "boxes": "boxes",
        "each": "an image", "sure": "p ≥ 0.5", "ms": "ms an image", "failures": "failed",
    }  # fmt: skip
    seen = Action("show_member", "See what it looked at", "visibility")
    return Table("members", "Members", headings, rows, (seen,))


def _agreement(figures: Counts, names: Sequence[str]) -> Plot | None:
    if len(names) < 2:
        return None
    shares, own = figures.agreement(names)
    what = "objects" if figures.objects else "images with a box"
    texts = [[_percent(one) for one in row] for row in shares]
    hovers = [
        [
            f"{a}: {own[i]:,} {what}" if i == j
            else f"Of {own[i]:,} {what} that {a} found,<br>{b} found {_percent(shares[i, j])} too"
            for j, b in enumerate(names)
        ]
        for i, a in enumerate(names)
    ]  # fmt: skip
    return plotly_figures.heat(
        "agreement", "Agreement", names, names, shares, texts=texts, hovers=hovers,
        x="… that this one found, too", y=f"share of its {what} …", on_click="show_disagreement",
        hint="Click a cell to see where the row's member found something and the column's "
        "did not.",
    )  # fmt: skip


def _time(members: Sequence[Member], costs: Mapping[str, Any]) -> Plot | None:
    """Return what the members' time came to, by what one image costs."""
    spent = {
        one.name: one.samples * costs[one.name]["ms"] / 1000 for one in members if one.name in costs
    }
    if not spent:
        return None
    total = sum(spent.values())
    order = sorted(spent, key=lambda one: -spent[one])
    texts = [f"{text.duration(spent[one])} ({text.share(spent[one], total)})" for one in order]
    return plotly_figures.bars(
        "time", f"Time on these samples: {text.duration(total)}", order,
        {"seconds": [round(spent[one], 3) for one in order]}, texts={"seconds": texts},
        x="seconds, by what an image took last", on_click="show_member_named",
        hint="Click a bar to see what the member looked at.",
    )  # fmt: skip


def _failures(figures: Counts) -> Plot | Text:
    if not figures.failures:
        return Text("failures", "**Failures**\n\nNone on record.")
    found: dict[str, int] = {}
    for _, member, error, n in figures.failures:
        key = f"{member}: {error}"
        found[key] = found.get(key, 0) + n
    order = sorted(found, key=lambda one: -found[one])[:_MOST_FAILURES]
    return plotly_figures.bars(
        "failures", f"Failures: {sum(found.values()):,}", order,
        {"samples": [found[one] for one in order]}, x="samples", colours=(plotly_figures.CYCLE[3],),
        on_click="show_failed", hint="Click a bar to see the samples that failed.",
    )  # fmt: skip


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.0f} %"
