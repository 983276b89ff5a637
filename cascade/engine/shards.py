"""Shards of the images, who has which, and what becomes of them when a worker dies.

A shard is leased to one worker at a time and done once all of it is stored. A worker that died,
or has not been heard of for too long, loses its shards to whoever asks next: what it had stored
is stored again, the same. Pure: no process, no clock of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cascade.errors import CascadeError

TRIES = 3  # of a shard, before it is held to be what its workers die of


class ShardError(CascadeError, RuntimeError):
    """A shard was lost by every worker that had it."""


@dataclass(frozen=True)
class Shard:
    """Neighbouring images, a whole number of batches.

    Attributes:
        number: From 0.
        ids: One name per image.
        paths: The image files.
    """

    number: int
    ids: Sequence[str]
    paths: Sequence[str | Path]


def cut(ids: Sequence[str], paths: Sequence[str | Path], size: int) -> list[Shard]:
    """Return the images in shards of `size`; batches are the same, whoever gets them."""
    return [
        Shard(number, ids[i : i + size], paths[i : i + size])
        for number, i in enumerate(range(0, len(ids), size))
    ]


@dataclass
class Leases:
    """Which shards wait, which are leased to whom, which are done.

    Attributes:
        waiting: Nobody's, in order.
        held: The shards of each worker, by its name.
        done: The numbers of those that are stored.
        lost: How often the worker of a shard died, by number.
    """

    waiting: deque[Shard]
    held: dict[str, dict[int, Shard]] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    lost: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, shards: Iterable[Shard]) -> Leases:
        """Return leases of shards that all wait."""
        return cls(deque(shards))

    def take(self, worker: str) -> Shard | None:
        """Lease the next shard to a worker; None where none waits."""
        if not self.waiting:
            return None
        shard = self.waiting.popleft()
        self.held.setdefault(worker, {})[shard.number] = shard
        return shard

    def finish(self, worker: str, number: int) -> bool:
        """Note that a shard is stored; False where it was taken from the worker before."""
        shard = self.held.get(worker, {}).pop(number, None)
        if shard is None:
            return False
        self.done.add(number)
        return True

    def lose(self, worker: str) -> list[Shard]:
        """Take a worker's shards from it, to be next, and return them.

        Raises:
            ShardError: One of them was lost too often.
        """
        shards = list(self.held.pop(worker, {}).values())
        for one in shards:
            self.lost[one.number] = self.lost.get(one.number, 0) + 1
            if self.lost[one.number] >= TRIES:
                raise ShardError(
                    f"{TRIES} worker processes died over the {len(one.ids)} images from "
                    f"{one.paths[0]} on. What was stored stays. Look for what kills them (memory, "
                    "above all), then run again."
                )
        self.waiting.extendleft(reversed(shards))
        return shards

    @property
    def is_finished(self) -> bool:
        """Whether every shard is done."""
        return not self.waiting and not any(self.held.values())
