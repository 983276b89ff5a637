"""Stability and distinctness of colors."""

import numpy as np
import pytest

from curation.labeling import palette

# A just noticeable difference in Oklab is about 0.02.
APART = [
    pytest.param(7, 0.07, id="the seven of Okabe and Ito"),
    pytest.param(22, 0.06, id="the classes of the road-work taxonomy"),
    pytest.param(40, 0.04, id="still twice a just noticeable difference"),
]


@pytest.mark.parametrize(("n", "minimum"), APART)
def test_colors_differ_under_every_color_vision(n, minimum):
    distances = palette.pairwise_distances(palette.distinct_colors(n))
    assert distances[np.triu_indices(n, 1)].min() >= minimum


def test_distance_is_that_of_least_favorable_vision():
    red, green, black, white = "#ff0000", "#00a000", "#000000", "#ffffff"
    distances = palette.pairwise_distances((red, green, black, white))
    assert distances[2, 3] == pytest.approx(1.0, abs=0.01)  # lightness from 0 to 1, in every vision
    assert distances[0, 1] < 0.2  # Oklab says 0.4 for typical vision: red against green
    assert np.array_equal(distances, distances.T)
    assert not distances.diagonal().any()


def test_colors_are_stable_when_classes_are_added():
    assert palette.distinct_colors(30)[:8] == palette.distinct_colors(8)


def test_any_number_of_colors_is_available():
    colors = palette.distinct_colors(1000)
    assert len(colors) == 1000
    assert len(set(colors[:250])) == 250
    assert palette.distinct_colors(0) == ()
