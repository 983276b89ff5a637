"""Fuse what the members said into objects and the image decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cascade import routing, voting
from cascade.ensemble import Ensemble
from cascade.run import Progress
from curation import fields, store
from curation import samples as query

_CHUNK = 1000  # samples held in memory at a time


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


def fuse(samples: Any, ensemble: Ensemble, *, progress: Progress | None = None) -> FuseResult:
    """Write `consensus`, the image decision and the agreement of every sample.

    Reads the members' raw scores, so a changed calibration or threshold costs no model run.
    A sample is up to date when its consensus carries the ensemble's identity.
    """
    dataset = query.dataset_of(samples)
    fields.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    stale = store.missing(samples, fields.CONSENSUS, ensemble.identity)
    for start in range(0, len(stale), _CHUNK):
        _fuse_chunk(dataset, stale[start : start + _CHUNK], ensemble)
        if progress:
            progress(min(start + _CHUNK, len(stale)), len(stale))
    total = len(store.ids_and_paths(samples)[0])
    return FuseResult(samples=total, fused=len(stale), skipped=total - len(stale))


def _fuse_chunk(dataset: Any, ids: Sequence[str], ensemble: Ensemble) -> None:
    view = dataset.select(list(ids), ordered=True)
    read = store.read_votes(view, ensemble.detectors, classes=ensemble.taxonomy, confidence="score")
    votes = ensemble.calibration.of(read.votes)
    clusters, decisions = voting.conclude(votes, ensemble, store.sizes_px(view))
    store.recalibrate(view, ensemble.detectors, ensemble.calibration)
    store.write_consensus(  # last: it says that the sample is up to date
        dataset,
        read.ids,
        clusters,
        decisions,
        taxonomy=ensemble.taxonomy,
        paths=routing.route(decisions.p, decisions.agreement, ensemble.manifest.routing).tolist(),
        threshold=ensemble.calibration.threshold,
        fingerprint=ensemble.identity,
    )
