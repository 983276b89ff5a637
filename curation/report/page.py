"""What a page is made of: sections of tables, plots and pictures, before anyone draws them.

The same page becomes HTML and terminal output, so both say the same.
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
        text: What it says.
        tone: How it is meant; the text says it as well.
        bar: Length of a bar behind the text, in [0, 1]; None for none.
    """

    text: str
    tone: Tone = ""
    bar: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns.

    Attributes:
        columns: Their names; one that ends in `#` holds numbers and is set to the right.
        rows: Each as long as `columns`.
        caption: What the table shows; may be empty.
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
                tuple(one if isinstance(one, Cell) else Cell(one) for one in row) for row in rows
            ),
            caption=caption,
        )


@dataclass(frozen=True)
class Plot:
    """A figure that is drawn when it is needed.

    Attributes:
        caption: What it shows, also for who cannot see it.
        draw: Draws it.
    """

    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True, eq=False)
class Picture:
    """A sample to look at.

    Attributes:
        filepath: Its image.
        title: Short: rank and hardness.
        text: Why it is shown.
        truth: Its ground truth; None where it has none.
        consensus: The fused boxes.
    """

    filepath: str
    title: str
    text: str
    truth: Detections | None
    consensus: Detections

    @property
    def name(self) -> str:
        """The name of its file."""
        return PurePath(self.filepath).name


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures that belong together."""

    name: str
    text: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class Section:
    """One part of the page.

    Attributes:
        title: What it is about.
        text: What to take away, in sentences.
        tables: In order.
        plots: In order.
        galleries: In order.
        not_run: Why it has no content; empty where it has.
    """

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    not_run: str = ""

    @property
    def anchor(self) -> str:
        """What a link within the page calls it."""
        return "".join(one if one.isalnum() else "-" for one in self.title.lower())


@dataclass(frozen=True, eq=False)
class Page:
    """A whole report.

    Attributes:
        title: Data set and round.
        headline: The outcome, in one sentence.
        tone: Of the headline.
        facts: Short facts, each with its name.
        sections: In order.
    """

    title: str
    headline: str
    tone: Tone
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
