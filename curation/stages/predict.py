"""Run the detectors of an ensemble over samples, each into a label field of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cascade.ensemble import Ensemble
from cascade.routing import Path as Route
from cascade.run import Progress, default_device, run
from curation import fields, store
from curation import samples as query

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictResult:
    """What a call did.

    Attributes:
        samples: Samples that were looked at.
        ran: Predictions made now.
        skipped: Predictions that were there already, by the same weights.
        failed: Predictions that failed; each is on record in the sample's `failures`.
        left_out: Members that cannot run here, with the reason.
        seconds: Time in each member's own calls.
    """

    samples: int
    ran: int
    skipped: int
    failed: int
    left_out: Mapping[str, str]
    seconds: Mapping[str, float]


def predict(
    samples: Any,
    ensemble: Ensemble,
    *,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> PredictResult:
    """Store every detector's boxes for every sample; do only what is missing.

    Work is keyed by (sample, member fingerprint): a run that was cut off goes on where it
    stopped, and a second run does nothing.

    Args:
        samples: A FiftyOne dataset or view.
        ensemble: Whose detectors run.
        device: Where; the first GPU, else the CPU.
        progress: Told after every batch.
    """
    device = device or default_device()
    for reason in ensemble.left_out.values():
        logger.warning("%s", reason)
    dataset = query.dataset_of(samples)
    fields.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    fingerprints = {name: ensemble.fingerprint(name) for name in ensemble.detectors}
    ids, paths = store.ids_and_paths(samples)
    todo = {name: set(store.missing(samples, name, key)) for name, key in fingerprints.items()}
    waiting = {name: rest for name, rest in todo.items() if rest}
    sink = _Sink(dataset, ensemble, fingerprints)
    tally = run(
        {name: ensemble.build(name, device) for name in waiting},
        {name: ensemble.manifest.member(name) for name in waiting},
        ids,
        paths,
        sink,
        device=device,
        todo=waiting,
        progress=progress,
    )
    query.note_costs(dataset, tally, tier="detection", paths={name: tuple(Route) for name in todo})
    known = query.remembered(dataset, "members") or {}
    query.remember(dataset, "members", known | _provenance(ensemble, fingerprints))
    return PredictResult(
        samples=len(ids),
        ran=tally.predicted,
        skipped=len(ids) * len(todo) - sum(map(len, todo.values())),
        failed=tally.failed,
        left_out=dict(ensemble.left_out),
        seconds={name: round(taken, 2) for name, taken in tally.seconds.items()},
    )


def _provenance(ensemble: Ensemble, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """Return who wrote each label field, for whoever opens the dataset later."""
    entries = {name: ensemble.manifest.member(name) for name in fingerprints}
    return {
        name: {
            "adapter": one.adapter,
            "source": one.source,
            "licence": one.licence,
            "manifest": ensemble.manifest.name,
            "fingerprint": fingerprints[name],
        }
        for name, one in entries.items()
    }


@dataclass(frozen=True)
class _Sink:
    """Writes what the engine finds into the dataset."""

    dataset: Any
    ensemble: Ensemble
    fingerprints: Mapping[str, str]

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        store.write_members(
            self.dataset,
            results,
            fingerprints=self.fingerprints,
            taxonomy=self.ensemble.taxonomy,
            calibration=self.ensemble.calibration,
        )
