import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from curation.report import figures
from curation.report.figures import Change, Estimate, Point

NOTHING = np.zeros(0)
SOME = np.linspace(0, 1, 50)

DRAWN = [
    pytest.param(figures.hardness_histogram([0.1, 0.9], {"hard": [0.9]}), id="histogram"),
    pytest.param(figures.hardness_histogram([], {}), id="histogram of nothing"),
    pytest.param(
        figures.hardness_histogram([0.5], {"mine": [0.5], "random": []}), id="histogram, new arm"
    ),
    pytest.param(
        figures.before_after([Change("mcc", Estimate(-0.2, -0.4, 0.1), Estimate(0.6))]),
        id="before and after",
    ),
    pytest.param(
        figures.before_after([Change("mcc", Estimate(None), Estimate(None))]), id="not defined"
    ),
    pytest.param(figures.before_after([]), id="no metrics"),
    pytest.param(
        figures.learning_curves(
            {"mcc": [Point(0, Estimate(0.1, 0.0, 0.2)), Point(40, Estimate(None))], "map50": []}
        ),
        id="learning curves",
    ),
    pytest.param(figures.learning_curves({}), id="no curves"),
    pytest.param(figures.training_curves({}), id="no members"),
    pytest.param(figures.training_curves({"a": [2.0, 1.0], "b": [], "c": [0.0]}), id="training"),
    pytest.param(
        figures.slice_heat(["night"], ["mcc", "recall"], np.array([[0.2, np.nan]]), counts=[9]),
        id="slices",
    ),
    pytest.param(
        figures.calibration_curve(SOME > 0.5, {"before": SOME, "none": SOME * np.nan}),
        id="calibration",
    ),
    pytest.param(
        figures.embedding_scatter(np.stack([SOME, SOME], 1), SOME, SOME > 0.9), id="embedding"
    ),
    pytest.param(
        figures.embedding_scatter(np.zeros((3000, 2)), np.full(3000, np.nan), np.zeros(3000, bool)),
        id="many points without a hardness",
    ),
]


@pytest.mark.parametrize("figure", DRAWN)
def test_every_figure_can_be_drawn(figure):
    assert isinstance(figure, Figure)
    svg = figures.to_svg(figure)
    assert svg.startswith(b"<?xml")
    assert b"http://www.w3.org/2000/svg" in svg


def test_the_same_data_are_the_same_bytes():
    one, two = (figures.hardness_histogram([0.2, 0.4], {"hard": [0.4]}) for _ in range(2))
    assert figures.to_svg(one) == figures.to_svg(two)


def test_no_global_state_is_touched():
    figures.to_svg(figures.before_after([]))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_bars_are_as_long_as_their_values():
    figure = figures.before_after(
        [Change("mcc", Estimate(0.25), Estimate(0.5)), Change("f", Estimate(1.0), Estimate(0.75))]
    )
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.25, 1.0, 0.5, 0.75]


def test_the_calibration_of_an_honest_ensemble_is_the_diagonal():
    p = np.repeat([0.25, 0.75], 4)
    truth = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    _, line = figures.calibration_curve(truth, {"honest": p}).axes[0].lines
    assert line.get_xydata().tolist() == [[0.25, 0.25], [0.75, 0.75]]


def test_the_histogram_counts_everyone():
    figure = figures.hardness_histogram([0.0, 0.5, 1.0], {"hard": [1.0]})
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(heights) == 4
