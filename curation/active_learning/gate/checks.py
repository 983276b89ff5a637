"""Conditions of promotion, one function each.

Changes are challenger minus champion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cascade.arrays import BoolArray, FloatArray
from cascade.manifest import Budget
from cascade.metrics import classification
from curation.active_learning.gate.paired_test import (
    CONFIDENCE,
    MIN_DIFFERING,
    PairedComparison,
    compare,
    holm,
)
from curation.active_learning.gate.verdict import Check, Evidence

MAP_MARGIN = 0.01  # largest allowed decrease of box mAP@.5
ECE_MARGIN = 0.01  # largest allowed increase of the calibration error
NON_INFERIORITY = 0.005  # limit of the decrease of MCC for a faster ensemble
MIN_SLICE = 100  # images; smaller slices are reported only
_ROUNDING = 1e-9  # 0.30 - 0.01 is not 0.29 in binary


def better(paired: PairedComparison) -> Check:
    """Check that the lower bound of the change of MCC is above 0, and not by chance."""
    chance = paired.p_chance > 1 - CONFIDENCE
    passed = paired.lower > 0 and paired.differing >= MIN_DIFFERING and not chance
    conclusion = "better" if passed else "not shown to be better"
    if paired.lower > 0 and chance:
        conclusion = (
            f"but chance alone does as well with p = {paired.p_chance:.3f}, above "
            f"{1 - CONFIDENCE:.2f}: not shown to be better"
        )
    if paired.lower > 0 and paired.differing < MIN_DIFFERING:
        conclusion = (
            f"but they differ on {paired.differing} drives only, which may be chance below "
            f"{MIN_DIFFERING}: not shown to be better"
        )
    return _mcc(paired, passed, 0.0, conclusion)


def not_worse(paired: PairedComparison) -> Check:
    """Check that the lower bound of the change of MCC is above the non-inferiority margin."""
    passed = paired.lower > -NON_INFERIORITY
    conclusion = "as good within the margin" if passed else "not shown to be as good"
    return _mcc(paired, passed, -NON_INFERIORITY, conclusion)


def faster(champion: Evidence, challenger: Evidence) -> Check:
    """Check that the challenger is faster, as a promotion without a better MCC requires."""
    before, after = champion.mean_latency_ms, challenger.mean_latency_ms
    passed = after < before
    verdict = "faster" if passed else "not faster, so being as good is not enough"
    return Check(
        "faster", passed, after, before, f"Mean latency {before:.1f} → {after:.1f} ms: {verdict}."
    )


def floor(paired: PairedComparison, budget: Budget) -> Check:
    """Check that the challenger's MCC reaches the floor of the budget."""
    passed = paired.b >= budget.mcc_floor
    sentence = f"MCC {paired.b:.4f} {'≥' if passed else '<'} {budget.mcc_floor:g}, the floor."
    return Check("mcc_floor", passed, paired.b, budget.mcc_floor, sentence)


def boxes(champion: Evidence, challenger: Evidence) -> Check:
    """Check that the boxes are not worse by more than the margin."""
    before, after = champion.map50, challenger.map50
    if before is None or after is None or np.isnan(before) or np.isnan(after):
        return Check("map50", None, None, None, "Box mAP@.5 was not measured: no boxes to find.")
    passed = after >= before - MAP_MARGIN - _ROUNDING
    sentence = f"{_change('Box mAP@.5', before, after)}: {_within(passed, MAP_MARGIN)}."
    return Check("map50", passed, after, before - MAP_MARGIN, sentence)


def calibration(truth: BoolArray, champion: Evidence, challenger: Evidence) -> Check:
    """Check that the calibration is not worse by more than the margin."""
    before, after = _ece(truth, champion.p), _ece(truth, challenger.p)
    if before is None or after is None:
        return Check("ece", None, None, None, "Calibration was not measured: no member voted.")
    passed = after <= before + ECE_MARGIN + _ROUNDING
    sentence = f"{_change('Calibration error', before, after)}: {_within(passed, ECE_MARGIN)}."
    return Check("ece", passed, after, before + ECE_MARGIN, sentence)


def latency(challenger: Evidence, budget: Budget) -> Check:
    """Check that the 99th percentile of the challenger's latency is within the budget."""
    value, limit = challenger.p99_latency_ms, budget.p99_latency_ms
    passed = value <= limit
    sentence = f"99 % of images take at most {value:.1f} ms {_against(passed, limit)} ms allowed."
    return Check("latency", passed, value, limit, sentence)


