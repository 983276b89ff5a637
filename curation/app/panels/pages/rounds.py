"""The page about one round: the batch, its arms and slices, labeling, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.app.panels import plotly_figures
from curation.app.panels import text as words
from curation.app.panels.components import Choice, Notice, Page, Piece, Plot, Table, Text
from curation.presentation import cache, member_counts
from curation.report.facts import read_story
from curation.report.figures import BLUE, GREEN, GREY
from curation.report.sections.quality import outcome
from curation.storage import queries, rounds
from curation.storage import schema as fields
from curation.storage.tags import ARM_PREFIX, ARMS, arm_tag, parse_arm, parse_round, round_name

if TYPE_CHECKING:
    from fiftyone import Dataset

ROUND = "round"  # state: the number of the round that is shown, as text
LABELED, WAITING = "labeled", "waiting"
BATCH, DATASET = "in the batch", "in the dataset"
BEFORE, AFTER = "before", "after"
_METRICS = {"mcc": "MCC", "recall": "recall", "precision": "precision", "map50": "mAP at IoU 0.5"}


def page(dataset: Dataset, home: Path, number: str | None = None) -> Page:
    """Return the page of one round; of the last one where none is named.

    Args:
        dataset: The FiftyOne dataset.
        home: Our folder, where rounds leave their records.
        number: Which round.
    """
    known = numbers(dataset, home)
    if not known:
        return Page.saying(
            "No round has begun yet",
            "Run “Curation: choose samples” (press ` and type it), or "
            f"`curate choose {dataset.name}`; `curate round {dataset.name}` does a whole one.",
        )
    which = int(number) if number and int(number) in known else known[-1]
    tag = round_name(which)
    batch = _batch(dataset, tag)
    return Page.of(
        Choice(ROUND, "Round", {str(one): f"round {one}" for one in known}, str(which), "change"),
        *_chosen(queries.read_info(dataset, f"chosen {tag}"), batch),
        _arms(batch),
        _composition(dataset, tag),
        *_labeling(rounds.get_round(home, dataset.name, which), batch),
        *_quality(rounds.get_round(home, dataset.name, which)),
    )


def numbers(dataset: Dataset, home: Path) -> list[int]:
    """Return the rounds that chose something or left a record, in order."""
    info = dataset.info.get(fields.INFO, {})
    names = [key.removeprefix("chosen ") for key in info]
    folder = rounds.get_round(home, dataset.name, 1).folder.parent
    names += [record.parent.name for record in folder.glob(f"*/{rounds.RECORD}")]
    return sorted({number for name in names if (number := parse_round(name)) is not None})


def last(dataset: Dataset, home: Path) -> str:
    """Return the number of the last round, as text."""
    return str(numbers(dataset, home)[-1])


def of_arm(dataset: Dataset, number: str, arm: str, trace: str) -> Any:
    """Return the view of the labeled or the waiting samples of an arm, in order of rank."""
    view = _of_round(dataset, number).match_tags(arm_tag(arm))
    if fields.LABELED_ROUND in dataset.get_field_schema():
        view = view.exists(fields.LABELED_ROUND, trace == LABELED)
    return view


def of_slice(dataset: Dataset, number: str, key: str, trace: str) -> Any:
    """Return the view of a slice, as the plot names it: of the batch, or of the dataset."""
    name, _, value = key.partition("=")
    view = _of_round(dataset, number) if trace == BATCH else dataset.view()
    return view.match({name: value})


def changed(dataset: Dataset, home: Path, number: str) -> Any:
    """Return the view of the frozen images on which the challenger decides otherwise."""
    story = read_story(rounds.get_round(home, dataset.name, int(number)))
    if story.before is None or story.after is None:
        return dataset.limit(0)
    said = [
        [p is not None and p >= one["threshold"] for p in one["samples"]["p"]]
        for one in (story.before, story.after)
    ]
    ids = story.after["samples"]["id"]
    return dataset.select([one for one, a, b in zip(ids, *said, strict=True) if a != b])


def _of_round(dataset: Dataset, number: str) -> Any:
    view = dataset.match_tags(round_name(int(number)))
    return view.sort_by(fields.RANK) if fields.RANK in dataset.get_field_schema() else view


def _batch(dataset: Dataset, tag: str) -> dict[str, tuple[int, int]]:
    """Return how many samples of each arm are labeled, and how many wait; counted now."""
    arm = {
        "$filter": {
            "input": "$tags",
            "cond": {"$eq": [{"$substrCP": ["$$this", 0, len(ARM_PREFIX)]}, ARM_PREFIX]},
        }
    }
    done = {"$cond": [{"$gt": [f"${fields.LABELED_ROUND}", None]}, 1, 0]}
    rows = cache.aggregate(
        dataset,
        [
            {"$match": {"tags": tag}},
            {"$group": {"_id": arm, "n": {"$sum": 1}, "labeled": {"$sum": done}}},
        ],
    )
    counts = {
        (parse_arm(row["_id"][0]) or "") if row["_id"] else "by hand": (
            row["labeled"],
            row["n"] - row["labeled"],
        )
        for row in rows
    }
    arms = [*ARMS, *(arm for arm in counts if arm not in ARMS)]
    return {arm: counts[arm] for arm in arms if arm in counts}


def _chosen(result: Mapping[str, Any] | None, batch: Mapping[str, Any]) -> list[Piece]:
    n = sum(map(sum, batch.values()))
    if result is None:
        return [Text("chosen", f"**{words.counted(n, 'sample')}** are tagged.")]
    text = (
        f"**{words.counted(n, 'sample')}** of a pool of {result['pool']:,}; "
        f"{words.counted(result['duplicates_dropped'], 'near-duplicate')} left out."
    )
    if result.get("boxes") is not None:
        text += f" Expected: {result['boxes']:,.0f} boxes, {result['hours']:.1f} hours of labeling."
    advice = "\n".join(f"- {one}" for one in result["advice"])
    return [Text("chosen", f"{text}\n\n{advice}")]


def _arms(batch: Mapping[str, tuple[int, int]]) -> Plot | None:
    if not batch:
        return None
    series = {
        LABELED: [labeled for labeled, _ in batch.values()],
        WAITING: [waiting for _, waiting in batch.values()],
    }
    done, total = sum(series[LABELED]), sum(map(sum, batch.values()))
    texts = {name: [f"{n:,}" if n else "" for n in values] for name, values in series.items()}
    return plotly_figures.bars(
        "arms", f"Arms: {done:,} of {total:,} labeled ({words.share(done, total)})", list(batch),
        series, texts=texts, x="samples", colours=(GREEN, GREY), stacked=True,
        on_click="show_arm", hint="Click a bar to see its samples.",
    )  # fmt: skip


def _composition(dataset: Dataset, tag: str) -> Plot | None:
    """Return which slices the batch holds more or less of than the dataset."""
    found = member_counts.of(dataset)
    schema = dataset.get_field_schema()
    by = [one for one in (fields.TIME_OF_DAY, fields.WEATHER) if one in schema]
    if found is None or not by:
        return None
    inside: dict[tuple[str, str], int] = {}
    keys = {one: f"${one}" for one in by}
    rows = cache.aggregate(
        dataset, [{"$match": {"tags": tag}}, {"$group": {"_id": keys, "n": {"$sum": 1}}}]
    )
    for row in rows:
        for name in by:
            if row["_id"].get(name) is not None:
                key = (name, str(row["_id"][name]))
                inside[key] = inside.get(key, 0) + row["n"]
    n = sum(row["n"] for row in rows)
    slices = [(name, value, total) for name, value, total in found[0].slices if name in by]
    if not slices or not n:
        return None
    whole = max(found[0].samples, 1)
    series = {
        BATCH: [round(100 * inside.get((name, value), 0) / n, 1) for name, value, _ in slices],
        DATASET: [round(100 * total / whole, 1) for _, _, total in slices],
    }
    texts = {name: [f"{one:.0f} %" for one in values] for name, values in series.items()}
    return plotly_figures.bars(
        "slices", "Slices", [f"{name}={value}" for name, value, _ in slices], series,
        texts=texts, x="share of samples, in percent", colours=(BLUE, GREY),
        on_click="show_slice", hint="Click a bar to see its samples.",
    )  # fmt: skip


def _labeling(this: rounds.Round, batch: Mapping[str, tuple[int, int]]) -> list[Piece]:
    found = this.record()["stages"].get("label", {}).get("summary")
    if found is None:
        waiting = sum(waiting for _, waiting in batch.values())
        if not waiting:
            return []
        return [
            Notice(
                "labeling",
                f"{waiting:,} samples wait for labels",
                "Run “Curation: push to labeling” (press ` and type it), or `curate label`, to "
                "hand them to a labeler.",
            )
        ]
    text = [
        f"**Labeling** by {found['labeler']} at {found['where'] or 'no place of its own'}: "
        f"{found['labeled']:,} of {found['chosen']:,} samples, {found['boxes']:,} boxes"
        + ("." if found.get("seconds") is None else f", {words.duration(found['seconds'])}.")
    ]
    if found.get("review"):
        text.append(f"{words.counted(len(found['review']), 'submission')} need a second look.")
    pieces: list[Piece] = [Text("labeling", "\n\n".join(text))]
    yields = found.get("failure_yield") or {}
    if yields:
        pieces.append(_yields(yields))
    return pieces


def _yields(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return how often the ensemble had failed on what was labeled, by arm."""
    rows = [
        {
            "arm": arm,
            "n": f"{one['n']:,}",
            "failures": words.interval(
                one["failures"] / one["n"] if one["n"] else float("nan"), one["lower"], one["upper"]
            ),
            "missed": f"{one['missed']:,}",
            "false": f"{one['false']:,}",
        }
        for arm, one in found.items()
    ]
    headings = {
        "arm": "arm", "n": "labeled", "failures": "ensemble failed", "missed": "objects missed",
        "false": "false boxes",
    }  # fmt: skip
    return Table(
        "yields", "How often the ensemble had failed on them", headings, rows,
        hint="The hard arm should find more than the random one.",
    )  # fmt: skip


