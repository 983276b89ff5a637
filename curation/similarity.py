"""What the App searches and draws: FiftyOne's similarity index and the UMAP picture.

Both are made from our own vectors, so they cost no model run and can be made anew any time.
The index is FiftyOne's in-memory one, kept in its database: it works in every process that
opens the dataset. (Its LanceDB backend forgets where its tables are when it is loaded again,
sees the first ten tables only, and rewrites the table with every addition.)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation import fields
from curation.errors import StageError
from curation.vectors import Vectors

_LEAST_FOR_UMAP = 5  # below, UMAP has no neighbourhood to keep
_UMAP_SEED = 51


def remember_embedder(dataset: Any, folder: Path, member: str, fingerprint: str) -> None:
    """Note with the dataset who makes its vectors, and where they are."""
    note = {"member": member, "fingerprint": fingerprint, "folder": str(folder)}
    if dataset.info.get(fields.EMBEDDER_INFO) != note:
        dataset.info[fields.EMBEDDER_INFO] = note
        dataset.save()


def vectors(dataset: Any, ids: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of `ids` in their order, shape (N, D), float32, length 1.

    Raises:
        StageError: The dataset has no vectors, or a sample has none.
    """
    note = dataset.info.get(fields.EMBEDDER_INFO)
    if note is None:
        raise StageError(
            f"The dataset {dataset.name!r} has no embeddings. Run `curate embed {dataset.name}`."
        )
    return Vectors(Path(note["folder"]), note["fingerprint"]).read(ids)


def draw(dataset: Any, ids: Sequence[str]) -> bool:
    """Make the index and the picture of `ids`; return whether there is a picture.

    Args:
        dataset: The FiftyOne dataset.
        ids: Samples that have a vector.
    """
    import fiftyone.brain as fob

    for key in (fields.SIMILARITY, fields.UMAP):
        if dataset.has_brain_run(key):
            dataset.delete_brain_run(key)
    if not ids:
        return False
    view, matrix = dataset.select(list(ids), ordered=True), vectors(dataset, ids)
    fob.compute_similarity(
        view, embeddings=matrix, backend="sklearn", metric="cosine", brain_key=fields.SIMILARITY
    )
    if len(ids) < _LEAST_FOR_UMAP:
        return False
    with warnings.catch_warnings():
        # UMAP says that a seed costs it its second thread; we want the seed.
        warnings.filterwarnings("ignore", message=".*n_jobs value.*", category=UserWarning)
        fob.compute_visualization(
            view,
            embeddings=matrix,
            method="umap",
            brain_key=fields.UMAP,
            seed=_UMAP_SEED,
            n_neighbors=min(15, len(ids) - 1),
            verbose=False,
        )
    return True
