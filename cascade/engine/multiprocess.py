"""The engine on several devices: one worker process each, sharing the images shard by shard.

The parent leases shards (`shards.py`) to the workers on request, so a faster worker processes
more of them. When a worker dies, its shards go to the others and it is restarted, up to a limit.
Each worker builds the models and opens the sink itself, so nothing large passes between
processes. Results do not depend on the worker, because batches always hold the same images.

Members that do not fit on one device together are split into lanes: each lane has some of the
members and some of the devices, and processes every image.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cascade.engine import worker_process
from cascade.engine.shards import Leases, Shard, split_shards
from cascade.engine.sinks import Tally
from cascade.engine.worker_process import LATER, RETRY_S, STOP, Assignment, Job
from cascade.errors import CascadeError
from cascade.planning.placement import Lane
from cascade.runtime.cpu import cores
from cascade.runtime.progress import Progress

logger = logging.getLogger(__name__)

BATCHES_A_SHARD = 16
RESTARTS = 2  # of each worker
SILENCE_S = 1800.0  # a worker without a message for so long has hung; compiling takes minutes

# CUDA does not survive a fork, and a fresh process takes seconds to import torch. Where the
# platform has a fork server, it imports torch once and forks the workers.
_HAS_FORKSERVER = "forkserver" in multiprocessing.get_all_start_methods()
_CONTEXT: Any = multiprocessing.get_context("forkserver" if _HAS_FORKSERVER else "spawn")
if _HAS_FORKSERVER:
    _CONTEXT.set_forkserver_preload([__name__])


class WorkerPoolError(CascadeError, RuntimeError):
    """Worker processes have failed."""


def run(
    job: Job,
    lanes: Sequence[Lane],
    ids: Sequence[str],
    paths: Sequence[str | Path],
    *,
    todo: Mapping[str, set[str]] | None = None,
    progress: Progress | None = None,
    batches_a_shard: int = BATCHES_A_SHARD,
    on_start: Callable[[int], None] = lambda _: None,
) -> Tally:
    """Run the members of every lane over the images, in one process per device.

    Args:
        job: What workers need.
        lanes: Members by device; lanes run side by side.
        ids: One name per image; their order decides which images share a batch.
        paths: The image files.
        todo: Remaining ids by member; None for all.
        progress: Callback after every shard.
        batches_a_shard: Batches to repeat when a worker dies.
        on_start: Receives the process id of every worker.

    Raises:
        WorkerPoolError: A worker failed, or died too often.
        ShardError: Every worker that processed a shard has died.
    """
    pools = []
    for number, lane in enumerate(lanes):
        size = max((job.members[name].batch_size for name in lane.members), default=1)
        shards = split_shards(ids, paths, size * batches_a_shard)
        pools.append(_LanePool(job, lane, number, shards, todo, on_start))
    total, reported, tally = sum(pool.images for pool in pools), 0, Tally()
    try:
        for pool in pools:
            pool.start()
        while not all(pool.leases.is_finished for pool in pools):
            for pool in pools:
                pool.poll(tally)
            done = sum(pool.done for pool in pools)
            if progress and done > reported:
                progress(round(len(ids) * done / total), len(ids))
                reported = done
        for pool in pools:
            pool.join(tally)
    finally:
        for pool in pools:
            pool.kill()
    return tally


@dataclass
class _Worker:
    name: str
    device: str
    process: BaseProcess
    connection: Connection
    last_message: float = field(default_factory=time.monotonic)


class _LanePool:
    """The worker processes of one lane.

    Attributes:
        leases: State of the lane's shards; those without any work are dropped.
        images: Number of images in the shards.
        done: Number of images stored.
    """

    def __init__(
        self,
        job: Job,
        lane: Lane,
        number: int,
        shards: Sequence[Shard],
        todo: Mapping[str, set[str]] | None,
        on_start: Callable[[int], None],
    ) -> None:
        self._job, self._lane, self._number, self._on_start = job, lane, number, on_start
        self._todo = None if todo is None else {name: todo[name] for name in lane.members}
        self._workers: list[_Worker] = []
        self._restarts = RESTARTS * len(lane.devices)
        remaining = [shard for shard in shards if self._has_work(shard)]
        self.leases = Leases(remaining)
        self.images = sum(len(shard.ids) for shard in remaining)
        self.done = 0

    def _has_work(self, shard: Shard) -> bool:
        return self._todo is None or any(
            not ids.isdisjoint(shard.ids) for ids in self._todo.values()
        )

    def start(self) -> None:
        """Start one process per device, but no more than there are shards."""
        for device in self._lane.devices[: len(self.leases.waiting)]:
            self._start_worker(device)

    def _start_worker(self, device: str) -> None:
        parent_end, worker_end = _CONTEXT.Pipe()
        name = f"lane {self._number} {device} {len(self._workers)}"
        threads = self._job.threads or max(1, cores() // len(self._lane.devices))
        process = _CONTEXT.Process(
            target=worker_process.work,
            args=(worker_end, self._job, self._lane.members, device, threads),
            name=name,
            daemon=True,
        )
        process.start()
        worker_end.close()
        self._workers.append(_Worker(f"{name} {process.pid}", device, process, parent_end))
        self._on_start(process.pid or 0)

    def poll(self, tally: Tally) -> None:
        """Handle the messages of the workers, and replace dead or silent ones."""
        for worker in self._workers:
            if time.monotonic() - worker.last_message > SILENCE_S:
                logger.warning("Killing %s: no message for %.0f s.", worker.name, SILENCE_S)
                worker.process.kill()
        if not self._workers:
            return
        ready = wait([worker.connection for worker in self._workers], timeout=RETRY_S)
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            try:
                self._handle_message(worker, tally)
            except (EOFError, ConnectionError):
                self._replace(worker)

    def _handle_message(self, worker: _Worker, tally: Tally) -> None:
        kind, content = worker.connection.recv()
        worker.last_message = time.monotonic()
        if kind == "next":
            worker.connection.send(self._next_assignment(worker))
        elif kind == "stored":
            number, images = content
            if self.leases.finish(worker.name, number):
                self.done += images
        elif kind == "tally":
            tally.add(content)
        elif kind == "error":
            raise WorkerPoolError(f"A worker on {worker.device} failed: {content}")

    def _next_assignment(self, worker: _Worker) -> Assignment | str:
        shard = self.leases.lease(worker.name)
        if shard is None:
            return STOP if self.leases.is_finished else LATER
        if self._todo is None:
            return Assignment(shard, None)
        todo = {name: ids.intersection(shard.ids) for name, ids in self._todo.items()}
        return Assignment(shard, todo)

    def _replace(self, worker: _Worker) -> None:
        worker.process.join()
        self._workers.remove(worker)
        shards = self.leases.release(worker.name)
        if self.leases.is_finished:
            return
        logger.warning(
            "%s exited with status %s; its %d shards go to the other workers.",
            worker.name, worker.process.exitcode, len(shards),
        )  # fmt: skip
        if self._restarts:
            self._restarts -= 1
            self._start_worker(worker.device)
        elif not self._workers:
            raise WorkerPoolError(
                f"The workers of {', '.join(self._lane.members)} exited repeatedly, the last one "
                f"with status {worker.process.exitcode}. Stored results are kept; run again to "
                "continue."
            )

    def join(self, tally: Tally) -> None:
        """Wait for the workers to exit, and collect their statistics."""
        for worker in self._workers:
            try:
                while worker.process.is_alive() or worker.connection.poll():
                    if worker.connection.poll(RETRY_S):
                        self._handle_message(worker, tally)
            except (EOFError, ConnectionError):  # the worker has exited
                continue

    def kill(self) -> None:
        """Kill every remaining process."""
        for worker in self._workers:
            worker.process.join(timeout=RETRY_S)
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
