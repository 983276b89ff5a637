import io

import pytest
from rich.console import Console

from curation.cli.progress_bars import StageBars


@pytest.fixture
def file():
    return io.StringIO()


def lines(file):
    return [line.split() for line in file.getvalue().splitlines()]


def test_without_terminal_progress_is_a_line_every_tenth(file):
    with StageBars(Console(file=file, width=80)) as bars:
        told = bars("predict")
        for done in range(1, 201):
            told(done, 200)
    assert lines(file) == [["predict", f"{done}/200"] for done in (1, *range(20, 201, 20))]


def test_few_items_are_a_line_each(file):
    with StageBars(Console(file=file, width=80)) as bars:
        told = bars("score")
        for done in (1, 2, 3):
            told(done, 3)
    assert lines(file) == [["score", "1/3"], ["score", "2/3"], ["score", "3/3"]]


def test_empty_stage_does_not_divide_by_zero(file):
    with StageBars(Console(file=file, width=80)) as bars:
        bars("embed")(0, 0)
    assert lines(file) == [["embed", "0/0"]]


def test_each_stage_has_its_name(file):
    with StageBars(Console(file=file, width=80)) as bars:
        bars("predict")(5, 5)
        bars("fuse")(5, 5)
    assert lines(file) == [["predict", "5/5"], ["fuse", "5/5"]]


def test_terminal_cursor_is_restored(file):
    with StageBars(Console(file=file, force_terminal=True, width=100)) as bars:
        bars("train")(3, 4)
    drawn = file.getvalue()
    assert "train" in drawn
    assert "3/4" in drawn
    assert drawn.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"
    assert "\n    train  3/4" not in drawn, "no plain line beside the bar"


def test_cursor_is_restored_after_error(file):
    def interrupted():
        with StageBars(Console(file=file, force_terminal=True, width=100)) as bars:
            bars("train")(3, 4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.getvalue().rstrip().endswith("\x1b[?25h")
