"""The vectors of new samples: made, kept, and added to the similarity index that is there.

`stages.embed` draws the index and the UMAP picture anew for every sample that is new, which
costs minutes with a large pool. A night adds to the index, and leaves the picture to the next
`curate embed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cascade.engine.run import default_device, run
from cascade.ensemble import Ensemble
from curation.stages.embed import VectorSink
from curation.storage import collection, schema
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import Vectors

if TYPE_CHECKING:
    from fiftyone import Dataset


@dataclass(frozen=True)
class Embedded:
    """What a call did.

    Attributes:
        added: Vectors made now.
        skipped: Samples that had one.
        failed: Samples whose image could not be embedded; on record in `failures`.
    """

    added: int
    skipped: int
    failed: int


def embed_new(
    dataset: Dataset, ensemble: Ensemble, *, folder: Path, device: torch.device | None = None
) -> Embedded:
    """Store a vector of every sample that has none, and nothing else.

    Args:
        dataset: A FiftyOne dataset.
        ensemble: Its first embedding member makes the vectors.
        folder: Where the vectors of this dataset are kept.
        device: Where to run; the first GPU, else the CPU.
    """
    device, name = device or default_device(), ensemble.embedder
    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    fingerprint = ensemble.fingerprint(name)
    table = Vectors(folder, fingerprint)
    brain_runs.remember_embedder(dataset, folder, name, fingerprint)
    ids, paths = collection.ids_and_paths(dataset)
    there = table.ids()
    todo = {one for one in ids if one not in there}
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
    """Add the vectors that the similarity index lacks, where there is one; return how many."""
    if not dataset.has_brain_run(schema.SIMILARITY):
        return 0
    note = dataset.info[schema.EMBEDDER_INFO]
    there = Vectors(Path(note["folder"]), note["fingerprint"]).ids()
    known = [one for one in collection.ids_and_paths(dataset)[0] if one in there]
    return brain_runs.index(dataset, known)
