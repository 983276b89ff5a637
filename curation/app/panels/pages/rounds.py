"""Page of the round panel: one round's batch, arms and slices, labeling, and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation import formatting
from curation.app.panels import plotly_figures
from curation.app.panels.components import Choice, Component, Notice, Page, Plot, Table, Text
from curation.presentation import cache, member_counts
from curation.report import cells
from curation.report.facts import read_round_record
from curation.report.figures import BLUE, GRAY, GREEN
from curation.report.sections.quality import outcome
from curation.storage import queries, rounds, schema, tags

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

ROUND = "round"  # state: number of the round, as text
LABELED, WAITING = "labeled", "waiting"
BATCH, DATASET = "in the batch", "in the dataset"
BEFORE, AFTER = "before", "after"
_CHOSEN = "chosen "  # prefix of the info key of a round's choice
_METRICS = {"mcc": "MCC", "recall": "recall", "precision": "precision", "map50": "mAP at IoU 0.5"}


def build_page(dataset: Dataset, home: Path, number: str | None = None) -> Page:
    """Return the page of one round; by default of the last one.

    Args:
        dataset: A FiftyOne dataset.
        home: Our folder, which holds the records of rounds.
        number: Number of the round.
    """
    numbers = list_rounds(dataset, home)
    if not numbers:
        return Page.message(
            "No round has begun yet",
            "Run “Curation: choose samples” (press the backtick key and type it), or `curate "
            f"choose {dataset.name}`; `curate round {dataset.name}` runs a complete round.",
        )
    selected = int(number) if number and int(number) in numbers else numbers[-1]
    tag = tags.round_name(selected)
    batch = _count_batch(dataset, tag)
    this = rounds.get_round(home, dataset.name, selected)
    options = {str(n): f"round {n}" for n in numbers}
    return Page.of(
        Choice(ROUND, "Round", options, str(selected), "change"),
        _choice_summary(queries.read_info(dataset, f"{_CHOSEN}{tag}"), batch),
        _arms(batch),
        _composition(dataset, tag),
        *_labeling(this, batch),
        *_quality(this),
    )


def list_rounds(dataset: Dataset, home: Path) -> list[int]:
    """Return the numbers of the rounds with a choice or a record, in order."""
    names = [key.removeprefix(_CHOSEN) for key in dataset.info.get(schema.INFO, {})]
    folder = rounds.get_round(home, dataset.name, 1).folder.parent
    names += [file.parent.name for file in folder.glob(f"round-*/{rounds.RECORD}")]
    return sorted({n for name in names if (n := tags.parse_round(name)) is not None})


def last_round(dataset: Dataset, home: Path) -> str:
    """Return the number of the last round, as text."""
    return str(list_rounds(dataset, home)[-1])


def arm_view(dataset: Dataset, number: str, arm: str, trace: str) -> DatasetView:
    """Return the labeled or the waiting samples of an arm, by rank."""
    view = _round_view(dataset, number).match_tags(tags.arm_tag(arm))
    if schema.LABELED_ROUND in dataset.get_field_schema():
        view = view.exists(schema.LABELED_ROUND, trace == LABELED)
    return view


def slice_view(dataset: Dataset, number: str, label: str, trace: str) -> DatasetView:
    """Return a slice of the batch or of the dataset, given its label in the plot."""
    name, _, value = label.partition("=")
    view = _round_view(dataset, number) if trace == BATCH else dataset.view()
    return view.match({name: value})


def changed_view(dataset: Dataset, home: Path, number: str) -> DatasetView:
    """Return the frozen images on which champion and challenger decide differently."""
    round_record = read_round_record(rounds.get_round(home, dataset.name, int(number)))
    if round_record.before is None or round_record.after is None:
        return dataset.limit(0)
    before, after = (
        [p is not None and p >= evaluation["threshold"] for p in evaluation["samples"]["p"]]
        for evaluation in (round_record.before, round_record.after)
    )
    ids = round_record.after["samples"]["id"]
    return dataset.select([i for i, a, b in zip(ids, before, after, strict=True) if a != b])


def _round_view(dataset: Dataset, number: str) -> DatasetView:
    view = dataset.match_tags(tags.round_name(int(number)))
    return view.sort_by(schema.RANK) if schema.RANK in dataset.get_field_schema() else view


def _count_batch(dataset: Dataset, tag: str) -> dict[str, tuple[int, int]]:
    """Return the number of labeled and of waiting samples by arm; never cached."""
    is_arm = {"$eq": [{"$substrCP": ["$$this", 0, len(tags.ARM_PREFIX)]}, tags.ARM_PREFIX]}
    arms = {"$filter": {"input": "$tags", "cond": is_arm}}
    is_labeled = {"$cond": [{"$gt": [f"${schema.LABELED_ROUND}", None]}, 1, 0]}
    rows = cache.aggregate(
        dataset,
        [
            {"$match": {"tags": tag}},
            {"$group": {"_id": arms, "n": {"$sum": 1}, "labeled": {"$sum": is_labeled}}},
        ],
    )
    counts = {
        (row["_id"][0].removeprefix(tags.ARM_PREFIX) if row["_id"] else "by hand"): (
            row["labeled"],
            row["n"] - row["labeled"],
        )
        for row in rows
    }
    return {arm: counts[arm] for arm in cells.ordered_arms(counts)}


def _choice_summary(
    result: Mapping[str, Any] | None, batch: Mapping[str, tuple[int, int]]
) -> Text | None:
    samples = formatting.quantity(sum(map(sum, batch.values())), "sample")
    if result is None:
        return Text("chosen", f"**{samples}** tagged.")
    text = (
        f"**{samples}** of a pool of {result['pool']:,}; "
        f"{formatting.quantity(result['duplicates_dropped'], 'near-duplicate')} left out."
    )
    if result.get("boxes") is not None:
        text += f" Expected: {result['boxes']:,.0f} boxes, {result['hours']:.1f} hours of labeling."
    advice = "\n".join(f"- {line}" for line in result["advice"])
    return Text("chosen", f"{text}\n\n{advice}")


def _arms(batch: Mapping[str, tuple[int, int]]) -> Plot | None:
    if not batch:
        return None
    series = {
        LABELED: [labeled for labeled, _ in batch.values()],
        WAITING: [waiting for _, waiting in batch.values()],
    }
    labeled, total = sum(series[LABELED]), sum(map(sum, batch.values()))
    texts = {trace: [f"{n:,}" if n else "" for n in values] for trace, values in series.items()}
    share = formatting.ratio(labeled, total)
    return plotly_figures.bar_chart(
        "arms", f"Arms: {labeled:,} of {total:,} labeled ({share})", list(batch), series,
        texts=texts, x="samples", colors=(GREEN, GRAY), stacked=True,
        on_click="show_arm", hint="Click a bar to see its samples.",
    )  # fmt: skip


def _composition(dataset: Dataset, tag: str) -> Plot | None:
    """Return the share of each slice in the batch and in the dataset."""
    entry = member_counts.read_counts(dataset)
    present = dataset.get_field_schema()
    fields = [name for name in (schema.TIME_OF_DAY, schema.WEATHER) if name in present]
    if entry is None or not fields:
        return None
    key = {name: f"${name}" for name in fields}
    rows = cache.aggregate(
        dataset, [{"$match": {"tags": tag}}, {"$group": {"_id": key, "n": {"$sum": 1}}}]
    )
    in_batch: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for name in fields:
            if row["_id"].get(name) is not None:
                in_batch[name, str(row["_id"][name])] += row["n"]
    n = sum(row["n"] for row in rows)
    slices = [(name, value, total) for name, value, total in entry[0].slices if name in fields]
    if not slices or not n:
        return None
    n_dataset = max(entry[0].samples, 1)
    shares = {
        BATCH: [in_batch[name, value] / n for name, value, _ in slices],
        DATASET: [total / n_dataset for _, _, total in slices],
    }
    return plotly_figures.bar_chart(
        "slices", "Slices", [f"{name}={value}" for name, value, _ in slices],
        {trace: [round(100 * share, 1) for share in values] for trace, values in shares.items()},
        texts={trace: list(map(formatting.percent, values)) for trace, values in shares.items()},
        x="share of samples in percent", colors=(BLUE, GRAY),
        on_click="show_slice", hint="Click a bar to see its samples.",
    )  # fmt: skip


def _labeling(this: rounds.Round, batch: Mapping[str, tuple[int, int]]) -> list[Component]:
    summary = this.record()["stages"].get("label", {}).get("summary")
    if summary is None:
        waiting = sum(waiting for _, waiting in batch.values())
        if not waiting:
            return []
        return [
            Notice(
                "labeling",
                f"{formatting.quantity(waiting, 'sample')} waiting for labels",
                "To send them to a labeler, run “Curation: push to labeling” (press the backtick "
                "key and type it), or `curate label`.",
            )
        ]
    place = f" at {summary['where']}" if summary["where"] else ""
    text = (
        f"**Labeling** by {summary['labeler']}{place}: {summary['labeled']:,} of "
        f"{summary['chosen']:,} samples, {summary['boxes']:,} boxes"
    )
    if summary.get("seconds") is not None:
        text += f", {formatting.duration(summary['seconds'])}"
    text += "."
    if summary.get("review"):
        submissions = formatting.quantity(len(summary["review"]), "submission")
        text += f"\n\n{submissions} to review."
    components: list[Component] = [Text("labeling", text)]
    if yields := summary.get("failure_yield"):
        components.append(_yields(yields))
    return components


def _yields(yields: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the ensemble's failures on the labeled samples, by arm."""
    rows = []
    for arm, counts in yields.items():
        share = counts["failures"] / counts["n"] if counts["n"] else float("nan")
        rows.append(
            {
                "arm": arm,
                "n": f"{counts['n']:,}",
                "failures": formatting.percent_interval(share, counts["lower"], counts["upper"]),
                "missed": f"{counts['missed']:,}",
                "false": f"{counts['false']:,}",
            }
        )
    headings = {
        "arm": "arm", "n": "labeled", "failures": "failures", "missed": "missed objects",
        "false": "false positives",
    }  # fmt: skip
    return Table(
        "yields", "Failures of the ensemble before labeling", headings, rows,
        hint="The hard arm should find more than the random one.",
    )  # fmt: skip


