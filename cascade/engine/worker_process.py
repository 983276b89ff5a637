"""Worker process of the engine: builds the members, then processes shards until none is left.

A worker and its parent (`multiprocess.py`) exchange `(kind, content)` messages through a pipe:

    worker -> parent    next, None                     request for a shard
                        stored, (shard, images)        all results of a shard are stored
                        tally, Tally                   statistics, before the worker exits
                        error, str                     reason of a failure, before the worker exits
    parent -> worker    Assignment | LATER | STOP      answer to `next`
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch

from cascade.engine import pipeline
from cascade.engine.pipeline import Work
from cascade.engine.run import BATCHES_A_WRITE, build_runners, pace_for
from cascade.engine.shards import Shard, split_shards
from cascade.engine.sinks import Sink, Tally
from cascade.imaging.batches import Group
from cascade.manifest import Member
from cascade.protocols import Model

logger = logging.getLogger(__name__)

RETRY_S = 0.2  # pause before a worker asks again when no shard is free
LATER, STOP = "later", "stop"
Message = tuple[Literal["next", "stored", "tally", "error"], Any]
_DEVICE_LOST = 70  # exit status


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs; it is pickled.

    Attributes:
        build: Returns the model of a member on a device.
        members: The manifest entry of each member.
        open_sink: Returns the destination of the results; called once in each worker.
        compiled: Whether to compile models on GPUs.
        threads: Torch threads per process, which decide the last digits of sums on a CPU; None
            to share the cores.
    """

    build: Callable[[str, torch.device], Model]
    members: Mapping[str, Member]
    open_sink: Callable[[], Sink]
    compiled: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class Assignment:
    """A leased shard, and the remaining ids of each member in it; None for all."""

    shard: Shard
    todo: Mapping[str, set[str]] | None


@dataclass(frozen=True)
class _ShardGroup(Group):
    """A batch of a shard."""

    shard: Shard


def work(
    parent: Connection, job: Job, members: tuple[str, ...], device_name: str, threads: int
) -> None:
    """Process shards until the parent has none left: the target of a worker process."""
    torch.set_num_threads(threads)
    channel = _Channel(parent)
    try:
        device = torch.device(device_name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        channel.send(("tally", _process_shards(channel, job, members, device)))
    except torch.AcceleratorError as error:  # without its device the worker counts as dead
        logger.exception("A worker's device failed.")
        raise SystemExit(_DEVICE_LOST) from error
    except Exception as error:
        logger.exception("A worker failed.")
        channel.send(("error", f"{type(error).__name__}: {' '.join(str(error).split())}"))
        raise SystemExit(1) from error


class _Channel:
    """The worker's end of the pipe; `send` is called from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, message: Message) -> None:
        with self._lock:
            self._connection.send(message)

    def assignments(self) -> Iterator[Assignment | None]:
        """Yield assignments until the parent says stop; None when no shard is free yet."""
        while True:
            self.send(("next", None))
            reply = self._connection.recv()
            if reply == STOP:
                return
            yield None if reply == LATER else reply


def _process_shards(
    channel: _Channel, job: Job, members: tuple[str, ...], device: torch.device
) -> Tally:
    models = {name: job.build(name, device) for name in members}
    size = max(job.members[name].batch_size for name in members)
    todo: dict[str, set[str]] = {name: set() for name in members}
    open_batches: dict[int, int] = {}  # by shard number: batches that are not stored yet

    def groups() -> Iterator[Group]:
        for assignment in channel.assignments():
            if assignment is None:
                time.sleep(RETRY_S)
                yield Group((), ())  # flushes the results so far
                continue
            shard = assignment.shard
            batches = split_shards(shard.ids, shard.paths, size)
            for name in members:
                todo[name] |= set(shard.ids) if assignment.todo is None else assignment.todo[name]
            open_batches[shard.number] = len(batches)
            for batch in batches:
                yield _ShardGroup(batch.ids, batch.paths, shard)

    def on_stored(stored: list[Group]) -> None:
        for group in stored:
            if isinstance(group, _ShardGroup):
                number = group.shard.number
                open_batches[number] -= 1
                if not open_batches[number]:
                    channel.send(("stored", (number, len(group.shard.ids))))

    return pipeline.run(
        build_runners(models, job.members, device, compiled=job.compiled),
        groups(),
        job.open_sink(),
        Work(todo=todo, on_stored=on_stored),
        device=device,
        batches_a_write=BATCHES_A_WRITE,
        pace=pace_for(device, size if job.compiled else 0),
    )
