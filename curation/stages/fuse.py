"""Fuse the predictions of all members into objects and the image decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.ensemble import Ensemble
from cascade.fusion import contradictions, routing
from cascade.runtime.progress import Progress
from curation.inference.fusion import FusedPredictions, fuse_predictions
from curation.storage import collection, reader, schema, writer
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

_CHUNK = 1000  # samples in memory at a time, unless a drive has more


@dataclass(frozen=True)
class FuseResult:
    """Outcome of a call of `fuse`.

    Attributes:
        samples: Samples of the dataset or view.
        fused: Samples whose consensus was written by this call.
        skipped: Samples whose consensus was up to date.
    """

    samples: int
    fused: int
    skipped: int


def fuse(
    samples: SampleCollection, ensemble: Ensemble, *, progress: Progress | None = None
) -> FuseResult:
    """Write `consensus`, the image decision and the agreement of every sample.

    Reads the members' raw scores, so a changed calibration or threshold needs no model run. A
    consensus is up to date if it carries the ensemble's identity.
    """
    dataset = dataset_of(samples)
    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    stale = set(collection.missing_ids(samples, schema.CONSENSUS, ensemble.identity))
    chunks = _chunks(samples, stale)
    done = 0
    for ids in chunks:
        _fuse_chunk(dataset, ids, ensemble)
        done += len(stale.intersection(ids))
        if progress:
            progress(done, len(stale))
    total = len(collection.ids_and_paths(samples)[0])
    return FuseResult(samples=total, fused=len(stale), skipped=total - len(stale))


def _chunks(samples: SampleCollection, stale: set[str]) -> list[list[str]]:
    """Return the samples to fuse in chunks of whole drives, which share a camera.

    A drive with one stale sample is fused completely; otherwise the estimated focal length of
    its camera would depend on the order of samples.
    """
    columns = reader.read_columns(samples, [schema.DRIVE])
    drives: dict[str, list[str]] = {}
    for sample_id, drive in zip(columns["id"], columns[schema.DRIVE], strict=True):
        drives.setdefault(drive or sample_id, []).append(sample_id)
    chunks: list[list[str]] = []
    for ids in drives.values():
        if stale.isdisjoint(ids):
            continue
        if not chunks or len(chunks[-1]) + len(ids) > _CHUNK:
            chunks.append([])
        chunks[-1] += ids
    return chunks


def _fuse_chunk(dataset: Dataset, ids: Sequence[str], ensemble: Ensemble) -> None:
    view = dataset.select(list(ids))
    fused = fuse_predictions(view, ensemble)
    writer.recalibrate(dataset, ensemble.detectors, ensemble.calibration, ids=fused.ids)
    writer.write_consensus(  # last, since it marks the samples as up to date
        dataset,
        fused.ids,
        fused.clusters,
        fused.decisions,
        taxonomy=ensemble.taxonomy,
        threshold=ensemble.calibration.threshold,
        fingerprint=ensemble.identity,
        extra_fields=_further(fused, ensemble),
        sizes=fused.sizes,
    )


def _further(fused: FusedPredictions, ensemble: Ensemble) -> list[dict[str, Any]]:
    """Return each sample's path through the cascade: tiers, contradictions, answering tier."""
    first, deep = fused.detector_decisions, fused.deep_tiers
    paths = routing.route(first.p, first.agreement, ensemble.manifest.routing).tolist()
    detected = contradictions.support(fused.clusters)
    detectable = np.asarray(ensemble.competent.any(axis=0), bool)
    contradicts = {
        name: contradictions.contradictions(
            answers, detected, deep.masked, detectable, first, ensemble.taxonomy
        )
        for name, answers in deep.answers.items()
    }
    return [
        {
            schema.PATH: str(path),
            schema.TIERS_REACHED: ["detection", *deep.reached[i]],
            schema.ANSWERED_BY: "language" if deep.answered[i] else "detection",
            **{
                f"{name}.contradicts": contradicts[name][i]
                for name, answers in deep.answers.items()
                if answers[i] is not None
            },
        }
        for i, path in enumerate(paths)
    ]
