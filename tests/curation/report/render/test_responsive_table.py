import pytest
from rich.console import Console
from rich.text import Text

from curation.report.render.responsive_table import ResponsiveTable

HEADINGS = ("check", "result", "details")


def lines(width, *rows, **options):
    console = Console(width=width, record=True, file=None)
    cells = [[Text(cell) for cell in row] for row in rows]
    with console.capture() as capture:
        console.print(ResponsiveTable(HEADINGS, cells, **options))
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()]


def test_wide_terminal_shows_table():
    printed = lines(80, ("mcc", "holds", "The gain is significant."))
    assert "check" in printed[0]
    assert "result" in printed[0]
    assert printed[-1].split() == ["mcc", "holds", "The", "gain", "is", "significant."]


def test_only_widest_column_wraps():
    printed = lines(60, ("time_of_day=night", "holds", "word " * 12))
    assert printed[2].strip().startswith("time_of_day=night")
    assert all(line.strip().startswith("word") for line in printed[3:])


def test_narrow_terminal_shows_list():
    printed = lines(40, ("time_of_day=night", "reported only", "word " * 12))
    assert printed[0] == "time_of_day=night"
    assert printed[1] == "  result: reported only"
    assert printed[2].startswith("  details: word")


def test_list_leaves_out_empty_cells():
    printed = lines(20, ("a" * 18, "", "b" * 18))
    assert not any("result" in line for line in printed)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_exceeds_terminal(width):
    rows = [("name", "x" * 30, "word " * 20), ("another name", "", "y")]
    assert max(map(len, lines(width, *rows, caption="Two rows"))) <= width


def test_markup_in_cells_is_literal():
    assert "[bold]" in "".join(lines(80, ("[bold]x", "", "")))
