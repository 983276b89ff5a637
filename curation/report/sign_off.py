"""The page that a release manager reads and signs: the verdict, its evidence, and how to sign."""

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
    "keep": ("is not to be promoted", "bad"),
    "no_verdict": ("cannot be judged on this evaluation set", "muted"),
}
_MARKS: dict[bool | None, Cell] = {
    True: Cell("✓ holds", "good"),
    False: Cell("✗ fails", "bad"),
    None: Cell("reported only", "muted"),
}


@dataclass(frozen=True)
class Candidate:
    """What is signed for.

    Attributes:
        dataset: What the ensembles are registered as.
        round_number: The round that trained the challenger.
        champion: The version that it was judged against.
        challenger: The version that was judged.
        facts: Further facts with their names: hashes, licences.
    """

    dataset: str
    round_number: int
    champion: str
    challenger: str
    facts: Mapping[str, str]


def digest(verdict: Mapping[str, Any]) -> str:
    """Return 16 hex digits over a verdict: what a signature is for."""
    return hashlib.sha256(json.dumps(verdict, sort_keys=True).encode()).hexdigest()[:16]


def compose(candidate: Candidate, verdict: Mapping[str, Any]) -> Page:
    """Return the page of a verdict, as `Verdict.to_dict` gives it."""
    says, tone = _OUTCOMES[verdict["outcome"]]
    rows: list[list[Cell | str]] = [
        [one["name"], _MARKS[one["passed"]], _number(one["value"]), _number(one["limit"]),
         one["sentence"]]
        for one in verdict["checks"]
    ]  # fmt: skip
    return Page(
        title=f"Verdict on version {candidate.challenger} of {candidate.dataset}",
        headline=f"Version {candidate.challenger} {says} over version {candidate.champion}.",
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
            Section("Checks", tables=(Table.of("check|result|measured#|limit#|in numbers", rows),)),
            _signing(candidate, verdict),
        ),
    )


def _reasons(verdict: Mapping[str, Any]) -> list[str]:
    found = [*verdict["reasons"], *(f"Note: {one}" for one in verdict.get("warnings", ()))]
    if verdict["delta_mcc"] is not None:
        found.append(
            f"MCC changed by {verdict['delta_mcc']:+.4f}; one-sided 95 % bounds "
            f"{verdict['lower']:+.4f} and {verdict['upper']:+.4f}."
        )
    if verdict.get("needed"):
        found.append(verdict["needed"])
    return found


def _signing(candidate: Candidate, verdict: Mapping[str, Any]) -> Section:
    command = shlex.join(
        ["curate", "promote", candidate.dataset, candidate.challenger]
        + ["--by", "YOUR NAME", "--why", "YOUR REASON"]
        + ([] if verdict["outcome"] == "promote" else ["--against-the-gate"])
    )
    lines: list[list[Cell | str]] = [[one, ""] for one in ("name", "date", "signature")]
    return Section(
        "Signature",
        text=(
            "Who promotes answers for it: name, time and reason are kept with the version, "
            f"together with the hash of this verdict, {digest(verdict)}.",
            command,
        ),
        tables=(Table.of("on paper|" + " " * 40, lines),),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
