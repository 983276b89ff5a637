"""Report sections on the chosen batch and on the failures found by labeling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curation import formatting
from curation.report import cells, figures
from curation.report.facts import Facts, RoundRecord
from curation.report.page import Cell, Gallery, Picture, Plot, Section, Table

_MEANING = {
    "hard": "highest hardness, weighed against variety and cost",
    "coverage": "least similar to the labeled samples",
    "slice": "slices with few labels",
    "random": "uniform random draw, the baseline of the other arms",
}


def choice(facts: Facts, round_record: RoundRecord) -> Section:
    """Return the section on the chosen samples, with pictures by arm."""
    title = "Chosen batch"
    if not facts.n_chosen:
        return Section(title, not_run="Not run: this round has not chosen any sample.")
    plots = []
    if len(facts.pool):
        arms = {arm: [h for h in values if h is not None] for arm, values in facts.arms.items()}
        plots.append(
            Plot(
                "Hardness of the pool and of the samples chosen by each arm.",
                lambda: figures.hardness_histogram(facts.pool, arms),
            )
        )
    if facts.projection is not None:
        projection = facts.projection
        plots.append(
            Plot(
                "Embedding in two dimensions. Color shows hardness, rings mark chosen samples.",
                lambda: figures.embedding_scatter(
                    projection.xy, projection.hardness, projection.chosen
                ),
            )
        )
    return Section(
        title,
        text=_choice_text(facts, round_record.summary("choose") or {}),
        tables=(_arm_table(facts),),
        plots=tuple(plots),
        galleries=_galleries(facts),
    )


def failure_yield(round_record: RoundRecord) -> Section:
    """Return the section on failures of the ensemble by arm, according to the labels."""
    title = "Failures found by labeling"
    summary = round_record.summary("label")
    if summary is None:
        return Section(title, not_run="Not run: no sample of this round is labeled yet.")
    by_arm: Mapping[str, Any] = summary["failure_yield"]
    text = [
        f"{formatting.quantity(summary['labeled'], 'image')} labeled by {summary['labeler']}, with "
        f"{formatting.quantity(summary['boxes'], 'box', 'boxes')}.",
        "A failure is an image on which the ensemble, before training on it, disagrees with the "
        "labels: a wrong decision, a missed object, or a false box (probability 0.5 or more, "
        "matched at IoU 0.5).",
    ]
    if not by_arm:
        return Section(title, text=(*text, "The ensemble has no predictions on these images."))
    rows: list[list[Cell | str]] = [
        [
            arm,
            str(counts["n"]),
            str(counts["failures"]),
            Cell(formatting.percent(share), bar=share),
            f"{formatting.percent(counts['lower'])} to {formatting.percent(counts['upper'])}",
            str(counts["wrong_decisions"]),
            str(counts["missed"]),
            str(counts["false"]),
        ]
        for arm in cells.ordered_arms(by_arm)
        for counts in [by_arm[arm]]
        for share in [counts["failures"] / counts["n"]]
    ]
    table = Table.of(
        "arm|images#|failures#|share|95 % interval (Wilson)|wrong decisions#|missed objects#|"
        "false boxes#",
        rows,
    )
    tables = (table, *_review_table(summary))
    return Section(title, text=(*text, *_comparison(by_arm)), tables=tables)


def _choice_text(facts: Facts, summary: Mapping[str, Any]) -> tuple[str, ...]:
    pool = summary.get("pool", len(facts.pool))
    text = [f"{facts.n_chosen:,} of {formatting.quantity(pool, 'unlabeled sample')} were chosen."]
    if "duplicates_dropped" in summary:
        dropped = formatting.quantity(summary["duplicates_dropped"], "near-duplicate")
        text.append(f"{dropped} dropped; the hardest of each group stays.")
    return (*text, *summary.get("advice", ()))


def _arm_table(facts: Facts) -> Table:
    rows: list[list[Cell | str]] = []
    for arm, values in facts.arms.items():
        scored = [value for value in values if value is not None]
        mean = cells.number(sum(scored) / len(scored), 2) if scored else cells.UNDEFINED
        rows.append([arm, str(len(values)), mean, _MEANING.get(arm, "")])
    if len(facts.pool):
        mean = cells.number(sum(facts.pool) / len(facts.pool), 2)
        rows.append([Cell("pool", "muted"), str(len(facts.pool)), mean, "all scored samples"])
    return Table.of("arm|samples#|mean hardness#|selects", rows)


def _galleries(facts: Facts) -> tuple[Gallery, ...]:
    galleries = []
    for arm, values in facts.arms.items():
        samples = [sample for sample in facts.shown if sample.arm == arm]
        pictures = tuple(
            Picture(
                filepath=sample.filepath,
                title=f"#{sample.rank}"
                + (f", hardness {sample.hardness:.2f}" if sample.hardness is not None else ""),
                text=sample.because,
                truth=sample.truth,
                consensus=sample.consensus,
            )
            for sample in samples
        )
        if pictures:
            n, total = len(samples), len(values)
            text = f"the first {n} of {total}" if n < total else "all"
            galleries.append(Gallery(name=arm, text=text, pictures=pictures))
    return tuple(galleries)


def _comparison(by_arm: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a comparison of each arm's failure rate with that of the random arm."""
    random = by_arm.get("random")
    others = {arm: counts for arm, counts in by_arm.items() if arm != "random"}
    if not random or not others:
        return ("No comparison: the batch has no random arm or no other arm.",)
    sentences = []
    for arm in cells.ordered_arms(others):
        counts = others[arm]
        shares = [side["failures"] / side["n"] for side in (counts, random)]
        apart = counts["lower"] > random["upper"] or counts["upper"] < random["lower"]
        sentences.append(
            f"The {arm} arm fails on {formatting.percent(shares[0])} of its images, "
            f"the random arm on {formatting.percent(shares[1])}"
            + ("." if apart else "; the intervals overlap, so the difference may be chance.")
        )
    return tuple(sentences)


def _review_table(summary: Mapping[str, Any]) -> tuple[Table, ...]:
    if not summary["review"]:
        return ()
    rows: list[list[Cell | str]] = [
        [entry["sample"], entry["what"], entry["reason"]] for entry in summary["review"]
    ]
    return (Table.of("sample|submitted|problem", rows, "Awaiting review"),)
