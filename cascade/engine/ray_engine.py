"""The engine on a Ray cluster: actors with one device each.

Ray Data distributes the shards and restarts actors whose machine is lost; an unfinished shard is
processed again, with the same results. The image files must have the same paths on every
machine, and the database must be reachable from all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from cascade.engine import pipeline
from cascade.engine.multiprocess import BATCHES_A_SHARD
from cascade.engine.pipeline import Work
from cascade.engine.run import BATCHES_A_WRITE, build_runners, pace_for
from cascade.engine.shards import Shard, split_shards
from cascade.engine.sinks import Tally
from cascade.engine.worker_process import Job
from cascade.errors import CascadeError, MissingExtraError
from cascade.imaging.batches import Group
from cascade.runtime.progress import Progress


class ClusterError(CascadeError, RuntimeError):
    """A cluster cannot be reached."""


def run(
    job: Job,
    ids: Sequence[str],
    paths: Sequence[str | Path],
    *,
    address: str | None = None,
    actors: int | None = None,
    todo: Mapping[str, set[str]] | None = None,
    progress: Progress | None = None,
    batches_a_shard: int = BATCHES_A_SHARD,
) -> Tally:
    """Run all members of a job over the images on a Ray cluster.

    Args:
        job: What every actor needs; it is pickled.
        ids: One name per image; their order decides which images share a batch.
        paths: The image files, as the machines of the cluster see them.
        address: Address of the cluster, in the form of `ray.init`: `auto`, `HOST:PORT`,
            `ray://HOST:PORT`; None to start one on this machine.
        actors: Number of actors; None for one per GPU of the cluster, or per core without GPUs.
        todo: Remaining ids by member; None for all.
        progress: Callback after every shard.
        batches_a_shard: Batches to repeat when an actor is lost.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: The cluster cannot be reached.
    """
    ray = _import_ray()
    size = max((member.batch_size for member in job.members.values()), default=1)
    shards = [
        {"shard": _shard_json(shard, job, todo)}
        for shard in split_shards(ids, paths, size * batches_a_shard)
        if todo is None or any(not names.isdisjoint(shard.ids) for names in todo.values())
    ]
    tally = Tally()
    if not shards:
        return tally
    was_running = ray.is_initialized()
    _connect(ray, address)
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        count = actors or gpus or int(ray.cluster_resources().get("CPU", 1))
        results = ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(
            _Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=min(count, len(shards))),
            num_gpus=1 if gpus else None,
            num_cpus=None if gpus else 1,
        )
        done = 0
        for row in results.iter_rows():
            result = json.loads(row["tally"])
            tally.add(Tally(**result["tally"]))
            done += result["images"]
            if progress:
                progress(done, len(ids))
    finally:
        if not was_running:
            ray.shutdown()
    return tally


def _import_ray() -> ModuleType:
    """Return Ray with Ray Data.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # sends statistics to its makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray[data]") from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    if ray.is_initialized():
        return
    options = {"include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(log_to_driver=False, logging_level="warning", **options)
    except Exception as error:
        ray.shutdown()
        raise ClusterError(
            f"Cannot reach a Ray cluster at {address or 'this machine'}: {error}. Start one with "
            "`ray start --head` and pass its address."
        ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False


def _shard_json(shard: Shard, job: Job, todo: Mapping[str, set[str]] | None) -> str:
    remaining = None
    if todo is not None:
        remaining = {name: [i for i in shard.ids if i in todo[name]] for name in job.members}
    return json.dumps(
        {"ids": list(shard.ids), "paths": [str(path) for path in shard.paths], "todo": remaining}
    )


class _Actor:
    """The members on one device of the cluster."""

    def __init__(self, job: Job) -> None:
        self._device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        if job.threads:
            torch.set_num_threads(job.threads)
        self._job, self._sink = job, job.open_sink()
        models = {name: job.build(name, self._device) for name in job.members}
        self._runners = build_runners(models, job.members, self._device, compiled=job.compiled)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[str]]:
        """Process shards, and return their statistics as JSON."""
        return {"tally": [self._process(json.loads(str(shard))) for shard in rows["shard"]]}

    def _process(self, shard: Mapping[str, Any]) -> str:
        ids, paths, todo = shard["ids"], shard["paths"], shard["todo"]
        size = max(member.batch_size for member in self._job.members.values())
        for runner in self._runners.values():
            runner.seconds, runner.seen = 0.0, 0
        tally = pipeline.run(
            self._runners,
            [Group(ids[i : i + size], paths[i : i + size]) for i in range(0, len(ids), size)],
            self._sink,
            Work(todo=todo and {name: set(remaining) for name, remaining in todo.items()}),
            device=self._device,
            batches_a_write=BATCHES_A_WRITE,
            pace=pace_for(self._device, size if self._job.compiled else 0),
        )
        return json.dumps({"tally": asdict(tally), "images": len(ids)})
