"""Page model: sections of tables, plots and pictures, independent of rendering.

HTML and terminal output are rendered from the same page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from cascade.predictions import Detections

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tone = Literal["", "good", "bad", "muted"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: Content.
        tone: Color of the text; the text conveys the same.
        bar: Length of a bar behind the text, in [0, 1], if any.
    """

    text: str
    tone: Tone = ""
    bar: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns.

    Attributes:
        columns: Column names; a name ending in `#` marks a right-aligned number column.
        rows: Rows of cells, each as long as `columns`.
        caption: Caption, possibly empty.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    @classmethod
    def of(cls, columns: str, rows: list[list[Cell | str]], caption: str = "") -> Table:
        """Return a table from column names joined by `|`, and cells or plain texts."""
        return cls(
            columns=tuple(columns.split("|")),
            rows=tuple(
                tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row)
                for row in rows
            ),
            caption=caption,
        )


@dataclass(frozen=True)
class Plot:
    """A figure, drawn lazily.

    Attributes:
        caption: Caption, also the alternative text.
        draw: Function that draws the figure.
    """

    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True, eq=False)
class Picture:
    """Thumbnail of a sample.

    Attributes:
        filepath: Path of the image.
        title: Rank and hardness.
        text: Reason of the choice.
        truth: Ground truth, if labeled.
        consensus: Fused boxes.
    """

    filepath: str
    title: str
    text: str
    truth: Detections | None
    consensus: Detections

    @property
    def name(self) -> str:
        """File name of the image."""
        return PurePath(self.filepath).name


@dataclass(frozen=True, eq=False)
class Gallery:
    """Named group of pictures."""

    name: str
    text: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class Section:
    """One part of the page.

    Attributes:
        title: Heading.
        text: Summary sentences.
        tables: Tables in display order.
        plots: Plots in display order.
        galleries: Galleries in display order.
        not_run: Reason for missing content, empty otherwise.
    """

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    not_run: str = ""

    @property
    def anchor(self) -> str:
        """Anchor of the section in links within the page."""
        return "".join(char if char.isalnum() else "-" for char in self.title.lower())


@dataclass(frozen=True, eq=False)
class Page:
    """A complete report.

    Attributes:
        title: Names of dataset and round.
        headline: Outcome, in one sentence.
        tone: Color of the headline.
        facts: Name and value of short facts.
        sections: Sections in display order.
    """

    title: str
    headline: str
    tone: Tone
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
