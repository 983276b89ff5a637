"""Contents of a run: parameters, metrics, curves, data, plots, tables and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DataInput:
    """Data used in a run, and its source.

    Attributes:
        dataset: Name of the FiftyOne dataset.
        tag: Sample tag of the view, such as `round-01`; empty for the whole dataset.
        digest: Hash of the snapshot: images, splits and boxes.
        context: Purpose of the data.
        round_number: Number of the round.
        n_images: Number of images; None if unknown.
    """

    dataset: str
    tag: str
    digest: str
    context: Literal["training", "evaluation"]
    round_number: int
    n_images: int | None = None


@dataclass(frozen=True)
class RunContents:
    """Contents of one run; all optional.

    Attributes:
        params: Parameters, by name.
        metrics: Metrics, by name; None is omitted.
        curves: One value for each epoch, by name; None is omitted.
        inputs: Data used in the run.
        figures: Plots, by file name without suffix.
        tables: Plain JSON, by file name without suffix: confusion, slices, the verdict.
        pages: Text files, by name: an HTML page, the environment.
        files: Other files, by destination folder.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    inputs: Sequence[DataInput] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
