import pytest

from curation.cli import tables
from curation.cli.app import console

HEADINGS = ("job", "next", "outcome")
ROWS = [("nightly", "Mon 02:30", "done"), ("weekly", "", "failed: the server\nis away")]


@pytest.fixture
def print_at(monkeypatch, capsys):
    """Return a function that prints the table at a width and returns its lines."""

    def print_table(width, rows=ROWS):
        monkeypatch.setattr(console, "width", width)
        tables.show_table(HEADINGS, rows, numeric={"next"})
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return print_table


def test_table_that_fits_has_columns(print_at):
    assert print_at(60) == [
        "job          next outcome",
        "nightly Mon 02:30 done",
        "weekly            failed: the server",
        "                  is away",
    ]


def test_wide_table_becomes_list_without_empty_cells(print_at):
    assert print_at(30) == [
        "nightly",
        "  next: Mon 02:30",
        "  outcome: done",
        "weekly",
        "  outcome: failed: the server",
        "  is away",
    ]


def test_row_of_one_cell_is_a_section(print_at):
    assert print_at(60, [("[bold]mine[/]",), *ROWS])[1] == "mine"
