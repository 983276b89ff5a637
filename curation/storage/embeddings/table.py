"""Embeddings of a dataset in a LanceDB table on disk.

Each embedder has its own table. Writing an id again replaces its vector.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.errors import StageError, StoreError

os.environ.setdefault("LANCE_LOG", "error")  # it warns about every new table

_ID, _VECTOR = "sample_id", "vector"


class VectorTable:
    """Embeddings of a dataset by one embedder.

    Args:
        folder: Folder of the dataset's tables; created with the first vector.
        fingerprint: Fingerprint of the embedder.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._name = f"vectors-{fingerprint}"

    @property
    def version(self) -> int:
        """The version of the table, which grows with every write; 0 without a table."""
        table = self._open()
        return 0 if table is None else int(table.version)

    def ids(self) -> set[str]:
        """Return the ids of the samples that have a vector."""
        table = self._open()
        if table is None or len(table) == 0:
            return set()
        rows = table.search().select([_ID]).limit(len(table)).to_arrow()
        return set(rows[_ID].to_pylist())

    def add(self, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Store vectors of shape (N, D), float32.

        Raises:
            StoreError: The vectors cannot be written; earlier ones are kept.
        """
        import lancedb
        import pyarrow as pa

        if not ids:
            return
        dimensions = vectors.shape[1]
        kind = pa.list_(pa.float32(), dimensions)
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1)), dimensions
        )
        schema = pa.schema([(_ID, pa.string()), (_VECTOR, kind)])
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            database = lancedb.connect(str(self._folder))
            table = database.create_table(self._name, schema=schema, exist_ok=True)
            rows = pa.table([pa.array(list(ids)), column], schema=schema)
            merge = table.merge_insert(_ID).when_matched_update_all()
            merge.when_not_matched_insert_all().execute(rows)
        except (OSError, RuntimeError) as error:
            first = (
                str(error).splitlines()[0].split(", /")[0]
            )  # without positions in Lance's source
            raise StoreError(
                f"Cannot store embeddings in {self._folder}: {first}. Make room or grant write "
                "permission there, then run again."
            ) from error

    def read(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `ids`, in the same order, shape (N, D), float32.

        Raises:
            StageError: A sample has no vector.
        """
        table = self._open()
        if not ids:
            return np.zeros((0, 1), np.float32)
        if table is None:
            raise StageError("The dataset has no embeddings. Run `curate embed` first.")
        rows = table.to_arrow()
        row_of = {sample_id: row for row, sample_id in enumerate(rows[_ID].to_pylist())}
        missing = [sample_id for sample_id in ids if sample_id not in row_of]
        if missing:
            raise StageError(
                f"{len(missing)} of {len(ids)} samples have no embedding, starting with "
                f"{missing[0]}. Run `curate embed` on them."
            )
        matrix = rows[_VECTOR].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
        return np.asarray(matrix[[row_of[sample_id] for sample_id in ids]], np.float32)

    def _open(self) -> Any:
        import lancedb

        if not (self._folder / f"{self._name}.lance").is_dir():
            return None
        return lancedb.connect(str(self._folder)).open_table(self._name)
