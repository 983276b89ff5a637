"""Sections on what the ensemble says, and which way through the cascade it takes."""

from __future__ import annotations

from curation import formatting
from curation.report import cells
from curation.report.facts import Facts
from curation.report.page import Cell, Section, Table

_PATHS = {
    "stop": "the detectors are sure",
    "fast_a": "nearly sure: one fast language model",
    "fast_b": "less sure: another fast language model",
    "precision": "in doubt: depth, masks and the precise language model",
}


def ensemble(facts: Facts) -> Section:
    """Return what each member and the ensemble as a whole found in the dataset."""
    title = "What the ensemble says"
    if not facts.members and facts.consensus is None:
        return Section(title, not_run="Not run: no member has looked at the images.")
    everyone = (*facts.members, *([facts.consensus] if facts.consensus else []))
    rows: list[list[Cell | str]] = [
        [
            one.name,
            f"{one.images:,}",
            f"{one.boxes:,}",
            f"{one.boxes / one.images:.2f}" if one.images else cells.UNDEFINED,
            f"{one.sure:,}",
        ]
        for one in everyone
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
        tables=(Table.of("member|images#|boxes#|boxes an image#|from probability 0.5#", rows),),
    )


def routing(facts: Facts) -> Section:
    """Return which share of the images each path of the cascade takes, and what it costs."""
    title = "Paths through the cascade"
    total = sum(facts.ways.values())
    if not total:
        return Section(title, not_run="Not run: nothing has been fused.")
    rows: list[list[Cell | str]] = []
    spent = 0.0
    for path, meaning in _PATHS.items():
        n = facts.ways.get(path, 0)
        ms = sum(one.ms for one in facts.costs.values() if path in one.paths)
        spent += n * ms
        cost = cells.number(ms, 1) if facts.costs else cells.UNDEFINED
        rows.append([path, f"{n:,}", formatting.percent(n / total), cost, meaning])
    stopped = facts.ways.get("stop", 0)
    text = [
        f"{formatting.percent(stopped / total)} of {formatting.quantity(total, 'image')} stop "
        "after the detectors."
    ]
    everything = sum(one.ms for one in facts.costs.values())
    if everything:
        text.append(
            f"Routed, an image costs {spent / total:,.1f} ms on average; "
            f"asking every member {everything:,.1f} ms."
        )
    if facts.contradictions is not None:
        text.append(
            f"On {formatting.quantity(facts.contradictions, 'image')} a language model "
            "contradicts the other tiers: see the saved view 'hallucinations'."
        )
    table = Table.of("path|images#|share#|ms an image#|when", rows)
    return Section(title, text=tuple(text), tables=(table,))
