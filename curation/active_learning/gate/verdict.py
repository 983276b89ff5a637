"""What the gate reads and what it says: evidence, checks, verdict.

n is the number of images of the frozen set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cascade.arrays import BoolArray, FloatArray

Outcome = Literal["promote", "keep", "no_verdict"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one ensemble did on the frozen set.

    Attributes:
        p: Its probability of yes for each image, shape (n,); NaN where no member voted, which
            counts as a no.
        threshold: At or above it the answer is yes; fixed on validation.
        map50: Mean average precision of its boxes at IoU .5; None or NaN where the set has no
            boxes.
        p99_latency_ms: 99th percentile of its time for one image, all members together.
        mean_latency_ms: Mean of the same.
    """

    p: FloatArray
    threshold: float
    map50: float | None
    p99_latency_ms: float
    mean_latency_ms: float

    @property
    def says_yes(self) -> BoolArray:
        """Its decision on each image, shape (n,)."""
        return self.p >= self.threshold  # False for NaN


@dataclass(frozen=True)
class Check:
    """One condition of promotion.

    Attributes:
        name: For instance `mcc`, or `slice time_of_day=night`.
        passed: Whether it holds; None where it is reported only.
        value: What was measured; None where nothing could be.
        limit: What it was compared with.
        sentence: All of that in words.
    """

    name: str
    passed: bool | None
    value: float | None
    limit: float | None
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What becomes of the challenger, and why.

    Attributes:
        outcome: `promote` it, `keep` the champion, or `no_verdict`: the champion stays too.
        reasons: The sentences that decided.
        checks: Everything that was looked at.
        delta_mcc: Change of MCC; None without a verdict.
        lower, upper: Its one-sided 95 % bounds, over draws of drives.
        n_images, n_groups: Size of the set, in images and in drives.
        needed: How many images would show which change, where this set did not.
        warnings: What whoever signs should know of the evidence.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    delta_mcc: float | None
    lower: float | None
    upper: float | None
    n_images: int
    n_groups: int
    needed: str | None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        content = asdict(self)
        lists = ("reasons", "checks", "warnings")
        return content | {name: list(content[name]) for name in lists}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Verdict:
        """Return the verdict that `to_dict` wrote."""
        checks = tuple(Check(**one) for one in content["checks"])
        texts = {name: tuple(content.get(name, ())) for name in ("reasons", "warnings")}
        return cls(**{**content, **texts, "checks": checks})
