import numpy as np

from curation.app.panels import plotly_figures


def test_marks_are_ordered_by_hardness_and_have_ids():
    xy = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    hardness = np.array([0.9, np.nan, 0.1, 0.5])
    plot = plotly_figures.scatter(
        "p", "P", xy, hardness, np.array([1, 1, 40, 1]), on_selected="pick", on_click="", hint=""
    )
    unknown, scored = plot.traces
    assert unknown["ids"] == ["1"]
    assert scored["ids"] == ["2", "3", "0"], "hard marks are drawn on top"
    assert scored["x"] == [2.0, 3.0, 0.0]
    sizes = scored["marker"]["size"]
    assert sizes[0] > sizes[1], "a mark of many samples is larger"


def test_trace_without_marks_is_left_out():
    xy = np.zeros((2, 2))
    plot = plotly_figures.scatter(
        "p", "P", xy, np.array([0.1, 0.2]), np.ones(2, int), on_selected="", on_click="", hint=""
    )
    assert [trace["name"] for trace in plot.traces] == ["hardness"]


def test_missing_values_of_heatmap_are_null():
    plot = plotly_figures.heatmap(
        "h", "H", ["a"], ["x", "y"], np.array([[0.25, np.nan]]), texts=[["", ""]],
        hovers=[["", ""]],
    )  # fmt: skip
    assert plot.traces[0]["z"] == [[0.25, None]]


def test_height_grows_with_rows():
    def height(n):
        rows = [str(i) for i in range(n)]
        return plotly_figures.bar_chart("b", "B", rows, {"n": [1] * n}).layout["height"]

    assert height(30) - height(10) == 20 * plotly_figures.ROW_PX


def test_layout_options_are_merged():
    merged = plotly_figures.layout(100, x="seconds", xaxis={"range": [0, 1]})
    assert merged["xaxis"]["title"]["text"] == "seconds"
    assert merged["xaxis"]["range"] == [0, 1]
