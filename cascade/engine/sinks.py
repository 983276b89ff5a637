"""Destinations of the engine's results, and the statistics of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cascade.predictions import Failure

Results = Mapping[str, Mapping[str, Any]]
"""By image id and member: a `Prediction` or a `Failure`."""


class Sink(Protocol):
    """Destination of predictions."""

    def write(self, results: Results) -> None:
        """Store all of the results, or none of them."""
        ...


@dataclass
class MemorySink:
    """Sink that keeps the results in memory, for a few thousand images."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, results: Results) -> None:
        """Add the results to `self.results`."""
        for image_id, row in results.items():
            self.results.setdefault(image_id, {}).update(row)


@dataclass
class Tally:
    """Statistics of a run.

    Attributes:
        images: Number of images processed.
        predicted: Number of predictions made.
        failed: Number of predictions that failed; each failure is stored with its image.
        seconds: Seconds by member in its own calls: GPU time on a GPU.
        seen: Images by member in that time, including those computed only to complete a batch.
    """

    images: int = 0
    predicted: int = 0
    failed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def count(self, results: Results) -> None:
        """Count stored results."""
        self.images += len(results)
        for row in results.values():
            failures = sum(isinstance(result, Failure) for result in row.values())
            self.failed += failures
            self.predicted += len(row) - failures

    def add(self, other: Tally) -> None:
        """Add the statistics of another run."""
        self.images += other.images
        self.predicted += other.predicted
        self.failed += other.failed
        for name, seconds in other.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        for name, seen in other.seen.items():
            self.seen[name] = self.seen.get(name, 0) + seen
