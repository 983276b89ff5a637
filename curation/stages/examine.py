"""Look closer, where the cascade asks for it: depth, masks and language answers.

These tiers are dear, so in the mode `routed` a sample is only shown to the members that its
path leads to; in the mode `full` every member looks at every sample, because for curation
disagreement is the signal.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from cascade.engine.run import Progress, default_device, run
from cascade.ensemble import Ensemble
from cascade.fusion.routing import Path as Route
from cascade.imaging.batches import Batch
from cascade.manifest import Manifest
from cascade.predictions import Detections
from curation.errors import StageError
from curation.inference.deep_tiers import estimators, focals_px
from curation.storage import collection, queries, reader, schema, writer
from curation.storage.artifacts import Shelf

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

Mode = Literal["full", "routed"]


@dataclass(frozen=True)
class ExamineResult:
    """What a call did.

    Attributes:
        samples: Samples that were looked at.
        asked: Samples that each member was to look at.
        ran: Predictions made now.
        skipped: Predictions that were there already.
        failed: Predictions that failed; each is on record in the sample's `failures`.
        seconds: Time in each member's own calls.
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
    """Store what the deeper tiers say about the samples; do only what is missing.

    What a member is shown comes from the consensus so far, so the key of its work is its own
    fingerprint and those of the detectors.

    Args:
        samples: A FiftyOne dataset or view whose consensus is up to date.
        ensemble: Whose members of the tiers geometry, segmentation and language look.
        folder: Where masks and depth maps of this dataset are kept.
        mode: `full`: all members on all samples; `routed`: as the samples' paths say.
        device: Where; the first GPU, else the CPU.
        progress: Told after every batch.

    Raises:
        StageError: A sample has no consensus yet.
    """
    device = device or default_device()
    dataset = queries.dataset_of(samples)
    members = estimators(ensemble)
    _require_consensus(samples)
    schema.declare_closer(dataset, ensemble.taxonomy, ensemble.detectors, members)
    shelves = {
        name: Shelf(folder, name, fingerprint(ensemble, name))
        for names in members.values()
        for name in names
    }
    paths = dict(zip(*collection.ids_and_paths(samples), strict=True))
    asked = _asked(samples, ensemble, members, mode)
    todo = {
        name: set(collection.missing(samples, name, shelves[name].fingerprint)) & asked[name]
        for name in shelves
    }
    knowing = _knowing(samples, ensemble)
    total, done, failed, ran = sum(map(len, todo.values())), 0, 0, 0
    seconds: dict[str, float] = {}
    for name, waiting in todo.items():  # one after another: each may fill a GPU
        if not waiting:
            continue
        # A batch always holds the same images, so that who goes on computes the same; but a
        # question to a language model costs too much to be asked for its neighbours' sake.
        seen = waiting if name in members["language"] else asked[name]
        ids = [one for one in paths if one in seen]
        tally = run(
            {name: ensemble.build(name, device)},
            {name: ensemble.manifest.member(name)},
            ids,
            [paths[one] for one in ids],
            _Sink(dataset, ensemble, shelves),
            device=device,
            todo={name: waiting},
            known=knowing,
            batches_a_write=1,  # masks and maps are large
            progress=progress and _shifted(progress, done, len(waiting), total),
        )
        tier = ensemble.manifest.member(name).tier
        queries.note_costs(
            dataset, tally, tier=tier, paths={name: paths_of(ensemble.manifest, name)}
        )
        done += len(waiting)
        ran, failed = ran + tally.predicted, failed + tally.failed
        seconds |= {one: round(taken, 2) for one, taken in tally.seconds.items()}
    return ExamineResult(
        samples=len(paths),
        asked={name: len(one) for name, one in asked.items()},
        ran=ran,
        skipped=sum(map(len, asked.values())) - total,
        failed=failed,
        seconds=seconds,
    )


def fingerprint(ensemble: Ensemble, member: str) -> str:
    """Return the key of a deeper member's work: its own and the detectors' fingerprints."""
    parts = [ensemble.fingerprint(one) for one in (member, *ensemble.detectors)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def _asked(
    samples: SampleCollection, ensemble: Ensemble, members: Mapping[str, Sequence[str]], mode: Mode
) -> dict[str, set[str]]:
    """Return the samples that each member is to look at."""
    columns = reader.read_columns(samples, [schema.PATH])
    path_of = dict(zip(columns["id"], columns[schema.PATH], strict=True))
    return {
        name: {one for one, path in path_of.items() if mode == "full" or path in routes}
        for names in members.values()
        for name in names
        for routes in [paths_of(ensemble.manifest, name)]
    }


def paths_of(manifest: Manifest, member: str) -> tuple[Route, ...]:
    """Return the paths of the cascade on which a member of a deeper tier is asked."""
    if manifest.member(member).tier != "language":
        return (Route.PRECISION,)
    routing = manifest.routing
    speakers = {
        Route.FAST_A: routing.fast_a,
        Route.FAST_B: routing.fast_b,
        Route.PRECISION: routing.precision,
    }
    return tuple(route for route, names in speakers.items() if member in names)


def _knowing(samples: SampleCollection, ensemble: Ensemble) -> Callable[[Batch], Batch]:
    """Return what adds the consensus so far, and the camera, to a batch."""
    ids, _ = collection.ids_and_paths(samples)
    found = dict(
        zip(ids, reader.read_detections(samples, schema.CONSENSUS, ensemble.taxonomy), strict=True)
    )
    focals = dict(zip(ids, focals_px(samples), strict=True))

    def knowing(batch: Batch) -> Batch:
        nothing = Detections.empty(ensemble.taxonomy.names)
        return replace(
            batch,
            found=tuple(found.get(one, nothing) for one in batch.ids),
            focals_px=tuple(focals.get(one) for one in batch.ids),
        )

    return knowing


def _require_consensus(samples: SampleCollection) -> None:
    lacking = len(samples.exists(schema.CONSENSUS, False))
    if lacking:
        raise StageError(
            f"{lacking} samples have no consensus, which the deeper tiers start from. "
            "Run `curate predict` first."
        )


def _shifted(progress: Progress, before: int, mine: int, total: int) -> Progress:
    """Return the progress of one member as part of all of them."""
    return lambda done, of: progress(before + round(mine * done / max(of, 1)), total)


@dataclass(frozen=True)
class _Sink:
    """Writes what the engine finds into the dataset."""

    dataset: Dataset
    ensemble: Ensemble
    shelves: Mapping[str, Shelf]

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        writer.write_closer(
            self.dataset, results, shelves=self.shelves, taxonomy=self.ensemble.taxonomy
        )
