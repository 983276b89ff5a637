"""Run the detectors of an ensemble over samples, each into a label field of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from cascade.engine import multiprocess
from cascade.engine.multiprocess import Job
from cascade.engine.run import COMPILED_FROM, Progress, Tally, default_device, gpus_here, run
from cascade.ensemble import Ensemble
from cascade.fusion.routing import Path as Route
from cascade.manifest import Member
from cascade.planning import placement
from cascade.planning.placement import Placement
from curation.errors import StageError
from curation.storage import collection, queries, schema, writer

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

Engine = Literal["local", "ray"]


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
    samples: SampleCollection,
    ensemble: Ensemble,
    *,
    device: torch.device | None = None,
    engine: Engine = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> PredictResult:
    """Store every detector's boxes for every sample; do only what is missing.

    Work is keyed by (sample, member fingerprint): a run that was cut off goes on where it
    stopped, and a second run does nothing. `cascade.planning.placement` decides who runs where.

    Args:
        samples: A FiftyOne dataset or view.
        ensemble: Whose detectors run.
        device: Where; None for all GPUs, else the CPU.
        engine: `local` for this machine's devices, `ray` for a cluster's.
        address: Of the cluster; None to start one on this machine.
        progress: Told after every batch, or every shard where there are several processes.

    Raises:
        StageError: A member that is not optional fits on no GPU.
    """
    for reason in ensemble.left_out.values():
        logger.warning("%s", reason)
    dataset = queries.dataset_of(samples)
    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    fingerprints = {name: ensemble.fingerprint(name) for name in ensemble.detectors}
    ids, paths = collection.ids_and_paths(samples)
    todo = {name: set(collection.missing(samples, name, key)) for name, key in fingerprints.items()}
    waiting = {name: rest for name, rest in todo.items() if rest}
    run_them = _Run(dataset, ensemble, fingerprints, ids, paths, waiting, progress)
    left_out = dict(ensemble.left_out)
    if engine == "ray":
        tally = run_them.on_cluster(address)
    elif device is not None:
        tally = run_them.on(device, tuple(waiting), {})
    else:
        placed = placement.place(ensemble.manifest, tuple(waiting), gpus_here())
        left_out |= _without_place(ensemble, placed)
        tally = run_them.here(placed)
    queries.note_costs(
        dataset, tally, tier="detection", paths={name: tuple(Route) for name in todo}
    )
    known = queries.remembered(dataset, "members") or {}
    queries.remember(dataset, "members", known | _provenance(ensemble, fingerprints))
    return PredictResult(
        samples=len(ids),
        ran=tally.predicted,
        skipped=len(ids) * len(todo) - sum(map(len, todo.values())),
        failed=tally.failed,
        left_out=left_out,
        seconds={name: round(taken, 2) for name, taken in tally.seconds.items()},
    )


@dataclass(frozen=True)
class _Run:
    """What is to be run, whoever runs it."""

    dataset: Dataset
    ensemble: Ensemble
    fingerprints: Mapping[str, str]
    ids: list[str]
    paths: list[str]
    todo: Mapping[str, set[str]]
    progress: Progress | None

    def here(self, placed: Placement) -> Tally:
        """Run on this machine, pass after pass."""
        tally = Tally()
        if len(placed.passes) > 1:
            logger.info("Not all members fit together: %s", placed.words())
        for lanes in placed.passes:
            if len(lanes) == 1 and len(lanes[0].devices) == 1:
                name = lanes[0].devices[0]
                device = default_device() if name == "cpu" else torch.device(name)
                tally.add(self.on(device, lanes[0].members, placed.batch_sizes))
                if device.type == "cuda":
                    torch.cuda.empty_cache()  # for the next pass
                continue
            members = tuple(name for lane in lanes for name in lane.members)
            tally.add(
                multiprocess.run(
                    self._job(members, placed.batch_sizes),
                    lanes,
                    self.ids,
                    self.paths,
                    todo=self.todo,
                    progress=self.progress,
                )
            )
        return tally

    def on(
        self, device: torch.device, members: tuple[str, ...], batch_sizes: Mapping[str, int]
    ) -> Tally:
        """Run in this process."""
        return run(
            {name: self.ensemble.build(name, device) for name in members},
            self._entries(members, batch_sizes),
            self.ids,
            self.paths,
            _Sink(self.dataset, self.ensemble, self.fingerprints),
            device=device,
            todo={name: self.todo[name] for name in members},
            progress=self.progress,
        )

    def on_cluster(self, address: str | None) -> Tally:
        """Run on a Ray cluster."""
        from cascade.engine import ray_engine

        return ray_engine.run(
            self._job(tuple(self.todo), {}), self.ids, self.paths, address=address,
            todo=self.todo, progress=self.progress,
        )  # fmt: skip

    def _job(self, members: tuple[str, ...], batch_sizes: Mapping[str, int]) -> Job:
        import fiftyone as fo

        uri = os.environ.get("FIFTYONE_DATABASE_URI") or fo.config.database_uri
        return Job(
            build=self.ensemble.build,
            members=self._entries(members, batch_sizes),
            open_sink=partial(
                _open_sink, self.dataset.name, uri, self.ensemble, dict(self.fingerprints)
            ),
            compiled=len(self.ids) >= COMPILED_FROM,
        )

    def _entries(
        self, members: tuple[str, ...], batch_sizes: Mapping[str, int]
    ) -> dict[str, Member]:
        entries = {name: self.ensemble.manifest.member(name) for name in members}
        return {
            name: one.model_copy(update={"batch_size": batch_sizes.get(name, one.batch_size)})
            for name, one in entries.items()
        }


def _without_place(ensemble: Ensemble, placed: Placement) -> dict[str, str]:
    """Return the optional members that fit nowhere, with the reason.

    Raises:
        StageError: One of them is not optional.
    """
    for name in placed.unplaced:
        if not ensemble.manifest.member(name).optional:
            raise StageError(
                f"The member {name!r} fits on no GPU of this machine, not even one image at a "
                "time. `curate manifest plan` says what it needs."
            )
    return dict.fromkeys(placed.unplaced, "It fits on no GPU of this machine.")


def _open_sink(
    name: str, uri: str | None, ensemble: Ensemble, fingerprints: Mapping[str, str]
) -> _Sink:
    """Return the sink in another process, which has yet to connect to the database."""
    if uri:
        os.environ["FIFTYONE_DATABASE_URI"] = uri
    return _Sink(queries.load_dataset(name), ensemble, fingerprints)


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

    dataset: Dataset
    ensemble: Ensemble
    fingerprints: Mapping[str, str]

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        writer.write_members(
            self.dataset,
            results,
            fingerprints=self.fingerprints,
            taxonomy=self.ensemble.taxonomy,
            calibration=self.ensemble.calibration,
        )
