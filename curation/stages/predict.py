"""Run the detectors of an ensemble over samples, each into its own label field."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from cascade.engine import multiprocess
from cascade.engine.run import COMPILED_FROM, run
from cascade.engine.sinks import Tally
from cascade.engine.worker_process import Job
from cascade.ensemble import Ensemble
from cascade.fusion.routing import Path as Route
from cascade.manifest import Member
from cascade.planning import placement
from cascade.planning.placement import Placement
from cascade.planning.resources import local_gpus
from cascade.runtime.devices import default_device
from cascade.runtime.progress import Progress
from curation.errors import StageError
from curation.storage import collection, queries, schema, writer
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class PredictResult:
    """Outcome of a call of `predict`.

    Attributes:
        samples: Samples of the dataset or view.
        ran: Predictions made by this call.
        skipped: Predictions that existed, made by the same weights.
        failed: Failed predictions; each is recorded in the sample's `failures`.
        left_out: Members that cannot run here, with the reason.
        seconds: Seconds spent in each member.
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
    """Store the missing boxes of every detector for every sample.

    Work is keyed by (sample, member fingerprint): an interrupted run resumes where it stopped,
    and a second run does nothing. `cascade.planning.placement` assigns members to devices.

    Args:
        samples: A FiftyOne dataset or view.
        ensemble: The ensemble with the detectors.
        device: Device of all models; None for all GPUs, else the CPU.
        engine: `local` for the devices of this machine, `ray` for those of a cluster.
        address: Address of the Ray cluster; None to start one on this machine.
        progress: Callback after every batch, or every shard with several processes.

    Raises:
        StageError: A required member fits on no GPU.
    """
    for reason in ensemble.left_out.values():
        logger.warning("%s", reason)
    dataset = dataset_of(samples)
    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    fingerprints = {name: ensemble.fingerprint(name) for name in ensemble.detectors}
    ids, paths = collection.ids_and_paths(samples)
    todo = {
        name: set(collection.missing_ids(samples, name, key)) for name, key in fingerprints.items()
    }
    waiting = {name: missing for name, missing in todo.items() if missing}
    detectors = _DetectorRun(dataset, ensemble, fingerprints, ids, paths, waiting, progress)
    left_out = dict(ensemble.left_out)
    if engine == "ray":
        tally = detectors.on_cluster(address)
    elif device is not None:
        tally = detectors.on_device(device, tuple(waiting), {})
    else:
        placed = placement.place(ensemble.manifest, tuple(waiting), local_gpus())
        left_out |= _unplaced(ensemble, placed)
        tally = detectors.on_machine(placed)
    queries.record_costs(dataset, tally, tier="detection", paths=dict.fromkeys(todo, tuple(Route)))
    provenance = queries.read_info(dataset, "members") or {}
    queries.write_info(dataset, "members", provenance | _provenance(ensemble, fingerprints))
    return PredictResult(
        samples=len(ids),
        ran=tally.predicted,
        skipped=len(ids) * len(todo) - sum(map(len, todo.values())),
        failed=tally.failed,
        left_out=left_out,
        seconds={name: round(seconds, 2) for name, seconds in tally.seconds.items()},
    )


@dataclass(frozen=True)
class _DetectorRun:
    """Detectors and samples of one run, for any engine."""

    dataset: Dataset
    ensemble: Ensemble
    fingerprints: Mapping[str, str]
    ids: list[str]
    paths: list[str]
    todo: Mapping[str, set[str]]
    progress: Progress | None

    def on_machine(self, placed: Placement) -> Tally:
        """Run on the devices of this machine, pass after pass."""
        tally = Tally()
        if len(placed.passes) > 1:
            logger.info("Members do not fit on the devices together: %s", placed.describe())
        for lanes in placed.passes:
            if len(lanes) == 1 and len(lanes[0].devices) == 1:
                name = lanes[0].devices[0]
                device = default_device() if name == "cpu" else torch.device(name)
                tally.add(self.on_device(device, lanes[0].members, placed.batch_sizes))
                if device.type == "cuda":
                    torch.cuda.empty_cache()  # for the next pass
                continue
            members = tuple(name for lane in lanes for name in lane.members)
            job = self._job(members, placed.batch_sizes)
            tally.add(
                multiprocess.run(
                    job, lanes, self.ids, self.paths, todo=self.todo, progress=self.progress
                )
            )
        return tally

    def on_device(
        self, device: torch.device, members: tuple[str, ...], batch_sizes: Mapping[str, int]
    ) -> Tally:
        """Run in this process."""
        return run(
            {name: self.ensemble.build(name, device) for name in members},
            self._entries(members, batch_sizes), self.ids, self.paths,
            _Sink(self.dataset, self.ensemble, self.fingerprints),
            device=device, todo={name: self.todo[name] for name in members},
            progress=self.progress,
        )  # fmt: skip

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
            name: entry.model_copy(update={"batch_size": batch_sizes.get(name, entry.batch_size)})
            for name, entry in entries.items()
        }


def _unplaced(ensemble: Ensemble, placed: Placement) -> dict[str, str]:
    """Return the optional members that fit on no GPU, with the reason.

    Raises:
        StageError: A required member fits on no GPU.
    """
    for name in placed.unplaced:
        if not ensemble.manifest.member(name).optional:
            raise StageError(
                f"Member {name!r} fits on no GPU of this machine, even with one image per batch. "
                "`curate manifest plan` shows how much memory it needs."
            )
    return dict.fromkeys(placed.unplaced, "It fits on no GPU of this machine.")


def _open_sink(
    name: str, uri: str | None, ensemble: Ensemble, fingerprints: Mapping[str, str]
) -> _Sink:
    """Connect another process to the database, and return its sink."""
    if uri:
        os.environ["FIFTYONE_DATABASE_URI"] = uri
    return _Sink(queries.load_dataset(name), ensemble, fingerprints)


def _provenance(ensemble: Ensemble, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """Return adapter, source, license, manifest and fingerprint of each label field's member."""
    entries = {name: ensemble.manifest.member(name) for name in fingerprints}
    return {
        name: {
            "adapter": entry.adapter,
            "source": entry.source,
            "licence": entry.license,
            "manifest": ensemble.manifest.name,
            "fingerprint": fingerprints[name],
        }
        for name, entry in entries.items()
    }


@dataclass(frozen=True)
class _Sink:
    """Writes predictions to the dataset."""

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
