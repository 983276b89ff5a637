"""The unlabeled samples that may be chosen, as columns that fit together.

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

_LENGTH_SLACK = 1e-3  # of 1: what float32 and a float16 store may add or take


@dataclass(frozen=True, eq=False)
class Pool:
    """The unlabeled samples that may be chosen; nothing of validation or test is in here.

    Attributes:
        embeddings: Scaled to length 1, shape (N, D), float32.
        hardness: In [0, 1], shape (N,), NaN where unknown; None in round 0.
        drives: The drive of each sample, None where it has none; shape (N,).
        times_s: Seconds within the drive, NaN where unknown, shape (N,).
        expected_boxes: Boxes that labeling will probably take, shape (N,), not negative.
        strata: Which samples belong to a slice, shape (N,) each, by the slice's name.
        alike: All pairs of rows that look alike; None where they are still to be found.
    """

    embeddings: FloatArray
    hardness: FloatArray | None
    drives: Sequence[str | None]
    times_s: FloatArray
    expected_boxes: FloatArray
    strata: Mapping[str, BoolArray] = field(default_factory=dict)
    similar_pairs: SimilarPairs | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, and vectors of another length than 1."""
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
        expect_unit("pool", self.embeddings)

    def __len__(self) -> int:
        return len(self.embeddings)

    def hardest_first(self, rows: Int64Array) -> Int64Array:
        """Return the rows from the hardest to the easiest, those without hardness last."""
        if self.hardness is None:
            return rows
        return rows[np.argsort(-np.nan_to_num(self.hardness[rows], nan=-1.0), kind="stable")]


def expect_unit(name: str, embeddings: FloatArray) -> None:
    """Refuse vectors of another length than 1, NaN among them.

    Raises:
        SelectionError: It says how many there are, and the first of them.
    """
    length = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
    wrong = np.flatnonzero(~(np.abs(length - 1.0) <= _LENGTH_SLACK))
    if len(wrong):
        raise SelectionError(
            f"Every embedding of the {name} must have length 1; {len(wrong)} have not, the first "
            f"is row {wrong[0]} of length {length[wrong[0]]:.4g}. Leave those samples out."
        )
