"""Embed samples into FiftyOne's similarity index, and compute their UMAP plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cascade.engine.run import run
from cascade.ensemble import Ensemble
from cascade.predictions import Embedding, Failure
from cascade.runtime.devices import default_device
from cascade.runtime.progress import Progress
from curation.storage import collection, schema, writer
from curation.storage.collection import dataset_of
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection


@dataclass(frozen=True)
class EmbedResult:
    """Outcome of a call of `embed`.

    Attributes:
        embedder: The member that computes the vectors.
        added: Vectors added by this call.
        skipped: Samples that had a vector.
        failed: Samples that could not be embedded; each is recorded in its `failures`.
        umap: Whether the UMAP plot exists.
    """

    embedder: str
    added: int
    skipped: int
    failed: int
    umap: bool


def embed(
    samples: SampleCollection,
    ensemble: Ensemble,
    *,
    folder: Path,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> EmbedResult:
    """Store the missing vectors of all samples, and update the UMAP plot of the App.

    Args:
        samples: A FiftyOne dataset or view.
        ensemble: Ensemble whose first embedding member computes the vectors.
        folder: Folder for the vectors of the dataset.
        device: Device of the model; None for the first GPU, else the CPU.
        progress: Callback after every batch.
    """
    device = device or default_device()
    dataset = dataset_of(samples)
    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    name = ensemble.embedder
    fingerprint = ensemble.fingerprint(name)
    table = VectorTable(folder, fingerprint)
    brain_runs.record_embedder(dataset, folder, name, fingerprint)
    ids, paths = collection.ids_and_paths(samples)
    todo = set(ids) - table.ids()
    sink = VectorSink(dataset, table, name)
    tally = run(
        {name: ensemble.build(name, device)} if todo else {},
        {name: ensemble.manifest.member(name)},
        ids,
        paths,
        sink,
        device=device,
        todo={name: todo},
        progress=progress,
    )
    stored = table.ids()
    dataset_ids, _ = collection.ids_and_paths(dataset)
    embedded = [sample_id for sample_id in dataset_ids if sample_id in stored]
    if not brain_runs.is_current(dataset, embedded):
        threads = torch.get_num_threads()
        brain_runs.rebuild(dataset, embedded)
        torch.set_num_threads(threads)  # UMAP changes it, and with it the last digits of sums
    return EmbedResult(
        embedder=name,
        added=tally.predicted,
        skipped=len(ids) - len(todo),
        failed=tally.failed,
        umap=dataset.has_brain_run(schema.UMAP),
    )


@dataclass(frozen=True)
class VectorSink:
    """Writes vectors to the table, and failures to the dataset."""

    dataset: Dataset
    table: VectorTable
    member: str

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Write one batch of results."""
        predictions = {i: row[self.member] for i, row in results.items()}
        vectors = {i: p.vector for i, p in predictions.items() if isinstance(p, Embedding)}
        self.table.add(list(vectors), np.array(list(vectors.values()), np.float32))
        failures = {i: p for i, p in predictions.items() if isinstance(p, Failure)}
        writer.write_failures(self.dataset, "embed", self.member, failures, cleared=list(vectors))
