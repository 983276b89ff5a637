"""May the challenger take the champion's place? The verdict, with its reasons in numbers.

Both ensembles answered for the same n images of a frozen set, of known truth and fixed
prevalence, none of which was chosen by hardness. The challenger is promoted when every check
holds. Where the set cannot tell the two apart, whatever they do, there is no verdict, and
`needed` says how large it would have to be. Change is always challenger minus champion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cascade.arrays import BoolArray
from cascade.manifest import Budget
from curation.active_learning.gate import checks, sample_size
from curation.active_learning.gate.paired_test import Paired, compare
from curation.active_learning.gate.verdict import Check, Evidence, Verdict
from curation.errors import EvidenceError

__all__ = ["Check", "Evidence", "Verdict", "judge"]

SMALL_SET = 2000  # images; below, a verdict says how wide its interval is
_LEAST_IMAGES, _LEAST_OF_CLASS, _LEAST_DRIVES = 30, 5, 10  # below any, no verdict


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
    """Return whether the challenger is promoted, and why.

    Args:
        truth: The true answer for each image, shape (n,).
        drives: The drive or source photograph of each image: what the bootstrap resamples.
        slices: Named masks of shape (n,).
        champion: The ensemble in service.
        challenger: The candidate.
        budget: What the manifest asks for, beside being better.
        non_inferiority: Promote a faster challenger that is as good, within a margin.
        seed: Of the bootstrap.
        draws: Of the bootstrap.

    Raises:
        EvidenceError: Arrays are of different lengths, or a latency was not measured.
    """
    truth = np.asarray(truth, bool)
    _expect_usable(truth, drives, slices, {"champion": champion, "challenger": challenger})
    others = (
        checks.boxes(champion, challenger),
        checks.calibration(truth, champion, challenger),
        checks.latency(challenger, budget),
        checks.cost(champion, challenger, budget),
        *checks.voted(champion, challenger),
    )
    lack = _lack(truth, drives)
    if lack:
        return _no_verdict(lack, truth, drives, champion, challenger, others)
    a, b = champion.says_yes, challenger.says_yes
    paired = compare(truth, a, b, drives, draws=draws, seed=seed)
    first = [checks.better(paired)]
    if non_inferiority:
        first = [checks.not_worse(paired), checks.faster(champion, challenger)]
    by_slice = checks.by_slice(truth, a, b, drives, slices, draws=draws, seed=seed)
    return _verdict(paired, (*first, checks.floor(paired, budget), *others, *by_slice))


def _verdict(paired: Paired, found: Sequence[Check]) -> Verdict:
    """Return the verdict of a set that allows one: `found` begins with the check of MCC."""
    failed = tuple(one.sentence for one in found if one.passed is False)
    held = tuple(one.sentence for one in found if one.passed)
    return Verdict(
        outcome="keep" if failed else "promote",
        reasons=failed or held,
        checks=tuple(found),
        delta_mcc=paired.delta,
        lower=paired.lower,
        upper=paired.upper,
        n_images=paired.n,
        n_groups=paired.groups,
        needed=None if found[0].passed else _needed(paired),
        warnings=_warnings(paired),
    )


def _warnings(paired: Paired) -> tuple[str, ...]:
    """Return what a small set does to the verdict, with the width of its interval."""
    if paired.n >= SMALL_SET:
        return ()
    return (
        f"The set has {paired.n:,} images of {paired.groups:,} drives, fewer than {SMALL_SET:,}: "
        f"the change of MCC is known to lie between {checks.signed(paired.lower)} and "
        f"{checks.signed(paired.upper)} only (90 %), a width of {paired.upper - paired.lower:.3f}.",
    )


def _lack(truth: BoolArray, drives: Sequence[str]) -> str | None:
    """Return why no verdict is possible, None where one is."""
    n, yes, groups = len(truth), int(truth.sum()), len(set(drives))
    if n and yes in (0, n):
        answer = "yes" if yes else "no"
        return f"All {n} images of the set have the answer {answer}: MCC is not defined."
    if n < _LEAST_IMAGES or min(yes, n - yes) < _LEAST_OF_CLASS or groups < _LEAST_DRIVES:
        return (
            f"The set has {n} images ({yes} yes, {n - yes} no) of {groups} drives; a verdict "
            f"takes {_LEAST_IMAGES} images, {_LEAST_OF_CLASS} of either answer, "
            f"and {_LEAST_DRIVES} drives."
        )
    return None


def _no_verdict(
    lack: str,
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
        discordant=differing if n >= _LEAST_IMAGES and differing > 0 else None,
        prevalence=yes / n if min(yes, n - yes) >= _LEAST_OF_CLASS else None,
    )
    return Verdict(
        outcome="no_verdict",
        reasons=(lack, needed),
        checks=(Check("evaluation_set", False, float(n), float(_LEAST_IMAGES), lack), *others),
        delta_mcc=None,
        lower=None,
        upper=None,
        n_images=n,
        n_groups=len(set(drives)),
        needed=needed,
        warnings=(lack,),
    )


def _needed(paired: Paired) -> str:
    if paired.deviation <= 0:
        return f"The two ensembles decide alike on all {paired.n} images; no number would do."
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


def _expect_usable(
    truth: BoolArray,
    drives: Sequence[str],
    slices: Mapping[str, BoolArray],
    ensembles: Mapping[str, Evidence],
) -> None:
    n = len(truth)
    lengths = {"drives": len(drives)}
    lengths |= {f"slices[{name!r}]": len(mask) for name, mask in slices.items()}
    lengths |= {f"p of the {who}": len(one.p) for who, one in ensembles.items()}
    for name, length in lengths.items():
        if length != n:
            raise EvidenceError(f"{name} must have length {n} like truth, got {length}.")
    for who, one in ensembles.items():
        for value in (one.mean_latency_ms, one.p99_latency_ms):
            if value is None or not (np.isfinite(value) and value > 0):
                raise EvidenceError(
                    f"The latency of the {who} must be above 0 ms, got {value}. Measure it first."
                )
