"""Two-dimensional map of the embedding, in as many cells as a browser can draw.

Up to some thousands of samples, each sample is a cell. Above, the plane is divided into squares;
a cell lies at the mean position of its samples and selects all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from curation.presentation import cache
from curation.presentation.cache import CachedFigures
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset

MAX_CELLS = 4000
NAME = "plane"
_SIDE = 90  # squares along the longer side; some 3,000 of them hold samples
_ID_BYTES = 12


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Positions of samples, grouped into C cells.

    Attributes:
        brain_key: Key of the brain run that computed the positions.
        xy: Mean position of each cell, shape (C, 2).
        hardness: Greatest hardness in each cell, shape (C,); NaN for cells without any.
        n: Number of samples in each cell, shape (C,).
        ids: Sample ids, cell by cell, 12 bytes each.
    """

    brain_key: str
    xy: NDArray[np.float64]
    hardness: NDArray[np.float64]
    n: NDArray[np.int64]
    ids: bytes

    def __len__(self) -> int:
        return len(self.n)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.n.sum())

    def sample_ids(self, cells: Iterable[int]) -> list[str]:
        """Return the ids of the samples in some cells."""
        ends = np.cumsum(self.n)
        rows = [row for i in cells for row in range(int(ends[i] - self.n[i]), int(ends[i]))]
        return [self.ids[_ID_BYTES * row : _ID_BYTES * (row + 1)].hex() for row in rows]


def read_map(dataset: Dataset) -> tuple[EmbeddingMap, CachedFigures] | None:
    """Return the map of a dataset and its age; None if there is no embedding or cached map."""
    key = brain_key(dataset)
    if key is None:
        return None
    figures = cache.get(dataset, NAME, compute_map, basis=_basis(dataset, key))
    if figures is None:
        return None
    content = figures.content
    embedding_map = EmbeddingMap(
        brain_key=content["brain_key"],
        xy=np.array(content["xy"], float).reshape(-1, 2),
        hardness=np.array(content["hardness"], float),  # None becomes NaN
        n=np.array(content["n"], np.int64),
        ids=bytes(content["ids"]),
    )
    return embedding_map, figures


def update_map(dataset: Dataset) -> None:
    """Compute and cache the map, if the dataset has an embedding."""
    key = brain_key(dataset)
    if key is not None:
        cache.update(dataset, NAME, compute_map, basis=_basis(dataset, key))


def brain_key(dataset: Dataset) -> str | None:
    """Return the key of a 2D visualization of whole samples: ours, else the first by name."""
    runs = dataset.list_brain_runs()
    for key in sorted(runs, key=lambda key: (key != schema.UMAP, key)):
        config = dataset.get_brain_info(key).config
        is_flat = getattr(config, "num_dims", None) == 2
        if is_flat and getattr(config, "patches_field", None) is None:
            return str(key)
    return None


def compute_map(dataset: Dataset) -> dict[str, Any]:
    """Return the map as plain values."""
    key = brain_key(dataset)
    results = dataset.load_brain_results(key)
    ids = [str(sample_id) for sample_id in results.sample_ids]
    xy = np.asarray(results.points, np.float64)
    hardness_by_id = _hardness_by_id(dataset)  # deleted samples are missing here
    present = np.array([sample_id in hardness_by_id for sample_id in ids], bool)
    ids = [sample_id for sample_id, keep in zip(ids, present, strict=True) if keep]
    hardness = np.array([hardness_by_id[sample_id] for sample_id in ids], np.float64)
    order, starts = group_into_cells(xy[present])
    counts = np.diff([*starts, len(order)])
    means = np.add.reduceat(xy[present][order], starts) / counts[:, None] if len(order) else xy[:0]
    return {
        "brain_key": key,
        "xy": means.tolist(),
        "hardness": _greatest(hardness[order], starts),
        "n": counts.tolist(),
        "ids": b"".join(ObjectId(ids[i]).binary for i in order),
    }


def group_into_cells(
    xy: NDArray[np.float64], *, max_cells: int = MAX_CELLS
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows in the order of their cells, and the start of each cell in that order.

    Args:
        xy: Positions, shape (n, 2).
        max_cells: Up to this many rows, every row is a cell.
    """
    if len(xy) <= max_cells:
        return np.arange(len(xy)), np.arange(len(xy))
    low = xy.min(axis=0)
    step = max(float(np.ptp(xy, axis=0).max()) / _SIDE, 1e-12)
    column_row = ((xy - low) / step).astype(np.int64)
    square = column_row[:, 0] * (_SIDE + 1) + column_row[:, 1]
    order = np.argsort(square, kind="stable")
    _, starts = np.unique(square[order], return_index=True)
    return order, starts


def _greatest(
    hardness: NDArray[np.float64], starts: Sequence[int] | NDArray[np.int64]
) -> list[float | None]:
    """Return the greatest hardness of each cell, None for cells without any."""
    if not len(hardness):
        return []
    greatest = np.fmax.reduceat(hardness, np.asarray(starts))
    return [None if np.isnan(value) else float(value) for value in greatest]


def _hardness_by_id(dataset: Dataset) -> dict[str, float | None]:
    if schema.HARDNESS not in dataset.get_field_schema():
        return dict.fromkeys(dataset.values("id"))
    return dict(zip(*dataset.values(["id", schema.HARDNESS]), strict=True))


def _basis(dataset: Dataset, key: str) -> str:
    return f"{key} {dataset.get_brain_info(key).timestamp}"
