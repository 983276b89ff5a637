"""Plots for notebooks: those of the report, and samples with their boxes.

Jupyter shows a `Figure` after `%matplotlib inline`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from cascade.imaging import batches
from curation.api.datasets import connected
from curation.errors import StageError
from curation.labeling import tasks
from curation.report import figures
from curation.report.facts import RoundRecord, read_round_record
from curation.report.sections import quality
from curation.storage import queries, reader, rounds, schema
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

TILE_WH = (280, 210)
_TITLE_PX, _GAP_PX = 14, 4  # above each tile, and between tiles
_MIN_CONFIDENCE = 0.25  # weaker boxes would hide the others
_QUALITY = 80
_INK, _PAPER = "#202124", "#FFFFFF"
_COLORS = (
    figures.VERMILION, figures.GREEN, figures.PURPLE, figures.SKY, figures.GRAY
)  # fmt: skip
_FIELD_COLORS = {schema.GROUND_TRUTH: figures.BLUE, schema.CONSENSUS: figures.ORANGE}


@dataclass(frozen=True)
class Sheet:
    """A grid of images that Jupyter displays."""

    image: Image.Image

    def save(self, path: str | Path) -> None:
        """Write the sheet as an image file."""
        self.image.save(path)

    def _repr_jpeg_(self) -> bytes:
        stream = io.BytesIO()
        self.image.save(stream, "JPEG", quality=_QUALITY, optimize=True)
        return stream.getvalue()


def hardness(dataset: Dataset, round_number: int = 1) -> Figure:
    """Plot the hardness of scored samples, and of those that each arm of a round chose.

    Example:
        >>> cu.plots.hardness(dataset)

    Raises:
        StageError: No sample is scored.
    """
    columns = reader.read_columns(_scored(dataset), ["tags", schema.HARDNESS])
    arms: dict[str, list[float]] = {}
    for tags, value in zip(columns["tags"], columns[schema.HARDNESS], strict=True):
        if round_name(round_number) in tags:
            arms.setdefault(tasks.arm_of(tags) or "by hand", []).append(value)
    return figures.hardness_histogram(columns[schema.HARDNESS], arms)


def embedding(dataset: Dataset, round_number: int = 1) -> Figure:
    """Plot the UMAP embedding, colored by hardness; the samples of a round are circled.

    Example:
        >>> cu.plots.embedding(dataset)

    Raises:
        StageError: The dataset has no UMAP plot.
    """
    if not dataset.has_brain_run(schema.UMAP):
        raise StageError(
            f"{dataset.name!r} has no UMAP plot. `cu.embed(dataset)` computes one from 5 samples "
            "or more."
        )
    results = dataset.load_brain_results(schema.UMAP)
    names = [schema.HARDNESS] if dataset.get_field(schema.HARDNESS) is not None else []
    columns = reader.read_columns(dataset, ["tags", *names])
    tags = dict(zip(columns["id"], columns["tags"], strict=True))
    values = dict(zip(columns["id"], columns.get(schema.HARDNESS, ()), strict=False))
    ids = [str(sample_id) for sample_id in results.sample_ids]
    tag = round_name(round_number)
    return figures.embedding_scatter(
        np.asarray(results.points, np.float64),
        queries.float_array([values.get(i) for i in ids]),
        np.array([tag in tags.get(i, ()) for i in ids], bool),
    )


def before_after(dataset: Dataset, round_number: int = 1) -> Figure:
    """Plot the test metrics of a round's champion and challenger, with intervals.

    Example:
        >>> cu.plots.before_after(dataset)

    Raises:
        StageError: The round has not been evaluated.
    """
    return quality.overall(_evaluated(dataset, round_number)).plots[0].draw()


def calibration(dataset: Dataset, round_number: int = 1) -> Figure:
    """Plot the reliability of image decisions, before and after a round.

    Example:
        >>> cu.plots.calibration(dataset)

    Raises:
        StageError: The round has not been evaluated.
    """
    return quality.overall(_evaluated(dataset, round_number)).plots[1].draw()


def slices(dataset: Dataset, round_number: int = 1) -> Figure:
    """Plot the challenger's metrics by slice.

    Example:
        >>> cu.plots.slices(dataset)

    Raises:
        StageError: The round has not been evaluated, or no slice is large enough.
    """
    plots = quality.slices(_evaluated(dataset, round_number)).plots
    if not plots:
        raise StageError("No slice of the frozen set is large enough to measure.")
    return plots[0].draw()


def sheet(
    view: DatasetView,
    label_fields: Sequence[str] = (schema.GROUND_TRUTH, schema.CONSENSUS),
    *,
    n: int = 4,
    apart: bool = False,
) -> Sheet:
    """Draw the first samples of a view with the boxes of some fields.

    Example:
        >>> hardest = dataset.sort_by("hardness", reverse=True)
        >>> cu.plots.sheet(hardest, ["yolo", "detr"], apart=True)

    Args:
        view: A FiftyOne dataset or view.
        label_fields: Detections fields. Ground truth is blue, the consensus orange.
        n: Maximal number of samples.
        apart: Whether each field gets its own image, one row per sample; otherwise one image
            shows all fields, four samples per row.
    """
    shown = view.limit(n)
    paths = shown.values("filepath")
    boxes = {name: _boxes(shown, name) for name in label_fields}
    rows = [
        [
            _tile(path, {name: boxes[name][i] for name in names}, " + ".join(names))
            for names in ([[name] for name in label_fields] if apart else [list(label_fields)])
        ]
        for i, path in enumerate(paths)
    ]
    if not apart:
        tiles = [row[0] for row in rows]
        rows = [tiles[i : i + 4] for i in range(0, len(tiles), 4)]
    return Sheet(_grid(rows))


def _scored(dataset: Dataset) -> DatasetView:
    if dataset.get_field(schema.HARDNESS) is None or not len(dataset.exists(schema.HARDNESS)):
        raise StageError("No sample has a hardness score. Run `cu.score(dataset)` first.")
    return dataset.exists(schema.HARDNESS)


def _evaluated(dataset: Dataset, number: int) -> RoundRecord:
    round_record = read_round_record(rounds.get_round(connected().home, dataset.name, number))
    if round_record.before is None or round_record.after is None:
        raise StageError(
            f"Round {number} of {dataset.name!r} has not been evaluated. "
            "Run `cu.evaluate(dataset)` first."
        )
    return round_record


def _boxes(view: DatasetView, name: str) -> list[list[tuple[float, float, float, float]]]:
    """Return the relative `x, y, w, h` of each sample's confident boxes."""
    boxes, confidences = view.values(
        [f"{name}.detections.bounding_box", f"{name}.detections.confidence"]
    )
    return [
        [
            box
            for box, confidence in zip(sample_boxes or (), sample_confidences or (), strict=True)
            if confidence is None or confidence >= _MIN_CONFIDENCE
        ]
        for sample_boxes, sample_confidences in zip(boxes, confidences, strict=True)
    ]


