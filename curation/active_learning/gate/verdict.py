"""Evidence, checks and verdict of the gate.

n is the number of images in the frozen set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cascade.arrays import BoolArray, FloatArray

Outcome = Literal["promote", "keep", "no_verdict"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Results of one ensemble on the frozen set.

    Attributes:
        p: Probability of yes for each image, shape (n,); NaN without votes, which counts as no.
        threshold: Lowest probability of a yes, from validation.
        map50: Mean average precision of the boxes at IoU 0.5; None or NaN without ground truth.
        p99_latency_ms: 99th percentile of the latency per image of the complete ensemble.
        mean_latency_ms: Mean of the latency per image.
    """

    p: FloatArray
    threshold: float
    map50: float | None
    p99_latency_ms: float
    mean_latency_ms: float

    @property
    def says_yes(self) -> BoolArray:
        """Decision on each image, shape (n,)."""
        return self.p >= self.threshold  # False for NaN


@dataclass(frozen=True)
class Check:
    """One condition of promotion.

    Attributes:
        name: Name such as `mcc` or `slice time_of_day=night`.
        passed: Whether it holds; None for a check that is only reported.
        value: Measured value; None if undefined.
        limit: Limit of the value.
        sentence: Value, limit and result in words.
    """

    name: str
    passed: bool | None
    value: float | None
    limit: float | None
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """Decision on the challenger, with reasons.

    Attributes:
        outcome: `promote` the challenger, `keep` the champion, or `no_verdict`, which also
            keeps the champion.
        reasons: Sentences of the checks that decided.
        checks: All checks.
        delta_mcc: Change of MCC; None if there is no verdict.
        lower, upper: One-sided 95 % bounds of the change, over draws of drives.
        n_images, n_groups: Size of the set, in images and in drives.
        needed: Number of images for other changes, if this set did not show one.
        warnings: Limits of the evidence, for the person who signs off.
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
        """Return plain values for JSON."""
        content = asdict(self)
        lists = ("reasons", "checks", "warnings")
        return content | {name: list(content[name]) for name in lists}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Verdict:
        """Return the verdict from the values of `to_dict`."""
        checks = tuple(Check(**check) for check in content["checks"])
        texts = {name: tuple(content.get(name, ())) for name in ("reasons", "warnings")}
        return cls(**{**content, **texts, "checks": checks})
