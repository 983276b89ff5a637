"""Terminal rendering of a page; pictures become one line each."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from curation.report.page import Cell, Gallery, Page, Section, Table, Tone
from curation.report.render.responsive_table import ResponsiveTable

_STYLES: dict[Tone, str] = {"": "", "good": "green", "bad": "dark_orange", "muted": "dim"}
_BAR = 24  # characters of the longest bar


def render(page: Page) -> RenderableType:
    """Return a Rich renderable of the page."""
    facts = "   ".join(f"[dim]{escape(name)}[/] {escape(value)}" for name, value in page.facts)
    head = Panel(
        Text.assemble((page.headline, f"bold {_STYLES[page.tone]}".strip())),
        title=escape(page.title),
        title_align="left",
        box=box.ROUNDED,
    )
    return Group(head, Text.from_markup(facts), *(_section(section) for section in page.sections))


def _section(section: Section) -> RenderableType:
    parts: list[RenderableType] = [Text(), Rule(Text(section.title, "bold"), align="left")]
    if section.not_run:
        parts.append(Text(section.not_run, "dim italic"))
    if section.text:
        parts.append(Text(" ".join(section.text)))
    parts += [_table(table) for table in section.tables]
    parts += [_gallery(gallery) for gallery in section.galleries]
    return Group(*parts)


def _table(table: Table) -> ResponsiveTable:
    return ResponsiveTable(
        headings=[column.rstrip("#") for column in table.columns],
        rows=[[_cell(cell) for cell in row] for row in table.rows],
        numeric=frozenset(i for i, name in enumerate(table.columns) if name.endswith("#")),
        caption=table.caption,
    )


def _cell(cell: Cell) -> Text:
    if cell.bar is None:
        return Text(cell.text, _STYLES[cell.tone])
    return Text.assemble((("█" * round(_BAR * cell.bar)), "blue"), " ", cell.text)


def _gallery(gallery: Gallery) -> Group:
    rows = [[Text(picture.title), Text(picture.name), Text(picture.text)]
            for picture in gallery.pictures]  # fmt: skip
    title = Text(f"{gallery.name}: {gallery.text}", "italic")
    return Group(Text(), title, ResponsiveTable(("sample", "file", "reason"), rows))
