"""A linear probe: the image decision read off an embedding.

Fitted by scikit-learn, kept as numbers: `config.json` beside `weights.safetensors`. The strength of
the regularisation is chosen by cross-validation over whole drives, as images of one drive are
alike.

- [0] Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.checkpoints import checkpoint
from cascade.errors import CheckpointError, TrainingError

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

ADAPTER = "probe"
STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # inverse of the penalty
LEAST = 5  # images of either answer
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Probe:
    """A line through the feature space.

    Attributes:
        weights: Shape (D,).
        bias: The log-odds at the origin.
        embedder: The fingerprint of the embedder that it belongs to.
        strength: The inverse of the penalty that it was fitted with.
    """

    weights: NDArray[np.float64]
    bias: float
    embedder: str
    strength: float

    @cached_property
    def identity(self) -> str:
        """16 hex digits over all that decides what it says."""
        content = f"{self.embedder} {self.bias!r} ".encode() + self.weights.tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    def p_yes(self, vectors: FloatArray) -> NDArray[np.float64]:
        """Return the probability of yes of vectors (n, D), shape (n,).

        Raises:
            TrainingError: The vectors have another length.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.weights):
            raise TrainingError(
                f"vectors must have shape (n, {len(self.weights)}), got {vectors.shape}."
            )
        logits = vectors.astype(np.float64) @ self.weights + self.bias
        return np.exp(-np.logaddexp(0.0, -logits))

    def save(self, folder: Path) -> None:
        """Write the probe into `folder`, whole or not at all."""
        config = {
            "adapter": ADAPTER,
            "bias": self.bias,
            "embedder": self.embedder,
            "strength": self.strength,
        }
        checkpoint.save(folder, config, {"weights": torch.from_numpy(self.weights)})

    @classmethod
    def load(cls, folder: Path, *, embedder: str | None = None) -> Probe:
        """Return the probe in `folder`; of whatever embedder, where none is named.

        Raises:
            CheckpointError: There is none, or it belongs to another embedder.
        """
        config, tensors = checkpoint.load(folder)
        if config.get("adapter") != ADAPTER:
            raise CheckpointError(f"{folder} is no probe, but of {config.get('adapter')!r}.")
        if embedder not in (None, config["embedder"]):
            raise CheckpointError(
                f"{folder} was fitted on the embedder {config['embedder']}, not on {embedder}. "
                "Fit it anew."
            )
        weights = tensors["weights"].double().numpy()
        return cls(weights, float(config["bias"]), config["embedder"], float(config["strength"]))


def fit_probe(
    vectors: FloatArray,
    truth: NDArray[np.bool_],
    groups: Sequence[Hashable],
    *,
    embedder: str,
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Probe:
    """Return the probe that tells the answers of labeled images apart.

    Args:
        vectors: Embeddings, shape (n, D).
        truth: The true image decisions, shape (n,).
        groups: The drive of each image.
        embedder: The fingerprint of what made the vectors.
        weights: Of each image, shape (n,): inverse probabilities of having been chosen, say.
        seed: Of the folds.

    Raises:
        TrainingError: There are fewer than five images of either answer.
    """
    counts = int(truth.sum()), int((~truth).sum())
    if min(counts) < LEAST:
        raise TrainingError(
            f"A probe needs {LEAST} images of either answer, got {counts[0]} yes "
            f"and {counts[1]} no."
        )
    numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([numbers[group] for group in groups])
    each = np.ones(len(truth)) if weights is None else weights
    strength = _strength(vectors, truth, group_of, each, seed)
    fitted = _fitted(vectors, truth, each, strength)
    return Probe(
        weights=fitted.coef_[0].astype(np.float64),
        bias=float(fitted.intercept_[0]),
        embedder=embedder,
        strength=strength,
    )


def _strength(
    vectors: FloatArray,
    truth: NDArray[np.bool_],
    group_of: NDArray[np.int64],
    weights: NDArray[np.float64],
    seed: int,
) -> float:
    """Return the strength with the best log-likelihood on drives that were left out."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(_FOLDS, len(set(group_of[truth])), len(set(group_of[~truth])))
    if folds < 2:
        return 1.0
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    splits = [
        (a, b) for a, b in splitter.split(vectors, truth, group_of) if 0 < truth[a].sum() < len(a)
    ]
    if not splits:
        return 1.0
    scores = [
        sum(_likelihood(vectors, truth, weights, c, a, b) for a, b in splits) for c in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax(scores))]


def _likelihood(
    vectors: FloatArray,
    truth: NDArray[np.bool_],
    weights: NDArray[np.float64],
    strength: float,
    known: NDArray[np.int64],
    held: NDArray[np.int64],
) -> float:
    fitted = _fitted(vectors[known], truth[known], weights[known], strength)
    p = fitted.predict_proba(vectors[held])[:, 1].clip(1e-9, 1 - 1e-9)
    return float((weights[held] * np.log(np.where(truth[held], p, 1 - p))).sum())


def _fitted(
    vectors: FloatArray,
    truth: NDArray[np.bool_],
    weights: NDArray[np.float64],
    strength: float,
) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    line = LogisticRegression(C=strength, max_iter=2000)
    return line.fit(vectors.astype(np.float64), truth, sample_weight=weights)
