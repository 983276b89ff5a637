"""FiftyOne brain runs of a dataset: the similarity index and the UMAP plot.

Both are computed from stored embeddings, without running a model, and can be rebuilt at any
time. The index is FiftyOne's in-memory index, stored in its database, so every process that
opens the dataset can use it. (FiftyOne's LanceDB backend forgets the location of its tables on
reload, sees the first ten tables only, and rewrites the table with every addition.)
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curation.errors import StageError
from curation.storage import schema
from curation.storage.embeddings.pair_cache import PairCache
from curation.storage.embeddings.similar_pairs import SimilarPairs
from curation.storage.embeddings.table import VectorTable

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

_MIN_UMAP_SAMPLES = 5  # with fewer, UMAP has no neighborhood to preserve
_UMAP_SEED = 51
_DIGEST = "drawn"  # in the embedder's note: digest of the samples in the index and the plot


def record_embedder(dataset: Dataset, folder: Path, member: str, fingerprint: str) -> None:
    """Store the embedder of a dataset and the folder of its vectors; drop outdated brain runs."""
    note = {"member": member, "fingerprint": fingerprint, "folder": str(folder)}
    before = dataset.info.get(schema.EMBEDDER_INFO) or {}
    if any(before.get(key) != value for key, value in note.items()):
        _delete_runs(dataset)
        dataset.info[schema.EMBEDDER_INFO] = note
        dataset.save()


def read_vectors(dataset: Dataset, ids: Sequence[str]) -> NDArray[np.float32]:
    """Return the unit vectors of `ids`, in the same order, shape (N, D), float32.

    Raises:
        StageError: The dataset or a sample has no embedding.
    """
    note = dataset.info.get(schema.EMBEDDER_INFO)
    if note is None:
        raise StageError(
            f"The dataset {dataset.name!r} has no embeddings. Run `curate embed {dataset.name}`."
        )
    return VectorTable(Path(note["folder"]), note["fingerprint"]).read(ids)


def near_duplicate_pairs(
    dataset: Dataset, ids: Sequence[str], cosine: float
) -> SimilarPairs | None:
    """Return the near-duplicates among `ids` from the cache, or None, see `PairCache.pairs_for`.

    Raises:
        StageError: A sample has no embedding.
        StoreError: The cache cannot be written.
    """
    note = dataset.info[schema.EMBEDDER_INFO]
    return PairCache(Path(note["folder"]), note["fingerprint"], cosine).pairs_for(ids)


def is_current(dataset: Dataset, ids: Sequence[str]) -> bool:
    """Return whether the index and the plot exist and show exactly these samples."""
    note = dataset.info.get(schema.EMBEDDER_INFO) or {}
    exist = all(dataset.has_brain_run(key) for key in _keys(ids))
    return exist and note.get(_DIGEST) == _digest(ids)


def rebuild(dataset: Dataset, ids: Sequence[str]) -> None:
    """Extend the index to the samples, or recreate it if it has others, and redraw the plot.

    Args:
        dataset: The FiftyOne dataset.
        ids: Samples with an embedding; a few have an index but not a plot.
    """
    extends = set(indexed_ids(dataset)) <= set(ids)
    _delete_runs(dataset, (schema.UMAP,) if extends else (schema.SIMILARITY, schema.UMAP))
    update_index(dataset, ids)
    if schema.UMAP in _keys(ids):
        _compute_umap(dataset.select(list(ids), ordered=True), read_vectors(dataset, ids))
    note = dataset.info[schema.EMBEDDER_INFO]
    dataset.info[schema.EMBEDDER_INFO] = {**note, _DIGEST: _digest(ids)}
    dataset.save()


def indexed_ids(dataset: Dataset) -> list[str]:
    """Return the samples in the index, without an index none."""
    if not dataset.has_brain_run(schema.SIMILARITY):
        return []
    return [str(sample_id) for sample_id in _load_index(dataset).sample_ids]


def update_index(dataset: Dataset, ids: Sequence[str]) -> int:
    """Create the index, or add missing samples to it, and return the number of new samples."""
    import fiftyone.brain as fob

    if not dataset.has_brain_run(schema.SIMILARITY):
        if ids:
            fob.compute_similarity(
                dataset.select(list(ids), ordered=True), embeddings=read_vectors(dataset, ids),
                backend="sklearn", metric="cosine", brain_key=schema.SIMILARITY,
            )  # fmt: skip
        return len(ids)
    index = _load_index(dataset)
    existing = set(index.sample_ids)
    new = [sample_id for sample_id in ids if sample_id not in existing]
    if new:
        index.add_to_index(read_vectors(dataset, new), new)
        index.save()
    return len(new)


def _load_index(dataset: Dataset) -> Any:
    # Without FiftyOne's cache: a query centers the vectors of a cached index in place.
    return dataset.load_brain_results(schema.SIMILARITY, cache=False, load_view=False)


def _compute_umap(view: DatasetView, matrix: NDArray[np.float32]) -> None:
    import fiftyone.brain as fob

    with warnings.catch_warnings():
        # UMAP warns that a seed prevents threading, and on first import that TensorFlow is
        # not installed.
        warnings.filterwarnings("ignore", message=".*n_jobs value.*", category=UserWarning)
        warnings.filterwarnings("ignore", message="Tensorflow not inst", category=ImportWarning)
        fob.compute_visualization(
            view,
            embeddings=matrix,
            method="umap",
            brain_key=schema.UMAP,
            seed=_UMAP_SEED,
            num_neighbors=min(15, len(matrix) - 1),
            verbose=False,
        )


def _keys(ids: Sequence[str]) -> tuple[str, ...]:
    """Return the brain keys for these samples."""
    if len(ids) >= _MIN_UMAP_SAMPLES:
        return (schema.SIMILARITY, schema.UMAP)
    return (schema.SIMILARITY,) if ids else ()


def _delete_runs(dataset: Dataset, keys: Sequence[str] = (schema.SIMILARITY, schema.UMAP)) -> None:
    for key in keys:
        if dataset.has_brain_run(key):
            dataset.delete_brain_run(key)


def _digest(ids: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]
