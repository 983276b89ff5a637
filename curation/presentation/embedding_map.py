"""The embedding on a plane, coloured by hardness, in as many cells as a browser can draw.

Up to some thousands of samples every one is a cell of its own. Above, the plane is divided into
squares; a cell lies at the mean of its samples, and choosing it chooses all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from curation.presentation import cache
from curation.presentation.cache import Kept
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset

MOST_CELLS = 4000
NAME = "plane"
_SIDE = 90  # squares along the longer side; some 3,000 of them hold anything
_ID_BYTES = 12


@dataclass(frozen=True, eq=False)
class Plane:
    """Where samples lie.

    Attributes:
        brain_key: The run that placed them.
        xy: Mean position of each of the C cells, shape (C, 2).
        hardness: Greatest hardness in each cell, shape (C,); NaN where none is known.
        n: Samples in each cell, shape (C,).
        ids: Their ids, cell by cell, as 12 bytes each.
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
        """How many samples there are."""
        return int(self.n.sum())

    def chosen(self, cells: Iterable[int]) -> list[str]:
        """Return the samples of cells."""
        ends = np.cumsum(self.n)
        rows = [row for i in cells for row in range(int(ends[i] - self.n[i]), int(ends[i]))]
        return [self.ids[_ID_BYTES * row : _ID_BYTES * (row + 1)].hex() for row in rows]


def of(dataset: Dataset) -> tuple[Plane, Kept] | None:
    """Return the plane of a dataset and its age; None where none is drawn, or kept."""
    key = brain_key(dataset)
    if key is None:
        return None
    found = cache.figures(dataset, NAME, draw, basis=_basis(dataset, key))
    if found is None:
        return None
    content = found.content
    return (
        Plane(
            brain_key=content["brain_key"],
            xy=np.array(content["xy"], float).reshape(-1, 2),
            hardness=np.array(content["hardness"], float),  # None becomes NaN
            n=np.array(content["n"], np.int64),
            ids=bytes(content["ids"]),
        ),
        found,
    )


def keep(dataset: Dataset) -> None:
    """Draw the plane and keep it, where a run has placed the samples."""
    key = brain_key(dataset)
    if key is not None:
        cache.keep(dataset, NAME, draw, basis=_basis(dataset, key))


def brain_key(dataset: Dataset) -> str | None:
    """Return the run that places whole samples on a plane: ours, else the first that there is."""
    runs = dataset.list_brain_runs()
    for key in sorted(runs, key=lambda one: (one != schema.UMAP, one)):
        config = dataset.get_brain_info(key).config
        flat = getattr(config, "num_dims", None) == 2
        if flat and getattr(config, "patches_field", None) is None:
            return str(key)
    return None


def draw(dataset: Dataset) -> dict[str, Any]:
    """Return the plane as plain values."""
    key = brain_key(dataset)
    results = dataset.load_brain_results(key)
    ids = [str(one) for one in results.sample_ids]
    xy = np.asarray(results.points, np.float64)
    known = _hardness(dataset)
    present = np.array([one in known for one in ids], bool)
    ids = [one for one, there in zip(ids, present, strict=True) if there]
    hardness = np.array([known[one] for one in ids], np.float64)
    order, starts = cells(xy[present])
    counts = np.diff([*starts, len(order)])
    return {
        "brain_key": key,
        "xy": (np.add.reduceat(xy[present][order], starts) / counts[:, None]).tolist()
        if len(order)
        else [],
        "hardness": _greatest(hardness[order], starts),
        "n": counts.tolist(),
        "ids": b"".join(ObjectId(ids[i]).binary for i in order),
    }


def cells(
    xy: NDArray[np.float64], *, most: int = MOST_CELLS
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows in the order of their cells, and where each cell begins among them.

    Args:
        xy: Positions, shape (n, 2).
        most: Up to so many, every row is a cell.
    """
    if len(xy) <= most:
        return np.arange(len(xy)), np.arange(len(xy))
    low = xy.min(axis=0)
    step = max(float(np.ptp(xy, axis=0).max()) / _SIDE, 1e-12)
    place = ((xy - low) / step).astype(np.int64)
    square = place[:, 0] * (_SIDE + 1) + place[:, 1]
    order = np.argsort(square, kind="stable")
    _, starts = np.unique(square[order], return_index=True)
    return order, starts


def _greatest(
    hardness: NDArray[np.float64], starts: Sequence[int] | NDArray[np.int64]
) -> list[Any]:
    """Return the greatest known hardness of each cell, None where none is known."""
    if not len(hardness):
        return []
    found = np.fmax.reduceat(hardness, np.asarray(starts))
    return [None if np.isnan(one) else float(one) for one in found]


def _hardness(dataset: Dataset) -> dict[str, float | None]:
    if schema.HARDNESS not in dataset.get_field_schema():
        return dict.fromkeys(dataset.values("id"))
    return dict(zip(*dataset.values(["id", schema.HARDNESS]), strict=True))


def _basis(dataset: Dataset, key: str) -> str:
    return f"{key} {dataset.get_brain_info(key).timestamp}"
