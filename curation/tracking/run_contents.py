"""What a run keeps beside the ensemble: settings, figures, curves, data, plots and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DataInput:
    """Data that went into a run, and where it is found again.

    Attributes:
        dataset: The name of the FiftyOne dataset.
        tag: The sample tag of the view, such as `round-01`; empty for the whole dataset.
        digest: The hash of the snapshot: images, splits and boxes.
        context: What it was for.
        round_number: The round that it belongs to.
        n_images: How many images; None where not counted.
    """

    dataset: str
    tag: str
    digest: str
    context: Literal["training", "evaluation"]
    round_number: int
    n_images: int | None = None


@dataclass(frozen=True)
class About:
    """The content of one run; everything may be left out.

    Attributes:
        params: Settings, by name.
        metrics: Figures; a None is left out.
        curves: One value for each epoch from the first; a None is left out.
        inputs: The data.
        figures: Plots, by file name without its ending.
        tables: Plain JSON, by file name without its ending: confusion, slices, the verdict.
        pages: Text files, by their name: a page of HTML, the environment.
        files: More files to keep, by the folder to put them in.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    inputs: Sequence[DataInput] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
