"""Terminal tables that become lists where the terminal is too narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_GAP = 3  # columns between two cells, including padding
_MIN_FLEXIBLE = 28  # columns that the widest column needs to wrap legibly


@dataclass(frozen=True)
class ResponsiveTable:
    """Renders rows as a table, or as a list if the table does not fit.

    Only the widest column wraps. In the list, the first cell of a row is the title of its item,
    and empty cells are left out.

    Attributes:
        headings: Column headings.
        rows: Cells, at most one for each heading.
        numeric: Indices of the right-aligned columns.
        caption: Caption, possibly empty.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Text]]
    numeric: frozenset[int] = frozenset()
    caption: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._widths()
        flexible = max(range(len(widths)), key=widths.__getitem__)
        rigid = sum(widths) - widths[flexible] + _GAP * (len(widths) - 1)
        available = options.max_width - rigid
        if widths[flexible] <= available or available >= _MIN_FLEXIBLE:
            yield self._table(flexible)
        else:
            yield from self._list()

    def _widths(self) -> list[int]:
        """Return the natural width of each column."""
        columns = [[Text(heading).cell_len] for heading in self.headings]
        for row in self.rows:
            for column, cell in zip(columns, row, strict=False):
                column += [line.cell_len for line in cell.split(allow_blank=True)]
        return [max(column) for column in columns]

    def _table(self, flexible: int) -> Table:
        table = Table(
            box=box.SIMPLE, caption=self.caption or None, caption_justify="left", pad_edge=False
        )
        for index, heading in enumerate(self.headings):
            table.add_column(
                Text(heading),
                justify="right" if index in self.numeric else "left",
                no_wrap=index != flexible,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*row)
        return table

    def _list(self) -> RenderResult:
        yield Text()
        for title, *cells in self.rows:
            yield Text.assemble(title, style="bold")
            for heading, cell in zip(self.headings[1:], cells, strict=False):
                if cell.plain.strip():
                    yield Padding(Text.assemble((f"{heading}: ", "dim"), cell), (0, 0, 0, 2))
        if self.caption:
            yield Text(self.caption, "italic")
