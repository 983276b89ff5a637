"""Verdict on the promotion of a challenger, with numeric reasons.

Both ensembles predicted the same n images of a frozen set with ground truth and fixed
prevalence, none of them chosen by hardness. The challenger is promoted if every check holds. If
the set is too small for a decision, the outcome is `no_verdict`, and `needed` has the required
size. Changes are challenger minus champion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cascade.arrays import BoolArray
from cascade.manifest import Budget
from curation.active_learning.gate import checks, sample_size
from curation.active_learning.gate.paired_test import PairedComparison, compare
from curation.active_learning.gate.verdict import Check, Evidence, Verdict
from curation.errors import EvidenceError

SMALL_SET = 2000  # images; with fewer, a warning has the width of the interval
_MIN_IMAGES, _MIN_PER_CLASS, _MIN_DRIVES = 30, 5, 10  # with fewer, no verdict


def judge(
    *,
    truth: BoolArray,
    drives: Sequence[str],
    slices: Mapping[str, BoolArray],
    champion: Evidence,
    challenger: Evidence,
    budget: Budget,
    non_inferiority: bool = False,
    seed: int = 0,
    draws: int = 2000,
) -> Verdict:
    """Return the verdict on the challenger.

    Args:
        truth: True answer for each image, shape (n,).
        drives: Drive or source photograph of each image: the unit of bootstrap resampling.
        slices: Named masks of shape (n,).
        champion: Results of the ensemble in service.
        challenger: Results of the candidate.
        budget: Limits from the manifest.
        non_inferiority: Promote a faster challenger that is not worse, within a margin.
        seed: Random seed of the bootstrap.
        draws: Number of bootstrap draws.

    Raises:
        EvidenceError: Arrays have different lengths, or a latency is missing.
    """
    truth = np.asarray(truth, bool)
    _require_usable(truth, drives, slices, {"champion": champion, "challenger": challenger})
    others = (
        checks.boxes(champion, challenger),
        checks.calibration(truth, champion, challenger),
        checks.latency(challenger, budget),
        checks.cost(champion, challenger, budget),
        *checks.voted(champion, challenger),
    )
    shortage = _shortage(truth, drives)
    if shortage:
        return _no_verdict(shortage, truth, drives, champion, challenger, others)
    a, b = champion.says_yes, challenger.says_yes
    paired = compare(truth, a, b, drives, draws=draws, seed=seed)
    main = [checks.better(paired)]
    if non_inferiority:
        main = [checks.not_worse(paired), checks.faster(champion, challenger)]
    by_slice = checks.by_slice(truth, a, b, drives, slices, draws=draws, seed=seed)
    return _verdict(paired, (*main, checks.floor(paired, budget), *others, *by_slice))


def _verdict(paired: PairedComparison, results: Sequence[Check]) -> Verdict:
    """Return the verdict from all checks, the one of MCC first."""
    failed = tuple(check.sentence for check in results if check.passed is False)
    passed = tuple(check.sentence for check in results if check.passed)
    return Verdict(
        outcome="keep" if failed else "promote",
        reasons=failed or passed,
        checks=tuple(results),
        delta_mcc=paired.delta,
        lower=paired.lower,
        upper=paired.upper,
        n_images=paired.n,
        n_groups=paired.groups,
        needed=None if results[0].passed else _needed(paired),
        warnings=_warnings(paired),
    )


def _warnings(paired: PairedComparison) -> tuple[str, ...]:
    """Return a warning with the width of the interval for a small set."""
    if paired.n >= SMALL_SET:
        return ()
    return (
        f"The set has {paired.n:,} images of {paired.groups:,} drives, fewer than {SMALL_SET:,}: "
        f"the change of MCC is known to lie between {checks.signed(paired.lower)} and "
        f"{checks.signed(paired.upper)} only (90 %), a width of {paired.upper - paired.lower:.3f}.",
    )


def _shortage(truth: BoolArray, drives: Sequence[str]) -> str | None:
    """Return the reason why no verdict is possible, None otherwise."""
    n, yes, groups = len(truth), int(truth.sum()), len(set(drives))
    if n and yes in (0, n):
        answer = "yes" if yes else "no"
        return f"All {n} images of the set have the answer {answer}: MCC is not defined."
    if n < _MIN_IMAGES or min(yes, n - yes) < _MIN_PER_CLASS or groups < _MIN_DRIVES:
        return (
            f"The set has {n} images ({yes} yes, {n - yes} no) of {groups} drives; a verdict "
            f"takes {_MIN_IMAGES} images, {_MIN_PER_CLASS} of either answer, "
            f"and {_MIN_DRIVES} drives."
        )
    return None


def _no_verdict(
    shortage: str,
    truth: BoolArray,
    drives: Sequence[str],
    champion: Evidence,
    challenger: Evidence,
    others: Sequence[Check],
) -> Verdict:
    n = len(truth)
    yes = int(truth.sum())
    differing = float((champion.says_yes != challenger.says_yes).mean()) if n else 0.0
    needed = sample_size.explain(
        discordant=differing if n >= _MIN_IMAGES and differing > 0 else None,
        prevalence=yes / n if min(yes, n - yes) >= _MIN_PER_CLASS else None,
    )
    return Verdict(
        outcome="no_verdict",
        reasons=(shortage, needed),
        checks=(Check("evaluation_set", False, float(n), float(_MIN_IMAGES), shortage), *others),
        delta_mcc=None,
        lower=None,
        upper=None,
        n_images=n,
        n_groups=len(set(drives)),
        needed=needed,
        warnings=(shortage,),
    )


def _needed(paired: PairedComparison) -> str:
    if paired.deviation <= 0:
        return (
            f"The two ensembles make the same decisions on all {paired.n} images; "
            "more would not help."
        )
    shows = sample_size.Z * paired.deviation
    sentence = f"This set shows a change of {shows:.3f} in MCC with 80 % power."
    if paired.delta <= 0 or paired.delta >= shows:
        return sentence
    images = sample_size.images_needed_like_these(
        paired.delta, n=paired.n, deviation=paired.deviation
    )
    drives = round(paired.groups * images / paired.n)
    return (
        f"{sentence} For the measured {checks.signed(paired.delta)} it takes about {images:,} "
        f"images of {drives:,} drives like these."
    )


def _require_usable(
    truth: BoolArray,
    drives: Sequence[str],
    slices: Mapping[str, BoolArray],
    ensembles: Mapping[str, Evidence],
) -> None:
    n = len(truth)
    lengths = {"drives": len(drives)}
    lengths |= {f"slices[{name!r}]": len(mask) for name, mask in slices.items()}
    lengths |= {f"p of the {role}": len(evidence.p) for role, evidence in ensembles.items()}
    for name, length in lengths.items():
        if length != n:
            raise EvidenceError(f"{name} must have length {n} like truth, got {length}.")
    for role, evidence in ensembles.items():
        for value in (evidence.mean_latency_ms, evidence.p99_latency_ms):
            if value is None or not (np.isfinite(value) and value > 0):
                raise EvidenceError(
                    f"The latency of the {role} must be above 0 ms, got {value}. Measure it first."
                )
