"""Linear probe: the image decision from an embedding.

- [0] Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.checkpoints import checkpoint
from cascade.errors import CheckpointError, TrainingError

ADAPTER = "probe"


@dataclass(frozen=True, eq=False)
class Probe:
    """A hyperplane in the feature space.

    Attributes:
        weights: Normal vector, shape (D,).
        bias: Log-odds at the origin.
        embedder: Fingerprint of the embedder.
        strength: Inverse of the penalty in its fit.
    """

    weights: NDArray[np.float64]
    bias: float
    embedder: str
    strength: float

    @cached_property
    def identity(self) -> str:
        """Hash over all that decides its probabilities, 16 hex digits."""
        content = f"{self.embedder} {self.bias!r} ".encode() + self.weights.tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    def p_yes(self, vectors: FloatArray) -> NDArray[np.float64]:
        """Return the probability of yes for vectors (n, D), shape (n,).

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
        """Write `config.json` and `weights.safetensors` into `folder`, atomically."""
        config = {
            "adapter": ADAPTER,
            "bias": self.bias,
            "embedder": self.embedder,
            "strength": self.strength,
        }
        checkpoint.save(folder, config, {"weights": torch.from_numpy(self.weights)})

    @classmethod
    def load(cls, folder: Path, *, embedder: str | None = None) -> Probe:
        """Return the probe in `folder`; `embedder` is the expected fingerprint, None for any.

        Raises:
            CheckpointError: The folder holds no probe, or one of another embedder.
        """
        config, tensors = checkpoint.load(folder)
        if config.get("adapter") != ADAPTER:
            raise CheckpointError(
                f"{folder} must hold a probe, got a checkpoint of {config.get('adapter')!r}."
            )
        if embedder not in (None, config["embedder"]):
            raise CheckpointError(
                f"{folder} was fitted on the embedder {config['embedder']}, not on {embedder}. "
                "Fit the probe again."
            )
        weights = tensors["weights"].double().numpy()
        return cls(weights, float(config["bias"]), config["embedder"], float(config["strength"]))
