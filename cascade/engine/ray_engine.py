"""The engine on a Ray cluster: the same members, batches and sink, as actors with a GPU each.

Ray Data hands shards to the actors and starts those anew whose machine was lost; a shard that was
half done is done again, and stored the same. Nothing is scheduled here. Image files must be
reachable under the same paths from every machine, and so must the database.
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

from cascade.engine import pipeline, shards
from cascade.engine import run as engine
from cascade.engine.multiprocess import BATCHES_A_SHARD, Job
from cascade.engine.pipeline import Work
from cascade.engine.sinks import Tally
from cascade.errors import CascadeError, MissingExtraError
from cascade.imaging.batches import Group
from cascade.runtime.progress import Progress


class ClusterError(CascadeError, RuntimeError):
    """A cluster cannot be reached, or has nothing to run on."""


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
        job: What every actor needs; it travels to them.
        ids: One name per image; their order decides who shares a batch.
        paths: The image files, as the cluster's machines see them.
        address: Of the cluster, as `ray.init` takes it: `auto`, `HOST:PORT`, `ray://HOST:PORT`;
            None to start one on this machine.
        actors: How many; one for each GPU of the cluster, or each core where it has none.
        todo: The ids that each member has yet to do; None for all.
        progress: Told after every shard.
        batches_a_shard: What is done again when an actor is lost.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: The cluster cannot be reached.
    """
    ray = _ray()
    size = max((one.batch_size for one in job.members.values()), default=1)
    waiting = [
        {"shard": _row(one, job, todo)}
        for one in shards.cut(ids, paths, size * batches_a_shard)
        if todo is None or any(not rest.isdisjoint(one.ids) for rest in todo.values())
    ]
    tally = Tally()
    if not waiting:
        return tally
    was_running = ray.is_initialized()
    _join(ray, address)
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        count = actors or gpus or int(ray.cluster_resources().get("CPU", 1))
        found = ray.data.from_items(waiting, override_num_blocks=len(waiting)).map_batches(
            _Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=min(count, len(waiting))),
            num_gpus=1 if gpus else None,
            num_cpus=None if gpus else 1,
        )
        done = 0
        for row in found.iter_rows():
            one = json.loads(row["tally"])
            tally.add(Tally(**one["tally"]))
            done += one["images"]
            if progress:
                progress(done, len(ids))
    finally:
        if not was_running:
            ray.shutdown()
    return tally


def _ray() -> ModuleType:
    """Return Ray with its data part.

    Raises:
        MissingExtraError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray[data]") from error
    return ray


def _join(ray: Any, address: str | None) -> None:
    if ray.is_initialized():
        return
    how = {"include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(log_to_driver=False, logging_level="warning", **how)
    except Exception as error:
        ray.shutdown()
        raise ClusterError(
            f"There is no Ray cluster at {address or 'this machine'}: {error}. Start one with "
            "`ray start --head`, and give its address."
        ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False


def _row(shard: shards.Shard, job: Job, todo: Mapping[str, set[str]] | None) -> str:
    rest = None
    if todo is not None:
        rest = {name: [i for i in shard.ids if i in todo[name]] for name in job.members}
    return json.dumps(
        {"ids": list(shard.ids), "paths": [str(one) for one in shard.paths], "todo": rest}
    )


class _Actor:
    """The members on one device of the cluster."""

    def __init__(self, job: Job) -> None:
        self._device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        if job.threads:
            torch.set_num_threads(job.threads)
        self._job, self._sink = job, job.open_sink()
        models = {name: job.build(name, self._device) for name in job.members}
        self._runners = engine.runners_of(models, job.members, self._device, compiled=job.compiled)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[str]]:
        """Do shards, and return what was done as JSON."""
        return {"tally": [self._of(json.loads(str(one))) for one in rows["shard"]]}

    def _of(self, shard: Mapping[str, Any]) -> str:
        ids, paths = shard["ids"], shard["paths"]
        size = max(one.batch_size for one in self._job.members.values())
        todo = shard["todo"] and {name: set(rest) for name, rest in shard["todo"].items()}
        for one in self._runners.values():
            one.seconds, one.seen = 0.0, 0
        tally = pipeline.run(
            self._runners,
            [Group(ids[i : i + size], paths[i : i + size]) for i in range(0, len(ids), size)],
            self._sink,
            Work(todo=todo),
            device=self._device,
            batches_a_write=engine.BATCHES_A_WRITE,
            pace=engine.pace_of(self._device, size if self._job.compiled else 0),
        )
        return json.dumps({"tally": asdict(tally), "images": len(ids)})
