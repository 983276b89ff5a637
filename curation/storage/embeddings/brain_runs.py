"""What the App searches and draws: FiftyOne's similarity index and the UMAP picture.

Both are made from our own vectors, so they cost no model run and can be made anew any time.
The index is FiftyOne's in-memory one, kept in its database: it works in every process that
opens the dataset. (Its LanceDB backend forgets where its tables are when it is loaded again,
sees the first ten tables only, and rewrites the table with every addition.)
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

_LEAST_FOR_UMAP = 5  # below, UMAP has no neighbourhood to keep
_UMAP_SEED = 51
_DRAWN = "drawn"  # in the note on the embedder: which samples the index and the picture show


def record_embedder(dataset: Dataset, folder: Path, member: str, fingerprint: str) -> None:
    """Note with the dataset who makes its vectors, and where they are.

    What was drawn from other vectors goes.
    """
    note = {"member": member, "fingerprint": fingerprint, "folder": str(folder)}
    before = dataset.info.get(schema.EMBEDDER_INFO) or {}
    if any(before.get(key) != value for key, value in note.items()):
        _forget(dataset)
        dataset.info[schema.EMBEDDER_INFO] = note
        dataset.save()


def read_vectors(dataset: Dataset, ids: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of `ids` in their order, shape (N, D), float32, length 1.

    Raises:
        StageError: The dataset has no vectors, or a sample has none.
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
    """Return the pairs of `ids` whose vectors look alike; what is known is not compared again.

    None where comparing `ids` by themselves costs less: see `known_pairs`.

    Raises:
        StageError: A sample has no vector.
        StoreError: The disk did not take the pairs.
    """
    note = dataset.info[schema.EMBEDDER_INFO]
    return PairCache(Path(note["folder"]), note["fingerprint"], cosine).pairs_for(ids)


def is_current(dataset: Dataset, ids: Sequence[str]) -> bool:
    """Return whether the index and the picture are there, and show exactly these samples."""
    note = dataset.info.get(schema.EMBEDDER_INFO) or {}
    there = all(dataset.has_brain_run(key) for key in _keys(ids))
    return there and note.get(_DRAWN) == _digest(ids)


def rebuild(dataset: Dataset, ids: Sequence[str]) -> None:
    """Make the index and the picture of `ids`; so few that there is no picture, or none, are fine.

    An index that shows nothing else is extended; the picture is drawn anew.

    Args:
        dataset: The FiftyOne dataset.
        ids: Samples that have a vector.
    """
    kept = {*indexed_ids(dataset)} <= {*ids}
    _forget(dataset, (schema.UMAP,) if kept else (schema.SIMILARITY, schema.UMAP))
    update_index(dataset, ids)
    if schema.UMAP in _keys(ids):
        _picture(dataset.select(list(ids), ordered=True), read_vectors(dataset, ids))
    dataset.info[schema.EMBEDDER_INFO] = {
        **dataset.info[schema.EMBEDDER_INFO],
        _DRAWN: _digest(ids),
    }
    dataset.save()


def indexed_ids(dataset: Dataset) -> list[str]:
    """Return the samples that the index shows; none where there is no index."""
    if not dataset.has_brain_run(schema.SIMILARITY):
        return []
    return [str(one) for one in _loaded(dataset).sample_ids]


def update_index(dataset: Dataset, ids: Sequence[str]) -> int:
    """Make the index of `ids`, or add to the one that is there what it lacks; return how many."""
    import fiftyone.brain as fob

    if not dataset.has_brain_run(schema.SIMILARITY):
        if ids:
            fob.compute_similarity(
                dataset.select(list(ids), ordered=True), embeddings=read_vectors(dataset, ids),
                backend="sklearn", metric="cosine", brain_key=schema.SIMILARITY,
            )  # fmt: skip
        return len(ids)
    found = _loaded(dataset)
    there = set(found.sample_ids)
    new = [one for one in ids if one not in there]
    if new:
        found.add_to_index(read_vectors(dataset, new), new)
        found.save()
    return len(new)


def _loaded(dataset: Dataset) -> Any:
    # Never the cached one: FiftyOne centres the vectors of an index in place to answer a query.
    return dataset.load_brain_results(schema.SIMILARITY, cache=False, load_view=False)


def _picture(view: DatasetView, matrix: NDArray[np.float32]) -> None:
    import fiftyone.brain as fob

    with warnings.catch_warnings():
        # UMAP says that a seed costs it its second thread (we want the seed), and on its first
        # import that it can do without TensorFlow.
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
    """Return the brain runs that these samples have."""
    if len(ids) >= _LEAST_FOR_UMAP:
        return (schema.SIMILARITY, schema.UMAP)
    return (schema.SIMILARITY,) if ids else ()


def _forget(dataset: Dataset, keys: Sequence[str] = (schema.SIMILARITY, schema.UMAP)) -> None:
    for key in keys:
        if dataset.has_brain_run(key):
            dataset.delete_brain_run(key)


def _digest(ids: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]
