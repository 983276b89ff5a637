"""Page of the cascade panel: tiers, members, agreement, time and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from curation import formatting
from curation.app.panels import plotly_figures
from curation.app.panels.components import Action, Button, Buttons, Notice, Page, Plot, Table, Text
from curation.app.panels.pages import empty_dataset
from curation.presentation import cache, member_counts
from curation.presentation.member_counts import Counts, MemberCounts
from curation.report.figures import VERMILION
from curation.storage import queries, schema

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

REACHED, STOPPED = "reached", "stopped here"  # traces of the plot of tiers
_TIERS = ("detection", "geometry", "segmentation", "language", "adjudication")
_MAX_FAILURES = 12  # kinds shown


def build_page(dataset: Dataset) -> Page:
    """Return the page of a dataset."""
    if not cache.size(dataset):
        return empty_dataset(dataset)
    entry = member_counts.read_counts(dataset)
    if entry is None:
        return _uncounted(dataset)
    counts, figures = entry
    members = [member for member in counts.members if member.samples]
    if not members:
        return Page.message(
            "No member has predicted on these images yet",
            "Run “Curation: predict” (press the backtick key and type it), or "
            f"`curate predict {dataset.name}` in a terminal.",
        )
    costs = queries.read_info(dataset, schema.COSTS) or {}
    sizes = (
        f"**{formatting.quantity(counts.samples, 'sample')}**, "
        f"{formatting.quantity(len(members), 'member')}."
    )
    recount = Buttons("again", (Button("recount", "Count again", "refresh"),))
    return Page.of(
        Text("head", f"{sizes} {figures.describe_age()}"),
        recount if figures.stale else None,
        _tiers(counts),
        _members(members, costs, counts),
        _agreement(counts, [member.name for member in members if member.kind == "boxes"]),
        _time(members, costs),
        _failures(counts),
    )


def recount(dataset: Dataset) -> str:
    """Count the samples again, and return a message."""
    figures = cache.update(dataset, member_counts.NAME, member_counts.count)
    return f"Counted in {figures.seconds:.1f} s."


def tier_view(dataset: Dataset, tier: str, trace: str) -> DatasetView:
    """Return the samples that reached a tier, or whose last tier it is."""
    reached = dataset.match({schema.TIERS_REACHED: tier})
    if trace == REACHED:
        return reached
    last = {"$arrayElemAt": [f"${schema.TIERS_REACHED}", -1]}
    return reached.match({"$expr": {"$eq": [last, tier]}})


def disagreement_view(dataset: Dataset, a: str, b: str) -> DatasetView:
    """Return the samples with an object that `a` detects and `b` does not.

    If both are the same, return the samples with any object that `a` detects.
    """
    if schema.CONSENSUS in dataset.get_field_schema():
        members = {"$in": [a]} if a == b else {"$in": [a], "$nin": [b]}
        objects = {"$elemMatch": {"members": members}}
        return dataset.match({f"{schema.CONSENSUS}.detections": objects})
    view = dataset.match({f"{a}.detections.0": {"$exists": True}})
    return view if a == b else view.match({f"{b}.detections": []})


def failure_view(dataset: Dataset, label: str) -> DatasetView:
    """Return the samples with a kind of failure, given its label in the plot."""
    member, _, error = label.partition(": ")
    kind = {"member": member, "error": error}
    return dataset.match({schema.FAILURES: {"$elemMatch": kind}})


def member_of_row(dataset: Dataset, row: int) -> str:
    """Return the member of a row of the table."""
    entry = member_counts.read_counts(dataset)
    members = [member.name for member in (entry[0].members if entry else ()) if member.samples]
    return members[row]


def _uncounted(dataset: Dataset) -> Page:
    return Page.of(
        Notice(
            "uncounted",
            f"The {cache.size(dataset):,} samples have not been counted yet",
            "Counting reads every sample once and takes some seconds; the result is cached.",
        ),
        Buttons("again", (Button("recount", "Count now", "refresh", primary=True),)),
    )


def _tiers(counts: Counts) -> Plot | None:
    if not counts.reached:
        return None
    tiers = sorted(counts.reached, key=lambda t: _TIERS.index(t) if t in _TIERS else len(_TIERS))
    total = max(counts.samples, 1)
    series = {
        REACHED: [counts.reached[tier] for tier in tiers],
        STOPPED: [counts.stopped[tier] for tier in tiers],
    }
    texts = {
        trace: [f"{n:,} ({formatting.ratio(n, total)})" for n in values]
        for trace, values in series.items()
    }
    return plotly_figures.bar_chart(
        "tiers", "Tiers", tiers, series, texts=texts, x="samples",
        on_click="show_tier", hint="Click a bar to see its samples.",
    )  # fmt: skip


def _members(members: Sequence[MemberCounts], costs: Mapping[str, Any], counts: Counts) -> Table:
    failures: Counter[str] = Counter()
    for _, name, _, n in counts.failures:
        failures[name] += n
    rows = []
    for member in members:
        cost, has_boxes = costs.get(member.name, {}), member.kind == "boxes"
        rows.append(
            {
                "member": member.name,
                "tier": cost.get("tier", formatting.UNKNOWN),
                "samples": f"{member.samples:,}",
                "boxes": f"{member.boxes:,}" if has_boxes else formatting.UNKNOWN,
                "each": formatting.number(
                    member.boxes / member.samples if has_boxes else None, digits=2
                ),
                "sure": formatting.ratio(member.sure, member.boxes),
                "ms": formatting.number(cost.get("ms"), 1),
                "failures": f"{failures[member.name]:,}",
            }
        )
    headings = {
        "member": "member", "tier": "tier", "samples": "samples", "boxes": "boxes",
        "each": "boxes per image", "sure": "p ≥ 0.5", "ms": "ms per image", "failures": "failures",
    }  # fmt: skip
    show = Action("show_member", "Show its samples", "visibility")
    return Table("members", "Members", headings, rows, (show,))


def _agreement(counts: Counts, names: Sequence[str]) -> Plot | None:
    if len(names) < 2:
        return None
    shares, own = counts.agreement(names)
    noun = "objects" if counts.objects else "images with a box"
    percents = [["" if share != share else formatting.percent(share) for share in row]
                for row in shares]  # fmt: skip
    hovers = [
        [
            f"{a}: {own[i]:,} {noun}" if i == j
            else f"Of {own[i]:,} {noun} that {a} detects,<br>{b} detects {percents[i][j]} too"
            for j, b in enumerate(names)
        ]
        for i, a in enumerate(names)
    ]  # fmt: skip
    return plotly_figures.heatmap(
        "agreement", "Agreement", names, names, shares, texts=percents, hovers=hovers,
        x="… that this member detects too", y=f"share of its {noun} …",
        on_click="show_disagreement",
        hint="Click a cell to see what the row's member detects and the column's misses.",
    )  # fmt: skip


def _time(members: Sequence[MemberCounts], costs: Mapping[str, Any]) -> Plot | None:
    """Return the members' total time, estimated from the latest cost per image."""
    seconds = {
        member.name: member.samples * costs[member.name]["ms"] / 1000
        for member in members
        if member.name in costs
    }
    if not seconds:
        return None
    total = sum(seconds.values())
    names = sorted(seconds, key=lambda name: -seconds[name])
    texts = [
        f"{formatting.duration(seconds[name])} ({formatting.ratio(seconds[name], total)})"
        for name in names
    ]
    return plotly_figures.bar_chart(
        "time", f"Time on these samples: {formatting.duration(total)}", names,
        {"seconds": [round(seconds[name], 3) for name in names]}, texts={"seconds": texts},
        x="seconds, from the latest cost per image", on_click="show_member_named",
        hint="Click a bar to see the member's samples.",
    )  # fmt: skip


def _failures(counts: Counts) -> Plot | Text:
    if not counts.failures:
        return Text("failures", "**Failures**\n\nNone recorded.")
    kinds: Counter[str] = Counter()
    for _, member, error, n in counts.failures:
        kinds[f"{member}: {error}"] += n
    labels = sorted(kinds, key=lambda label: -kinds[label])[:_MAX_FAILURES]
    return plotly_figures.bar_chart(
        "failures", f"Failures: {kinds.total():,}", labels,
        {"samples": [kinds[label] for label in labels]}, x="samples", colors=(VERMILION,),
        on_click="show_failures", hint="Click a bar to see the samples that failed.",
    )  # fmt: skip
