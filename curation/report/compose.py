"""Report page of a round, composed from dataset facts and the round's record (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from curation import formatting
from curation.report.facts import Facts, RoundRecord
from curation.report.page import Page, Tone
from curation.report.sections import choice, ensemble, quality, work

_TONES: dict[str, Tone] = {"promote": "good", "keep": "", "no_verdict": "muted"}


def compose(facts: Facts, round_record: RoundRecord, earlier: Sequence[RoundRecord] = ()) -> Page:
    """Return the page of a round.

    Args:
        facts: Facts of the dataset.
        round_record: Record of the round.
        earlier: Records of earlier rounds, oldest first.
    """
    return Page(
        title=f"{facts.dataset}, round {round_record.number}",
        headline=_headline(facts, round_record),
        tone=_TONES[round_record.verdict["outcome"]] if round_record.verdict else "",
        facts=_facts(facts, round_record),
        sections=(
            choice.choice(facts, round_record),
            choice.failure_yield(round_record),
            quality.overall(round_record),
            quality.slices(round_record),
            quality.verdict(round_record),
            work.rounds([*earlier, round_record]),
            ensemble.ensemble(facts),
            ensemble.routing(facts),
            work.training(round_record),
            work.time(round_record),
            work.failures(facts),
        ),
    )


def _headline(facts: Facts, round_record: RoundRecord) -> str:
    chosen = "Nothing was chosen"
    if facts.n_chosen:
        chosen = f"{formatting.quantity(facts.n_chosen, 'image')} chosen"
        if round_record.summary("label"):
            chosen += " and labeled"
    if round_record.verdict:
        return f"{chosen}. {quality.outcome(round_record.verdict)}"
    return f"{chosen}. No challenger was judged."


def _facts(facts: Facts, round_record: RoundRecord) -> tuple[tuple[str, str], ...]:
    record = round_record.record
    splits = ", ".join(f"{n:,} {name or 'without a split'}" for name, n in facts.splits.items())
    values = {
        "samples": f"{facts.samples:,}" + (f" ({splits})" if splits else ""),
        "labeled": f"{facts.labeled:,}",
        "manifest": record.get("manifest"),
        "taxonomy": record.get("taxonomy"),
        "labels from": record.get("labeler"),
        "ensemble before": record.get("ensemble_before"),
        "ensemble after": record.get("ensemble_after"),
        "started": record.get("started"),
    }
    return tuple((name, str(value)) for name, value in values.items() if value)
