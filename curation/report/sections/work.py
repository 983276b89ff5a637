"""Report sections on training, time, failures and earlier rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from curation import formatting
from curation.report import cells, figures
from curation.report.facts import Facts, RoundRecord
from curation.report.figures import Point
from curation.report.page import Cell, Plot, Section, Table
from curation.report.sections.quality import main_metrics

_SHOWN_FAILURES = 50


def training(round_record: RoundRecord) -> Section:
    """Return the section on the training of each member."""
    title = "Training"
    summary = round_record.summary("train")
    if summary is None:
        return Section(title, not_run="Not run: no member was trained in this round.")
    rows: list[list[Cell | str]] = []
    for name, fit in summary["members"].items():
        scores = [value for value in fit["val_map50"] if value is not None]
        rows.append(
            [
                name,
                str(fit["epochs"]),
                str(fit["best_epoch"]),
                cells.number(max(scores, default=None)),
                formatting.duration(fit["seconds"]),
            ]
        )
    losses = {name: fit["train_loss"] for name, fit in summary["members"].items()}
    examples = summary.get("examples")
    text = () if examples is None else (f"Trained on {formatting.quantity(examples, 'image')}.",)
    return Section(
        title,
        text=text,
        tables=(Table.of("member|epochs#|best epoch#|best mAP50 on validation#|time#", rows),),
        plots=(Plot("Training loss by epoch.", lambda: figures.training_curves(losses)),),
    )


def time(round_record: RoundRecord) -> Section:
    """Return the section on the duration of each stage."""
    title = "Time by stage"
    stages = {name: stage["seconds"] for name, stage in round_record.record["stages"].items()}
    if not stages:
        return Section(
            title,
            not_run="Not recorded: the stages ran individually, not as a round.",
        )
    longest = max(stages.values()) or 1.0
    rows: list[list[Cell | str]] = [
        [name, Cell(formatting.duration(seconds), bar=seconds / longest)]
        for name, seconds in stages.items()
    ]
    total = formatting.duration(sum(stages.values()))
    return Section(title, text=(f"{total} in total.",), tables=(Table.of("stage|time", rows),))


def failures(facts: Facts) -> Section:
    """Return the section on failures."""
    title = "Failures"
    entries = facts.failures
    if not entries:
        return Section(title, text=("No failures.",))
    kinds = Counter(
        (str(entry["stage"]), str(entry["member"] or ""), str(entry["error"])) for entry in entries
    )
    overview: list[list[Cell | str]] = [
        [stage, member, error, str(n)] for (stage, member, error), n in kinds.most_common()
    ]
    detail: list[list[Cell | str]] = [
        [
            Path(entry["filepath"]).name,
            str(entry["stage"]),
            str(entry["member"] or ""),
            entry["message"],
        ]
        for entry in entries[:_SHOWN_FAILURES]
    ]
    images = len({entry["filepath"] for entry in entries})
    count = formatting.quantity(len(entries), "failure")
    text = (f"{count} on {formatting.quantity(images, 'image')}. All other images are complete.",)
    caption = f"The first {len(detail)} of {len(entries)}" if len(detail) < len(entries) else ""
    return Section(
        title,
        text=text,
        tables=(
            Table.of("stage|member|error|times#", overview),
            Table.of("file|stage|member|message", detail, caption),
        ),
    )


def rounds(round_records: Sequence[RoundRecord]) -> Section:
    """Return the section on metrics by round; the last record is for the current round."""
    title = "Rounds"
    measured = [
        (round_record, round_record.before, round_record.after)
        for round_record in round_records
        if round_record.before is not None and round_record.after is not None
    ]
    if not measured:
        return Section(title, not_run="Not run: no round of this dataset was evaluated.")
    rows: list[list[Cell | str]] = []
    curves: dict[str, list[Point]] = {}
    for number, (round_record, before, after) in enumerate(measured):
        examples = (round_record.summary("train") or {}).get("examples", 0)
        labeled = (round_record.summary("label") or {}).get("labeled", 0)
        if number == 0:
            _add(curves, examples - labeled, main_metrics(before))
        metrics = main_metrics(after)
        _add(curves, examples, metrics)
        rows.append(
            [
                str(round_record.number),
                str(labeled),
                str(examples),
                *(cells.estimate(metric) for metric in metrics.values()),
                (round_record.verdict or {}).get("outcome", "not judged").replace("_", " "),
            ]
        )
    table = Table.of("round#|newly labeled#|training images#|MCC|mAP at IoU 0.5|verdict", rows)
    plot = Plot(
        "Challenger of each round on the frozen set against its number of training images. "
        "The first point is the initial ensemble.",
        lambda: figures.learning_curves(curves),
    )
    return Section(title, tables=(table,), plots=(plot,))


def _add(
    curves: dict[str, list[Point]], images: int, metrics: Mapping[str, figures.Estimate]
) -> None:
    for name, estimate in metrics.items():
        curves.setdefault(name, []).append(Point(images, estimate))