def _quality(this: rounds.Round) -> list[Piece]:
    story = read_story(this)
    if story.before is None or story.after is None:
        return [
            Notice(
                "quality",
                "Nothing has been measured before and after",
                "Retraining and evaluation come after labeling: `curate round` goes on with them.",
            )
        ]
    pieces: list[Piece] = [_before_after(story.before, story.after)]
    if story.verdict is not None:
        reasons = "\n".join(f"- {one}" for one in story.verdict["reasons"])
        pieces.append(Text("verdict", f"**Verdict** {outcome(story.verdict)}\n\n{reasons}"))
    return pieces


def _before_after(before: Mapping[str, Any], after: Mapping[str, Any]) -> Plot:
    names = [key for key in _METRICS if before.get(key) is not None and after.get(key) is not None]
    series = {BEFORE: [before[key] for key in names], AFTER: [after[key] for key in names]}
    made = plotly_figures.bars(
        "metrics", f"Before and after, on {after['n_images']:,} frozen images of {after['split']}",
        [_METRICS[key] for key in names], series,
        texts={name: [f"{one:.3f}" for one in values] for name, values in series.items()},
        colours=(GREY, BLUE), on_click="show_changed",
        hint="Click to see the images on which the two decide differently.",
    )  # fmt: skip
    traces: Sequence[dict[str, Any]] = [dict(one) for one in made.traces]
    for trace, one in zip(traces, (before, after), strict=True):
        trace["error_x"] = _whiskers(one, names)
        trace["insidetextanchor"] = "start"  # where no whisker runs through it
    return Plot(made.name, made.label, traces, made.layout, made.hint, made.on_click)


def _whiskers(one: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the intervals of the metrics that have one; of the others no line is drawn."""
    up, down = [], []
    for key in names:
        low, high = one.get(f"{key}_interval") or (one[key], one[key])
        up.append(max((high or one[key]) - one[key], 0.0))
        down.append(max(one[key] - (low or one[key]), 0.0))
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.2}
