"""Vectors of new samples: computed, stored, and added to the existing similarity index.

`stages.embed` rebuilds the index and the UMAP projection, which takes minutes for a large pool.
A nightly run extends the index, and leaves the projection to the next `curate embed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cascade.engine.run import run
from cascade.ensemble import Ensemble
from cascade.runtime.devices import default_device
from curation.stages.embed import VectorSink
from curation.storage import collection, schema
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

if TYPE_CHECKING:
    from fiftyone import Dataset


@dataclass(frozen=True)
class Embedded:
    """Counts of `embed_new`.

    Attributes:
        added: New vectors.
        skipped: Samples that already had a vector.
        failed: Samples whose image could not be embedded, recorded in `failures`.
    """

    added: int
    skipped: int
    failed: int


def embed_new(
    dataset: Dataset, ensemble: Ensemble, *, folder: Path, device: torch.device | None = None
) -> Embedded:
    """Store a vector of every sample that has none.

    Args:
        dataset: A FiftyOne dataset.
        ensemble: Ensemble whose first embedding member computes the vectors.
        folder: Folder of the dataset's vectors.
        device: Device to run on; None for the first GPU, else the CPU.
    """
    device, name = device or default_device(), ensemble.embedder
    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    fingerprint = ensemble.fingerprint(name)
    table = VectorTable(folder, fingerprint)
    brain_runs.record_embedder(dataset, folder, name, fingerprint)
    ids, paths = collection.ids_and_paths(dataset)
    todo = set(ids) - set(table.ids())
    tally = run(
        {name: ensemble.build(name, device)} if todo else {},
        {name: ensemble.manifest.member(name)},
        ids,
        paths,
        VectorSink(dataset, table, name),
        device=device,
        todo={name: todo},
    )
    return Embedded(added=tally.predicted, skipped=len(ids) - len(todo), failed=tally.failed)


def extend_index(dataset: Dataset) -> int:
    """Add missing vectors to the similarity index, if there is one; return their number."""
    if not dataset.has_brain_run(schema.SIMILARITY):
        return 0
    note = dataset.info[schema.EMBEDDER_INFO]
    embedded = VectorTable(Path(note["folder"]), note["fingerprint"]).ids()
    ids = [sample_id for sample_id in collection.ids_and_paths(dataset)[0] if sample_id in embedded]
    return brain_runs.update_index(dataset, ids)
