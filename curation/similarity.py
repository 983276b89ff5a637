"""Embeddings in FiftyOne's similarity index, and their UMAP picture.

Vectors live in a LanceDB table beside the database, not in sample documents: the App searches
it under the brain key `similarity`, and choosing reads it back in one scan.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation import fields
from curation.errors import StageError

logger = logging.getLogger(__name__)

os.environ.setdefault("LANCE_LOG", "error")  # it warns of every table that it creates

_LEAST_FOR_UMAP = 5  # below, UMAP has no neighbourhood to keep
_UMAP_SEED = 51


def open_index(dataset: Any, folder: Path, *, embedder: str, fingerprint: str) -> Any:
    """Return the dataset's index; make an empty one where none fits the embedder.

    Args:
        dataset: The FiftyOne dataset.
        folder: Where LanceDB keeps its tables.
        embedder: The member that makes the vectors.
        fingerprint: Its fingerprint: vectors of two embedders never share an index.
    """
    import fiftyone.brain as fob

    if dataset.has_brain_run(fields.SIMILARITY):
        if dataset.info.get(fields.EMBEDDER_INFO, {}).get("fingerprint") == fingerprint:
            return dataset.load_brain_results(fields.SIMILARITY)
        logger.info("Another embedder made the index of %s: it is made anew.", dataset.name)
        _drop(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    index = fob.compute_similarity(
        dataset,
        embeddings=False,
        backend="lancedb",
        brain_key=fields.SIMILARITY,
        table_name=f"{dataset.name}-{fingerprint}",
        uri=str(folder),
        metric="cosine",
        progress=False,
    )
    dataset.info[fields.EMBEDDER_INFO] = {"member": embedder, "fingerprint": fingerprint}
    dataset.save()
    return index


def indexed_ids(index: Any) -> set[str]:
    """Return the ids of the samples that have a vector."""
    return set() if not index.total_index_size else {str(i) for i in index.sample_ids}


def add(index: Any, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Put vectors of shape (N, D) into the index; an id that is there is overwritten."""
    if ids:
        index.add_to_index(vectors, list(ids), overwrite=True)


def vectors(dataset: Any, ids: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of `ids`, shape (N, D), float32, length 1, in the order of `ids`.

    Raises:
        StageError: There is no index, or a sample has no vector.
    """
    if not dataset.has_brain_run(fields.SIMILARITY):
        raise StageError(
            f"The dataset {dataset.name!r} has no embeddings. Run `curate embed {dataset.name}`."
        )
    if not ids:
        return np.zeros((0, 1), np.float32)
    index = dataset.load_brain_results(fields.SIMILARITY)
    found, found_ids, _ = index.get_embeddings(sample_ids=list(ids), allow_missing=True)
    row_of = {str(sample_id): row for row, sample_id in enumerate(found_ids)}
    missing = [one for one in ids if one not in row_of]
    if missing:
        raise StageError(
            f"{len(missing)} of {len(ids)} samples have no embedding, the first is {missing[0]}. "
            f"Run `curate embed {dataset.name}`."
        )
    return np.asarray(found, np.float32)[[row_of[one] for one in ids]]


def draw_umap(dataset: Any, ids: Sequence[str]) -> bool:
    """Compute the UMAP picture of `ids` under the brain key `umap`; return whether it exists."""
    if len(ids) < _LEAST_FOR_UMAP:
        return False
    import fiftyone.brain as fob

    if dataset.has_brain_run(fields.UMAP):
        dataset.delete_brain_run(fields.UMAP)
    with warnings.catch_warnings():
        # UMAP says that a seed costs it its second thread; we want the seed.
        warnings.filterwarnings("ignore", message=".*n_jobs value.*", category=UserWarning)
        fob.compute_visualization(
            dataset.select(list(ids), ordered=True),
            embeddings=vectors(dataset, ids),
            method="umap",
            brain_key=fields.UMAP,
            seed=_UMAP_SEED,
            n_neighbors=min(15, len(ids) - 1),
            verbose=False,
            progress=False,
        )
    return True


def _drop(dataset: Any) -> None:
    index = dataset.load_brain_results(fields.SIMILARITY)
    index.cleanup()
    dataset.delete_brain_run(fields.SIMILARITY)
    if dataset.has_brain_run(fields.UMAP):
        dataset.delete_brain_run(fields.UMAP)
