"""Worker processes, one for each device, that share the images shard by shard.

The parent leases shards (`shards.py`) to whoever asks: a quick worker gets more of them, and those
of one that is killed go to the others. It is started anew, a few times. Each worker builds
the models and opens the sink itself, so nothing large passes between processes; what they store
is the same whoever stores it, because batches always hold the same images.

Members that do not fit on one device together are on several lanes: a lane has its own members,
its own devices, and sees every image.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from cascade.engine import pipeline, shards
from cascade.engine import run as engine
from cascade.engine.pipeline import Work
from cascade.engine.shards import Leases, Shard
from cascade.engine.sinks import Sink, Tally
from cascade.errors import CascadeError
from cascade.imaging.batches import Group
from cascade.manifest import Member
from cascade.planning.placement import Lane
from cascade.runtime.cpu import cores
from cascade.runtime.progress import Progress

logger = logging.getLogger(__name__)

BATCHES_A_SHARD = 16
RESTARTS = 2  # of each worker
SILENCE_S = 1800.0  # without a word, after which a worker is held to hang; compiling takes minutes
_AGAIN_S = 0.2  # between two questions of a worker for which there is nothing yet

# CUDA does not survive a fork, and a process from nothing imports torch for seconds. So where
# there is one, a server that has imported it, and nothing else, forks the workers.
_FORKS_CLEANLY = "forkserver" in multiprocessing.get_all_start_methods()
_CONTEXT: Any = multiprocessing.get_context("forkserver" if _FORKS_CLEANLY else "spawn")
if _FORKS_CLEANLY:
    _CONTEXT.set_forkserver_preload([__name__])


class FleetError(CascadeError, RuntimeError):
    """Worker processes could not do their work."""


@dataclass(frozen=True)
class Job:
    """What every worker needs to begin; it travels to them, so all of it can be pickled.

    Attributes:
        build: Returns a member's model on a device.
        members: The manifest's entry of each member.
        open_sink: Returns where results go; called once in each worker.
        compiled: Whether models are compiled, on GPUs.
        threads: Of torch in each process, which decide on the last digits of what a CPU adds up;
            None to share the cores out.
    """

    build: Callable[[str, torch.device], Any]
    members: Mapping[str, Member]
    open_sink: Callable[[], Sink]
    compiled: bool = False
    threads: int | None = None


def run(
    job: Job,
    lanes: Sequence[Lane],
    ids: Sequence[str],
    paths: Sequence[str | Path],
    *,
    todo: Mapping[str, set[str]] | None = None,
    progress: Progress | None = None,
    batches_a_shard: int = BATCHES_A_SHARD,
    started: Callable[[int], None] = lambda _: None,
) -> Tally:
    """Run every lane's members over the images in its devices' processes.

    Args:
        job: What workers need.
        lanes: Who works where; lanes run side by side.
        ids: One name per image; their order decides who shares a batch.
        paths: The image files.
        todo: The ids that each member has yet to do; None for all.
        progress: Told after every shard.
        batches_a_shard: What is taken over at once when a worker dies.
        started: Told the process id of every worker.

    Raises:
        FleetError: A worker failed, or died too often.
        ShardError: A shard was lost by every worker that had it.
    """
    crews = [_Crew(job, lane, number, todo) for number, lane in enumerate(lanes)]
    for crew in crews:
        crew.cut(ids, paths, batches_a_shard)
    total, tally = sum(one.images for one in crews), Tally()
    try:
        for crew in crews:
            crew.start(started)
        told = 0
        while not all(one.leases.is_finished for one in crews):
            for crew in crews:
                crew.listen(tally, started)
            done = sum(one.done for one in crews)
            if progress and done > told:
                progress(round(len(ids) * done / total), len(ids))
                told = done
        for crew in crews:
            crew.dismiss(tally)
    finally:
        for crew in crews:
            crew.kill()
    return tally


@dataclass
class _Worker:
    name: str
    device: str
    process: BaseProcess
    connection: Connection
    heard: float = field(default_factory=time.monotonic)


class _Crew:
    """The workers of one lane."""

    def __init__(
        self, job: Job, lane: Lane, number: int, todo: Mapping[str, set[str]] | None
    ) -> None:
        self._job, self._lane, self._number, self._todo = job, lane, number, todo
        self._workers: list[_Worker] = []
        self._restarts = RESTARTS * len(lane.devices)
        self.leases = Leases.of([])
        self.images = self.done = 0

    def cut(self, ids: Sequence[str], paths: Sequence[str | Path], batches: int) -> None:
        """Decide on the shards; those with nothing to do are left out."""
        size = max((self._job.members[one].batch_size for one in self._lane.members), default=1)
        found = [one for one in shards.cut(ids, paths, size * batches) if self._has_work(one)]
        self.images = sum(len(one.ids) for one in found)
        self.leases = Leases.of(found)

    def _has_work(self, shard: Shard) -> bool:
        if self._todo is None:
            return True
        waiting = [self._todo[name] for name in self._lane.members]
        return any(not one.isdisjoint(shard.ids) for one in waiting)

    def start(self, started: Callable[[int], None]) -> None:
        """Start a process for each device, but no more than there are shards."""
        for device in self._lane.devices[: len(self.leases.waiting)]:
            self._hire(device, started)

    def _hire(self, device: str, started: Callable[[int], None]) -> None:
        ours, theirs = _CONTEXT.Pipe()
        name = f"lane {self._number} {device} {len(self._workers)}"
        threads = self._job.threads or max(1, cores() // len(self._lane.devices))
        process = _CONTEXT.Process(
            target=_work, args=(theirs, self._job, self._lane.members, device, threads), name=name,
            daemon=True,
        )  # fmt: skip
        process.start()
        theirs.close()
        self._workers.append(_Worker(f"{name} {process.pid}", device, process, ours))
        started(process.pid or 0)

    def listen(self, tally: Tally, started: Callable[[int], None]) -> None:
        """Answer whoever asks, and replace whoever died."""
        for worker in list(self._workers):
            if time.monotonic() - worker.heard > SILENCE_S:
                logger.warning("%s has not been heard of: it is ended.", worker.name)
                worker.process.kill()
        if not self._workers:
            return
        ready = wait([one.connection for one in self._workers], timeout=_AGAIN_S)
        for worker in [one for one in self._workers if one.connection in ready]:
            try:
                self._answer(worker, tally)
            except (EOFError, ConnectionError):
                self._bury(worker, started)

    def _answer(self, worker: _Worker, tally: Tally) -> None:
        kind, content = worker.connection.recv()
        worker.heard = time.monotonic()
        if kind == "next":
            shard = self.leases.take(worker.name)
            if shard is None:
                worker.connection.send(_STOP if self.leases.is_finished else _LATER)
            else:
                worker.connection.send((shard, self._todo_of(shard)))
        elif kind == "stored":
            number, images = content
            if self.leases.finish(worker.name, number):
                self.done += images
        elif kind == "tally":
            tally.add(content)
        elif kind == "error":
            raise FleetError(f"A worker on {worker.device} failed: {content}")

    def _todo_of(self, shard: Shard) -> dict[str, set[str]] | None:
        if self._todo is None:
            return None
        return {name: self._todo[name].intersection(shard.ids) for name in self._lane.members}

    def _bury(self, worker: _Worker, started: Callable[[int], None]) -> None:
        worker.process.join()
        self._workers.remove(worker)
        lost = self.leases.lose(worker.name)
        if self.leases.is_finished:
            return
        logger.warning(
            "%s ended with %s; its %d shards go to the others.",
            worker.name, worker.process.exitcode, len(lost),
        )  # fmt: skip
        if self._restarts:
            self._restarts -= 1
            self._hire(worker.device, started)
        elif not self._workers:
            raise FleetError(
                f"The workers of {', '.join(self._lane.members)} ended again and again, the last "
                f"with {worker.process.exitcode}. What was stored stays; run again to go on."
            )

    def dismiss(self, tally: Tally) -> None:
        """Let the workers end, and count what they did."""
        for worker in self._workers:
            try:
                while worker.process.is_alive() or worker.connection.poll():
                    if worker.connection.poll(_AGAIN_S):
                        self._answer(worker, tally)
            except (EOFError, ConnectionError):  # it has ended
                continue

    def kill(self) -> None:
        """End every process that is left."""
        for worker in self._workers:
            worker.process.join(timeout=_AGAIN_S)
            worker.process.kill()
            worker.process.join()
            worker.connection.close()


_STOP, _LATER = "stop", "later"
_DEVICE_LOST = 70


def _work(
    parent: Connection, job: Job, members: tuple[str, ...], device_name: str, threads: int
) -> None:
    """Do shards until there are none: what a worker process runs."""
    torch.set_num_threads(threads)
    speaking = threading.Lock()

    def say(kind: str, content: Any) -> None:
        with speaking:
            parent.send((kind, content))

    try:
        device = torch.device(device_name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        say("tally", _shift(parent, say, job, members, device))
    except torch.AcceleratorError as error:  # as good as dead: its shards go to the others
        logger.exception("The device of a worker failed.")
        raise SystemExit(_DEVICE_LOST) from error
    except Exception as error:
        logger.exception("A worker failed.")
        say("error", f"{type(error).__name__}: {' '.join(str(error).split())}")
        raise SystemExit(1) from error


def _shift(
    parent: Connection,
    say: Callable[[str, Any], None],
    job: Job,
    members: tuple[str, ...],
    device: torch.device,
) -> Tally:
    models = {name: job.build(name, device) for name in members}
    size = max(job.members[name].batch_size for name in members)
    todo: dict[str, set[str]] = {name: set() for name in members}
    left: dict[int, int] = {}  # batches of a shard that are not stored yet
    runners = engine.runners_of(models, job.members, device, compiled=job.compiled)

    def groups() -> Iterator[Group]:
        while (shard := _next(parent, say)) != _STOP:
            if shard == _LATER:
                time.sleep(_AGAIN_S)
                yield Group((), ())  # what is under way is stored meanwhile
                continue
            one, wanted = shard
            parts = shards.cut(one.ids, one.paths, size)
            for name in members:
                todo[name] |= set(one.ids) if wanted is None else wanted[name]
            left[one.number] = len(parts)
            for part in parts:
                yield _Part(part.ids, part.paths, one.number, len(one.ids))

    def written(stored: list[Group]) -> None:
        for one in stored:
            if isinstance(one, _Part):
                left[one.shard] -= 1
                if not left[one.shard]:
                    say("stored", (one.shard, one.images))

    return pipeline.run(
        runners, groups(), job.open_sink(), Work(todo=todo, written=written), device=device,
        batches_a_write=engine.BATCHES_A_WRITE,
        pace=engine.pace_of(device, size if job.compiled else 0),
    )  # fmt: skip


@dataclass(frozen=True)
class _Part(Group):
    """A batch of a shard: its number, and the images of the whole of it."""

    shard: int = 0
    images: int = 0


def _next(parent: Connection, say: Callable[[str, Any], None]) -> Any:
    say("next", None)
    return parent.recv()
