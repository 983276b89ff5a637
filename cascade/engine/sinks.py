"""Where the engine's results go, and what is counted on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cascade.predictions import Failure


class Sink(Protocol):
    """Where predictions go."""

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Store `{image id: {member: prediction or Failure}}`, whole or not at all."""
        ...


@dataclass
class Memory:
    """A sink that keeps everything in memory, for a few thousand images."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep `results`."""
        for name, row in results.items():
            self.results.setdefault(name, {}).update(row)


@dataclass
class Tally:
    """What a run did.

    Attributes:
        images: Images that were looked at.
        predicted: Predictions that were made.
        failed: Predictions that failed, each on record at its image.
        seconds: Time in each member's own calls: on a GPU, the GPU's.
        seen: Images that each member looked at in that time, those for their neighbours' sake
            included.
    """

    images: int = 0
    predicted: int = 0
    failed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def count(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Count what was stored."""
        self.images += len(results)
        for row in results.values():
            failures = sum(isinstance(result, Failure) for result in row.values())
            self.failed += failures
            self.predicted += len(row) - failures

    def add(self, other: Tally) -> None:
        """Count what another run did, too."""
        self.images += other.images
        self.predicted += other.predicted
        self.failed += other.failed
        for mine, theirs in ((self.seconds, other.seconds), (self.seen, other.seen)):
            for name, one in theirs.items():
                mine[name] = mine.get(name, 0) + one  # type: ignore[assignment]
