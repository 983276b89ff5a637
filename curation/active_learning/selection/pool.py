"""Pool of samples that may be chosen, as columns.

N is the number of samples, D the length of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cascade.arrays import BoolArray, FloatArray, Int64Array
from curation.errors import SelectionError
from curation.storage.embeddings.similar_pairs import SimilarPairs

_LENGTH_TOLERANCE = 1e-3  # error of unit vectors in float32 or stored in float16


@dataclass(frozen=True, eq=False)
class Pool:
    """Unlabeled samples that may be chosen, without validation and test samples.

    Attributes:
        embeddings: Unit vectors, shape (N, D), float32.
        hardness: Hardness in [0, 1], shape (N,), NaN if unknown; None in round 0.
        drives: Drive of each sample, length N; None if it has no drive.
        times_s: Seconds since the start of the drive, shape (N,), NaN if unknown.
        expected_boxes: Boxes that labeling will probably find, shape (N,), not negative.
        strata: Masks of slices, shape (N,) each, by name.
        similar_pairs: All pairs of similar rows; None if they are not cached.
    """

    embeddings: FloatArray
    hardness: FloatArray | None
    drives: Sequence[str | None]
    times_s: FloatArray
    expected_boxes: FloatArray
    strata: Mapping[str, BoolArray] = field(default_factory=dict)
    similar_pairs: SimilarPairs | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, and vectors that are not unit vectors."""
        if self.embeddings.ndim != 2:
            raise SelectionError(f"embeddings must have shape (N, D), got {self.embeddings.shape}.")
        columns: dict[str, Any] = {
            "drives": self.drives,
            "times_s": self.times_s,
            "expected_boxes": self.expected_boxes,
            **({} if self.hardness is None else {"hardness": self.hardness}),
            **{f"strata[{name!r}]": mask for name, mask in self.strata.items()},
        }
        for name, column in columns.items():
            if len(column) != len(self):
                raise SelectionError(f"{name} must have length {len(self)}, got {len(column)}.")
        require_unit_length("pool", self.embeddings)

    def __len__(self) -> int:
        return len(self.embeddings)

    def hardest_first(self, rows: Int64Array) -> Int64Array:
        """Return the rows by descending hardness, those without hardness last."""
        if self.hardness is None:
            return rows
        return rows[np.argsort(-np.nan_to_num(self.hardness[rows], nan=-1.0), kind="stable")]


def require_unit_length(name: str, embeddings: FloatArray) -> None:
    """Raise SelectionError for vectors that are not unit vectors."""
    length = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
    wrong = np.flatnonzero(~(np.abs(length - 1.0) <= _LENGTH_TOLERANCE))  # True for NaN
    if len(wrong):
        raise SelectionError(
            f"Embeddings of the {name} must have length 1; {len(wrong)} do not, the first is row "
            f"{wrong[0]} with length {length[wrong[0]]:.4g}. Leave these samples out."
        )
