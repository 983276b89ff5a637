"""Tables for the terminal; a table too wide for it is printed as a list."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from curation.cli.app import console

_READABLE_WIDTH = 16  # a narrower column of text wraps too often to be read


def show_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Collection[str] = ()
) -> None:
    """Print a table, or a list if text columns would be too narrow in the terminal.

    Cells may hold Rich markup and several lines. In the list, the first cell of a row is the
    title of its item, and empty cells are left out. Nothing is cut in either form.

    Args:
        headings: Column headings.
        rows: Cells of each row. A row may be shorter than `headings`.
        numeric: Headings of the columns to align to the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    cells = [tuple(row) for row in rows]
    total = len(headings) - 1  # one space between columns
    for i, heading in enumerate(headings):
        texts = [heading, *(row[i] for row in cells if i < len(row))]
        width = max(line.cell_len for text in texts for line in Text.from_markup(text).split("\n"))
        fixed = i == 0 or heading in numeric
        min_width = width if fixed else min(width, _READABLE_WIDTH)
        total += min_width
        table.add_column(
            heading, justify="right" if heading in numeric else "left", overflow="fold",
            min_width=min_width, no_wrap=fixed,
        )  # fmt: skip
    if total <= console.width:
        for row in cells:
            table.add_row(*row)
        console.print(table)
        return
    for title, *values in cells:
        console.print(title, highlight=False)
        for heading, value in zip(headings[1:], values, strict=False):
            if value:
                item = Padding(f"{heading}: {value}", (0, 0, 0, 2), expand=False)
                console.print(item, highlight=False)
