"""Cache of the similar pairs of a dataset, extended with new samples.

A file belongs to one embedder and one threshold. It stores the id of each compared sample and a
hash of its vector; changed vectors are compared again.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import Int64Array
from cascade.runtime.atomic_files import atomic_write
from curation.errors import StoreError
from curation.storage.embeddings import ann_index, similar_pairs
from curation.storage.embeddings.similar_pairs import SimilarPairs
from curation.storage.embeddings.table import VectorTable

logger = logging.getLogger(__name__)

_MAX_EXACT = 10**11  # cosines: some minutes; beyond, use the approximate index
_MIN_SHARE = 0.5  # of all vectors; for fewer, a direct comparison is faster


@dataclass(frozen=True, eq=False)
class _Compared:
    """Compared samples and their similar pairs.

    Attributes:
        ids: Sample ids, ASCII, shape (N,).
        hashes: Hashes of the vectors, shape (N,), uint64.
        pairs: Rows of similar samples, shape (P, 2); empty if there are too many.
        too_many: Whether there are too many pairs to store.
    """

    ids: NDArray[np.bytes_]
    hashes: NDArray[np.uint64]
    pairs: Int64Array
    too_many: bool = False

    @classmethod
    def empty(cls) -> _Compared:
        return cls(np.empty(0, "S24"), np.empty(0, np.uint64), np.empty((0, 2), np.int64))


class PairCache:
    """Cached similar pairs of a dataset, for an embedder and a threshold.

    Args:
        folder: Folder of the dataset's vectors.
        fingerprint: Fingerprint of the embedder.
        cosine: Lowest cosine of a pair.
    """

    def __init__(self, folder: Path, fingerprint: str, cosine: float) -> None:
        self._table = VectorTable(folder, fingerprint)
        self._cosine = cosine
        self._path = folder / f"alike-{fingerprint}-{cosine:g}.npz"

    def pairs_for(self, ids: Sequence[str]) -> SimilarPairs | None:
        """Compare new samples, then return the similar pairs among `ids`, as rows of it.

        None if caching does not pay: `ids` are less than half of the samples with a vector,
        or there are too many pairs.

        Raises:
            StageError: A sample has no vector.
            StoreError: The file cannot be written.
        """
        if len(ids) < _MIN_SHARE * len(self._table.ids()):
            return None
        compared = self._update()
        if compared.too_many:
            return None
        row_of = {sample_id: row for row, sample_id in enumerate(ids)}
        rows = np.array([row_of.get(i.decode(), -1) for i in compared.ids.tolist()], np.int64)
        pairs = rows[compared.pairs]
        return SimilarPairs(self._cosine, pairs[(pairs >= 0).all(axis=1)])

    def _update(self) -> _Compared:
        """Compare new and changed vectors with all vectors, and return all pairs."""
        before = self._read()
        ids = sorted(self._table.ids())
        matrix = self._table.read(ids)
        names, hashes = np.array(ids, "S24"), _hashes(matrix)
        row_before = {name: i for i, name in enumerate(before.ids.tolist())}
        old_row = np.array([row_before.get(name, -1) for name in names.tolist()], np.int64)
        same = old_row >= 0
        same[same] = before.hashes[old_row[same]] == hashes[same]
        if same.all():
            return before
        # Compared rows come first, in their order, so that `find_pairs` can skip them.
        order = np.concatenate([np.flatnonzero(same), np.flatnonzero(~same)])
        names, hashes = names[order], hashes[order]
        n_compared = int(same.sum())
        new_pairs = None
        if not before.too_many or not n_compared:
            is_large = len(matrix) * (len(matrix) - n_compared) > _MAX_EXACT
            search = ann_index if is_large else similar_pairs
            new_pairs = search.find_pairs(matrix[order], self._cosine, n_compared=n_compared)
        if new_pairs is None:
            compared = _Compared(names, hashes, np.empty((0, 2), np.int64), too_many=True)
            logger.info("Too many similar images: pairs are not cached.")
        else:
            new_row = np.full(len(before.ids), -1, np.int64)
            new_row[old_row[order[:n_compared]]] = np.arange(n_compared)
            old_pairs = new_row[before.pairs]
            old_pairs = old_pairs[(old_pairs >= 0).all(axis=1)]
            compared = _Compared(names, hashes, np.concatenate([old_pairs, new_pairs]))
            logger.info(
                "Compared %d new images with %d: %d similar pairs, %d of them new.",
                len(names) - n_compared, len(names), len(compared.pairs), len(new_pairs),
            )  # fmt: skip
        self._write(compared)
        return compared

    def _read(self) -> _Compared:
        try:
            with self._path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return _Compared(
                    file["ids"], file["hashes"], file["pairs"].astype(np.int64),
                    bool(file["too_many"]),
                )  # fmt: skip
        except FileNotFoundError:
            return _Compared.empty()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s is damaged (%s): comparing all images again.", self._path, error)
            return _Compared.empty()

    def _write(self, compared: _Compared) -> None:
        content: dict[str, Any] = {
            "ids": compared.ids, "hashes": compared.hashes,
            "pairs": compared.pairs.astype(np.int32), "too_many": np.array(compared.too_many),
        }  # fmt: skip
        try:
            with atomic_write(self._path) as draft, draft.open("wb") as file:
                np.savez(file, **content)
        except OSError as error:
            raise StoreError(
                f"Cannot store similar pairs in {self._path.parent}: {error.strerror}. Make room "
                "or grant write permission there, then run again."
            ) from error


def _hashes(matrix: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a hash of each row, shape (N,)."""
    rows = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in matrix)
    return np.frombuffer(b"".join(rows), np.uint64)
