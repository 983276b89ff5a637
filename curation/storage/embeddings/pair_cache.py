"""The pairs of samples that look alike, kept beside their vectors, and extended by new ones.

A file belongs to one embedder and one threshold. It holds, of every vector that was compared, the
sample's id and a hash: a vector that is another now is compared anew.
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

_MOST_COMPARED = 10**11  # cosines: some minutes; beyond, an index finds nearly all pairs
_LEAST_SHARE = 0.5  # of all vectors: fewer are compared quicker by themselves


@dataclass(frozen=True, eq=False)
class _Compared:
    """What was compared so far.

    Attributes:
        ids: Of the samples, ASCII, shape (N,).
        hashes: Of their vectors, shape (N,), uint64.
        pairs: Rows that look alike, shape (P, 2); empty where they are too many.
        too_many: Whether they are too many to be kept.
    """

    ids: NDArray[np.bytes_]
    hashes: NDArray[np.uint64]
    pairs: Int64Array
    too_many: bool = False

    @classmethod
    def nothing(cls) -> _Compared:
        return cls(np.empty(0, "S24"), np.empty(0, np.uint64), np.empty((0, 2), np.int64))


class PairCache:
    """The pairs of one dataset, embedder and threshold.

    Args:
        folder: Where the vectors of the dataset are.
        fingerprint: Of the embedder.
        cosine: The threshold.
    """

    def __init__(self, folder: Path, fingerprint: str, cosine: float) -> None:
        self._table = VectorTable(folder, fingerprint)
        self._cosine = cosine
        self._path = folder / f"alike-{fingerprint}-{cosine:g}.npz"

    def pairs_for(self, ids: Sequence[str]) -> SimilarPairs | None:
        """Return the pairs among samples, as rows of `ids`, once what is new has been compared.

        None where keeping pairs is not worth it: `ids` are less than half of what has a vector,
        or there are too many pairs.

        Raises:
            StageError: A sample has no vector.
            StoreError: The disk did not take the file.
        """
        if len(ids) < _LEAST_SHARE * len(self._table.ids()):
            return None
        known = self._extended()
        if known.too_many:
            return None
        row_of = {one: row for row, one in enumerate(ids)}
        here = np.array([row_of.get(one.decode(), -1) for one in known.ids.tolist()], np.int64)
        pairs = here[known.pairs]
        return SimilarPairs(self._cosine, pairs[(pairs >= 0).all(axis=1)])

    def _extended(self) -> _Compared:
        """Return all pairs, those of new vectors included; compare these alone with all."""
        before = self._read()
        ids = sorted(self._table.ids())
        matrix = self._table.read(ids)
        names, hashes = np.array(ids, "S24"), _hashes(matrix)
        row_before = {one: i for i, one in enumerate(before.ids.tolist())}
        then = np.array([row_before.get(one, -1) for one in names.tolist()], np.int64)
        same = then >= 0
        same[same] = before.hashes[then[same]] == hashes[same]
        if same.all():
            return before
        # What is known comes first, in its order, so that `find` can leave it out.
        order = np.concatenate([np.flatnonzero(same), np.flatnonzero(~same)])
        number = int(same.sum())
        made = None
        if not before.too_many or not number:
            find = (
                similar_pairs.find_pairs
                if len(matrix) * (len(matrix) - number) <= _MOST_COMPARED
                else ann_index.find_pairs
            )
            made = find(matrix[order], self._cosine, known=number)
        names, hashes = names[order], hashes[order]
        if made is None:
            found = _Compared(names, hashes, np.empty((0, 2), np.int64), too_many=True)
            logger.info("Too many images look alike to keep the pairs: they are found anew.")
        else:
            now = np.full(len(before.ids), -1, np.int64)
            now[then[order[:number]]] = np.arange(number)
            kept = now[before.pairs]
            kept = kept[(kept >= 0).all(axis=1)]
            found = _Compared(names, hashes, np.concatenate([kept, made]))
            logger.info(
                "%d new images were compared with %d: %d pairs look alike, %d of them new.",
                len(names) - number, len(names), len(found.pairs), len(made),
            )  # fmt: skip
        self._write(found)
        return found

    def _read(self) -> _Compared:
        try:
            with self._path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return _Compared(
                    file["ids"], file["hashes"], file["pairs"].astype(np.int64),
                    bool(file["too_many"]),
                )  # fmt: skip
        except FileNotFoundError:
            return _Compared.nothing()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s is damaged (%s): all is compared anew.", self._path, error)
            return _Compared.nothing()

    def _write(self, found: _Compared) -> None:
        """Replace the file in one step: whoever reads meanwhile has the old one or the new."""
        content: dict[str, Any] = {
            "ids": found.ids, "hashes": found.hashes, "pairs": found.pairs.astype(np.int32),
            "too_many": np.array(found.too_many),
        }  # fmt: skip
        try:
            with atomic_write(self._path) as draft, draft.open("wb") as file:
                np.savez(file, **content)
        except OSError as error:
            raise StoreError(
                f"The pairs that look alike cannot be stored in {self._path.parent}: "
                f"{error.strerror}. Make room or give write permission there, then run again."
            ) from error


def _hashes(matrix: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a hash of each row, shape (N,)."""
    rows = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in matrix)
    return np.frombuffer(b"".join(rows), np.uint64)
