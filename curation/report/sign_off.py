"""Sign-off page of a verdict: decision, evidence and signature."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation.report.page import Cell, Page, Section, Table, Tone

_OUTCOMES: dict[str, tuple[str, Tone]] = {
    "promote": ("may be promoted", "good"),
    "keep": ("must not be promoted", "bad"),
    "no_verdict": ("cannot be judged on this evaluation set", "muted"),
}
_MARKS: dict[bool | None, Cell] = {
    True: Cell("✓ holds", "good"),
    False: Cell("✗ fails", "bad"),
    None: Cell("reported only", "muted"),
}


@dataclass(frozen=True)
class Candidate:
    """Candidate of a sign-off.

    Attributes:
        dataset: Name of the registered ensembles.
        round_number: Round that trained the challenger.
        champion: Version in service.
        challenger: Version that was judged.
        facts: Further facts by name: hashes, licenses.
    """

    dataset: str
    round_number: int
    champion: str
    challenger: str
    facts: Mapping[str, str]


def digest(verdict: Mapping[str, Any]) -> str:
    """Return 16 hex digits that identify a verdict, for signatures."""
    return hashlib.sha256(json.dumps(verdict, sort_keys=True).encode()).hexdigest()[:16]


def compose(candidate: Candidate, verdict: Mapping[str, Any]) -> Page:
    """Return the page of a verdict in the form of `Verdict.to_dict`."""
    outcome, tone = _OUTCOMES[verdict["outcome"]]
    rows: list[list[Cell | str]] = [
        [check["name"], _MARKS[check["passed"]], _number(check["value"]), _number(check["limit"]),
         check["sentence"]]
        for check in verdict["checks"]
    ]  # fmt: skip
    return Page(
        title=f"Verdict on version {candidate.challenger} of {candidate.dataset}",
        headline=f"Version {candidate.challenger} {outcome} over version {candidate.champion}.",
        tone=tone,
        facts=(
            ("round", str(candidate.round_number)),
            ("images", f"{verdict['n_images']:,}"),
            ("drives", f"{verdict['n_groups']:,}"),
            ("verdict", digest(verdict)),
            *candidate.facts.items(),
        ),
        sections=(
            Section("Reasons", text=tuple(_reasons(verdict))),
            Section("Checks", tables=(Table.of("check|result|measured#|limit#|details", rows),)),
            _signing(candidate, verdict),
        ),
    )


def _reasons(verdict: Mapping[str, Any]) -> list[str]:
    warnings = (f"Note: {warning}" for warning in verdict.get("warnings", ()))
    reasons = [*verdict["reasons"], *warnings]
    if verdict["delta_mcc"] is not None:
        reasons.append(
            f"MCC changed by {verdict['delta_mcc']:+.4f}; one-sided 95 % bounds "
            f"{verdict['lower']:+.4f} and {verdict['upper']:+.4f}."
        )
    if verdict.get("needed"):
        reasons.append(verdict["needed"])
    return reasons


def _signing(candidate: Candidate, verdict: Mapping[str, Any]) -> Section:
    command = shlex.join(
        ["curate", "promote", candidate.dataset, candidate.challenger]
        + ["--by", "YOUR NAME", "--why", "YOUR REASON"]
        + ([] if verdict["outcome"] == "promote" else ["--against-the-gate"])
    )
    lines: list[list[Cell | str]] = [[line, ""] for line in ("name", "date", "signature")]
    return Section(
        "Signature",
        text=(
            "Promotion is recorded with name, time and reason, together with the hash of this "
            f"verdict, {digest(verdict)}.",
            command,
        ),
        tables=(Table.of("on paper|" + " " * 40, lines),),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
