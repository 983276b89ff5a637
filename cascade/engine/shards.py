"""Shards of the images, and their leases to worker processes.

A shard is leased to one worker at a time and finished when all of it is stored. When a worker
dies or falls silent, its shards are leased again; results that it had stored are stored a second
time, unchanged. Pure code: no process and no clock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade.errors import CascadeError

MAX_TRIES = 3  # after so many deaths a shard is taken to be their cause


class ShardError(CascadeError, RuntimeError):
    """Every worker that leased a shard has died."""


@dataclass(frozen=True)
class Shard:
    """Consecutive images that fill whole batches.

    Attributes:
        number: Index from 0.
        ids: One name per image.
        paths: The image files.
    """

    number: int
    ids: Sequence[str]
    paths: Sequence[str | Path]


def split_shards(ids: Sequence[str], paths: Sequence[str | Path], size: int) -> list[Shard]:
    """Return the images in shards of `size`; batches do not depend on the worker."""
    return [
        Shard(number, ids[i : i + size], paths[i : i + size])
        for number, i in enumerate(range(0, len(ids), size))
    ]


class Leases:
    """State of every shard: waiting, leased or done.

    Args:
        shards: The shards, all waiting.

    Attributes:
        waiting: Shards without a worker, in order.
        leased: The shards of each worker, by worker name and shard number.
        done: Numbers of the stored shards.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.waiting = deque(shards)
        self.leased: dict[str, dict[int, Shard]] = {}
        self.done: set[int] = set()
        self._deaths: Counter[int] = Counter()  # by shard number

    def lease(self, worker: str) -> Shard | None:
        """Lease the next shard to a worker; None if none is waiting."""
        if not self.waiting:
            return None
        shard = self.waiting.popleft()
        self.leased.setdefault(worker, {})[shard.number] = shard
        return shard

    def finish(self, worker: str, number: int) -> bool:
        """Mark a shard as stored; return False if the worker no longer holds its lease."""
        if self.leased.get(worker, {}).pop(number, None) is None:
            return False
        self.done.add(number)
        return True

    def release(self, worker: str) -> list[Shard]:
        """Put the shards of a dead worker back at the front of the queue, and return them.

        Raises:
            ShardError: One of the shards has lost too many workers.
        """
        shards = list(self.leased.pop(worker, {}).values())
        for shard in shards:
            self._deaths[shard.number] += 1
            if self._deaths[shard.number] >= MAX_TRIES:
                raise ShardError(
                    f"{MAX_TRIES} worker processes died while processing the {len(shard.ids)} "
                    f"images from {shard.paths[0]} on. Stored results are kept. Find the cause "
                    "(most often a lack of memory), then run again."
                )
        self.waiting.extendleft(reversed(shards))
        return shards

    @property
    def is_finished(self) -> bool:
        """Whether every shard is done."""
        return not self.waiting and not any(self.leased.values())
