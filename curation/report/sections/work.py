"""Sections on the work itself: training, time, failures, and the rounds so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from curation import formatting
from curation.report import cells, figures
from curation.report.facts import Facts, Story
from curation.report.figures import Point
from curation.report.page import Cell, Plot, Section, Table
from curation.report.sections.quality import main_metrics

_SHOWN_FAILURES = 50


def training(story: Story) -> Section:
    """Return what each member's fit did."""
    title = "Training"
    summary = story.summary("train")
    if summary is None:
        return Section(title, not_run="Not run: no member was trained in this round.")
    rows: list[list[Cell | str]] = []
    for name, one in summary["members"].items():
        known = [value for value in one["val_map50"] if value is not None]
        rows.append(
            [
                name,
                str(one["epochs"]),
                str(one["best_epoch"]),
                cells.number(max(known, default=None)),
                formatting.duration(one["seconds"]),
            ]
        )
    losses = {name: one["train_loss"] for name, one in summary["members"].items()}
    examples = summary.get("examples")
    text = () if examples is None else (f"Trained on {formatting.quantity(examples, 'image')}.",)
    return Section(
        title,
        text=text,
        tables=(Table.of("member|epochs#|best epoch#|best mAP50 on validation#|time#", rows),),
        plots=(Plot("Training loss by epoch.", lambda: figures.training_curves(losses)),),
    )


def time(story: Story) -> Section:
    """Return how long each stage took."""
    title = "Time by stage"
    stages = {name: one["seconds"] for name, one in story.record["stages"].items()}
    if not stages:
        return Section(
            title,
            not_run="Not on record: the stages were called one by one, not as a round.",
        )
    longest = max(stages.values()) or 1.0
    rows: list[list[Cell | str]] = [
        [name, Cell(formatting.duration(taken), bar=taken / longest)]
        for name, taken in stages.items()
    ]
    total = formatting.duration(sum(stages.values()))
    return Section(title, text=(f"{total} in all.",), tables=(Table.of("stage|time", rows),))


def failures(facts: Facts) -> Section:
    """Return what went wrong."""
    title = "What failed"
    found = facts.failures
    if not found:
        return Section(title, text=("Nothing failed.",))
    kinds = Counter(
        (str(one["stage"]), str(one["member"] or ""), str(one["error"])) for one in found
    )
    overview: list[list[Cell | str]] = [
        [stage, member, error, str(n)] for (stage, member, error), n in kinds.most_common()
    ]
    detail: list[list[Cell | str]] = [
        [Path(one["filepath"]).name, str(one["stage"]), str(one["member"] or ""), one["message"]]
        for one in found[:_SHOWN_FAILURES]
    ]
    images = len({one["filepath"] for one in found})
    text = (
        f"{formatting.quantity(len(found), 'failure')} on {formatting.quantity(images, 'image')}. "
        "The others are complete.",
    )
    caption = f"The first {len(detail)} of {len(found)}" if len(detail) < len(found) else ""
    return Section(
        title,
        text=text,
        tables=(
            Table.of("stage|member|error|times#", overview),
            Table.of("file|stage|member|message", detail, caption),
        ),
    )


def rounds(stories: Sequence[Story]) -> Section:
    """Return how the metrics moved from round to round; the last story is this round's."""
    title = "Rounds so far"
    measured = [
        (story, story.before, story.after)
        for story in stories
        if story.before is not None and story.after is not None
    ]
    if not measured:
        return Section(title, not_run="Not run: no round of this data set was measured.")
    rows: list[list[Cell | str]] = []
    curves: dict[str, list[Point]] = {}
    for number, (story, before, after) in enumerate(measured):
        examples = (story.summary("train") or {}).get("examples", 0)
        labeled = (story.summary("label") or {}).get("labeled", 0)
        if number == 0:
            _add(curves, examples - labeled, main_metrics(before))
        found = main_metrics(after)
        _add(curves, examples, found)
        rows.append(
            [
                str(story.number),
                str(labeled),
                str(examples),
                *(cells.estimate(one) for one in found.values()),
                (story.verdict or {}).get("outcome", "not judged").replace("_", " "),
            ]
        )
    table = Table.of("round#|labeled in it#|trained on#|MCC|mAP at IoU 0.5|verdict", rows)
    plot = Plot(
        "Each round's challenger on the frozen set, against the images it was trained on. "
        "The first point is what the first round began with.",
        lambda: figures.learning_curves(curves),
    )
    return Section(title, tables=(table,), plots=(plot,))


def _add(
    curves: dict[str, list[Point]], images: int, found: Mapping[str, figures.Estimate]
) -> None:
    for name, estimate in found.items():
        curves.setdefault(name, []).append(Point(images, estimate))
