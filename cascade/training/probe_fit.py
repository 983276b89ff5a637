"""Fit of a linear probe by scikit-learn.

The regularization strength is chosen by cross-validation over groups, because the images of one
group are similar.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.errors import TrainingError
from cascade.fusion.probe import Probe

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # inverse of the penalty
MIN_IMAGES = 5  # of each answer
_FOLDS = 5


def fit_probe(
    vectors: FloatArray,
    truth: NDArray[np.bool_],
    groups: Sequence[Hashable],
    *,
    embedder: str,
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Probe:
    """Return a probe fitted on labeled images.

    Args:
        vectors: Embeddings, shape (n, D).
        truth: True image decisions, shape (n,).
        groups: Group of each image, for example its drive.
        embedder: Fingerprint of the embedder.
        weights: Weight of each image, shape (n,), for example inverse selection probabilities.
        seed: Random seed of the folds.

    Raises:
        TrainingError: There are fewer than five images of either answer.
    """
    n_yes, n_no = int(truth.sum()), int((~truth).sum())
    if min(n_yes, n_no) < MIN_IMAGES:
        raise TrainingError(
            f"A probe needs {MIN_IMAGES} images of either answer, got {n_yes} yes and {n_no} no."
        )
    numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([numbers[group] for group in groups])
    sample_weight = np.ones(len(truth)) if weights is None else weights
    strength = _best_strength(vectors, truth, group_of, sample_weight, seed)
    model = _fit(vectors, truth, sample_weight, strength)
    return Probe(
        weights=model.coef_[0].astype(np.float64),
        bias=float(model.intercept_[0]),
        embedder=embedder,
        strength=strength,
    )


def _best_strength(
    vectors: FloatArray,
    truth: NDArray[np.bool_],
    group_of: NDArray[np.int64],
    weights: NDArray[np.float64],
    seed: int,
) -> float:
    """Return the strength with the highest log-likelihood on held-out groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(_FOLDS, len(set(group_of[truth])), len(set(group_of[~truth])))
    if folds < 2:
        return 1.0
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    splits = [
        (fitted, held_out)
        for fitted, held_out in splitter.split(vectors, truth, group_of)
        if 0 < truth[fitted].sum() < len(fitted)
    ]
    if not splits:
        return 1.0

    def log_likelihood(
        strength: float, fitted: NDArray[np.int64], held_out: NDArray[np.int64]
    ) -> float:
        model = _fit(vectors[fitted], truth[fitted], weights[fitted], strength)
        p = model.predict_proba(vectors[held_out])[:, 1].clip(1e-9, 1 - 1e-9)
        return float((weights[held_out] * np.log(np.where(truth[held_out], p, 1 - p))).sum())

    scores = [sum(log_likelihood(strength, *split) for split in splits) for strength in STRENGTHS]
    return STRENGTHS[int(np.argmax(scores))]


def _fit(
    vectors: FloatArray,
    truth: NDArray[np.bool_],
    weights: NDArray[np.float64],
    strength: float,
) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=2000)
    return model.fit(vectors.astype(np.float64), truth, sample_weight=weights)
