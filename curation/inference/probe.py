"""Image decisions of the ensemble's probe on stored embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cascade.arrays import FloatArray
from cascade.ensemble import Ensemble
from cascade.fusion.probe import Probe
from curation.storage import schema
from curation.storage.collection import dataset_of
from curation.storage.embeddings.table import VectorTable

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection


def p_yes(
    samples: SampleCollection, ids: Sequence[str], ensemble: Ensemble
) -> dict[str, FloatArray]:
    """Return P(yes) by the name of the embedder, shape (n,), NaN without an embedding.

    Empty if the ensemble has no probe, or the embeddings are of another embedder.

    Args:
        samples: The dataset, or a view of it.
        ids: Ids of the n samples.
        ensemble: Ensemble with the probe.
    """
    note = dataset_of(samples).info.get(schema.EMBEDDER_INFO)
    if ensemble.probe_embedder is None or ensemble.probe is None or not note:
        return {}
    fingerprint = note["fingerprint"]
    if fingerprint != ensemble.probe.embedder:
        return {}
    folder = Path(note["folder"])
    version = VectorTable(folder, fingerprint).version
    p = _p_yes_of_all(folder, fingerprint, version, ensemble.probe)
    return {
        ensemble.probe_embedder: np.array([p.get(sample_id, np.nan) for sample_id in ids], float)
    }


@lru_cache(maxsize=2)
def _p_yes_of_all(
    folder: Path, fingerprint: str, version: int, probe: Probe
) -> Mapping[str, float]:
    """Return P(yes) of every sample with an embedding; one scan per version of the table."""
    table = VectorTable(folder, fingerprint)
    ids = sorted(table.ids())
    return dict(zip(ids, probe.p_yes(table.read(ids)).tolist(), strict=True)) if ids else {}
