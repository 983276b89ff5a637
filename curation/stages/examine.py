"""Run the deep tiers: depth, masks and language answers.

These tiers are expensive. In the mode `routed`, a sample goes only to the members on its path
through the cascade. In the mode `full`, every member sees every sample, because disagreement is
the signal for curation.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from cascade.engine.run import run
from cascade.ensemble import Ensemble
from cascade.fusion.routing import Path as Route
from cascade.imaging.batches import Batch
from cascade.manifest import Manifest
from cascade.predictions import Detections
from cascade.registry import Tier
from cascade.runtime.devices import default_device
from cascade.runtime.progress import Progress
from curation.errors import StageError
from curation.inference.deep_tiers import read_focals_px
from curation.storage import collection, queries, reader, schema, writer
from curation.storage.artifacts import ArtifactFolder
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

Mode = Literal["full", "routed"]


@dataclass(frozen=True)
class ExamineResult:
    """Outcome of a call of `examine`.

    Attributes:
        samples: Samples of the dataset or view.
        asked: Sizes of the set of samples that each member is responsible for.
        ran: Predictions made by this call.
        skipped: Predictions that existed.
        failed: Failed predictions; each is recorded in the sample's `failures`.
        seconds: Seconds spent in each member.
    """

    samples: int
    asked: Mapping[str, int]
    ran: int
    skipped: int
    failed: int
    seconds: Mapping[str, float]


def examine(
    samples: SampleCollection,
    ensemble: Ensemble,
    *,
    folder: Path,
    mode: Mode = "full",
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> ExamineResult:
    """Store the missing predictions of the deep tiers.

    Members see the consensus so far, so their work is keyed by their own fingerprint and those
    of the detectors.

    Args:
        samples: A FiftyOne dataset or view whose consensus is up to date.
        ensemble: The ensemble with members of the tiers geometry, segmentation and language.
        folder: Folder for masks and depth maps of the dataset.
        mode: All members on all samples (`full`), or by the path of each sample (`routed`).
        device: Device of all models; None for the first GPU, else the CPU.
        progress: Callback after every batch.

    Raises:
        StageError: A sample has no consensus yet.
    """
    device = device or default_device()
    dataset = dataset_of(samples)
    members = ensemble.deep_tier_members()
    _require_consensus(samples)
    schema.declare_deep_tiers(dataset, ensemble.taxonomy, ensemble.detectors, members)
    folders = {
        name: ArtifactFolder(folder, name, fingerprint(ensemble, name))
        for names in members.values()
        for name in names
    }
    paths = dict(zip(*collection.ids_and_paths(samples), strict=True))
    assigned = _assigned_samples(samples, ensemble, members, mode)
    todo = {
        name: set(collection.missing_ids(samples, name, folders[name].fingerprint)) & assigned[name]
        for name in folders
    }
    add_context = _context_adder(samples, ensemble)
    total, done, failed, ran = sum(map(len, todo.values())), 0, 0, 0
    seconds: dict[str, float] = {}
    for name, waiting in todo.items():  # one after another: each may fill a GPU
        if not waiting:
            continue
        # A resumed run uses the same batches and thus gets the same numbers. Answers of language
        # members do not depend on the batch, and cost too much to repeat.
        shown = waiting if name in members["language"] else assigned[name]
        ids = [sample_id for sample_id in paths if sample_id in shown]
        tally = run(
            {name: ensemble.build(name, device)},
            {name: ensemble.manifest.member(name)},
            ids,
            [paths[sample_id] for sample_id in ids],
            _Sink(dataset, ensemble, folders),
            device=device,
            todo={name: waiting},
            add_context=add_context,
            batches_a_write=1,  # masks and maps are large
            progress=progress and _part_of(progress, done, len(waiting), total),
        )
        tier = ensemble.manifest.member(name).tier
        queries.record_costs(
            dataset, tally, tier=tier, paths={name: paths_of(ensemble.manifest, name)}
        )
        done += len(waiting)
        ran, failed = ran + tally.predicted, failed + tally.failed
        seconds |= {member: round(time_s, 2) for member, time_s in tally.seconds.items()}
    return ExamineResult(
        samples=len(paths),
        asked={name: len(ids) for name, ids in assigned.items()},
        ran=ran,
        skipped=sum(map(len, assigned.values())) - total,
        failed=failed,
        seconds=seconds,
    )


def fingerprint(ensemble: Ensemble, member: str) -> str:
    """Return the key of a deep member's work: its own and the detectors' fingerprints."""
    parts = [ensemble.fingerprint(name) for name in (member, *ensemble.detectors)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def _assigned_samples(
    samples: SampleCollection, ensemble: Ensemble, members: Mapping[Tier, Sequence[str]], mode: Mode
) -> dict[str, set[str]]:
    """Return the samples of each member."""
    columns = reader.read_columns(samples, [schema.PATH])
    path_of = dict(zip(columns["id"], columns[schema.PATH], strict=True))
    return {
        name: {i for i, path in path_of.items() if mode == "full" or path in routes}
        for names in members.values()
        for name in names
        for routes in [paths_of(ensemble.manifest, name)]
    }


def paths_of(manifest: Manifest, member: str) -> tuple[Route, ...]:
    """Return the paths of the cascade that include a deep member."""
    if manifest.member(member).tier != "language":
        return (Route.PRECISION,)
    routing = manifest.routing
    language_members = {
        Route.FAST_A: routing.fast_a,
        Route.FAST_B: routing.fast_b,
        Route.PRECISION: routing.precision,
    }
    return tuple(route for route, names in language_members.items() if member in names)


def _context_adder(samples: SampleCollection, ensemble: Ensemble) -> Callable[[Batch], Batch]:
    """Return a function that adds the consensus so far and the focal lengths to a batch."""
    ids, _ = collection.ids_and_paths(samples)
    consensus = dict(
        zip(ids, reader.read_detections(samples, schema.CONSENSUS, ensemble.taxonomy), strict=True)
    )
    focals = dict(zip(ids, read_focals_px(samples), strict=True))

    def add(batch: Batch) -> Batch:
        empty = Detections.empty(ensemble.taxonomy.names)
        return replace(
            batch,
            detections=tuple(consensus.get(sample_id, empty) for sample_id in batch.ids),
            focals_px=tuple(focals.get(sample_id) for sample_id in batch.ids),
        )

    return add


def _require_consensus(samples: SampleCollection) -> None:
    lacking = len(samples.exists(schema.CONSENSUS, False))
    if lacking:
        raise StageError(
            f"{lacking} samples have no consensus, which the deep tiers start from. "
            "Run `curate predict` first."
        )


def _part_of(progress: Progress, before: int, size: int, total: int) -> Progress:
    """Return the progress of one member as a part of the total."""
    return lambda done, of: progress(before + round(size * done / max(of, 1)), total)


@dataclass(frozen=True)
class _Sink:
    """Writes predictions to the dataset."""

    dataset: Dataset
    ensemble: Ensemble
    folders: Mapping[str, ArtifactFolder]

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        writer.write_deep_tiers(
            self.dataset, results, folders=self.folders, taxonomy=self.ensemble.taxonomy
        )
