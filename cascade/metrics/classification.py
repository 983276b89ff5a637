"""Metrics of the image decision: counts, Matthews correlation, calibration error, bootstrap.

n is the number of images. Truth and predictions are booleans, true for yes. Images of one
drive (or one source photograph) are not independent, so intervals come from resampling whole
groups of images.

- [0] Matthews, Comparison of the predicted and observed secondary structure, 1975
- [1] Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, 2015
- [2] Field and Welsh, Bootstrapping clustered data, 2007
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.arrays import BoolArray, FloatArray, IntArray
from cascade.errors import BadPredictionsError


@dataclass(frozen=True)
class Confusion:
    """Counts of true and false positives and negatives."""

    tp: int
    fp: int
    fn: int
    tn: int


def confusion(truth: BoolArray, predicted: BoolArray) -> Confusion:
    """Count the images by truth and prediction."""
    tp, fp, fn, tn = _cells(truth, predicted).sum(axis=0).tolist()
    return Confusion(tp=tp, fp=fp, fn=fn, tn=tn)


def mcc(truth: BoolArray, predicted: BoolArray) -> float | None:
    """Return the Matthews correlation coefficient [0], in [-1, 1]; 1 is perfect.

    None if the truth has fewer than two classes: the coefficient is undefined. 0 if all
    predictions are the same: by convention, they carry no information.
    """
    value = float(_mcc_of(_cells(truth, predicted).sum(axis=0)))
    return None if np.isnan(value) else value


def precision(truth: BoolArray, predicted: BoolArray) -> float | None:
    """Return the share of positive predictions that are right; None if there are none."""
    counts = confusion(truth, predicted)
    return _share(counts.tp, counts.tp + counts.fp)


def recall(truth: BoolArray, predicted: BoolArray) -> float | None:
    """Return the share of positive images that are predicted; None if there are none."""
    counts = confusion(truth, predicted)
    return _share(counts.tp, counts.tp + counts.fn)


def ece(truth: BoolArray, p: FloatArray, *, bins: int = 15) -> float | None:
    """Return the expected calibration error [1] of P(yes), in [0, 1]; lower is better.

    The mean over images of |mean p - share of yes| within bins of equal width; a p on a
    border belongs to the bin above. None if there are no images.

    Raises:
        BadPredictionsError: `p` has another length, or values outside [0, 1].
    """
    truth, p = _decisions(truth), np.asarray(p, np.float64)
    _expect_aligned(truth, p)
    if len(p) == 0:
        return None
    if not (p.min() >= 0 and p.max() <= 1):  # NaN also fails
        raise BadPredictionsError(f"p must be in [0, 1], got {p.min()}..{p.max()}.")
    bin_of = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=p - truth, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def best_threshold(truth: BoolArray, p: FloatArray) -> float:
    """Return the threshold at which `p >= threshold` has the largest MCC.

    Candidates are the midpoints between neighboring values; ties go to the one closest to 0.5.
    Images with p NaN (without voters) are excluded. 0.5 if the truth has one class, or if no
    threshold beats chance.
    """
    truth, p = _decisions(truth), np.asarray(p, np.float64)
    _expect_aligned(truth, p)
    has_voters = ~np.isnan(p)
    truth, p = truth[has_voters], p[has_voters]
    order = np.argsort(p, kind="stable")
    truth, p = truth[order], p[order]
    cuts = np.flatnonzero(p[1:] > p[:-1]) + 1  # rows below a cut are negative, the others positive
    if len(cuts) == 0 or truth.all() or not truth.any():
        return 0.5
    fn = np.cumsum(truth)[cuts - 1]
    tn = cuts - fn
    tp = truth.sum() - fn
    fp = len(p) - cuts - tp
    quality = _mcc_of(np.stack([tp, fp, fn, tn], axis=1))
    low, high = p[cuts - 1], p[cuts]
    midpoints = np.where((low + high) / 2 > low, (low + high) / 2, high)  # without a number between
    if quality.max() <= 0:
        return 0.5
    best = midpoints[quality >= quality.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def grouped_bootstrap(n_groups: int, *, draws: int, seed: int) -> IntArray:
    """Return the number of times that each group is in each draw, shape (draws, n_groups) [2].

    Every draw samples `n_groups` groups with replacement, so every row sums to `n_groups`.
    """
    if n_groups == 0:
        return np.zeros((draws, 0), np.int64)
    generator = np.random.default_rng(seed)
    return generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=draws)


def paired_delta_mcc(
    truth: BoolArray,
    predicted_a: BoolArray,
    predicted_b: BoolArray,
    groups: Sequence[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, FloatArray]:
    """Return the MCC of b minus that of a, overall and for each draw of groups, shape (draws,).

    Both use the same draws, so common variation cancels out. Positive if b is better; NaN if
    the truth, overall or in a draw, contains only one class.
    """
    a = _by_group(_cells(truth, predicted_a), groups)
    b = _by_group(_cells(truth, predicted_b), groups)
    weights = grouped_bootstrap(len(a), draws=draws, seed=seed)
    delta = float(_mcc_of(b.sum(axis=0)) - _mcc_of(a.sum(axis=0)))
    return delta, _mcc_of(weights @ b) - _mcc_of(weights @ a)


def _cells(truth: BoolArray, predicted: BoolArray) -> IntArray:
    """Return the one-hot outcome (tp, fp, fn, tn) of each image, shape (n, 4)."""
    truth, predicted = _decisions(truth), _decisions(predicted)
    _expect_aligned(truth, predicted)
    cells = [truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted]
    return np.stack(cells, axis=1).astype(np.int64)


def _by_group(cells: IntArray, groups: Sequence[Hashable]) -> IntArray:
    """Return the summed outcomes of each group, shape (G, 4), in order of appearance."""
    if len(groups) != len(cells):
        raise BadPredictionsError(
            f"groups must contain one group per image, got {len(groups)} for {len(cells)} images."
        )
    number: dict[Hashable, int] = {}
    index = [number.setdefault(group, len(number)) for group in groups]
    summed = np.zeros((len(number), 4), np.int64)
    np.add.at(summed, index, cells)
    return summed


def _mcc_of(cells: IntArray) -> FloatArray:
    """Return the MCC of counts of shape (..., 4); NaN with one true class, 0 with one predicted.

    Roots are taken before products, which would overflow from 100,000 images on.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(cells, np.float64), -1, 0)
    true_scale = np.sqrt(tp + fn) * np.sqrt(tn + fp)
    predicted_scale = np.sqrt(tp + fp) * np.sqrt(tn + fn)
    scale = true_scale * predicted_scale
    value = np.divide(tp * tn - fp * fn, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(true_scale > 0, np.clip(value, -1.0, 1.0), np.nan)


def _share(part: int, total: int) -> float | None:
    return part / total if total else None


def _decisions(values: BoolArray) -> BoolArray:
    """Return an array of booleans; probabilities would silently count as yes."""
    array = np.asarray(values)
    if array.size and array.dtype != np.bool_:
        raise BadPredictionsError(
            f"truth and decisions must be booleans, got {array.dtype}. "
            "Were two arguments swapped? Truth comes first."
        )
    return array.astype(np.bool_)


def _expect_aligned(truth: BoolArray, other: BoolArray | FloatArray) -> None:
    if truth.ndim != 1 or truth.shape != other.shape:
        raise BadPredictionsError(
            "truth and predictions must have the same shape (n,), "
            f"got {truth.shape} and {other.shape}."
        )
