"""What a notebook shows: plots of a dataset and of a round, and samples with boxes drawn on them.

The plots are those of the report. A `Figure` is shown by Jupyter after `%matplotlib inline`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from cascade.imaging import batches
from curation.api.datasets import connected
from curation.errors import StageError
from curation.labeling import tasks
from curation.report import figures
from curation.report.facts import Story, read_story
from curation.report.sections import quality
from curation.storage import queries, reader, rounds, schema
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

TILE_WH = (280, 210)
_LINE_PX, _GAP_PX = 14, 4  # of text above a tile, and between tiles
_SURE = 0.25  # confidence, below which a box would only hide the others
_QUALITY = 80
_INK, _PAPER = "#202124", "#FFFFFF"
_COLOURS = (
    figures.VERMILION, figures.GREEN, figures.PURPLE, figures.SKY, figures.GREY
)  # fmt: skip
_KNOWN_COLOURS = {schema.GROUND_TRUTH: figures.BLUE, schema.CONSENSUS: figures.ORANGE}


@dataclass(frozen=True)
class Sheet:
    """Pictures beside each other, which Jupyter shows."""

    image: Image.Image

    def save(self, path: str | Path) -> None:
        """Write the sheet as an image file."""
        self.image.save(path)

    def _repr_jpeg_(self) -> bytes:
        stream = io.BytesIO()
        self.image.save(stream, "JPEG", quality=_QUALITY, optimize=True)
        return stream.getvalue()


def hardness(dataset: Dataset, round_number: int = 1) -> Figure:
    """Draw how hard the scored samples are, and what each arm of a round took of them.

    Example:
        >>> cu.pictures.hardness(dataset)

    Raises:
        StageError: Nothing was scored.
    """
    columns = reader.read_columns(_scored(dataset), ["tags", schema.HARDNESS])
    arms: dict[str, list[float]] = {}
    for tags, value in zip(columns["tags"], columns[schema.HARDNESS], strict=True):
        if round_name(round_number) in tags:
            arms.setdefault(tasks.arm_of(tags) or "by hand", []).append(value)
    return figures.hardness_histogram(columns[schema.HARDNESS], arms)


def embedding(dataset: Dataset, round_number: int = 1) -> Figure:
    """Draw where samples lie in the embedding, coloured by hardness; a round's are ringed.

    Example:
        >>> cu.pictures.embedding(dataset)

    Raises:
        StageError: The dataset has no UMAP picture.
    """
    if not dataset.has_brain_run(schema.UMAP):
        raise StageError(
            f"{dataset.name!r} has no UMAP picture: `cu.embed(dataset)` makes one, of 5 samples "
            "or more."
        )
    results = dataset.load_brain_results(schema.UMAP)
    names = [one for one in (schema.HARDNESS,) if dataset.get_field(one) is not None]
    columns = reader.read_columns(dataset, ["tags", *names])
    tags = dict(zip(columns["id"], columns["tags"], strict=True))
    values = dict(zip(columns["id"], columns.get(schema.HARDNESS, ()), strict=False))
    ids = [str(one) for one in results.sample_ids]
    tag = round_name(round_number)
    return figures.embedding_scatter(
        np.asarray(results.points, np.float64),
        queries.float_array([values.get(one) for one in ids]),
        np.array([tag in tags.get(one, ()) for one in ids], bool),
    )


def before_after(dataset: Dataset, round_number: int = 1) -> Figure:
    """Draw the metrics of a round's champion and challenger on the frozen split, with intervals.

    Example:
        >>> cu.pictures.before_after(dataset)

    Raises:
        StageError: The round was not evaluated.
    """
    return quality.overall(_evaluated(dataset, round_number)).plots[0].draw()


def calibration(dataset: Dataset, round_number: int = 1) -> Figure:
    """Draw how often "yes" was true against the probability that was said, before and after.

    Example:
        >>> cu.pictures.calibration(dataset)

    Raises:
        StageError: The round was not evaluated.
    """
    return quality.overall(_evaluated(dataset, round_number)).plots[1].draw()


def slices(dataset: Dataset, round_number: int = 1) -> Figure:
    """Draw the challenger's metrics by slice.

    Example:
        >>> cu.pictures.slices(dataset)

    Raises:
        StageError: The round was not evaluated, or no slice is large enough.
    """
    found = quality.slices(_evaluated(dataset, round_number)).plots
    if not found:
        raise StageError("No slice of the frozen set is large enough to be measured.")
    return found[0].draw()


def sheet(
    view: DatasetView,
    label_fields: Sequence[str] = (schema.GROUND_TRUTH, schema.CONSENSUS),
    *,
    n: int = 4,
    apart: bool = False,
) -> Sheet:
    """Show the first samples of a view with the boxes of some fields.

    Example:
        >>> hardest = dataset.sort_by("hardness", reverse=True)
        >>> cu.pictures.sheet(hardest, ["yolo", "detr"], apart=True)

    Args:
        view: A FiftyOne dataset or view.
        label_fields: Detections fields. Ground truth is blue, the consensus orange.
        n: Samples at most.
        apart: Whether each field has a picture of its own, one row a sample; else all fields are
            drawn on one picture, four samples a row.
    """
    shown = view.limit(n)
    paths = shown.values("filepath")
    boxes = {name: _boxes(shown, name) for name in label_fields}
    rows = [
        [
            _tile(path, {name: boxes[name][i] for name in names}, " + ".join(names))
            for names in ([[one] for one in label_fields] if apart else [list(label_fields)])
        ]
        for i, path in enumerate(paths)
    ]
    if not apart:
        tiles = [row[0] for row in rows]
        rows = [tiles[i : i + 4] for i in range(0, len(tiles), 4)]
    return Sheet(_grid(rows))


def _scored(dataset: Dataset) -> Any:
    if dataset.get_field(schema.HARDNESS) is None or not len(dataset.exists(schema.HARDNESS)):
        raise StageError("Nothing has a hardness yet: `cu.score(dataset)` ranks the pool.")
    return dataset.exists(schema.HARDNESS)


def _evaluated(dataset: Dataset, number: int) -> Story:
    story = read_story(rounds.get_round(connected().home, dataset.name, number))
    if story.before is None or story.after is None:
        raise StageError(
            f"Round {number} of {dataset.name!r} was not evaluated: `cu.evaluate(dataset)` does it."
        )
    return story


def _boxes(view: DatasetView, name: str) -> list[list[tuple[float, float, float, float]]]:
    """Return the relative `x, y, w, h` of each sample's boxes that are sure enough to be drawn."""
    places, confidences = view.values(
        [f"{name}.detections.bounding_box", f"{name}.detections.confidence"]
    )
    return [
        [
            box
            for box, sure in zip(some or (), known or (), strict=True)
            if sure is None or sure >= _SURE
        ]
        for some, known in zip(places, confidences, strict=True)
    ]


