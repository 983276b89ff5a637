"""Sections on what was chosen, and what labeling found there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curation import formatting
from curation.report import cells, figures
from curation.report.facts import Facts, Story
from curation.report.page import Cell, Gallery, Picture, Plot, Section, Table

_MEANING = {
    "hard": "the members disagree most, weighed against variety and cost",
    "coverage": "unlike anything labeled so far",
    "slice": "from a slice that is short of labels",
    "random": "drawn blindly, so that the rest can be compared with something",
}


def choice(facts: Facts, story: Story) -> Section:
    """Return what was chosen and why, with pictures by arm."""
    title = "What was chosen, and why"
    if not facts.n_chosen:
        return Section(title, not_run="Not run: this round has chosen nothing.")
    plots = []
    if len(facts.pool):
        arms = {arm: [h for h in values if h is not None] for arm, values in facts.arms.items()}
        plots.append(
            Plot(
                "Hardness of the pool, and of what each arm took of it.",
                lambda: figures.hardness_histogram(facts.pool, arms),
            )
        )
    if facts.projection is not None:
        where = facts.projection
        plots.append(
            Plot(
                "The embedding on a plane: near is alike. Colour is hardness, rings were chosen.",
                lambda: figures.embedding_scatter(where.xy, where.hardness, where.chosen),
            )
        )
    return Section(
        title,
        text=_choice_text(facts, story.summary("choose") or {}),
        tables=(_arm_table(facts),),
        plots=tuple(plots),
        galleries=_galleries(facts),
    )


def failure_yield(story: Story) -> Section:
    """Return how often the ensemble had failed, by arm, as labeling showed."""
    title = "What labeling found"
    summary = story.summary("label")
    if summary is None:
        return Section(title, not_run="Not run: nothing of this round is labeled yet.")
    by_arm: Mapping[str, Any] = summary["failure_yield"]
    text = [
        f"{formatting.quantity(summary['labeled'], 'image')} labeled by {summary['labeler']}, with "
        f"{formatting.quantity(summary['boxes'], 'box', 'boxes')}.",
        "A failure is an image where the ensemble, before it was trained on it, disagrees with "
        "the labels: a wrong decision, a missed object, or a box on nothing (from probability "
        "0.5, matched at IoU 0.5).",
    ]
    if not by_arm:
        return Section(title, text=(*text, "The ensemble had not looked at these images."))
    rows: list[list[Cell | str]] = [
        [
            arm,
            str(one["n"]),
            str(one["failures"]),
            Cell(formatting.percent(share), bar=share),
            f"{formatting.percent(one['lower'])} to {formatting.percent(one['upper'])}",
            str(one["wrong_decisions"]),
            str(one["missed"]),
            str(one["false"]),
        ]
        for arm in cells.in_order(by_arm)
        for one in [by_arm[arm]]
        for share in [one["failures"] / one["n"]]
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
        text.append(f"{dropped} left out, the hardest of each group stays.")
    return (*text, *summary.get("advice", ()))


def _arm_table(facts: Facts) -> Table:
    rows: list[list[Cell | str]] = []
    for arm, values in facts.arms.items():
        known = [value for value in values if value is not None]
        mean = cells.number(sum(known) / len(known), 2) if known else cells.UNDEFINED
        rows.append([arm, str(len(values)), mean, _MEANING.get(arm, "")])
    if len(facts.pool):
        mean = cells.number(sum(facts.pool) / len(facts.pool), 2)
        rows.append([Cell("pool", "muted"), str(len(facts.pool)), mean, "all that was scored"])
    return Table.of("arm|samples#|mean hardness#|what it takes", rows)


def _galleries(facts: Facts) -> tuple[Gallery, ...]:
    galleries = []
    for arm, values in facts.arms.items():
        shown = [one for one in facts.shown if one.arm == arm]
        pictures = tuple(
            Picture(
                filepath=one.filepath,
                title=f"#{one.rank}"
                + (f", hardness {one.hardness:.2f}" if one.hardness is not None else ""),
                text=one.because,
                truth=one.truth,
                consensus=one.consensus,
            )
            for one in shown
        )
        if pictures:
            text = f"the first {len(shown)} of {len(values)}" if len(shown) < len(values) else "all"
            galleries.append(Gallery(name=arm, text=text, pictures=pictures))
    return tuple(galleries)


def _comparison(by_arm: Mapping[str, Any]) -> tuple[str, ...]:
    """Return whether the hard arm found more failures than blind chance, outside the noise."""
    random = by_arm.get("random")
    others = {arm: one for arm, one in by_arm.items() if arm != "random"}
    if not random or not others:
        return ("There is no random arm beside another one, so nothing can be compared.",)
    sentences = []
    for arm in cells.in_order(others):
        one = others[arm]
        shares = [each["failures"] / each["n"] for each in (one, random)]
        apart = one["lower"] > random["upper"] or one["upper"] < random["lower"]
        sentences.append(
            f"The {arm} arm fails on {formatting.percent(shares[0])} of its images, "
            f"the random arm on {formatting.percent(shares[1])}"
            + ("." if apart else "; their intervals overlap, so this may be chance.")
        )
    return tuple(sentences)


def _review_table(summary: Mapping[str, Any]) -> tuple[Table, ...]:
    if not summary["review"]:
        return ()
    rows: list[list[Cell | str]] = [
        [one["sample"], one["what"], one["reason"]] for one in summary["review"]
    ]
    return (Table.of("sample|submitted|what is wrong with it", rows, "Waiting for a person"),)