def _quality(this: rounds.Round) -> list[Component]:
    round_record = read_round_record(this)
    if round_record.before is None or round_record.after is None:
        return [
            Notice(
                "quality",
                "This round has not been evaluated yet",
                "Training and evaluation follow labeling: `curate round` continues with them.",
            )
        ]
    components: list[Component] = [_metrics(round_record.before, round_record.after)]
    if round_record.verdict is not None:
        reasons = "\n".join(f"- {reason}" for reason in round_record.verdict["reasons"])
        components.append(
            Text("verdict", f"**Verdict** {outcome(round_record.verdict)}\n\n{reasons}")
        )
    return components


def _metrics(before: Mapping[str, Any], after: Mapping[str, Any]) -> Plot:
    names = [key for key in _METRICS if before.get(key) is not None and after.get(key) is not None]
    series = {BEFORE: [before[key] for key in names], AFTER: [after[key] for key in names]}
    plot = plotly_figures.bar_chart(
        "metrics", f"Before and after, on {after['n_images']:,} frozen images of {after['split']}",
        [_METRICS[key] for key in names], series,
        texts={trace: [f"{value:.3f}" for value in values] for trace, values in series.items()},
        colors=(GRAY, BLUE), on_click="show_changed",
        hint="Click to see the images on which the two decide differently.",
    )  # fmt: skip
    traces = [
        # texts start inside the bar, away from the error bar at its end
        {**trace, "error_x": _error_bars(evaluation, names), "insidetextanchor": "start"}
        for trace, evaluation in zip(plot.traces, (before, after), strict=True)
    ]
    return replace(plot, traces=traces)


def _error_bars(evaluation: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the intervals of the metrics; a metric without one gets no error bar."""
    above, below = [], []
    for key in names:
        value = evaluation[key]
        low, high = evaluation.get(f"{key}_interval") or (value, value)
        above.append(max((high or value) - value, 0.0))
        below.append(max(value - (low or value), 0.0))
    bars = {"array": above, "arrayminus": below}
    return {"type": "data", "symmetric": False, "thickness": 1.2, **bars}
