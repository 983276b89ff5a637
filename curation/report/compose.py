"""What a round's page says, from the facts and the story. Pure: no dataset, no file."""

from __future__ import annotations

from collections.abc import Sequence

from curation import formatting
from curation.report.facts import Facts, Story
from curation.report.page import Page, Tone
from curation.report.sections import choice, ensemble, quality, work

_TONES: dict[str, Tone] = {"promote": "good", "keep": "", "no_verdict": "muted"}


def compose(facts: Facts, story: Story, earlier: Sequence[Story] = ()) -> Page:
    """Return the page of a round.

    Args:
        facts: What the dataset says.
        story: What the round left on disk.
        earlier: The same of the rounds before, oldest first.
    """
    return Page(
        title=f"{facts.dataset}, round {story.number}",
        headline=_headline(facts, story),
        tone=_TONES[story.verdict["outcome"]] if story.verdict else "",
        facts=_facts(facts, story),
        sections=(
            choice.choice(facts, story),
            choice.failure_yield(story),
            quality.overall(story),
            quality.slices(story),
            quality.verdict(story),
            work.rounds([*earlier, story]),
            ensemble.ensemble(facts),
            ensemble.routing(facts),
            work.training(story),
            work.time(story),
            work.failures(facts),
        ),
    )


def _headline(facts: Facts, story: Story) -> str:
    chosen = "Nothing was chosen"
    if facts.n_chosen:
        chosen = f"{formatting.quantity(facts.n_chosen, 'image')} chosen"
        if story.summary("label"):
            chosen += " and labeled"
    if story.verdict:
        return f"{chosen}. {quality.outcome(story.verdict)}"
    return f"{chosen}. No challenger was judged."


def _facts(facts: Facts, story: Story) -> tuple[tuple[str, str], ...]:
    record = story.record
    splits = ", ".join(f"{n:,} {name or 'without a split'}" for name, n in facts.splits.items())
    found = {
        "samples": f"{facts.samples:,}" + (f" ({splits})" if splits else ""),
        "labeled": f"{facts.labeled:,}",
        "manifest": record.get("manifest"),
        "taxonomy": record.get("taxonomy"),
        "labels from": record.get("labeler"),
        "ensemble before": record.get("ensemble_before"),
        "ensemble after": record.get("ensemble_after"),
        "started": record.get("started"),
    }
    return tuple((name, str(value)) for name, value in found.items() if value)
