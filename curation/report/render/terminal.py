"""The page for a terminal: the same words and tables; pictures become a line each."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from curation.report.page import Cell, Gallery, Page, Section, Table, Tone

_STYLES: dict[Tone, str] = {"": "", "good": "green", "bad": "dark_orange", "muted": "dim"}
_BAR = 24  # characters of the longest bar


def render(page: Page) -> RenderableType:
    """Return what `rich` prints."""
    facts = "   ".join(f"[dim]{escape(name)}[/] {escape(value)}" for name, value in page.facts)
    head = Panel(
        Text.assemble((page.headline, f"bold {_STYLES[page.tone]}".strip())),
        title=escape(page.title),
        title_align="left",
        box=box.ROUNDED,
    )
    return Group(head, Text.from_markup(facts), *(_section(one) for one in page.sections))


def _section(section: Section) -> RenderableType:
    parts: list[RenderableType] = [Text(), Rule(Text(section.title, "bold"), align="left")]
    if section.not_run:
        parts.append(Text(section.not_run, "dim italic"))
    if section.text:
        parts.append(Text(" ".join(section.text)))
    parts += [_table(table) for table in section.tables]
    parts += [_gallery(gallery) for gallery in section.galleries]
    return Group(*parts)


def _table(table: Table) -> RichTable:
    made = RichTable(
        box=box.SIMPLE,
        caption=escape(table.caption) or None,
        caption_justify="left",
        pad_edge=False,
    )
    for number, column in enumerate(table.columns):
        name = column.rstrip("#")
        made.add_column(
            escape(name),
            min_width=max(map(len, name.split()), default=0),
            justify="right" if column.endswith("#") else "left",
            overflow="fold",
            no_wrap=number == 0,  # the name of a row is never cut
        )
    for row in table.rows:
        made.add_row(*(_cell(cell) for cell in row))
    return made


def _cell(cell: Cell) -> Text:
    if cell.bar is None:
        return Text(cell.text, _STYLES[cell.tone])
    return Text.assemble((("█" * round(_BAR * cell.bar)), "blue"), " ", cell.text)


def _gallery(gallery: Gallery) -> RichTable:
    made = RichTable(
        "", "file", "why", box=box.SIMPLE, title=f"{gallery.name}: {gallery.text}",
        title_justify="left",
    )  # fmt: skip
    for one in gallery.pictures:
        made.add_row(Text(one.title), Text(one.name), Text(one.text))
    return made
