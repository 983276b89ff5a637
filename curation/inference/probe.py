"""What the ensemble's probe reads off the stored vectors of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cascade.arrays import FloatArray
from cascade.ensemble import Ensemble
from cascade.training.probe_fit import Probe
from curation.storage import schema
from curation.storage.collection import dataset_of
from curation.storage.embeddings.table import VectorTable

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection


def p_yes(
    samples: SampleCollection, ids: Sequence[str], ensemble: Ensemble
) -> dict[str, FloatArray]:
    """Return by the embedder's name the probability of yes, shape (n,), NaN without a vector.

    Empty where the ensemble has no probe, or the vectors are of another embedder.

    Args:
        samples: The dataset or a view of it.
        ids: The n samples.
        ensemble: Whose probe.
    """
    note = dataset_of(samples).info.get(schema.EMBEDDER_INFO)
    if ensemble.probe_embedder is None or ensemble.probe is None or not note:
        return {}
    if note["fingerprint"] != ensemble.probe.embedder:
        return {}
    folder = Path(note["folder"])
    version = VectorTable(folder, note["fingerprint"]).version
    known = _all(folder, note["fingerprint"], version, ensemble.probe)
    return {ensemble.probe_embedder: np.array([known.get(one, np.nan) for one in ids], np.float64)}


@lru_cache(maxsize=2)
def _all(folder: Path, fingerprint: str, version: int, probe: Probe) -> Mapping[str, float]:
    """Return the probability of every sample that has a vector: one scan, however many ask."""
    table = VectorTable(folder, fingerprint)
    ids = sorted(table.ids())
    return dict(zip(ids, probe.p_yes(table.read(ids)).tolist(), strict=True)) if ids else {}
