"""Embed samples into FiftyOne's similarity index, and draw their UMAP picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cascade.engine.run import Progress, default_device, run
from cascade.ensemble import Ensemble
from cascade.predictions import Embedding, Failure
from curation.storage import collection, queries, schema, writer
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import Vectors

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection


@dataclass(frozen=True)
class EmbedResult:
    """What a call did.

    Attributes:
        embedder: The member that made the vectors.
        added: Vectors made now.
        skipped: Samples that had one.
        failed: Samples whose image could not be embedded; on record in `failures`.
        umap: Whether the UMAP picture exists.
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
    """Store a vector of every sample and draw what the App shows; do only what is missing.

    Args:
        samples: A FiftyOne dataset or view.
        ensemble: Its first embedding member makes the vectors.
        folder: Where the vectors of this dataset are kept.
        device: Where to run; the first GPU, else the CPU.
        progress: Told after every batch.
    """
    device = device or default_device()
    dataset = queries.dataset_of(samples)
    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    name = ensemble.embedder
    fingerprint = ensemble.fingerprint(name)
    table = Vectors(folder, fingerprint)
    brain_runs.remember_embedder(dataset, folder, name, fingerprint)
    ids, paths = collection.ids_and_paths(samples)
    there = table.ids()
    todo = {one for one in ids if one not in there}
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
    known = table.ids()
    embedded = [one for one in collection.ids_and_paths(dataset)[0] if one in known]
    if not brain_runs.is_drawn(dataset, embedded):
        threads = torch.get_num_threads()
        brain_runs.draw(dataset, embedded)
        torch.set_num_threads(threads)  # UMAP changes them, and with them the last digits of sums
    return EmbedResult(
        embedder=name,
        added=tally.predicted,
        skipped=len(ids) - len(todo),
        failed=tally.failed,
        umap=dataset.has_brain_run(schema.UMAP),
    )


@dataclass(frozen=True)
class VectorSink:
    """Puts vectors into the table, and failures on record."""

    dataset: Dataset
    table: Vectors
    member: str

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what one call of the engine gives."""
        found = {i: row[self.member] for i, row in results.items()}
        kept = {i: one.vector for i, one in found.items() if isinstance(one, Embedding)}
        self.table.add(list(kept), np.array(list(kept.values()), np.float32))
        failures = {i: one for i, one in found.items() if isinstance(one, Failure)}
        writer.write_failures(self.dataset, "embed", self.member, failures, cleared=list(kept))
