"""Fuse what the members said into objects and the image decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.engine.run import Progress
from cascade.ensemble import Ensemble
from cascade.fusion import contradictions, routing
from curation.inference.fusion import Conclusion, conclude
from curation.presentation import refresh
from curation.storage import collection, queries, reader, schema, writer

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

_CHUNK = 1000  # samples held in memory at a time, unless one drive has more


@dataclass(frozen=True)
class FuseResult:
    """What a call did.

    Attributes:
        samples: Samples that were looked at.
        fused: Samples whose consensus was written now.
        skipped: Samples whose consensus was up to date.
    """

    samples: int
    fused: int
    skipped: int


def fuse(
    samples: SampleCollection, ensemble: Ensemble, *, progress: Progress | None = None
) -> FuseResult:
    """Write `consensus`, the image decision and the agreement of every sample.

    Reads the members' raw scores, so a changed calibration or threshold costs no model run.
    A sample is up to date when its consensus carries the ensemble's identity.
    """
    dataset = queries.dataset_of(samples)
    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    stale = set(collection.missing(samples, schema.CONSENSUS, ensemble.identity))
    chunks = _chunks(samples, stale)
    done = 0
    for ids in chunks:
        _fuse_chunk(dataset, ids, ensemble)
        done += len(stale.intersection(ids))
        if progress:
            progress(done, len(stale))
    refresh.after_stage(dataset)
    total = len(collection.ids_and_paths(samples)[0])
    return FuseResult(samples=total, fused=len(stale), skipped=total - len(stale))


def _chunks(samples: SampleCollection, stale: set[str]) -> list[list[str]]:
    """Return what to fuse, whole drives together: they share a camera.

    A drive with one stale sample is fused whole, so that what its camera's focal length is
    taken to be does not depend on which samples came first.
    """
    columns = reader.read_columns(samples, [schema.DRIVE])
    drives: dict[str, list[str]] = {}
    for one, drive in zip(columns["id"], columns[schema.DRIVE], strict=True):
        drives.setdefault(drive or one, []).append(one)
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
    found = conclude(view, ensemble)
    writer.recalibrate(dataset, ensemble.detectors, ensemble.calibration, ids=found.ids)
    writer.write_consensus(  # last: it says that the sample is up to date
        dataset,
        found.ids,
        found.clusters,
        found.final,
        taxonomy=ensemble.taxonomy,
        threshold=ensemble.calibration.threshold,
        fingerprint=ensemble.identity,
        further=_further(found, ensemble),
        sizes=found.sizes,
    )


def _further(found: Conclusion, ensemble: Ensemble) -> list[dict[str, Any]]:
    """Return the record of the cascade's way: path, tiers, and what contradicts them."""
    first, said = found.first, found.said
    paths = routing.route(first.p, first.agreement, ensemble.manifest.routing).tolist()
    detected = contradictions.support(found.clusters)
    knowable = np.asarray(ensemble.competent.any(axis=0), bool)
    contradicts = {
        name: contradictions.contradictions(
            answers, detected, said.masked, knowable, first, ensemble.taxonomy
        )
        for name, answers in said.answers.items()
    }
    return [
        {
            schema.PATH: str(path),
            schema.TIERS_REACHED: ["detection", *said.reached[i]],
            schema.ANSWERED_BY: "language" if said.answered[i] else "detection",
            **{
                f"{name}.contradicts": contradicts[name][i]
                for name, answers in said.answers.items()
                if answers[i] is not None
            },
        }
        for i, path in enumerate(paths)
    ]