def cost(champion: Evidence, challenger: Evidence, budget: Budget) -> Check:
    """Check that the latency relative to the champion is within the budget."""
    value, limit = challenger.mean_latency_ms / champion.mean_latency_ms, budget.cost_ratio
    passed = value <= limit
    sentence = f"An image costs {value:.2f} times the champion's time {_against(passed, limit)}."
    return Check("cost", passed, value, limit, sentence)


def voted(champion: Evidence, challenger: Evidence) -> tuple[Check, ...]:
    """Report the number of images without votes, for each ensemble that has any."""
    reports = []
    for role, evidence in (("champion", champion), ("challenger", challenger)):
        n_missing = np.isnan(evidence.p).sum()
        if n_missing:
            sentence = (
                f"The {role} has no probability for {n_missing} of {len(evidence.p)} images; "
                "they count as a no."
            )
            reports.append(Check(f"{role}_voted", None, float(n_missing), None, sentence))
    return tuple(reports)


def by_slice(
    truth: BoolArray,
    a: BoolArray,
    b: BoolArray,
    drives: Sequence[str],
    slices: Mapping[str, BoolArray],
    *,
    draws: int,
    seed: int,
) -> tuple[Check, ...]:
    """Check that no slice is significantly worse.

    The one-sided tests share their level by Holm's procedure. Slices with fewer than `MIN_SLICE`
    images, or with one class only, are reported without a test.
    """
    drive = np.array(drives)
    comparisons = {
        name: compare(truth[mask], a[mask], b[mask], drive[mask].tolist(), draws=draws, seed=seed)
        for name, mask in slices.items()
        if mask.sum() >= MIN_SLICE and truth[mask].any() and not truth[mask].all()
    }
    results = holm([comparison.p_worse for comparison in comparisons.values()])
    tested = {
        name: _tested(name, comparison, *result)
        for (name, comparison), result in zip(comparisons.items(), results, strict=True)
    }
    return tuple(
        tested.get(name) or _reported(name, truth[mask], a[mask], b[mask])
        for name, mask in slices.items()
    )


def signed(value: float) -> str:
    """Return a number with its sign, to three digits: +0.050 or \N{MINUS SIGN}0.010."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _mcc(paired: PairedComparison, passed: bool, limit: float, conclusion: str) -> Check:
    bound = signed(limit) if limit else "0"
    sentence = (
        f"{_change('MCC', paired.a, paired.b)}, lower 95 % bound {signed(paired.lower)} "
        f"{'>' if paired.lower > limit else '≤'} {bound}: {conclusion}."
    )
    return Check("mcc", passed, paired.lower, limit, sentence)


def _tested(name: str, paired: PairedComparison, worse: bool, limit: float) -> Check:
    sentence = (
        f"{name} ({paired.n} images): {_change('MCC', paired.a, paired.b)}, p = "
        f"{paired.p_worse:.4f} against {limit:.4f}: {'' if worse else 'not '}significantly worse."
    )
    return Check(f"slice {name}", not worse, paired.p_worse, limit, sentence)


def _reported(name: str, truth: BoolArray, a: BoolArray, b: BoolArray) -> Check:
    before, after, n = classification.mcc(truth, a), classification.mcc(truth, b), len(truth)
    if before is None or after is None:
        reason = "one class only, so MCC is not defined" if n else "no images"
        return Check(f"slice {name}", None, None, None, f"{name} ({n} images): {reason}.")
    sentence = (
        f"{name} ({n} images): {_change('MCC', before, after)}, reported only: fewer than "
        f"{MIN_SLICE} images."
    )
    return Check(f"slice {name}", None, after - before, None, sentence)


def _ece(truth: BoolArray, p: FloatArray) -> float | None:
    voted = np.isfinite(p)
    return classification.ece(truth[voted], p[voted])


def _change(metric: str, before: float, after: float) -> str:
    return f"{metric} {before:.3f} → {after:.3f}, Δ {signed(after - before)}"


def _within(passed: bool, margin: float) -> str:
    return f"worse by {'no ' if passed else ''}more than {margin:g}"


def _against(passed: bool, limit: float) -> str:
    return f"{'≤' if passed else '>'} {limit:g}"
