import numpy as np

from curation.app.panels import plotly_figures


def test_marks_lie_by_rising_hardness_and_bear_their_row():
    xy = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    colour = np.array([0.9, np.nan, 0.1, 0.5])
    made = plotly_figures.points(
        "p", "P", xy, colour, np.array([1, 1, 40, 1]), on_selected="pick", on_click="", hint=""
    )
    unknown, known = made.traces
    assert unknown["ids"] == ["1"]
    assert known["ids"] == ["2", "3", "0"], "the hard ones lie on top"
    assert known["x"] == [2.0, 3.0, 0.0]
    sizes = known["marker"]["size"]
    assert sizes[0] > sizes[1], "a mark of many samples is larger"


def test_a_trace_without_marks_is_left_out():
    xy = np.zeros((2, 2))
    made = plotly_figures.points(
        "p", "P", xy, np.array([0.1, 0.2]), np.ones(2, int), on_selected="", on_click="", hint=""
    )
    assert [one["name"] for one in made.traces] == ["hardness"]


def test_blank_cells_of_a_table_are_null():
    made = plotly_figures.heat(
        "h", "H", ["a"], ["x", "y"], np.array([[0.25, np.nan]]), texts=[["", ""]],
        hovers=[["", ""]],
    )  # fmt: skip
    assert made.traces[0]["z"] == [[0.25, None]]


def test_a_plot_has_room_for_every_row():
    def height(n):
        rows = [str(i) for i in range(n)]
        return plotly_figures.bars("b", "B", rows, {"n": [1] * n}).layout["height"]

    assert height(30) - height(10) == 20 * plotly_figures.ROW_PX


def test_what_a_layout_adds_goes_into_the_parts_that_are_there():
    made = plotly_figures.layout(100, x="seconds", xaxis={"range": [0, 1]})
    assert made["xaxis"]["title"]["text"] == "seconds"
    assert made["xaxis"]["range"] == [0, 1]