def _tile(
    path: str, boxes: dict[str, list[tuple[float, float, float, float]]], title: str
) -> Image.Image:
    """Return one picture, with its title above it."""
    small = Image.fromarray(batches.read(path))
    small.thumbnail(TILE_WH, Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE_WH[0], small.height + _LINE_PX), _PAPER)
    pen = ImageDraw.Draw(small)
    others = iter(_COLOURS * (1 + len(boxes) // len(_COLOURS)))
    for name, found in boxes.items():
        colour = _KNOWN_COLOURS.get(name) or next(others)
        for x, y, w, h in found:
            corners = (x * small.width, y * small.height)
            ends = ((x + w) * small.width, (y + h) * small.height)
            pen.rectangle((corners, ends), outline=colour, width=2)
    tile.paste(small, (0, _LINE_PX))
    ImageDraw.Draw(tile).text((2, 1), title, fill=_INK)
    return tile


def _grid(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Return the tiles in rows, each as high as its highest tile."""
    step = TILE_WH[0] + _GAP_PX
    heights = [max(tile.height for tile in row) + _GAP_PX for row in rows]
    columns = max((len(row) for row in rows), default=1)
    grid = Image.new("RGB", (columns * step, max(sum(heights), 1)), _PAPER)
    for i, row in enumerate(rows):
        for column, tile in enumerate(row):
            grid.paste(tile, (column * step, sum(heights[:i])))
    return grid