def _tile(
    path: str, boxes: dict[str, list[tuple[float, float, float, float]]], title: str
) -> Image.Image:
    """Return one image with its title above."""
    small = Image.fromarray(batches.read(path))
    small.thumbnail(TILE_WH, Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE_WH[0], small.height + _TITLE_PX), _PAPER)
    pen = ImageDraw.Draw(small)
    others = iter(_COLORS * (1 + len(boxes) // len(_COLORS)))
    for name, field_boxes in boxes.items():
        color = _FIELD_COLORS.get(name) or next(others)
        for x, y, w, h in field_boxes:
            corners = (x * small.width, y * small.height)
            ends = ((x + w) * small.width, (y + h) * small.height)
            pen.rectangle((corners, ends), outline=color, width=2)
    tile.paste(small, (0, _TITLE_PX))
    ImageDraw.Draw(tile).text((2, 1), title, fill=_INK)
    return tile


def _grid(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Return the tiles in rows, each as tall as its tallest tile."""
    step = TILE_WH[0] + _GAP_PX
    heights = [max(tile.height for tile in row) + _GAP_PX for row in rows]
    columns = max((len(row) for row in rows), default=1)
    grid = Image.new("RGB", (columns * step, max(sum(heights), 1)), _PAPER)
    for i, row in enumerate(rows):
        for column, tile in enumerate(row):
            grid.paste(tile, (column * step, sum(heights[:i])))
    return grid
