"""Report sections on the predictions of the ensemble and the paths through the cascade."""

from __future__ import annotations

from curation import formatting
from curation.report import cells
from curation.report.facts import Facts
from curation.report.page import Cell, Section, Table

_PATHS = {
    "stop": "the detectors agree with high confidence",
    "fast_a": "high confidence: one fast language model",
    "fast_b": "medium confidence: another fast language model",
    "precision": "low confidence: depth, masks and the precise language model",
}


def ensemble(facts: Facts) -> Section:
    """Return the section on the predictions of each member and of the ensemble."""
    title = "Predictions"
    if not facts.members and facts.consensus is None:
        return Section(title, not_run="Not run: no member has predictions.")
    members = (*facts.members, *([facts.consensus] if facts.consensus else []))
    rows: list[list[Cell | str]] = [
        [
            member.name,
            f"{member.images:,}",
            f"{member.boxes:,}",
            f"{member.boxes / member.images:.2f}" if member.images else cells.UNDEFINED,
            f"{member.confident:,}",
        ]
        for member in members
    ]
    text = []
    if facts.decisions:
        answered = sum(facts.decisions.values())
        yes = facts.decisions.get("yes", 0)
        text.append(
            f"The decision {facts.decision!r} is yes on {yes:,} of "
            f"{formatting.quantity(answered, 'image')} ({formatting.percent(yes / answered)})."
        )
    return Section(
        title,
        text=tuple(text),
        tables=(Table.of("member|images#|boxes#|boxes per image#|probability 0.5 or more#", rows),),
    )


def routing(facts: Facts) -> Section:
    """Return the section on the share of images and the cost of each path."""
    title = "Paths through the cascade"
    total = sum(facts.ways.values())
    if not total:
        return Section(title, not_run="Not run: predictions are not fused yet.")
    rows: list[list[Cell | str]] = []
    spent = 0.0
    for path, meaning in _PATHS.items():
        n = facts.ways.get(path, 0)
        ms = sum(cost.ms for cost in facts.costs.values() if path in cost.paths)
        spent += n * ms
        cost_ms = cells.number(ms, 1) if facts.costs else cells.UNDEFINED
        rows.append([path, f"{n:,}", formatting.percent(n / total), cost_ms, meaning])
    stopped = facts.ways.get("stop", 0)
    text = [
        f"{formatting.percent(stopped / total)} of {formatting.quantity(total, 'image')} stop "
        "after the detectors."
    ]
    all_members_ms = sum(cost.ms for cost in facts.costs.values())
    if all_members_ms:
        text.append(
            f"An image costs {spent / total:,.1f} ms on average when routed, and "
            f"{all_members_ms:,.1f} ms with every member."
        )
    if facts.contradictions is not None:
        text.append(
            f"On {formatting.quantity(facts.contradictions, 'image')} a language model "
            "contradicts the other tiers: see the saved view 'hallucinations'."
        )
    table = Table.of("path|images#|share#|ms per image#|when", rows)
    return Section(title, text=tuple(text), tables=(table,))
